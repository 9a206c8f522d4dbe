"""Every family in every use that section 8 lists: inline, and as a kernel from every source.

A use is right if the program compiles, its trace and its `log_joint` agree, the density is that of
the family's row (the other laws test that), and gradients reach every weight.
"""

import pytest
import torch
from torch import Tensor

from quivers_nb.dsl import loads
from quivers_nb.inference.target import flat
from quivers_nb.kernels import kernel_density, split_blocks
from quivers_nb.spaces.families import FAMILIES, MATRIX_SPACES
from quivers_nb.spaces.family import Codomain, Family
from quivers_nb.spaces.support import Counts, is_discrete
from tests.laws.registry import WIDTH, Params, density, draws, parameters, seeded

KERNELS = [name for name, row in FAMILIES.items() if row.kernel is not None]
NETWORKS = [name for name in KERNELS if FAMILIES[name].network and name != "Flow"]
SOURCES = {
    "mlp": "Real 4",
    "mlp(8, 4)": "Real 4",
    "linear": "Real 4",
    "attention(heads=2)": "Real 4",
    "lookup": "FinSet 3",
    "lookup of pairs": "FinSet 2 * FinSet 3",
    "mixed": "FinSet 3 * Real 2",
}
KERNEL = """\
object A : {dom}
object B : {cod}
morphism f : A -> B [role=kernel{options}] ~ {family}
program p : A -> B
    sample h <- f
    return h
export p
"""


def codomain(row: Family) -> str:
    if row.codomain is Codomain.PAIR:
        return "FinSet 2"
    if row.codomain is Codomain.FINITE:
        return "FinSet 3"
    if row.codomain is Codomain.BOUNDED:
        return "Real 2 [low=-1.0, high=2.0]"
    if row.name == "MixtureNormal":
        return "Real 1"
    if row.simplex:
        return "Simplex 3"
    special = {"MatrixNormal": "Real 2 3", **{n: f"{s} 2" for n, s in MATRIX_SPACES.items()}}
    return special.get(row.name, "Real 3")


def rows(dom: str, *, sequence: bool = False) -> Tensor:
    """Five inputs of a domain."""
    if dom == "FinSet 3":
        return torch.tensor([0, 1, 2, 2, 0])
    if dom.startswith("FinSet 2"):
        return torch.tensor([[0, 0], [1, 2], [0, 1], [1, 0], [0, 2]])
    x = torch.randn((5, 6, 4) if sequence else (5, 4), generator=seeded(1), dtype=torch.float64)
    if dom.startswith("FinSet 3 *"):
        return torch.cat([torch.tensor([0, 1, 2, 2, 0]).double().unsqueeze(-1), x[:, :2]], -1)
    return x


def kernel(name: str, dom: str, options: str = ""):
    torch.manual_seed(0)
    cod = codomain(FAMILIES[name])
    return loads(KERNEL.format(family=name, dom=dom, cod=cod, options=options)).morphism.double()


USES = [
    (name, source)
    for name in KERNELS
    for source, dom in SOURCES.items()
    if name != "GP" or dom.startswith("Real")  # a process reads points of a space
]


@pytest.mark.parametrize(("name", "source"), USES)
def test_a_kernel_of_every_family_from_every_source(name: str, source: str) -> None:
    dom, row = SOURCES[source], FAMILIES[name]
    word = source if source in {"mlp", "linear"} or "(" in source else ""
    chosen = f", param_source={word}" if word and name in NETWORKS else ""
    model = kernel(name, dom, chosen)
    x = rows(dom, sequence="attention" in chosen)
    if name == "GP":
        x = torch.randn(5, 3, 4, generator=seeded(2), dtype=torch.float64)
    run = model.trace(x, generator=seeded(3))
    value = run.sites["h"].value
    assert value.shape[0] == 5
    assert value.is_floating_point() != isinstance(row.support, Counts)
    again = model.log_joint(x, {"h": value})
    assert again.shape == (5,)
    torch.testing.assert_close(again, run.log_joint)
    grads = torch.autograd.grad(again.sum(), list(model.parameters()), allow_unused=True)
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_identity_source_is_the_raw_vector(name: str) -> None:
    row, cod = FAMILIES[name], codomain(FAMILIES[name])
    settings: dict[str, float] = {"low": -1.0, "high": 2.0} if "low" in cod else {}
    if name == "MatrixNormal":
        settings = {"rows": 2, "cols": 3}
    d = {"FinSet 2": 2, "Real 1": 1, "Real 2 3": 6, "Real 2 [low=-1.0, high=2.0]": 2}.get(cod, 3)
    m = 2 if name in MATRIX_SPACES else d
    raw = raw_of(row, d, m, settings)
    model = kernel(name, f"Real {raw.shape[-1]}", ", param_source=identity")
    assert not list(model.parameters())
    params = split_blocks(row, raw, d, settings, m)
    value = model.trace(raw, generator=seeded(5)).sites["h"].value
    if name == "MixtureNormal":  # a number with vector parameters, and the axis of `Real 1`
        value = value.squeeze(-1)
    want = kernel_density(row).log_prob(value, *params)
    got = model.log_joint(raw, {"h": value})
    torch.testing.assert_close(got, want if want.dim() == 1 else want.sum(-1))


