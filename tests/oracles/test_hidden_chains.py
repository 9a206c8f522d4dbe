"""Hidden Markov chains as scans over a finite state: summed exactly, whatever runs them (R3).

A cell draws the next state and observes: the oracle is the textbook recursion in numpy (Rabiner
1989), for short chains also the sum over all K^T paths.
"""

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, logsumexp

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import infer_discrete, log_likelihood
from tests.support.oracles import (
    Array,
    compiled,
    gaussian_blocks,
    normal,
    randomize,
    tensor,
    weights,
)

HMM = """\
object U : Real 1
object K : FinSet 3
object Y : Real 2
morphism trans : K -> K [role=kernel]
morphism emit : K -> Y [role=kernel] ~ Normal
program step(u, z) : U * K -> K
    sample s <- trans(z)
    observe y <- emit(s)
    return s
let chain = scan(step{})
program hmm : U -> K
    sample last <- chain
    return last
export hmm
"""
Y, S, START, MASK = (
    "last/chain/[t]/step/y", "last/chain/[t]/step/s", "last/chain/init", "last/chain/mask",
)  # fmt: skip
RNG = np.random.default_rng(5)
each_start = pytest.mark.parametrize("init", ["", ", init=learned"])


def model_of(init: str = "") -> Any:
    model = compiled(HMM.format(init))
    randomize(model, seed=3, scale=1.0)
    return model


def parts(model: Any, y: Array) -> tuple[Array, Array, Array]:
    """log start (K,), log transitions (K, K), log emissions (rows, T, K)."""
    found = weights(model)
    loc, scale = gaussian_blocks(found["chain.step.emit.table"])
    start = np.array([0.0, -np.inf, -np.inf])
    if "chain.init" in found:
        start = log_softmax(found["chain.init"], -1)
    moves = log_softmax(found["chain.step.trans.logits"], -1)
    return start, moves, normal(y[:, :, None], loc, scale).sum(-1)


def textbook(model: Any, y: Array) -> Array:
    start, moves, seen = parts(model, y)
    alpha = np.tile(start, (len(y), 1))
    for t in range(y.shape[1]):
        alpha = logsumexp(alpha[:, :, None] + moves, axis=1) + seen[:, t]
    return np.asarray(logsumexp(alpha, -1))


def by_paths(model: Any, y: Array) -> Array:
    start, moves, seen = parts(model, y)
    found = []
    for path in product(range(3), repeat=y.shape[1] + 1):
        steps = sum(moves[a, b] + seen[:, t, b] for t, (a, b) in enumerate(pairwise(path)))
        found.append(start[path[0]] + steps)
    return np.asarray(logsumexp(found, axis=0))


def inputs(y: Array) -> torch.Tensor:
    return torch.zeros(*y.shape[:2], 1, dtype=torch.float64)


@each_start
@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_a_short_chain_is_the_sum_over_its_paths(init: str, length: int) -> None:
    model, y = model_of(init), RNG.normal(size=(2, length, 2))
    got = model.log_joint(inputs(y), {Y: tensor(y)}).detach().numpy()
    np.testing.assert_allclose(got, by_paths(model, y), rtol=1e-12)


@each_start
@pytest.mark.parametrize("length", [20, 500])
def test_a_long_chain_is_the_textbook_recursion(init: str, length: int) -> None:
    model, y = model_of(init), RNG.normal(size=(2, length, 2))
    got = model.log_joint(inputs(y), {Y: tensor(y)}).detach().numpy()
    np.testing.assert_allclose(got, textbook(model, y), rtol=1e-10)


@each_start
def test_given_states_are_used_and_not_summed(init: str) -> None:
    """Values under ``[t]`` are whole sequences; the trace shows them so."""
    model, y = model_of(init), RNG.normal(size=(2, 7, 2))
    traced = model.trace(inputs(y), {Y: tensor(y)}, generator=torch.Generator().manual_seed(0))
    assert traced.internal_sites[S].value.shape == (2, 7)
    states = {k: v.value for k, v in traced.internal_sites.items()}
    start, moves, seen = parts(model, y)
    s, rows = states[S].numpy(), np.arange(2)
    before = states[START].numpy() if init else np.zeros(2, dtype=int)
    expected = start[before]
    for t in range(7):
        expected = expected + moves[before, s[:, t]] + seen[rows, t, s[:, t]]
        before = s[:, t]
    got = model.log_joint(inputs(y), states).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(traced.log_joint.detach().numpy(), expected, rtol=1e-12)


def test_states_given_step_by_step_are_the_same() -> None:
    model, y = model_of(), RNG.normal(size=(2, 4, 2))
    s = RNG.integers(0, 3, size=(2, 4))
    whole = {Y: tensor(y), S: tensor(s)}
    steps = {path.replace("[t]", f"[{t}]"): tensor(v[:, t])
             for t in range(4) for path, v in ((Y, y), (S, s))}  # fmt: skip
    one = model.log_joint(inputs(y), whole)
    torch.testing.assert_close(one, model.log_joint(inputs(y), steps))
    known = {k: v for k, v in steps.items() if "[2]" not in k or k.endswith("y")}
    summed = [
        model.log_joint(inputs(y), {**known, S.replace("[t]", "[2]"): torch.full((2,), k)})
        for k in range(3)
    ]
    total = torch.logsumexp(torch.stack(summed), 0)
    torch.testing.assert_close(total, model.log_joint(inputs(y), known))


