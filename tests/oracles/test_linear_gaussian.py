"""Linear Gaussian chains are integrated: equal to the dense joint Gaussian of the observations.

The oracles are numpy: the dense joint by propagating unit shocks through the program as it is
written, and the filter of Kalman (1960) for long series.
"""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from quivers_nb.lower.nodes import Recur
from tests.support.oracles import Array, compiled, normal, tensor

RNG = np.random.default_rng(8)
TREND = """\
object R : Real 1
program step(u, level, slope) : R * R * R -> R * R
    sample b <- Normal(slope, 0.3)
    let mean = level + b
    sample a <- Normal(mean, 0.7)
    let seen = a * u + 0.5
    observe y <- Normal(seen, 0.4)
    return (a, b)
let trend = scan(step{})
program p(u) : R -> R
    sample last <- trend(u)
    return last
export p
"""
Y, MASK = "last/trend/[t]/step/y", "last/trend/mask"


def trend_moments(u: Array, start: Array) -> tuple[Array, Array]:
    """Mean and covariance of y, ``(T,)`` and ``(T, T)``: each shock moves all that follows."""
    length = len(u)

    def run(shocks: Array) -> Array:  # (3 T,) -> (T,)
        level, slope = start
        out = []
        for t in range(length):
            slope = slope + 0.3 * shocks[3 * t]
            level = level + slope + 0.7 * shocks[3 * t + 1]
            out.append(level * u[t] + 0.5 + 0.4 * shocks[3 * t + 2])
        return np.array(out)

    mean = run(np.zeros(3 * length))
    moves = np.stack([run(unit) - mean for unit in np.eye(3 * length)], -1)
    return mean, moves @ moves.T


def kalman(y: Array, u: Array) -> float:
    """The textbook filter for the trend program, from a state that is 0."""
    move = np.array([[1.0, 1.0], [0.0, 1.0]])
    noise = np.array([[0.3**2 + 0.7**2, 0.3**2], [0.3**2, 0.3**2]])
    mean, cov, total = np.zeros(2), np.zeros((2, 2)), 0.0
    for value, weight in zip(y, u, strict=True):
        mean, cov = move @ mean, move @ cov @ move.T + noise
        row = np.array([weight, 0.0])
        spread = row @ cov @ row + 0.4**2
        error = value - row @ mean - 0.5
        total += float(normal(error, 0.0, np.sqrt(spread)))
        gain = cov @ row / spread
        mean, cov = mean + gain * error, cov - np.outer(gain, gain) * spread
    return total


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("init", ["", ", init=learned"])
def test_a_trend_equals_the_dense_joint(length: int, init: str) -> None:
    """Two states, the second drawn first; the observation's slope is the row's own input."""
    model = compiled(TREND.format(init))
    start = np.zeros(2)
    if init:
        start = np.array([0.4, -0.2])
        model.parameter("trend.init").copy_(tensor(start))
    u, y = RNG.normal(size=(3, length)), RNG.normal(size=(3, length))
    got = model.log_joint(tensor(u[..., None]), {Y: tensor(y)}).detach().numpy()
    for row in range(3):
        mean, cov = trend_moments(u[row], start)
        expected = stats.multivariate_normal.logpdf(y[row], mean, cov)
        assert got[row] == pytest.approx(expected, rel=1e-9)


def test_a_long_trend_equals_the_textbook_filter() -> None:
    model = compiled(TREND.format(""))
    u, y = RNG.normal(size=500), 5.0 * RNG.normal(size=500)
    got = model.log_joint(tensor(u[None, :, None]), {Y: tensor(y[None])})
    assert got.item() == pytest.approx(kalman(y, u), rel=1e-11)


def test_a_level_far_from_the_start_keeps_its_digits() -> None:
    model = compiled(TREND.format(""))
    u, y = np.ones(300), 1e4 + RNG.normal(size=300).cumsum()
    got = model.log_joint(tensor(u[None, :, None]), {Y: tensor(y[None])})
    assert got.item() == pytest.approx(kalman(y, u), rel=1e-11)