def raw_of(row: Family, d: int, m: int, settings: dict[str, float]) -> Tensor:
    from quivers_nb.kernels import raw_width

    shape = (5, raw_width(row, d, settings, m))
    return torch.randn(shape, generator=seeded(4), dtype=torch.float64)


# --- inline -------------------------------------------------------------------------------------

INLINE = [name for name, row in FAMILIES.items() if row.inline]
SPACES = {0: "Real 1", 1: f"Real {WIDTH}", 2: f"LowerTriangular {WIDTH}"}


def inline(row: Family, params: Params, size: str) -> str:
    """A program whose parameters are declared data."""
    declared = "\n".join(f"data {p.name}_ : 1 -> {SPACES[p.rank]}" for p in row.parameters)
    names = ", ".join(f"{key}_" for key in params)
    return f"""\
object K : FinSet {WIDTH}
{declared}
program p : 1 -> 1
    sample h <- {row.name}({names}){size}
    return h
export p
"""


@pytest.mark.parametrize("name", INLINE)
def test_every_family_with_parameters_from_data(name: str) -> None:
    """The density at a draw is the row's; where there are coordinates, theirs has its Jacobian."""
    row = FAMILIES[name]
    params = parameters(row, 31)
    sized = name in {"LKJCholesky", "Horseshoe"}
    source = inline(row, params, " [over=K]" if sized else "")
    if name in {"CategoricalProbs", "MixtureNormal"}:
        source = source.replace("data probs_ : 1 -> Real", "data probs_ : 1 -> Simplex")
    model = loads(source).morphism.double()
    y = draws(row, params, (), 32)
    data = {f"{key}_": value for key, value in params.items()}
    want = density(row).log_prob(y, *params.values())
    got = model.log_joint(None, {**data, "h": y})
    torch.testing.assert_close(got, want)
    if is_discrete(row.support):
        return
    target = flat(model.target(None, data))
    q = target.unconstrain({"h": y})
    torch.testing.assert_close(target.constrain(q)["h"], y)
    assert bool(target.log_density(q).isfinite())


# --- sequences ----------------------------------------------------------------------------------

TOKENS = """\
object T : FinSet 7
object P : Real 4
object O : Real 2
morphism e : T -> P [role=embed]
morphism a : P -> O [role=kernel, {options}
let c = e >> a
program p : T -> O
    sample h <- {use}
    return h
export p
"""


@pytest.mark.parametrize(
    ("options", "length"),
    [("param_source=attention(heads=2)] ~ Normal", 6), ("length_scale=0.5] ~ GP", 2)],
)
def test_a_kernel_that_consumes_a_sequence_reads_one_drawn_point_by_point(
    options: str, length: int
) -> None:
    """``embed >> attention`` on tokens: one middle per position, and the kernel's own density."""
    torch.manual_seed(0)
    model = loads(TOKENS.format(options=options, use="c")).morphism.double()
    tokens = torch.randint(7, (5, length), generator=seeded(6))
    run = model.trace(tokens, generator=seeded(7))
    points = run.internal_sites["h/c/e"].value
    assert points.shape == (5, length, 4)
    values = {"h": run.sites["h"].value, "h/c/e": points}
    torch.testing.assert_close(model.log_joint(tokens, values), run.log_joint)
    alone = loads(
        TOKENS.format(options=options, use="a").replace("program p : T", "program p : P")
    ).morphism.double()
    weights = model.state_dict()
    alone.load_state_dict({key: weights[key.replace("a/", "c/a/")] for key in alone.state_dict()})
    got = run.sites["h"].log_prob
    torch.testing.assert_close(got, alone.log_joint(points, {"h": values["h"]}))