@pytest.mark.parametrize("length", [5, 30])
@pytest.mark.parametrize("given", [False, True], ids=["summed", "given"])
def test_padding_counts_nothing_wherever_it_stands(length: int, given: bool) -> None:
    model, y = model_of(), RNG.normal(size=(3, length, 2))
    s = RNG.integers(0, 3, size=(3, length))
    mask = RNG.integers(0, 2, size=(3, length))
    mask[0], mask[:, 1], mask[2, 2:] = 1, 1, 0
    values = {Y: tensor(y), **({S: tensor(s)} if given else {})}
    got = model.log_joint(inputs(y), {**values, MASK: tensor(mask)})
    for row in range(3):
        real = torch.as_tensor(mask[row]).bool()
        alone = {k: v[row : row + 1, real] for k, v in values.items()}
        own = model.log_joint(inputs(y)[row : row + 1, real], alone)
        torch.testing.assert_close(got[row : row + 1], own, rtol=1e-12, atol=1e-12)


def test_a_mask_of_another_shape_or_without_a_step_is_refused() -> None:
    model, y = model_of(), RNG.normal(size=(2, 4, 2))
    with pytest.raises(UserError, match=r"mask` has shape \(2, 3\).*steps \(2, 4\)"):
        model.log_joint(inputs(y), {Y: tensor(y), MASK: np.ones((2, 3))})
    with pytest.raises(UserError, match="a row without any step"):
        model.log_joint(inputs(y), {Y: tensor(y), MASK: np.array([[1, 1, 0, 0], [0] * 4])})


def test_a_target_sums_the_states_and_needs_the_observations() -> None:
    model, y = model_of(), RNG.normal(size=(2, 30, 2))
    target = model.target(inputs(y), {Y: tensor(y)}, dtype=torch.float64)
    assert target.layout.dim == 0
    total = target.terms(torch.zeros(0, dtype=torch.float64)).total().item()
    assert total == pytest.approx(textbook(model, y).sum(), rel=1e-12)
    for fit in (lambda: model.target(inputs(y), {}), lambda: model.log_joint(inputs(y), {})):
        with pytest.raises(UserError, match=r"last/chain/\[t\]/step/y"):
            fit()


def test_the_gradient_is_that_of_the_recursion() -> None:
    """Finite differences of the oracle, for two entries of each table."""
    model, y = model_of(", init=learned"), RNG.normal(size=(2, 25, 2))
    model.log_joint(inputs(y), {Y: tensor(y)}).sum().backward()
    for parameter in model.parameters():
        for at in (0, parameter.numel() - 1):
            flat = parameter.data.view(-1)
            here, values = flat[at].item(), []
            for shift in (1e-6, -1e-6):
                flat[at] = here + shift
                values.append(textbook(model, y).sum())
            flat[at] = here
            slope = (values[0] - values[1]) / 2e-6
            assert parameter.grad is not None
            assert parameter.grad.view(-1)[at].item() == pytest.approx(slope, rel=1e-5, abs=1e-6)


KERNEL = """\
object A : Real 2
object K : FinSet 4
object H : Real 2
morphism c : A * K -> K [role=kernel, hidden_dim=6] ~ Categorical
morphism m : K -> H [role=kernel] ~ Normal
let f = scan(c){}
program p : A -> {}
    sample h <- f
    return h
export p
"""


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_kernel_as_cell_sums_to_the_chain_with_its_states_given(length: int) -> None:
    for tail, cod, h in ((" >> m", "H", RNG.normal(size=(2, 2))), ("", "K", np.array([1, 3]))):
        model = compiled(KERNEL.format(tail, cod))
        randomize(model, seed=1, scale=0.8)
        x = tensor(RNG.normal(size=(2, length, 2)))
        count = length if tail else length - 1
        total = []
        for path in product(range(4), repeat=count):
            states = {f"h/f/[{t}]/c": torch.full((2,), s) for t, s in enumerate(path)}
            total.append(model.log_joint(x, {"h": tensor(h), **states}))
        expected = torch.logsumexp(torch.stack(total), 0)
        torch.testing.assert_close(model.log_joint(x, {"h": tensor(h)}), expected)


AFTER = """\
object K : FinSet 3
morphism trans : K -> K [role=kernel]
program step(u, z) : Real 1 * K -> K
    sample s <- trans(z)
    let mu = u * s
    observe y <- Normal(mu, 0.5)
    return s
let chain = scan(step)
program p(u) : Real 1 -> K
    sample last <- chain(u)
    let m = 2.0 * last
    observe w <- Normal(m, 1.0)
    let far = m - 1.0
    observe v <- Normal(far, 2.0)
    return last
export p
"""


