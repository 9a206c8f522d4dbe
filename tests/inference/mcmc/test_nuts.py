"""NUTS, one leapfrog at a time: the same trees as recursion, and pure functions."""

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.gradient import eager
from quivers_nb.inference.mcmc.engine import on_arrays
from quivers_nb.inference.mcmc.hmc import HMCKernel
from quivers_nb.inference.mcmc.integrator import Phase, Point, drift, kick, phase
from quivers_nb.inference.mcmc.kernel import Trajectory
from quivers_nb.inference.mcmc.metric import Diagonal
from quivers_nb.inference.mcmc.nuts import NUTSKernel, log_add
from quivers_nb.inference.target import flat
from tests.support.recursive_nuts import recursive_transition
from tests.support.targets import F64, eight_schools, gaussian

COVARIANCE = torch.diag(torch.tensor([1.0, 0.04, 25.0], dtype=F64)) + 0.01
TARGETS = {
    "eight schools": (eight_schools(), 0.4),
    "gaussian": (gaussian(torch.zeros(3, dtype=F64), COVARIANCE), 0.15),
    "divergent": (gaussian(torch.zeros(3, dtype=F64), COVARIANCE), 5.0),
}


def transition(kernel, evaluate, start: Phase, step: float, metric, rng) -> Trajectory:
    trajectory = kernel.begin(start, rng)
    while not trajectory.done:
        under_way = drift(trajectory.front, step if trajectory.forward else -step, metric)
        value, grad = evaluate(under_way.q[None])
        state = kick(under_way, float(value[0]), grad[0], metric)
        trajectory = kernel.extend(trajectory, state, rng)
    return trajectory


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("depth", [1, 3, 10])
def test_trees_equal_those_of_the_recursive_algorithm(name, depth):
    """An independent recursion in the style of the paper, with the same random numbers."""
    target, step = TARGETS[name]
    evaluate = on_arrays(eager(flat(target)))
    rng = np.random.default_rng(depth)
    dim = target.layout.dim
    metric = Diagonal(rng.uniform(0.5, 1.5, dim))
    seen = set()
    for number in range(40):
        q = rng.standard_normal(dim)
        value, grad = evaluate(q[None])
        start = phase(Point(q, float(value[0]), grad[0]), rng.standard_normal(dim), metric)
        ours = transition(
            NUTSKernel(max_tree_depth=depth), evaluate, start, step, metric,
            np.random.default_rng(number),
        )  # fmt: skip
        theirs = recursive_transition(
            evaluate, start.q, start.p, metric.variance, step, depth, np.random.default_rng(number)
        )
        stats = ours.stats(step)
        np.testing.assert_allclose(ours.chosen.q, theirs.q, rtol=1e-12, atol=1e-12)
        assert (stats.depth, stats.leapfrogs) == (theirs.depth, theirs.leapfrogs)
        assert stats.diverged == theirs.diverged
        assert stats.acceptance == pytest.approx(theirs.acceptance, abs=1e-12)
        seen.add((stats.depth, stats.diverged))
    assert any(diverged for _, diverged in seen) == (name == "divergent")
    assert name == "divergent" or depth < 10 or len(seen) > 1


def test_extending_a_trajectory_leaves_the_old_one_as_it_was():
    target, step = TARGETS["gaussian"]
    evaluate = on_arrays(eager(flat(target)))
    metric = Diagonal(np.ones(3))
    value, grad = evaluate(np.ones((1, 3)))
    start = phase(Point(np.ones(3), float(value[0]), grad[0]), np.ones(3), metric)
    kernel, history = NUTSKernel(), []
    trajectory = kernel.begin(start, np.random.default_rng(0))
    while not trajectory.done:
        history.append((trajectory, snapshot(trajectory)))
        under_way = drift(trajectory.front, step if trajectory.forward else -step, metric)
        value, grad = evaluate(under_way.q[None])
        state = kick(under_way, float(value[0]), grad[0], metric)
        trajectory = kernel.extend(trajectory, state, np.random.default_rng(1))
    assert len(history) > 3
    for old, was in history:
        assert snapshot(old) == was


def snapshot(trajectory) -> str:
    np.set_printoptions(precision=17)
    return repr(trajectory)


def test_a_divergence_keeps_the_last_complete_tree_and_says_so():
    target, _ = TARGETS["gaussian"]
    evaluate = on_arrays(eager(flat(target)))
    metric = Diagonal(np.ones(3))
    value, grad = evaluate(np.ones((1, 3)))
    start = phase(Point(np.ones(3), float(value[0]), grad[0]), np.ones(3), metric)
    ended = transition(NUTSKernel(), evaluate, start, 100.0, metric, np.random.default_rng(0))
    stats = ended.stats(100.0)
    assert (stats.diverged, stats.depth, stats.leapfrogs) == (True, 0, 1)
    assert ended.chosen.q is start.q
    tolerant = NUTSKernel(divergence_threshold=1e300, max_tree_depth=1)
    again = transition(tolerant, evaluate, start, 100.0, metric, np.random.default_rng(0))
    assert not again.stats(100.0).diverged


def test_hmc_accepts_at_the_end_of_its_path_only():
    target, _ = TARGETS["gaussian"]
    evaluate = on_arrays(eager(flat(target)))
    metric = Diagonal(np.ones(3))
    value, grad = evaluate(np.ones((1, 3)))
    start = phase(Point(np.ones(3), float(value[0]), grad[0]), np.ones(3), metric)
    kernel = HMCKernel(num_steps=7)
    for step in (0.05, 0.36):
        for seed in range(20):
            ended = transition(kernel, evaluate, start, step, metric, np.random.default_rng(seed))
            stats = ended.stats(step)
            assert stats.leapfrogs == 7
            assert ended.chosen is ended.front or ended.chosen is start
            wanted = min(1.0, np.exp(start.energy - ended.front.energy))
            assert stats.acceptance == pytest.approx(wanted)
            accepted = np.random.default_rng(seed).random() < wanted
            assert (ended.chosen is ended.front) == accepted


def test_log_add_takes_infinities():
    inf = float("inf")
    assert log_add(-inf, -inf) == -inf
    assert log_add(0.5, -inf) == log_add(-inf, 0.5) == 0.5
    assert log_add(1.0, 2.0) == pytest.approx(np.logaddexp(1.0, 2.0))


@pytest.mark.parametrize(
    "options",
    [
        {"step_size": 0.0},
        {"step_size": float("nan")},
        {"max_tree_depth": 0},
        {"target_accept": 1.0},
        {"mass_matrix": "full"},
        {"adapt_from": "hessians"},
        {"divergence_threshold": -1.0},
    ],
)
def test_options_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(UserError, match=name):
        NUTSKernel(**options)
