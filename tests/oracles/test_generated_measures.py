"""Programs of nested measure operators, well typed by construction (section 8.1).

Every program compiles, traces, scores equally by `trace` and by `log_joint`, has a finite gradient
in unconstrained coordinates, and describes itself in words that compile to the same term.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.check import check_source
from quivers_nb.check.describe import site_lines
from quivers_nb.check.term import Program
from quivers_nb.inference.target import Target
from quivers_nb.inference.trace import trace
from tests.support.oracles import compiled

NUMBERS = st.sampled_from(["m", "0.0", "0.7", "-0.4"])
SCALES = st.sampled_from(["s", "1.0", "0.6", "2.5"])
REAL_FAMILIES = st.one_of(
    st.tuples(st.sampled_from(["Normal", "Cauchy", "Laplace"]), NUMBERS, SCALES).map(
        lambda t: f"{t[0]}({t[1]}, {t[2]})"
    ),
    st.tuples(NUMBERS, SCALES).map(lambda t: f"StudentT(4.0, {t[0]}, {t[1]})"),
)
POSITIVE_FAMILIES = st.one_of(
    st.tuples(st.sampled_from(["HalfNormal", "HalfCauchy", "Exponential"]), SCALES).map(
        lambda t: f"{t[0]}({t[1]})"
    ),
    SCALES.map(lambda s: f"Gamma(2.0, {s})"),
    st.tuples(NUMBERS, SCALES).map(lambda t: f"LogNormal({t[0]}, {t[1]})"),
)
WEIGHTS = st.sampled_from(["[0.3, 0.7]", "[2.0, 1.0]", "[s, 1.0]", "w"])


def mixtures(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(WEIGHTS, parts, parts).map(lambda t: f"Mixture({t[0]}, [{t[1]}, {t[2]}])")


def restrictions(parts: st.SearchStrategy[str], bounds: list[str]) -> st.SearchStrategy[str]:
    return st.tuples(parts, st.sampled_from(bounds)).map(lambda t: f"Restrict({t[0]}, {t[1]})")


def nested(inner: st.SearchStrategy[str], bounds: list[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        inner,
        lambda parts: st.one_of(
            mixtures(parts), restrictions(parts, bounds), parts.map(lambda p: f"Normalize({p})")
        ),
        max_leaves=4,
    )


REALS = nested(REAL_FAMILIES, ["-1.0", "-2.0, 1.5", "m", "-3.0, s"])
POSITIVES = nested(POSITIVE_FAMILIES, ["0.2", "0.1, 3.0", "0.05, s"])
IMAGES = st.one_of(
    st.tuples(REALS, st.sampled_from(["Exp", "Softplus", "Sigmoid", "Affine(m, s)"])).map(
        lambda t: f"Pushforward({t[0]}, {t[1]})"
    ),
    POSITIVES.map(lambda p: f"Pushforward({p}, Log)"),
)
MEASURES = st.one_of(REALS, POSITIVES, IMAGES, mixtures(st.one_of(REALS, IMAGES)))
PLACES = st.sampled_from(["", " : N", " : 1", " : V2"])


def source(place: str, measure: str) -> str:
    return f"""\
object N : FinSet 3
object V2 : Real 2
program p : 1 -> 1
    sample m <- Uniform(-0.5, 0.5)
    sample s <- Uniform(0.5, 2.0)
    sample w <- Dirichlet(1.0, 1.0)
    sample a{place} <- {measure}
    return a
export p
"""


def described(text: str) -> str:
    """The distribution of `a` in words."""
    program = check_source(text).exports[0].value
    assert isinstance(program, Program)
    return next(line.distribution for line in site_lines(program) if line.name == "a")


@given(PLACES, MEASURES, st.integers(0, 2**31))
@settings(max_examples=100)
def test_a_generated_measure_holds_together(place: str, measure: str, seed: int) -> None:
    text = source(place, measure)
    words = described(text)
    assert described(source(place, words)) == words
    model = compiled(text)
    torch.manual_seed(seed)
    found = trace(model, None)
    values = {name: site.value for name, site in found.stochastic_sites.items()}
    joint = model.log_joint(None, values)
    assert bool(joint.isfinite())
    torch.testing.assert_close(found.log_joint, joint)
    target = Target(model.target(None, {}))
    q = torch.randn(4, target.dim, dtype=torch.float64).requires_grad_()
    value = target.log_density(q)
    torch.testing.assert_close(value, torch.stack([target.log_density(point) for point in q]))
    (grad,) = torch.autograd.grad(value[value.isfinite()].sum(), q)
    assert bool(grad.isfinite().all())
    shape = {"": (), " : N": (3,), " : 1": (1,), " : V2": (2,)}[place]
    assert values["a"].shape == shape
