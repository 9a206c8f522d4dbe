"""Whole runs recover known moments, by every tier, kernel and metric.

Size: means and mean squares of five coordinates against the truth, in Monte Carlo errors of the
run's own effective sample size. Power: a target whose scale is off by a fifth, or whose mean is off
by 0.3 standard deviations, is seen.
"""

import numpy as np
import pytest
import torch

from quivers_nb.inference import MCMC, HMCKernel, NUTSKernel, diagnose
from tests.stats.budget import alpha, critical_z
from tests.support.targets import F64, gaussian

DIM = 5
MEAN = torch.tensor([0.0, 1.0, -2.0, 10.0, 0.5], dtype=F64)
SCALES = torch.tensor([1.0, 0.1, 3.0, 10.0, 0.5], dtype=F64)
CORRELATION = 0.5 * torch.eye(DIM, dtype=F64) + 0.5
COVARIANCE = CORRELATION * SCALES[:, None] * SCALES

RUNS = {
    "native": (NUTSKernel(), "native", 1000),
    "traced": (NUTSKernel(), "traced", 500),
    "native, dense": (NUTSKernel(mass_matrix="dense"), "native", 1000),
    "native, low rank": (NUTSKernel(mass_matrix="low_rank"), "native", 1000),
    "native, gradients": (NUTSKernel(adapt_from="gradients"), "native", 1000),
    "native, hmc": (HMCKernel(num_steps=5), "native", 1000),
    "native, dense hmc": (HMCKernel(num_steps=5, mass_matrix="dense"), "native", 1000),
    "eager, dense": (NUTSKernel(mass_matrix="dense"), "eager", 300),
    "traced, low rank": (NUTSKernel(mass_matrix="low_rank"), "traced", 300),
    "traced, hmc": (HMCKernel(num_steps=5), "traced", 500),
    "traced, depth 2": (NUTSKernel(max_tree_depth=2), "traced", 500),
}
BOUND = critical_z(alpha("sampler moments", len(RUNS) * 2 * DIM))


def largest_z(result) -> float:
    """z scores of means and mean squares of the standardised coordinates."""
    x = ((result.samples["z"] - MEAN) / SCALES).numpy()
    means = x.mean((0, 1)) / diagnose.mcse(x)
    squares = ((x**2).mean((0, 1)) - 1.0) / diagnose.mcse(x**2)
    return float(np.abs([*means, *squares]).max())


def run(name: str, mean=MEAN, covariance=COVARIANCE):
    kernel, tier, draws = RUNS[name]
    result = MCMC(kernel, 500, draws, seed=4, tier=tier).run_target(gaussian(mean, covariance))
    assert result.tier == tier
    return result


@pytest.mark.stats
@pytest.mark.parametrize("name", RUNS)
def test_moments_are_recovered(name):
    result = run(name)
    assert largest_z(result) < BOUND
    assert float(result.r_hat["z"].max()) < 1.05


@pytest.mark.stats
@pytest.mark.parametrize(
    ("mean", "covariance"), [(MEAN, 1.44 * COVARIANCE), (MEAN + 0.3 * SCALES, COVARIANCE)]
)
def test_a_target_that_is_off_is_seen(mean, covariance):
    assert largest_z(run("native", mean, covariance)) > BOUND
