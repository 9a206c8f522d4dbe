"""Composites: lanes equal separate kernels, summed middles equal enumeration, scans chain."""

from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.lower import compile as compiling
from quivers_nb.lower.nodes import Beside, Chain, Lanes, Node, Spread

SPACES = """object X : FinSet 3
object Y : FinSet 4
object A : Real 2
object H : Real 3
"""


def program(lines: str, dom: str, term: str, cod: str) -> Any:
    text = f"{SPACES}{lines}program p : {dom} -> {cod}\n    sample z <- {term}\n    return z\n"
    return loads(text + "export p\n").morphism.double()


def all_nodes(node: Node) -> list[Node]:
    inner: tuple[Node, ...] = ()
    if isinstance(node, Chain | Beside | Spread):
        inner = node.parts
    elif isinstance(node, Lanes):
        inner = (node.node,)
    return [node, *(each for part in inner for each in all_nodes(part))]


LANES = """morphism e : X -> A [role=embed]
morphism g : X -> A [role=embed]
morphism f : A -> H [role=kernel, replicate=2] ~ Normal
morphism k : A -> H [role=kernel, replicate=2] ~ Normal
morphism m : Real 6 -> A [role=kernel] ~ Normal
morphism n : Real 6 -> A [role=kernel, scale=0.1] ~ Normal
let left = e >> stack(fan(f) >> m, 2)
let right = g >> stack(fan(k) >> n, 2)
morphism top : Real 4 -> H [role=kernel] ~ Normal
let h = (left @ right) >> top
"""


def test_equal_operands_become_lanes_and_score_like_separate_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    together = program(LANES, "X * X", "h", "H")
    monkeypatch.setattr(compiling, "equal_lanes", lambda _: None)
    torch.manual_seed(0)
    apart = program(LANES, "X * X", "h", "H")
    assert any(isinstance(n, Lanes) for n in all_nodes(together.compiled.nodes[0]))
    assert not any(isinstance(n, Lanes) for n in all_nodes(apart.compiled.nodes[0]))
    for site in together.parameter_sites():
        apart.parameter(site.path).copy_(together.parameter(site.path))
    x = torch.tensor([[0, 2], [1, 1], [2, 0], [2, 2]])
    trace = together.trace(x)
    values = {k: s.value for k, s in {**trace.sites, **trace.internal_sites}.items()}
    torch.testing.assert_close(together.log_joint(x, values), apart.log_joint(x, values))
    given = {"z": values["z"]}  # fixed noise belongs to each site, however it is evaluated
    torch.testing.assert_close(together.log_joint(x, given), apart.log_joint(x, given))


def test_lanes_map_over_a_stack_of_weights() -> None:
    torch.manual_seed(1)
    model = program(LANES, "X * X", "h", "H")
    x = torch.tensor([[0, 2], [1, 1]])
    target = model.target(x, {"z": torch.randn(2, 3, dtype=torch.float64)}, dtype=torch.float64)
    q = torch.randn(3, target.layout.dim, dtype=torch.float64)
    weights = {k: torch.stack([p + 0.1 * i for i in range(3)]) for k, p in model.storage().items()}
    stacked = target.terms(q, parameters=weights).total()
    alone = [
        target.terms(q[i], parameters={k: w[i] for k, w in weights.items()}).total()
        for i in range(3)
    ]
    torch.testing.assert_close(stacked, torch.stack(alone))


def test_a_member_used_alone_reads_its_own_slice() -> None:
    torch.manual_seed(2)
    lines = (
        "morphism f : A -> H [role=kernel, replicate=3] ~ Normal\nlet both = fan(f)\n"
        "let one = f_1\n"
    )
    text = (
        f"{SPACES}{lines}program p : A -> H\n    sample u <- both\n    sample v <- one\n"
        "    return v\nexport p\n"
    )
    model = loads(text).morphism.double()
    x = torch.randn(4, 2, dtype=torch.float64)
    values = {"u": torch.randn(4, 9, dtype=torch.float64), "v": torch.randn(4, 3).double()}
    joint = model.log_joint(x, values)
    assert len(model.parameter_sites()) == 18
    joint.sum().backward()
    (stacked,) = (p for k, p in model.storage().items() if k.endswith("weight0"))
    assert stacked.shape[0] == 3
    per_member = stacked.grad.flatten(1).norm(dim=1)
    assert (per_member > 0).all()


