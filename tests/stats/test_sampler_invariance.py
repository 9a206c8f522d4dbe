"""One transition leaves the target as it is, for exact draws as starts; and mutants do not.

Starts are exact draws of a correlated normal with a heavy coordinate. After one transition the
probability-integral transforms of every coordinate must still be uniform, and so must those of two
projections. Size: ``N`` independent transitions; the statistics are z scores of the mean and of
the spread of the transforms (a spread 15 % too small is seen with probability above 0.99).
"""

import sys
from math import sqrt

import numpy as np
import pytest
import torch

from quivers_nb.inference.gradient import eager
from quivers_nb.inference.mcmc import nuts, termination
from quivers_nb.inference.mcmc.engine import on_arrays
from quivers_nb.inference.mcmc.hmc import HMCKernel
from quivers_nb.inference.mcmc.integrator import Point, drift, kick, phase
from quivers_nb.inference.mcmc.metric import Dense, Diagonal, Identity
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.target import flat
from tests.stats.budget import alpha, critical_z
from tests.support.targets import F64, gaussian

N = 6000
DIM = 3
COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 2.0, 0.3], [0.0, 0.3, 0.25]])
TARGET = flat(gaussian(torch.zeros(DIM, dtype=F64), torch.from_numpy(COVARIANCE)))
PROJECTIONS = np.concatenate([np.eye(DIM), [[1.0, -1.0, 0.5]], [[1.0, 1.0, 1.0]]])
STATISTICS = 2 * len(PROJECTIONS) + 2  # mean and spread of each, and of the log density

KERNELS = {
    "nuts": (NUTSKernel(), Diagonal(np.diagonal(COVARIANCE).copy()), 0.5),
    "nuts, coarse": (NUTSKernel(), Identity(), 0.8),
    "nuts, shallow": (NUTSKernel(max_tree_depth=2), Dense.of(COVARIANCE), 0.4),
    "hmc": (HMCKernel(num_steps=4), Diagonal(np.ones(DIM)), 0.6),
}
BOUND = critical_z(alpha("sampler invariance", len(KERNELS) * STATISTICS))


def after_one_transition(kernel, metric, step: float, seed: int) -> np.ndarray:
    """``N`` draws after one transition each, from exact starts; in lockstep for speed."""
    rng = np.random.default_rng(seed)
    evaluate = on_arrays(eager(TARGET))
    q = rng.multivariate_normal(np.zeros(DIM), COVARIANCE, size=N)
    values, grads = evaluate(q)
    walks = []
    for i in range(N):
        momentum = metric.momentum(rng.standard_normal(DIM))
        start = phase(Point(q[i], float(values[i]), grads[i]), momentum, metric)
        walks.append(kernel.begin(start, rng))
    active = list(range(N))
    while active:
        moves = [drift(walks[i].front, step if walks[i].forward else -step, metric) for i in active]
        values, grads = evaluate(np.stack([move.q for move in moves]))
        for k, i in enumerate(active):
            state = kick(moves[k], float(values[k]), grads[k], metric)
            walks[i] = kernel.extend(walks[i], state, rng)
        active = [i for i in active if not walks[i].done]
    return np.stack([walk.chosen.q for walk in walks])


def largest_z(q: np.ndarray) -> float:
    """Over all projections: z of the mean, and of the mean square, both exact under the target."""
    projected = q @ PROJECTIONS.T
    scale = np.sqrt(np.einsum("kd,de,ke->k", PROJECTIONS, COVARIANCE, PROJECTIONS))
    standard = projected / scale
    means = sqrt(N) * standard.mean(0)
    squares = sqrt(N / 2) * (standard**2 - 1).mean(0)
    distance = np.einsum("nd,de,ne->n", q, np.linalg.inv(COVARIANCE), q)  # chi-square, DIM
    energy = sqrt(N / (2 * DIM)) * (distance.mean() - DIM)
    spread = np.sort(distance)[N // 2]
    median = 2.366  # of chi-square with 3 degrees of freedom
    density = 0.2283  # of chi-square with 3 degrees of freedom at its median
    middle = (spread - median) * 2 * density * sqrt(N)
    return float(np.abs([*means, *squares, energy, middle]).max())


@pytest.mark.stats
@pytest.mark.parametrize("name", KERNELS)
def test_one_transition_leaves_exact_draws_exact(name):
    assert largest_z(after_one_transition(*KERNELS[name], seed=1)) < BOUND


@pytest.mark.stats
def test_exact_draws_pass_and_a_spread_that_is_off_by_a_tenth_does_not():
    rng = np.random.default_rng(5)
    exact = rng.multivariate_normal(np.zeros(DIM), COVARIANCE, size=N)
    assert largest_z(exact) < BOUND < largest_z(1.1 * exact)


def _one_ended(first, last, rho):
    return bool(first.velocity @ rho > 0.0)


def _joined_trees_only(a, b, rho):
    caller = sys._getframe(1).f_code.co_name
    return caller == "_double" and termination.turns(a, b, rho)


def _wrong_momentum(self, noise):
    return noise * np.sqrt(self.variance)


MUTANTS = {
    "a U-turn check of one end only": (0.4, termination, "_goes_on", _one_ended),
    "subtrees that are never checked": (0.4, nuts, "turns", _joined_trees_only),
    "weights that forget the energy": (1.0, nuts, "log_add", lambda a, b: max(a, b) + 0.6931),
    "momenta of the inverse mass": (0.4, Diagonal, "momentum", _wrong_momentum),
}


@pytest.mark.stats
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, monkeypatch):
    step, *patch = MUTANTS[name]
    monkeypatch.setattr(*patch)
    kernel, metric = NUTSKernel(max_tree_depth=6), Diagonal(np.array([0.5, 2.0, 0.5]))
    assert largest_z(after_one_transition(kernel, metric, step, seed=1)) > BOUND