def test_later_steps_read_the_summed_state() -> None:
    """Both later observations depend on the one last state: it is summed over them together."""
    model = compiled(AFTER)
    randomize(model, seed=2)
    u, y = RNG.normal(size=(2, 4, 1)), RNG.normal(size=(2, 4))
    w, v = RNG.normal(size=2), RNG.normal(size=2)
    moves = log_softmax(weights(model)["chain.step.trans.logits"], -1)
    alpha = np.tile([0.0, -np.inf, -np.inf], (2, 1))
    k = np.arange(3)
    for t in range(4):
        seen = normal(y[:, t, None], u[:, t] * k, 0.5)
        alpha = logsumexp(alpha[:, :, None] + moves, axis=1) + seen
    alpha = alpha + normal(w[:, None], 2.0 * k, 1.0) + normal(v[:, None], 2.0 * k - 1.0, 2.0)
    given = {"last/chain/[t]/step/y": tensor(y), "w": tensor(w), "v": tensor(v)}
    got = model.log_joint(tensor(u), given).detach().numpy()
    np.testing.assert_allclose(got, logsumexp(alpha, -1), rtol=1e-12)


PRIORS = """\
object K : FinSet 2
morphism trans : K -> K [role=kernel]
program step(u, low, high, k) : Real 1 * Real 1 * Real 1 * K -> K
    sample s <- trans(k)
    let mu = where(eq(s, 0), low, high) + u
    observe y <- Normal(mu, 0.8)
    return s
let chain = scan(step, init=learned)
program p(u) : Real 1 -> K
    sample low : 1 <- Normal(-1.0, 1.0)
    sample high : 1 <- Normal(1.0, 1.0)
    sample last <- chain(u, low, high)
    return low
export p
"""


def test_the_states_can_be_asked_for_after_a_fit() -> None:
    """Smoothing: forward times backward of the textbook, at each draw of the parameters."""
    model = compiled(PRIORS)
    randomize(model, seed=4, scale=1.0)
    u, y = RNG.normal(size=(3, 20)), RNG.normal(size=(3, 20))
    low, high = np.array([-1.0, 0.2, -0.5]), np.array([1.0, 0.9, 2.0])
    draws = {"low": tensor(low[:, None]), "high": tensor(high[:, None])}
    found = infer_discrete(model, tensor(u[..., None]), {Y: tensor(y)}, draws)[S]
    assert found.shape == (1, 3, 3, 20, 2)
    weight = weights(model)
    start, moves = (log_softmax(weight[k], -1) for k in ("chain.init", "chain.step.trans.logits"))
    for draw in range(3):
        loc = np.stack([low[draw] + u, high[draw] + u], -1)
        seen = normal(y[..., None], loc, 0.8)
        alpha, beta = [start + np.zeros((3, 2))], [np.zeros((3, 2))]
        for t in range(20):
            alpha.append(logsumexp(alpha[-1][:, :, None] + moves, axis=1) + seen[:, t])
            back = moves + (seen[:, 19 - t] + beta[-1])[:, None, :]
            beta.append(logsumexp(back, axis=2))
        both = np.stack([alpha[t + 1] + beta[19 - t] for t in range(20)], 1)
        expected = np.exp(log_softmax(both, -1))
        np.testing.assert_allclose(found[0, draw].numpy(), expected, rtol=1e-9, atol=1e-12)


CELLS = {
    "summed": ("sample s <- trans(k)", "K"),
    "integrated": ("sample s <- Normal(k, 0.5)", "R"),
    "drawn": ("sample s <- Laplace(k, 0.5)", "R"),
}


@pytest.mark.parametrize("kind", CELLS)
def test_observations_of_a_chain_have_one_log_likelihood_per_row(kind: str) -> None:
    """With the states gone a row is one term; with the states known each step is one."""
    draw, state = CELLS[kind]
    model = compiled(f"""\
object K : FinSet 2
object R : Real 1
morphism trans : K -> K [role=kernel]
program step(u, low, k) : R * R * {state} -> {state}
    {draw}
    let mu = low * u + s
    observe y <- Normal(mu, 0.8)
    return s
let chain = scan(step)
program p(u) : R -> {state}
    sample low : 1 <- Normal(-1.0, 1.0)
    sample last <- chain(u, low)
    return low
export p
""")
    u, y = tensor(RNG.normal(size=(3, 6, 1))), tensor(RNG.normal(size=(3, 6)))
    draws = {"low": tensor([[-1.0], [0.5]])}
    states = {} if kind != "drawn" else {S: tensor(RNG.normal(size=(2, 3, 6)))}
    found = log_likelihood(model, u, {Y: y}, {**draws, **states})
    terms = found[Y]
    assert terms.shape == (1, 2, 3, *((6,) if states else ()))
    for k in range(2):
        given = {name: value[k] for name, value in {**draws, **states}.items()}
        joint = model.log_joint(u, {Y: y, **given})
        prior = tensor(normal(draws["low"][k].item(), -1.0, 1.0))
        if states:
            steps = np.diff(np.pad(given[S].numpy(), ((0, 0), (1, 0))), axis=1)
            prior = prior + tensor(stats.laplace.logpdf(steps, 0.0, 0.5).sum(1))
        each = terms[0, k].sum(-1) if states else terms[0, k]
        torch.testing.assert_close(each, joint - prior)