def chain_by_hand(model: Any, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """log p(z | x) of X -> Y -> Y -> H with both middles enumerated."""
    weights = {k.rsplit(".", 1)[0].rsplit(".", 1)[-1]: v for k, v in model.storage().items()}
    first = weights["f"].log_softmax(-1)[x]  # (N, 4)
    second = weights["g"].log_softmax(-1)  # (4, 4)
    loc, log_scale = weights["k"].chunk(2, -1)
    density = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z[:, None]).sum(-1)
    paths = first[:, :, None] + second[None] + density[:, None, :]
    return torch.logsumexp(paths.flatten(1), -1)


def test_two_finite_middles_equal_the_explicit_sum() -> None:
    torch.manual_seed(3)
    lines = """morphism f : X -> Y [role=kernel]
morphism g : Y -> Y [role=kernel]
morphism k : Y -> H [role=kernel] ~ Normal
let h = f >> g >> k
"""
    model = program(lines, "X", "h", "H")
    x = torch.tensor([0, 1, 2, 1, 0])
    z = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(model.log_joint(x, {"z": z}), chain_by_hand(model, x, z))


def test_finite_states_of_a_scan_are_summed_by_forward_recursion() -> None:
    torch.manual_seed(4)
    lines = """morphism c : A * Y -> Y [role=kernel] ~ Categorical
morphism k : Y -> H [role=kernel] ~ Normal
let h = scan(c) >> k
"""
    model = program(lines, "A", "h", "H")
    x = torch.randn(2, 3, 2, dtype=torch.float64)
    z = torch.randn(2, 3, dtype=torch.float64)
    total = None
    for a in range(4):
        for b in range(4):
            for c in range(4):
                states = {f"z/h/[{t}]/c": torch.full((2,), s) for t, s in enumerate((a, b, c))}
                each = model.log_joint(x, {"z": z, **states})
                total = each if total is None else torch.logaddexp(total, each)
    torch.testing.assert_close(model.log_joint(x, {"z": z}), total)


def test_a_countable_middle_must_be_given_and_is_named() -> None:
    lines = """morphism f : A -> H [role=kernel] ~ Poisson
morphism g : H -> A [role=kernel] ~ Normal
let h = f >> g
"""
    model = program(lines, "A", "h", "A")
    with pytest.raises(UserError, match=r"middle `z/h/f` is Poisson"):
        model.log_joint(torch.randn(2, 2), {"z": torch.randn(2, 2)})
    with pytest.raises(UserError, match=r"middle `z/h/f` is Poisson"):
        model.target(torch.randn(2, 2), {"z": torch.randn(2, 2)})


def test_inner_draws_tighten_the_bound_on_average() -> None:
    torch.manual_seed(5)
    lines = """morphism f : X -> A [role=kernel] ~ Normal
morphism g : A -> H [role=kernel, scale=0.3] ~ Normal
let h = f >> g
"""
    model = program(lines, "X", "h", "H")
    x = torch.arange(3).repeat(100)
    z = torch.randn(300, 3, dtype=torch.float64)
    one = model.log_joint(x, {"z": z}).mean()
    many = model.log_joint(x, {"z": z}, num_inner=64).mean()
    assert many > one + 0.05


def test_repeat_shares_and_stack_copies() -> None:
    torch.manual_seed(6)
    lines = """morphism f : A -> A [role=kernel] ~ Normal
let r = repeat(f, 3)
let s = stack(f, 3)
"""
    text = (
        f"{SPACES}{lines}program p : A -> A\n    sample u <- r\n    sample v <- s\n    return v\n"
        "export p\n"
    )
    model = loads(text).morphism
    paths = [site.path for site in model.parameter_sites() if site.path.endswith("weight0")]
    assert sorted(paths) == [
        "r.f.weight0", "s.stack[0].f.weight0", "s.stack[1].f.weight0", "s.stack[2].f.weight0",
    ]  # fmt: skip
    first = model.parameter("s.stack[0].f.weight0")
    for path in paths:
        torch.testing.assert_close(model.parameter(path), first)
    model.parameter("s.stack[0].f.weight0").add_(1.0)
    assert not torch.equal(model.parameter("s.stack[1].f.weight0"), first)


