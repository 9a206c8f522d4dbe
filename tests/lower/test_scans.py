"""Scans of every kind of cell: what is read, given, drawn, summed and shown, at any nesting."""

from itertools import product
from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import Predictive

GENERATOR = torch.Generator().manual_seed(3)


def model_of(source: str) -> Any:
    torch.manual_seed(1)
    return loads(source).morphism.double()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def drawn(model: Any, x: torch.Tensor, obs: dict[str, Any]) -> tuple[Any, dict[str, torch.Tensor]]:
    """A trace, and the values of its stochastic sites."""
    traced = model.trace(x, obs, generator=torch.Generator().manual_seed(0))
    sites = {**traced.sites, **traced.internal_sites}
    return traced, {k: s.value.detach() for k, s in sites.items() if not s.is_deterministic}


NESTED = """\
object J : FinSet 3
object R : Real 1
morphism k : R * R -> R [role=kernel, hidden_dim=4] ~ Normal
let inner = scan(k)
program cell(x, h) : Real 3 * R -> R
    let letters = factor j : J in x[j] + h
    sample e <- inner(letters)
    sample s <- Laplace(e, 0.5)
    observe y <- Normal(s, 1.0)
    return s
let outer = scan(cell)
program p : Real 3 -> R
    sample last <- outer
    return last
export p
"""


def test_a_scan_inside_a_cell_has_two_marks_of_time() -> None:
    model, x = model_of(NESTED), random(2, 4, 3)
    traced, values = drawn(model, x, {})
    cell = "last/outer/[t]/cell/"
    assert {k: tuple(v.shape) for k, v in values.items()} == {
        f"{cell}e": (2, 4, 1), f"{cell}e/inner/[t]/k": (2, 4, 2, 1), f"{cell}s": (2, 4),
        f"{cell}y": (2, 4),
    }  # fmt: skip
    torch.testing.assert_close(model.log_joint(x, values), traced.log_joint)
    target = model.target(x, {f"{cell}y": values[f"{cell}y"]}, dtype=torch.float64)
    q = random(3, target.layout.dim)
    alone = torch.stack([target.terms(one).total() for one in q])
    torch.testing.assert_close(target.terms(q).total(), alone)
    found = target.constrain(q, internal=True)
    assert found[f"{cell}e/inner/[t]/k"].shape == (3, 2, 4, 2, 1)
    again = target.constrain(target.unconstrain(found), internal=True)
    torch.testing.assert_close(again[f"{cell}s"], found[f"{cell}s"])


BEFORE = """\
object X : FinSet 3
object M : FinSet 2
object K : FinSet 2
object H : Real 2
morphism a : X -> M [role=kernel]
morphism c : M * {0} -> {0} [role=kernel{1}
let f = a >> scan(c)
program p : X -> {0}
    sample h <- f
    return h
export p
"""


@pytest.mark.parametrize("state", ["K", "H"])
def test_a_finite_middle_before_a_scan_is_summed_at_each_step(state: str) -> None:
    model = model_of(BEFORE.format(state, "]" if state == "K" else ", hidden_dim=4] ~ Normal"))
    x = torch.tensor([[0, 2, 1], [1, 1, 0]])
    h = torch.tensor([1, 0]) if state == "K" else random(2, 2)
    states = {"h/f/[t]/c": torch.tensor([[1, 0], [0, 1]]) if state == "K" else random(2, 2, 2)}
    total = []
    for path in product(range(2), repeat=3):
        middles = torch.tensor(path).expand(2, 3)
        total.append(model.log_joint(x, {"h": h, "h/f/a": middles, **states}))
    expected = torch.logsumexp(torch.stack(total), 0)
    torch.testing.assert_close(model.log_joint(x, {"h": h, **states}), expected)
    if state == "K":
        paths = [{"h/f/[t]/c": torch.tensor(p).expand(2, 2)} for p in product(range(2), repeat=2)]
        over = torch.stack([model.log_joint(x, {"h": h, **path}) for path in paths])
        both = torch.logsumexp(over, 0)
        torch.testing.assert_close(model.log_joint(x, {"h": h}), both)


DATA = """\
object K : FinSet 3
object R : Real 1
data effect : K -> R
morphism trans : K -> K [role=kernel]
program step(u, z) : R * K -> K
    sample s <- trans(z)
    let mu = effect[s] + offset * u
    observe y <- Normal(mu, 0.5)
    return s
let chain = scan(step, init=learned)
program p(u) : R -> K
    sample last <- chain(u)
    return last
export p
"""


