"""MCMC through hidden steps is exact (R3): linear Gaussian chains have a known posterior.

Middles, and sites bound to kernels, are sampled as noise; a wrong Jacobian or a density counted
twice moves the mean or the spread of ``h``. Size: z tests at 4.5 standard errors, 7e-6 each, on six
numbers. Power: with 4 chains of 1500 draws a spread that is off by 15 % is caught (the mutant).
"""

from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, ess
from tests.support.oracles import Array, tensor

SOURCE = """\
object R1 : Real 1
morphism a : R1 -> R1 [role=kernel, param_source=linear] ~ Normal
morphism b : R1 -> R1 [role=kernel, param_source=linear] ~ Normal
let f = a >> b
program p(x) : R1 -> R1
    sample h <- f
    observe y <- Normal(h, 0.5)
    return h
export p
"""
X = np.array([[-1.0], [0.4], [2.0]])
Y = np.array([0.3, -0.5, 4.0])
SLOPES, OFFSETS, SCALES = (1.5, 0.8), (0.2, -0.3), (0.7, 0.4)


def model() -> Any:
    """The program with ``a``: N(1.5 x + 0.2, 0.7²) and ``b``: N(0.8 m - 0.3, 0.4²)."""
    built = loads(SOURCE).morphism.double()
    with torch.no_grad():
        for name, slope, offset, scale in zip("ab", SLOPES, OFFSETS, SCALES, strict=True):
            built.parameter(f"f.{name}.weight0").copy_(tensor([[slope], [0.0]]))
            built.parameter(f"f.{name}.bias0").copy_(tensor([offset, np.log(scale)]))
    return built


def posterior() -> tuple[Array, float]:
    """Means and the common standard deviation of ``h`` given ``y``, by conjugacy."""
    prior_mean = SLOPES[1] * (SLOPES[0] * X[:, 0] + OFFSETS[0]) + OFFSETS[1]
    prior_precision = 1 / (SLOPES[1] ** 2 * SCALES[0] ** 2 + SCALES[1] ** 2)
    precision = prior_precision + 1 / 0.5**2
    return (prior_precision * prior_mean + Y / 0.5**2) / precision, precision**-0.5


@pytest.fixture(scope="module")
def draws() -> torch.Tensor:  # (chains, draws, rows)
    mcmc = MCMC(NUTSKernel(), num_warmup=500, num_samples=1500, num_chains=4, seed=3)
    result = mcmc.run(model(), tensor(X), {"y": Y})
    assert set(result.samples) == {"h"}, "middles are left out unless asked for"
    return result.samples["h"].reshape(4, 1500, 3)


def z_scores(draws: torch.Tensor) -> Array:
    """Standardized errors of the three means and of the three second moments."""
    mean, sd = posterior()
    centered = (draws.double() - tensor(mean)) / sd
    scores = []
    for quantity, expected in ((centered, 0.0), (centered**2, 1.0)):
        error = quantity.std((0, 1)) / torch.as_tensor(ess(quantity)).sqrt()
        scores.append(((quantity.mean((0, 1)) - expected) / error).numpy())
    return np.concatenate(scores)


def test_the_posterior_of_a_chain_is_the_conjugate_one(draws: torch.Tensor) -> None:
    assert np.abs(z_scores(draws)).max() < 4.5


def test_a_spread_fifteen_percent_off_is_caught(draws: torch.Tensor) -> None:
    mean = tensor(posterior()[0])
    assert np.abs(z_scores(mean + 1.15 * (draws - mean))).max() > 4.5


def test_middles_are_kept_on_request() -> None:
    mcmc = MCMC(NUTSKernel(), num_warmup=50, num_samples=20, num_chains=1, seed=3)
    kept = mcmc.run(model(), tensor(X), {"y": Y}, keep_internal=True).samples
    assert set(kept) == {"h", "h/f/a"}
    assert kept["h/f/a"].shape[:3] == (1, 20, 3)
