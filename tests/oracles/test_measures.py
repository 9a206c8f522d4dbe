"""Measure operators in programs, against scipy: rows, plates, blocks, guides (section 8.1)."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from quivers_nb.inference.trace import trace
from tests.support.oracles import Case, compiled, tensors

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=4)
PREFIX = "object R1 : Real 1\nobject K : FinSet 3\nobject N : FinSet 4\n"


def program(lines: str, dom: str = "1 -> 1", inputs: str = "") -> str:
    body = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    return f"{PREFIX}program p{inputs} : {dom}\n{body}\nexport p\n"


def truncated(y: Any, dist: Any, low: Any, high: Any = np.inf) -> Any:
    return dist.logpdf(y) - np.log(dist.cdf(high) - dist.cdf(low))


def mixed(y: Any, weights: Any, dists: list[Any]) -> Any:
    logs = [np.log(w) + d for w, d in zip(weights, dists, strict=True)]
    return logsumexp(np.stack(np.broadcast_arrays(*logs)), axis=0) - np.log(sum(weights))


CASES = [
    Case(
        "bounds that are earlier sites",
        program("""\
sample lo <- Normal(0.0, 1.0)
sample s <- HalfNormal(2.0)
sample a <- Restrict(Normal(0.5, s), lo)
return a"""),
        {"lo": -0.3, "s": 1.7, "a": 0.4},
        stats.norm.logpdf(-0.3) + stats.halfnorm.logpdf(1.7, scale=2)
        + truncated(0.4, stats.norm(0.5, 1.7), -0.3),
    ),
    Case(
        "one per row of an input",
        program("""\
observe y <- Truncate(StudentT(4.0, a, 1.5), -1.0, 3.0)
return y""", "R1 -> R1", "(a)"),
        {"y": np.array([0.1, 0.5, -0.5, 2.0])},
        truncated(np.array([0.1, 0.5, -0.5, 2.0]), stats.t(4, ROWS, 1.5), -1, 3),
        x=ROWS[:, None],
    ),
    Case(
        "a plate with its own bounds",
        program("""\
sample m : N <- Normal(0.0, 1.0)
let top = 1.0 + exp(m)
sample y : N <- Restrict(Gamma(2.0, 1.0), 0.5, top)
return y"""),
        {"m": ROWS, "y": np.full(4, 0.7)},
        stats.norm.logpdf(ROWS).sum()
        + truncated(np.full(4, 0.7), stats.gamma(2), 0.5, 1 + np.exp(ROWS)).sum(),
    ),
    Case(
        "a mixture over a plate with one weight vector per element",
        program("""\
sample w : N <- Dirichlet(1.0) [over=K]
sample mu : N <- Normal(0.0, 1.0)
observe y : N <- Mixture(w, [Normal(mu, 1.0), Cauchy(0.0, 2.0), Restrict(Laplace(0.0, 1.0), 0.0)])
return mu"""),
        {"w": np.tile([0.2, 0.3, 0.5], (4, 1)), "mu": ROWS, "y": np.array([-1.0, 0.5, 2.0, 3.0])},
        4 * np.log(2.0) + stats.norm.logpdf(ROWS).sum()
        + (mixed(
            np.array([-1.0, 0.5, 2.0, 3.0]), [0.2, 0.3, 0.5],
            [
                stats.norm.logpdf([-1.0, 0.5, 2.0, 3.0], ROWS),
                stats.cauchy.logpdf([-1.0, 0.5, 2.0, 3.0], 0, 2),
                np.where(
                    np.array([-1.0, 0.5, 2.0, 3.0]) >= 0,
                    stats.laplace.logpdf([-1.0, 0.5, 2.0, 3.0]), -np.inf,
                ),
            ],
        ) - np.log(0.2 + 0.3 + 0.25)).sum(),
    ),
    Case(
        "operators three deep",
        program("""\
sample a <- Restrict(Pushforward(Mixture([1.0, 1.0], [Normal(0.0, 1.0), Normal(2.0, 0.5)]), Exp), 1)
return a"""),
        {"a": 3.0},
        np.log(0.5 * stats.norm.pdf(np.log(3)) + 0.5 * stats.norm.pdf(np.log(3), 2, 0.5))
        - np.log(3) - np.log(0.5 * stats.norm.sf(0) + 0.5 * stats.norm.sf(0, 2, 0.5)),
    ),
    Case(
        "zero-inflated counts with a sampled weight",
        program("""\
sample z <- Beta(1.0, 1.0)
sample r <- Exponential(1.0)
let rest = 1.0 - z
observe n : N <- Mixture([z, rest], [PointMass(0), Poisson(r)])
return r"""),
        {"z": 0.3, "r": 1.4, "n": np.array([0, 0, 2, 5])},
        -1.4 + 2 * np.log(0.3 + 0.7 * np.exp(-1.4))
        + np.log(0.7 * stats.poisson.pmf([2, 5], 1.4)).sum(),
    ),
    Case(
        "a product of restricted coordinates in a plate of events",
        program("""\
