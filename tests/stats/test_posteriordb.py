"""Ten published posteriors, from program text to moments.

In the gate each once, in the tier that is chosen for it. With the slow tests five runs each in the
native and in the traced tier, and of three posteriors in the eager one. Native runs have five
seeds; in the other tiers, where a gradient costs about the same for twenty chains as for four, the
five runs are the fours of one run of twenty chains: each chain has a random stream of its own and
draws the same alone and with others (``test_run.py``), so that these are five runs of four.

Size: means may be off by 4 Monte Carlo errors, about 65 of them, so one run of all ten fails by
chance in 1 of 250, and the matrix of slow tests with one set of seeds in 20. Power: a missing
log-Jacobian, a mean off by a third of a standard deviation and a spread off by a fifth are each
seen (below).
"""

from types import SimpleNamespace

import pytest
import torch

from quivers_nb.inference import MCMC, NUTSKernel
from tests.stats.budget import SHARES
from tests.support.posteriordb import CHAINS, DRAWS, NAMES, WARMUP, Z, disagreements, posterior
from tests.support.posteriordb import sample as sample_posterior
from tests.support.targets import eight_schools

RUNS = 5
SCHOOLS = "eight_schools-eight_schools_noncentered"
EAGER = ("arK-arK", SCHOOLS, "mesquite-logmesquite_logvas")


@pytest.mark.stats
@pytest.mark.parametrize("name", NAMES)
def test_nuts_reproduces_the_reference(name):
    case = posterior(name)
    assert disagreements(case, sample_posterior(case, 0)) == []


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("name", NAMES)
def test_native_chains_reproduce_the_reference(name, seed):
    case = posterior(name)
    result = sample_posterior(case, seed, tier="native")
    assert (result.tier, result.tier_reason) == ("native", "")
    assert disagreements(case, result) == []


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize(
    ("name", "tier"), [(name, "traced") for name in NAMES] + [(name, "eager") for name in EAGER]
)
def test_chains_in_python_reproduce_the_reference(name, tier):
    case = posterior(name)
    result = sample_posterior(case, 0, tier=tier, num_chains=RUNS * CHAINS)
    assert result.tier == tier
    fours = [four(result, k) for k in range(RUNS)]
    assert [disagreements(case, run) for run in fours] == [[]] * RUNS


def four(result, k):
    """What is compared of the k-th four chains."""
    chains = slice(k * CHAINS, (k + 1) * CHAINS)
    return SimpleNamespace(
        samples={name: draws[chains] for name, draws in result.samples.items()},
        divergence_counts=result.divergence_counts[chains],
    )


def test_the_tolerances_are_in_the_budget():
    count = sum(len(posterior(name).parameters) for name in NAMES)
    tail = 2 * (1 - torch.special.ndtr(torch.tensor(Z, dtype=torch.float64)).item())
    assert count * tail <= SHARES["posteriordb"]


@pytest.mark.stats
@pytest.mark.parametrize(("jacobian", "agrees"), [(True, True), (False, False)])
def test_a_density_without_its_log_jacobian_is_caught(jacobian, agrees):
    """The same density written by hand, with and without the Jacobian of tau > 0."""
    mcmc = MCMC(NUTSKernel(), WARMUP, DRAWS, num_chains=CHAINS, seed=0)
    found = disagreements(posterior(SCHOOLS), mcmc.run_target(eight_schools(jacobian)))
    assert (found == []) == agrees
    assert agrees or any("tau: mean" in fact for fact in found)


@pytest.mark.stats
@pytest.mark.parametrize(
    ("mutate", "fact"),
    [
        (lambda x: x + 0.33 * x.std(), "mean"),
        (lambda x: x.mean() + 1.2 * (x - x.mean()), "sd"),
        (lambda x: x + x.std() * torch.arange(CHAINS)[:, None], "R-hat"),
    ],
)
def test_draws_that_are_off_are_caught(mutate, fact):
    mcmc = MCMC(NUTSKernel(), WARMUP, DRAWS, num_chains=CHAINS, seed=1)
    result = mcmc.run_target(eight_schools())
    result.samples["mu"][:] = mutate(result.samples["mu"])
    assert any(f"mu: {fact}" in found for found in disagreements(posterior(SCHOOLS), result))