def test_cells_read_host_data() -> None:
    model, u = model_of(DATA), random(2, 6, 1)
    obs = {"effect": random(3), "offset": torch.tensor(0.7), "last/chain/[t]/step/y": random(2, 6)}
    total = model.log_joint(u, obs)
    parts = [model.log_joint(u, {**obs, "last/chain/init": torch.full((2,), k)}) for k in range(3)]
    torch.testing.assert_close(torch.logsumexp(torch.stack(parts), 0), total)
    moved = {**obs, "offset": torch.tensor(0.0)}
    torch.testing.assert_close(model.log_joint(0.0 * u, obs), model.log_joint(u, moved))


PLATE = """\
object K : FinSet 2
object N : FinSet 3
object R : Real 1
morphism trans : K -> K [role=kernel]
program step(u, z) : R * K -> K
    sample s <- trans(z)
    sample b : N <- Normal(0.0, 1.0)
    let mu = sum(b) + u * s
    observe y <- Normal(mu, 0.5)
    return s
let chain = scan(step)
program p(u) : R -> K
    sample last <- chain(u)
    return last
export p
"""


def test_a_plate_in_a_cell_is_one_of_each_step() -> None:
    model, u = model_of(PLATE), random(2, 4, 1)
    at = [f"last/chain/[{t}]/step/" for t in range(4)]
    y = {f"{path}y": random(2) for path in at}
    b = {f"{path}b": random(3) for path in at}
    total = model.log_joint(u, {**y, **b})
    parts = []
    for states in product(range(2), repeat=4):
        s = {f"{path}s": torch.full((2,), k) for path, k in zip(at, states, strict=True)}
        parts.append(model.log_joint(u, {**y, **b, **s}))
    torch.testing.assert_close(torch.logsumexp(torch.stack(parts), 0), total)


WALK = """\
object R : Real 1
program step(u, low, k) : R * R * R -> R
    sample s <- Laplace(k, 0.5)
    let mu = low * u + s
    observe y <- Normal(mu, 0.8)
    return s
let chain = scan(step)
program p(u) : R -> R
    sample low : 1 <- Normal(-1.0, 1.0)
    sample last <- chain(u, low)
    return low
export p
"""


def test_padding_in_a_target_leaves_the_other_coordinates_alone() -> None:
    """The gradient in what is real is that of the rows alone; padding keeps its own prior."""
    model, u, y = model_of(WALK), random(2, 6, 1), random(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 0]])
    obs = {"last/chain/[t]/step/y": y, "last/chain/mask": mask}
    padded = model.target(u, obs, dtype=torch.float64)
    real = mask[1].bool()
    short = model.target(u[1:, real], {"last/chain/[t]/step/y": y[1:, real]}, dtype=torch.float64)
    q = random(1 + 12).requires_grad_()
    (slope,) = torch.autograd.grad(padded.terms(q).row[1], q)
    last = q.detach()[[0, 11, 12]].requires_grad_()  # padding comes first
    (alone,) = torch.autograd.grad(short.terms(last).row[0], last)
    torch.testing.assert_close(slope[[0, 11, 12]], alone)
    assert (slope[1:7] == 0.0).all(), "the other row"
    pad = q.detach()[7:11]
    torch.testing.assert_close(slope[7:11], -2.0 * pad.sign())  # Laplace(0, 0.5) from the start
    stacked = torch.stack([q.detach(), 0.5 * q.detach()])
    each = torch.stack([padded.terms(one).total() for one in stacked])
    torch.testing.assert_close(padded.terms(stacked).total(), each)


def test_a_state_of_several_factors_is_what_the_cell_returns() -> None:
    source = """\
object R : Real 1
program step(u, one, two) : R * R * R -> R * R
    let next = one + two + u
    return (next, one)
let chain = scan(step, init=learned)
program p(u) : R -> R * R
    sample last <- chain(u)
    return last
export p
"""
    model, u = model_of(source), torch.ones(1, 5, 1, dtype=torch.float64)
    model.parameter("chain.init").copy_(torch.tensor([1.0, 0.0]))
    assert model.rsample(u).tolist() == [[20.0, 12.0]]  # 1, 2, 4, 7, 12, 20


