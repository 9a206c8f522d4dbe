"""NUTS on priors made by measure operators, against moments by quadrature.

Size: means and mean squares of four sites in Monte Carlo errors of the run's own effective sample
size; 8 comparisons share one two-thousandth. Power: moments of the priors without their operators
(a normal that is not truncated, the heavier component of the mixture alone) are seen.
"""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, diagnose
from tests.stats.budget import critical_z

SOURCE = """\
object N : FinSet 3
program p : 1 -> 1
    sample a <- Restrict(Normal(0.0, 1.0), 0.5, 2.0)
    sample b <- Mixture([0.3, 0.7], [Normal(-1.0, 1.0), Gamma(4.0, 2.0)])
    sample c <- Restrict(Gamma(2.0, 1.0), 1.0)
    sample d <- Pushforward(Mixture([0.5, 0.5], [Normal(0.0, 1.0), Laplace(1.0, 0.5)]), Softplus)
    observe y <- Normal(a, 1.0)
    return a
export p
"""
Y = 0.3
BOUND = critical_z(5e-4 / 8)


def moments(density, low, high):
    """Mean and mean square of an unnormalized density."""
    grid = np.linspace(low, high, 400_001)
    weights = density(grid)
    total = integrate.simpson(weights, x=grid)
    return [integrate.simpson(weights * grid**k, x=grid) / total for k in (1, 2)]


def softplus_image(y):
    x = y + np.log(-np.expm1(-y))
    return (0.5 * stats.norm.pdf(x) + 0.5 * stats.laplace.pdf(x, 1, 0.5)) / (1 - np.exp(-y))


def mixture(y):
    return 0.3 * stats.norm.pdf(y, -1) + 0.7 * stats.gamma.pdf(y, 4, 0, 0.5)


TRUTH = {
    "a": moments(lambda y: stats.norm.pdf(y) * stats.norm.pdf(Y, y), 0.5, 2.0),
    "b": moments(
        lambda y: 0.3 * stats.norm.pdf(y, -1) + 0.7 * stats.gamma.pdf(y, 4, 0, 0.5), -10, 25
    ),
    "c": moments(lambda y: stats.gamma.pdf(y, 2), 1.0, 60.0),
    "d": moments(softplus_image, 1e-9, 30.0),
}
MUTANTS = {
    "a": moments(lambda y: stats.norm.pdf(y) * stats.norm.pdf(Y, y), -10, 10),
    "b": moments(lambda y: stats.gamma.pdf(y, 4, 0, 0.5), 0, 25),
    "c": moments(lambda y: stats.gamma.pdf(y, 2), 0.0, 60.0),
    "d": moments(lambda y: softplus_image(y) * (1 - np.exp(-y)), 1e-9, 30.0),
}


@pytest.fixture(scope="module")
def draws():
    model = loads(SOURCE).morphism.double()
    mcmc = MCMC(NUTSKernel(), 500, 1000, num_chains=4, seed=3)
    return mcmc.run(model, None, {"y": torch.tensor(Y, dtype=torch.float64)}).samples


def z_scores(x, truth):
    x = x.numpy()
    found = [(x, truth[0]), (x**2, truth[1])]
    return [abs(float((s.mean() - t) / diagnose.mcse(s))) for s, t in found]


@pytest.mark.stats
@pytest.mark.parametrize("site", TRUTH)
def test_moments_are_those_of_the_measure(draws, site):
    assert max(z_scores(draws[site], TRUTH[site])) < BOUND


@pytest.mark.stats
@pytest.mark.parametrize("site", MUTANTS)
def test_moments_without_the_operator_are_seen(draws, site):
    assert max(z_scores(draws[site], MUTANTS[site])) > BOUND


@pytest.mark.stats
def test_draws_stay_inside_the_bounds(draws):
    assert float(draws["a"].min()) > 0.5
    assert float(draws["a"].max()) < 2.0
    assert float(draws["c"].min()) > 1.0
    assert float(draws["d"].min()) > 0.0