def test_padding_counts_nothing_wherever_it_stands() -> None:
    model = compiled(TREND.format(""))
    u, y = RNG.normal(size=(3, 9)), RNG.normal(size=(3, 9))
    mask = RNG.integers(0, 2, size=(3, 9))
    mask[0], mask[1, 4], mask[2, 3:] = 1, 1, 0
    mask[2, 0] = 1
    got = model.log_joint(tensor(u[..., None]), {Y: tensor(y), MASK: tensor(mask)})
    for row in range(3):
        real = mask[row] == 1
        own = model.log_joint(tensor(u[row, real][None, :, None]), {Y: tensor(y[row, real][None])})
        torch.testing.assert_close(got[row : row + 1], own)


def test_with_the_states_given_it_is_the_joint() -> None:
    model = compiled(TREND.format(""))
    u, y = tensor(RNG.normal(size=(1, 4, 1))), tensor(RNG.normal(size=(1, 4)))
    a, b = RNG.normal(size=(1, 4)), RNG.normal(size=(1, 4))
    states = {"last/trend/[t]/step/a": tensor(a), "last/trend/[t]/step/b": tensor(b)}
    joint = model.log_joint(u, {Y: y, **states}).item()
    level = np.concatenate([[0.0], a[0, :-1]])
    slope = np.concatenate([[0.0], b[0, :-1]])
    seen = a[0] * u.numpy()[0, :, 0] + 0.5
    expected = (
        normal(b[0], slope, 0.3) + normal(a[0], level + b[0], 0.7) + normal(y.numpy()[0], seen, 0.4)
    ).sum()
    assert joint == pytest.approx(expected, rel=1e-12)


VECTOR = """\
object R : Real 1
object S : Real 3
object N : FinSet 3
data A : N * N -> R
data L : N * N -> R
data C : N -> R
program step(u, z) : R * S -> S
    let mean = matmul(A, z) + u
    sample s <- MultivariateNormal(mean, L)
    let seen = dot(C, s)
    observe y <- Normal(seen, 0.5)
    observe w : S <- Normal(s, 0.8)
    return s
let chain = scan(step)
program p(u) : R -> S
    sample last <- chain(u)
    return last
export p
"""


def vector_data() -> dict[str, Array]:
    move = 0.5 * RNG.normal(size=(3, 3))
    factor = np.tril(RNG.normal(size=(3, 3)))
    factor[np.diag_indices(3)] = 0.5 + np.abs(np.diag(factor))
    return {"A": move, "L": factor, "C": RNG.normal(size=3)}


def vector_moments(data: dict[str, Array], u: Array) -> tuple[Array, Array]:
    """Mean and covariance of all (y_t, w_t), from shocks as above."""
    length = len(u)

    def run(shocks: Array) -> Array:
        state, out = np.zeros(3), []
        for t in range(length):
            at = shocks[7 * t : 7 * t + 7]
            state = data["A"] @ state + u[t] + data["L"] @ at[:3]
            out += [data["C"] @ state + 0.5 * at[3], *(state + 0.8 * at[4:])]
        return np.array(out)

    mean = run(np.zeros(7 * length))
    moves = np.stack([run(unit) - mean for unit in np.eye(7 * length)], -1)
    return mean, moves @ moves.T


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_vector_state_with_several_observations(length: int) -> None:
    model, data = compiled(VECTOR), vector_data()
    u = RNG.normal(size=(2, length))
    y, w = RNG.normal(size=(2, length)), RNG.normal(size=(2, length, 3))
    path = "last/chain/[t]/step/"
    given = {
        path + "y": tensor(y),
        path + "w": tensor(w),
        **{k: tensor(v) for k, v in data.items()},
    }
    got = model.log_joint(tensor(u[..., None]), given).detach().numpy()
    for row in range(2):
        both = np.concatenate([y[row][:, None], w[row]], -1).reshape(-1)
        expected = stats.multivariate_normal.logpdf(both, *vector_moments(data, u[row]))
        assert got[row] == pytest.approx(expected, rel=1e-9)


AR = """\
object R : Real 1
program step(a, b, s, one, two) : R * R * R * R * R -> R * R
    let mean = a * one + b * two
    sample new <- Normal(mean, s)
    observe y <- Normal(new, 0.2)
    return (new, one)
let chain = scan(step)
object T : FinSet 40
data u : T -> R
program p : T -> R
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    sample s <- HalfNormal(1.0)
    let each = a + 0.0 * u
    sample last <- chain(each, b, s)
    return a
export p
"""


