"""Ten published posteriors, from program text to moments.

In the gate each once, in the tier that is chosen for it. In the slow tests from five seeds each,
all in the native and in the traced tier and three in the eager one. In the latter two, where a
gradient of twenty chains costs little more than one of four, the chains of all five seeds move
together: each has a stream of its own, so that they draw what they draw in runs apart (below).

Size: means may be off by 4 Monte Carlo errors, about 65 of them, so one run of all ten fails by
chance in 1 of 250, and the matrix of slow tests with one set of seeds in 20. Power: a missing
log-Jacobian, a mean off by a third of a standard deviation and a spread off by a fifth are each
seen (below).
"""

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from tests.stats.budget import SHARES
from tests.support.posteriordb import (
    CHAINS,
    DRAWS,
    NAMES,
    WARMUP,
    Z,
    disagreements,
    posterior,
    sample_seeds,
)
from tests.support.posteriordb import sample as sample_posterior
from tests.support.targets import eight_schools

SEEDS = range(5)
SCHOOLS = "eight_schools-eight_schools_noncentered"
EAGER = ("arK-arK", SCHOOLS, "mesquite-logmesquite_logvas")


@pytest.mark.stats
@pytest.mark.parametrize("name", NAMES)
def test_nuts_reproduces_the_reference(name):
    case = posterior(name)
    assert disagreements(case, sample_posterior(case, 0)) == []


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("seed", SEEDS)
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
    found = sample_seeds(case, SEEDS, tier)
    assert [draws.tier for draws in found] == [tier] * len(SEEDS)
    assert [disagreements(case, draws) for draws in found] == [[]] * len(SEEDS)


@pytest.mark.parametrize("tier", ["traced", "eager"])
def test_chains_of_several_seeds_draw_together_what_they_draw_apart(tier):
    """Short runs: later, rounding would part even chains that are the same."""
    case = posterior(SCHOOLS)
    model = loads(case.program).morphism
    for seed, together in zip((3, 8), sample_seeds(case, (3, 8), tier, 20, 10), strict=True):
        mcmc = MCMC(NUTSKernel(), 20, 10, num_chains=CHAINS, seed=seed, tier=tier)
        apart = mcmc.run(model, None, case.data)
        assert (together.tier, apart.tier) == (tier, tier)
        assert together.divergence_counts.equal(apart.divergence_counts)
        for name, draws in apart.samples.items():
            torch.testing.assert_close(together.samples[name], draws, rtol=0, atol=1e-8)


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
