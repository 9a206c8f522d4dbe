"""Tables with priors, recovered from data: against their exact posteriors.

`t : X -> Y` has rows Dirichlet(1.5); given pairs (x, y) row x is Dirichlet(1.5 + counts). Through a
known table of noise the posterior of one probability is found on a grid.

Size: means and mean squares of 12 entries, and of one probability, in Monte Carlo errors of the
run's own effective sample size; 26 comparisons share one ten-thousandth. Power: posteriors without
the prior's weight, and one of noise that is left out, are seen in some entry.
"""

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AutoMultivariateNormal,
    NUTSKernel,
    diagnose,
)
from tests.stats.budget import alpha, critical_z

SOURCE = """\
object X : FinSet 3
object Y : FinSet 4
object Z : FinSet 2
morphism t : X -> Y [role=latent, over=cod] ~ Dirichlet(1.5)
morphism s : 1 -> Z [role=latent, over=cod] ~ Dirichlet(1.0)
morphism noise : Z -> Z [role=observed] ~ from_data("noise")
let seen = s >> noise
program table : X -> Y
    observe y <- t
    return y
program noisy : 1 -> Z
    observe y <- seen
    return y
export table
export noisy
"""
NOISE = np.array([[0.9, 0.1], [0.3, 0.7]])
PRIOR = 1.5
RNG = np.random.default_rng(0)
TRUTH = RNG.dirichlet(np.ones(4), 3)
X = RNG.integers(3, size=150)
Y = np.array([RNG.choice(4, p=TRUTH[x]) for x in X])
ONES, ZEROS = 30, 20  # what the noisy program observes
BOUND = critical_z(alpha("tables", 26))


def counts():
    found = np.zeros((3, 4))
    np.add.at(found, (X, Y), 1.0)
    return found


def dirichlet_moments(concentration):
    total = concentration.sum(1, keepdims=True)
    mean = concentration / total
    return mean, mean * (concentration + 1) / (total + 1)


def noisy_moments(noise):
    """Mean and mean square of the probability of 1 before the noise, by a grid."""
    p = (np.arange(200_000) + 0.5) / 200_000
    one = p * noise[1, 1] + (1 - p) * noise[0, 1]
    weights = np.exp(ONES * np.log(one) + ZEROS * np.log1p(-one))
    return tuple((p**k * weights).sum() / weights.sum() for k in (1, 2))


def run(name, x, y, seed):
    model = loads(SOURCE, {"noise": NOISE}).exports[name].double()
    mcmc = MCMC(NUTSKernel(), 500, 1000, num_chains=4, seed=seed)
    return mcmc.run(model, torch.tensor(x), {"y": torch.tensor(y)})


@pytest.fixture(scope="module")
def table():
    return run("table", X, Y, 1).samples["t"].numpy()


@pytest.fixture(scope="module")
def noisy():
    y = np.repeat([1, 0], [ONES, ZEROS])
    return run("noisy", np.zeros(len(y), dtype=int), y, 2).samples["s"].numpy()[:, :, 0, 1]


def scores(draws, first, second):
    """Of mean and mean square, in Monte Carlo errors."""
    pairs = ((draws, first), (draws**2, second))
    return [abs(float((d.mean() - truth) / diagnose.mcse(d))) for d, truth in pairs]


def worst(draws, moments):
    """The largest score over the entries of a table."""
    cells = np.ndindex(3, 4)
    return max(max(scores(draws[:, :, i, j], *(m[i, j] for m in moments))) for i, j in cells)


@pytest.mark.stats
def test_rows_have_their_conjugate_posterior(table):
    assert worst(table, dirichlet_moments(counts() + PRIOR)) < BOUND


@pytest.mark.stats
def test_a_posterior_without_the_prior_is_seen(table):
    assert worst(table, dirichlet_moments(counts() + 1.0)) > BOUND


@pytest.mark.stats
def test_a_table_behind_a_known_one_is_recovered(noisy):
    assert max(scores(noisy, *noisy_moments(NOISE))) < BOUND


@pytest.mark.stats
def test_noise_that_is_left_out_is_seen(noisy):
    assert max(scores(noisy, *noisy_moments(np.eye(2)))) > BOUND


@pytest.mark.stats
def test_the_bound_of_a_fit_is_below_the_evidence_and_near():
    """The evidence of ordered pairs: a Dirichlet-multinomial per row; here a loss is per row."""
    model = loads(SOURCE, {"noise": NOISE}).exports["table"].double()
    c = counts()
    rows = gammaln(4 * PRIOR) - gammaln(c.sum(1) + 4 * PRIOR)
    evidence = float((rows + (gammaln(c + PRIOR) - gammaln(PRIOR)).sum(1)).sum())
    torch.manual_seed(0)
    guide = AutoMultivariateNormal(model, {"y"})
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    svi = SVI(model, guide, optim, ELBO(8), generator=torch.Generator().manual_seed(1))
    losses = svi.run(torch.tensor(X), {"y": torch.tensor(Y)}, 600).losses
    bound = -float(np.mean(np.asarray(losses)[-200:])) * len(X)
    assert evidence - 0.5 < bound < evidence + 0.05