sample mu : N * K <- Normal(0.0, 1.0)
sample v : N <- Independent(Restrict(Normal(mu, 1.0), 0.0), 1)
return v"""),
        {"mu": np.ones((4, 3)), "v": np.full((4, 3), 0.5)},
        12 * (stats.norm.logpdf(1.0) + truncated(0.5, stats.norm(1, 1), 0.0)),
    ),
]  # fmt: skip
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def host(case: Case) -> torch.Tensor | None:
    return None if case.x is None else torch.as_tensor(case.x)


@each
def test_log_joint_is_the_formula(case: Case) -> None:
    model = compiled(case.source)
    values = tensors(case.values)
    found = model.log_joint(host(case), values).numpy()
    np.testing.assert_allclose(found, case.rows, rtol=1e-8)
    total = float(model.log_density(host(case), values))
    assert total == pytest.approx(case.expected_total, rel=1e-8)


@each
def test_traces_score_as_log_joint_does(case: Case) -> None:
    model = compiled(case.source)
    torch.manual_seed(0)
    found = trace(model, host(case))
    values = {name: site.value for name, site in found.stochastic_sites.items()}
    joint = model.log_joint(host(case), values)
    assert bool(joint.isfinite().all())
    torch.testing.assert_close(found.log_joint, joint)


def test_every_row_has_a_draw_of_its_own() -> None:
    model = compiled(
        program(
            """\
sample a <- Restrict(Normal(0.0, 1.0), 1.0, 2.0) [per=row]
let b = a + u
return b""",
            "R1 -> R1",
            "(u)",
        )
    )
    a = trace(model, torch.zeros(500, 1, dtype=torch.float64)).sites["a"].value
    assert a.shape == (500,)
    assert len(a.unique()) == 500
    assert bool(((a >= 1) & (a <= 2)).all())


def test_observed_values_outside_the_bounds_are_named() -> None:
    model = compiled(
        program("observe y : N <- Restrict(Normal(0.0, 1.0), 0.0)\nlet o = 1.0\nreturn o")
    )
    with pytest.raises(UserError, match=r"holds -2, outside the support 0 … ∞ of Restrict"):
        model.log_joint(None, {"y": torch.tensor([1.0, -2.0, 1.0, 1.0])})


def test_a_negative_weight_is_named() -> None:
    model = compiled(
        program("""\
sample w : K <- Normal(0.0, 1.0)
sample a <- Mixture(w, [Normal(0.0, 1.0), Cauchy(0.0, 1.0), Laplace(0.0, 1.0)])
return a""")
    )
    with pytest.raises(UserError, match=r"a weight of the Mixture in `a` is -0.5"):
        model.log_joint(None, tensors({"w": [-0.5, 1.0, 1.0], "a": 0.0}))


def test_a_guide_stays_inside_the_bounds() -> None:
    """The bijector of each site is that of its exact support."""
    model = compiled(
        program("""\
sample a <- Restrict(Normal(0.0, 1.0), 1.0, 2.0)
sample b <- Pushforward(Beta(2.0, 2.0), Affine(3.0, 2.0))
sample t <- Pushforward(Independent(Normal(m, 1.0), 1), StickBreaking)
observe y <- Normal(a, b)
return b""").replace("program p", "data m : K -> Real 1\nprogram p")
    )
    data = tensors({"m": np.zeros(3), "y": 1.2})
    guide = AutoNormalGuide(model, observed_names={"y"})
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters(), lr=0.05), ELBO())
    for _ in range(5):
        assert np.isfinite(float(svi.step(None, data)))


def test_a_guide_draws_where_a_bound_from_the_program_lies() -> None:
    model = compiled(
        program("""\
sample lo <- Normal(3.0, 0.1)
sample a <- Restrict(HalfNormal(1.0), lo)
return a""")
    )
    guide = AutoNormalGuide(model, observed_names=set())
    SVI(model, guide, torch.optim.Adam(guide.parameters(), 0.05), ELBO()).run(None, {}, 500)
    draws = {name: x.detach() for name, x in guide.draws(None, 500).items()}
    assert bool((draws["a"] > draws["lo"]).all())
    assert bool((draws["lo"] > 2.0).all())  # far above the bound of the HalfNormal alone
    assert 0.1 < float((draws["a"] - draws["lo"]).median()) < 0.4  # exactly 0.205


def test_points_have_no_place_among_latents() -> None:
    model = compiled(
        program("""\
sample a <- Mixture([0.5, 0.5], [PointMass(0.0), Normal(0.0, 1.0)])
observe y <- Normal(a, 1.0)
return a""")
    )
    from quivers_nb.inference import MCMC, NUTSKernel

    with pytest.raises(UserError, match="`a` is a discrete latent"):
        MCMC(NUTSKernel(), 5, 5, num_chains=1).run(model, None, {"y": torch.tensor(0.1)})


def test_a_latent_point_is_not_inferred() -> None:
    model = compiled(program("sample a <- PointMass(1.5)\nobserve y <- Normal(a, 1.0)\nreturn a"))
    with pytest.raises(UserError, match="bind it with `let a = …`"):
        model.target(None, {"y": torch.tensor(0.1)})