def ar_evidence(q: Array, y: Array) -> float:
    """a, b and log s, with the Jacobian of the last: what a target's density is."""
    a, b, s = q[0], q[1], np.exp(q[2])
    length = len(y)

    def run(shocks: Array) -> Array:
        one = two = 0.0
        out = []
        for t in range(length):
            one, two = a * one + b * two + s * shocks[t], one
            out.append(one + 0.2 * shocks[length + t])
        return np.array(out)

    moves = np.stack([run(unit) for unit in np.eye(2 * length)], -1)
    prior = normal(q[:2], 0.0, 1.0).sum() + stats.halfnorm.logpdf(s) + q[2]
    return float(prior + stats.multivariate_normal.logpdf(y, np.zeros(length), moves @ moves.T))


def test_a_target_has_the_parameters_alone_and_the_right_gradient() -> None:
    """An AR(2) seen with noise: what is returned is a draw and the state before it, moved on."""
    model, y = compiled(AR), RNG.normal(size=40)
    obs = {"u": np.zeros(40), "last/chain/[t]/step/y": y}
    target = model.target(None, obs, dtype=torch.float64)
    assert [c.name for c in target.layout] == ["a", "b", "s"]
    q = torch.tensor([0.3, -0.2, -0.4], dtype=torch.float64, requires_grad=True)
    total = target.terms(q).total()
    here = q.detach().numpy()
    assert total.item() == pytest.approx(ar_evidence(here, y), rel=1e-10)
    (gradient,) = torch.autograd.grad(total, q)
    steps = 1e-5 * np.eye(3)
    slopes = [(ar_evidence(here + h, y) - ar_evidence(here - h, y)) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient.numpy(), slopes, rtol=1e-6)
    many = target.terms(torch.stack([q.detach(), q.detach() + 0.1])).total()
    assert many[0].item() == pytest.approx(total.item(), rel=1e-12)


NOT_LINEAR = {
    "a mean that is not affine": ("let m = tanh(z)", "Normal(m, 0.5)"),
    "a scale that depends on the state": ("let m = exp(z)", "Normal(z, m)"),
    "another family": ("let m = z", "Laplace(m, 0.5)"),
    "a kernel, whose scale reads the state too": ("let m = z", "k(m)"),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_other_cells_have_their_states_as_sites(name: str) -> None:
    let, draw = NOT_LINEAR[name]
    source = f"""\
object R : Real 1
morphism k : R -> R [role=kernel, param_source=linear] ~ Normal
program step(u, z) : R * R -> R
    {let}
    sample s <- {draw}
    let seen = s + u
    observe y <- Normal(seen, 0.5)
    return s
let chain = scan(step)
program p(u) : R -> R
    sample last <- chain(u)
    return last
export p
"""
    model = compiled(source)
    assert recurrence(model).gaussian is None
    y = {"last/chain/[t]/step/y": tensor(RNG.normal(size=(2, 4)))}
    layout = model.target(tensor(RNG.normal(size=(2, 4, 1))), y, dtype=torch.float64).layout
    assert [c.name.split("/")[:4] for c in layout] == [["last", "chain", "[t]", "step"]]
    assert layout.dim == 8


def test_a_state_that_is_read_later_is_a_site() -> None:
    source = TREND.format("").replace(
        "    return last\n",
        "    let far = sum(last)\n    observe v <- Normal(far, 1.0)\n    return last\n",
    )
    model = compiled(source)
    obs = {Y: tensor(RNG.normal(size=(2, 4))), "v": tensor(RNG.normal(size=2))}
    layout = model.target(tensor(RNG.normal(size=(2, 4, 1))), obs, dtype=torch.float64).layout
    assert sorted(c.name for c in layout) == ["last/trend/[t]/step/a", "last/trend/[t]/step/b"]


def recurrence(model: Any) -> Recur:
    (node,) = model.compiled.nodes.values()
    assert isinstance(node, Recur)
    return node