@pytest.mark.parametrize("family", ["Poisson", "Geometric", "Binomial"])
@pytest.mark.parametrize("width", [1, 3])
def test_counts_are_read_as_numbers_by_the_next_kernel(family: str, width: int) -> None:
    """An axis of counts is not an axis of rows: the chain has the shapes of its two steps."""
    chain = loads(f"""
object A : Real 2
object C : Real {width}
object B : Real 2
morphism f : A -> C [role=kernel] ~ {family}
morphism g : C -> B [role=kernel] ~ Normal
let fg = f >> g
program p : A -> B
    sample z <- fg
    return z
export p
export fg
""")
    x = torch.randn(5, 2)
    seen = chain.morphism.trace(x)
    assert seen.sites["z"].value.shape == (5, 2)
    assert seen.internal_sites["z/fg/f"].value.dtype == torch.int64
    values = {k: s.value for k, s in {**seen.sites, **seen.internal_sites}.items()}
    torch.testing.assert_close(chain.morphism.log_joint(x, values), seen.log_joint)
    assert chain.exports["fg"].rsample(x, sample_shape=(7,)).shape == (7, 5, 2)


def test_indices_side_by_side_are_drawn_and_scored_as_columns() -> None:
    kernels = loads("""
object X : FinSet 3
object Y : FinSet 4
morphism t : X -> Y [role=kernel]
let both = t @ t
let twice = fan(t, t)
export both
export twice
""").exports
    pair, one = torch.tensor([[0, 2], [1, 1]]), torch.tensor([0, 2])
    for name, x in (("both", pair), ("twice", one)):
        draws = kernels[name].rsample(x, sample_shape=(6,))
        assert draws.shape == (6, 2, 2)
        assert draws.dtype == torch.int64
        term = kernels[name].log_prob(x, draws[0])
        table = next(iter(kernels[name].parameters())).log_softmax(-1)
        rows = pair if name == "both" else one.unsqueeze(-1).expand(2, 2)
        expected = table[rows[:, 0], draws[0, :, 0]] + table[rows[:, 1], draws[0, :, 1]]
        torch.testing.assert_close(term, expected)


def test_an_index_read_as_a_number_has_the_dtype_of_the_weights() -> None:
    """A model in doubles under torch's default of singles (R12)."""
    lines = """morphism f : A -> N [role=kernel] ~ Categorical
morphism g : C -> A [role=kernel] ~ Normal
program count(u) : A -> C
    sample n <- Poisson(2.0)
    return n
let h = f >> g
let k = count >> g
"""
    head = "object A : Real 2\nobject N : FinSet 3\nobject C : Real 1\n" + lines
    body = "program p : A -> A\n    sample z <- {0}\n    return z\nexport p\n"
    x = torch.randn(4, 2)
    for name in ("h", "k"):
        model = loads(head + body.format(name)).morphism.double()
        seen = model.trace(x)
        assert seen.sites["z"].value.shape == (4, 2)
        values = {k: s.value for k, s in {**seen.sites, **seen.internal_sites}.items()}
        assert model.log_joint(x, values).dtype == torch.float64
        torch.testing.assert_close(model.log_joint(x, values), seen.log_joint)


def test_data_over_the_domain_are_read_at_the_input_of_an_instantiated_template() -> None:
    model = loads("""
object X : FinSet 3
object R : Real 1
morphism e : X -> R [role=embed]
data w : X -> Real 1
program over(G : FinSet, k : Mor[G, R]) : G -> R
    sample h <- k
    let m = w * 1.0
    observe y <- Normal(m, 1.0)
    return h
let p = over(X, e)
export p
""").morphism
    assert str(model) == "<program over(X, e) : X -> R>"
    x, w = torch.tensor([2, 0, 1, 2]), torch.tensor([1.0, 2.0, 3.0])
    given = {"w": w, "h": torch.zeros(4, 1), "y": torch.zeros(4)}
    rows = torch.distributions.Normal(w[x], 1.0).log_prob(torch.zeros(4))
    first = model.log_joint(x, given) - rows
    other = model.log_joint(x, given | {"w": 0.0 * w}) + 0.5 * torch.log(torch.tensor(2 * torch.pi))
    torch.testing.assert_close(first, other)