def test_steps_given_in_part_and_shapes_that_do_not_fit_are_named() -> None:
    model, u = model_of(WALK), random(2, 6, 1)
    path = "last/chain/[t]/step/y"
    with pytest.raises(UserError, match=r"step/y` has shape \(2, 5\), but shape \(2, 6\)"):
        model.log_joint(u, {"low": torch.zeros(1), path: random(2, 5)})
    with pytest.raises(UserError, match=r"did you mean `last/chain/\[t\]/step/y`"):
        model.log_joint(u, {"low": torch.zeros(1), "y": random(2, 6)})
    with pytest.raises(UserError, match="`last/chain/mask` leaves a row"):
        model.log_joint(u, {"low": torch.zeros(1), path: random(2, 6),
                            "last/chain/mask": torch.zeros(2, 6)})  # fmt: skip


def test_predictive_draws_hold_what_cells_observe() -> None:
    """Each draw has its own parameters, which the observations follow."""
    model, u = model_of(WALK), torch.ones(2, 5, 1, dtype=torch.float64)
    y, s = "last/chain/[t]/step/y", "last/chain/[t]/step/s"
    low = torch.tensor([-50.0, 50.0]).repeat(100).unsqueeze(-1)
    found = model.simulate(u, 200, {"low": low}, generator=torch.Generator().manual_seed(2))
    assert found[y].shape == (200, 2, 5)
    assert s not in found
    assert (found[y].sign() == low.sign().unsqueeze(-1)).all()
    draws = Predictive(model, {"low": low}, generator=torch.Generator().manual_seed(2))(u)
    assert draws[y].shape == (200, 2, 5)


def test_an_exported_scan_scores_its_states() -> None:
    source = """\
object A : Real 2
object H : Real 3
morphism cell : A * H -> H [role=kernel, hidden_dim=4] ~ Normal
let f = scan(cell)
program p : A -> H
    sample h <- f
    return h
export p
export f
"""
    torch.manual_seed(1)
    module = loads(source).double()
    kernel, model = module.exports["f"], module.exports["p"]
    x, states = random(2, 5, 2), random(2, 5, 3)
    expected = model.log_joint(x, {"h": states[:, -1], "h/f/[t]/cell": states[:, :-1]})
    torch.testing.assert_close(kernel.log_joint(x, states), expected)
    torch.testing.assert_close(kernel.log_joint(x, {"h": states}), expected)
    with pytest.raises(UserError, match=r"shape \(2, 4, 3\), but shape \(2, 5, 3\)"):
        kernel.log_joint(x, states[:, 1:])
    plain = loads(
        source.replace("scan(cell)", "cell").replace("program p : A", "program p : A * H")
    )
    with pytest.raises(UserError, match="`f` is no scan of one kernel"):
        plain.exports["f"].log_joint(x, states)


PRICED = """\
object D : FinSet 3
object R : Real 1
data w : D -> Real 1
program step(i, z) : D * R -> R
    let m = z + w[i]
    sample s <- Normal(m, 1.0)
    return s
program shifted(i) : D -> R
    let m = w + i
    sample s <- Normal(m, 2.0)
    return s
morphism up : R -> R [role=kernel] ~ Normal
let chain = scan(step)
let both = shifted >> up
program p : D -> R
    sample h <- {}
    return h
export p
"""


def test_programs_in_expressions_read_data_at_their_own_input() -> None:
    """Data over D: a table inside a cell over D * R, one number per row in a program over D."""
    w, days = torch.tensor([-1.0, 2.0, 0.5]), torch.tensor([[0, 1, 2, 0], [1, 1, 2, 2]])
    s = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
    model = loads(PRICED.format("chain")).morphism
    got = model.log_joint(days, {"w": w, "h/chain/[t]/step/s": s})
    before = torch.nn.functional.pad(s[:, :-1], (1, 0))
    wanted = torch.distributions.Normal(before + w[days], 1.0).log_prob(s).sum(-1)
    torch.testing.assert_close(got, wanted)
    row = loads(PRICED.format("both")).morphism
    one = torch.tensor([2, 0])
    traced = row.trace(one, {"w": w, "h/both/shifted/s": s[:, 0]})
    wanted = torch.distributions.Normal(w[one] + one, 2.0).log_prob(s[:, 0])
    torch.testing.assert_close(traced.internal_sites["h/both/shifted/s"].log_prob, wanted)
