"""Simulation-based calibration of every sampler, of fitted guides, and of mutants.

Size: all runs here share the budget's "calibration", evenly. Power, for 1000 simulations of 63
draws: a posterior 20 % too narrow moves the spread of ranks by 8.9 standard errors, a bias of 0.3
posterior standard deviations their mean by 9.2 (`quivers_nb.inference.ranks.Sensitivity`); the
bound on one statistic is about 5.1. So either is missed less than once in 5000 times. All guides
are calibrated in ``test_guides_calibration.py``; the one here is fitted to every data set by steps.
"""

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    AutoMultivariateNormal,
    AutoNormalGuide,
    FitGuide,
    HMCKernel,
    NUTSKernel,
    StickingTheLanding,
    WarmupThenHMC,
    calibrate,
)
from tests.stats.budget import SHARES

SIMULATIONS, DRAWS = 1000, 63

KNOWN = """object N : FinSet 4
program known : N -> N
    sample mu <- Normal(0.0, 2.0)
    observe y : N <- Normal(mu, 1.0)
    return mu
export known
"""
# Two coefficients, which t = (0, 1, 2, 3) makes correlated.
LINE = """object N : FinSet 4
program line : N -> N
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    let m = a + b * t
    observe y : N <- Normal(m, 1.0)
    return a
export line
"""
# Funnel-free but not normal: a positive scale, and effects of groups.
GROUPS = """object N : FinSet 12
object G : FinSet 3
program groups : N -> N
    sample tau <- LogNormal(0.0, 0.5)
    sample s <- Gamma(4.0, 4.0)
    sample z : G <- Normal(0.0, 1.0)
    let m = tau * z[g]
    observe y : N <- Normal(m, s)
    return tau
export groups
"""
GROUPED = {"g": torch.arange(12) % 3}
SLOPED = {"t": torch.tensor([0.0, 1.0, 2.0, 3.0])}


@dataclass(frozen=True)
class Exact:
    """The posterior of KNOWN in closed form, or a mutant of it."""

    narrow: float = 1.0
    bias: float = 0.0

    def __call__(self, model: Any, x: Any, obs: Any, seed: int) -> dict[str, torch.Tensor]:
        noise = torch.randn(DRAWS, generator=torch.Generator().manual_seed(seed))
        variance = 1 / (1 / 4 + 4)
        spread = sqrt(variance) * (self.narrow * noise + self.bias)
        return {"mu": variance * obs["y"].sum() + spread}


@dataclass(frozen=True)
class Changed:
    """Draws of a sampler, pulled towards their mean or moved, in their own standard deviations.

    Draws are kept by seed, so that mutants do not cost another run.
    """

    sampler: MCMC | WarmupThenHMC
    narrow: float = 1.0
    bias: float = 0.0
    kept: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)

    def __call__(self, model: Any, x: Any, obs: Any, seed: int) -> dict[str, torch.Tensor]:
        if seed not in self.kept:
            samples = seeded(self.sampler, seed).run(model, x, obs).samples
            self.kept[seed] = {name: value.flatten(0, 1) for name, value in samples.items()}
        return {name: self._changed(draws) for name, draws in self.kept[seed].items()}

    def _changed(self, draws: torch.Tensor) -> torch.Tensor:
        mean, sd = draws.mean(0), draws.std(0)
        return mean + self.narrow * (draws - mean) + self.bias * sd


def seeded(sampler: MCMC | WarmupThenHMC, seed: int) -> MCMC | WarmupThenHMC:
    if isinstance(sampler, WarmupThenHMC):
        return replace(sampler, mcmc=replace(sampler.mcmc, seed=seed))
    return replace(sampler, seed=seed)


def fitted(guide: Any) -> FitGuide:
    """Sticking the landing has no noise at an exact optimum, so that few steps are enough."""
    return FitGuide(guide, num_steps=150, lr=0.2, objective=ELBO(4, StickingTheLanding()))


SAMPLERS = {
    "nuts": MCMC(NUTSKernel(), 300, 4 * DRAWS, num_chains=1),
    "nuts, dense": MCMC(NUTSKernel(mass_matrix="dense"), 150, 2 * DRAWS, num_chains=1),
    "nuts, low rank": MCMC(NUTSKernel(mass_matrix="low_rank"), 200, 4 * DRAWS, num_chains=1),
    "nuts, gradients": MCMC(NUTSKernel(adapt_from="gradients"), 200, 4 * DRAWS, num_chains=1),
    "nuts, pathfinder": MCMC(
        NUTSKernel(), 200, 4 * DRAWS, num_chains=1, init_strategy="pathfinder"
    ),
    # A guide that is far from fitted: what follows has to be right all the same.
    "nuts after a guide": WarmupThenHMC(
        MCMC(NUTSKernel(), 200, 4 * DRAWS, num_chains=1), FitGuide(num_steps=40, lr=0.1)
    ),
    "nuts, identity": MCMC(NUTSKernel(mass_matrix="identity"), 200, 4 * DRAWS, num_chains=1),
    "hmc": MCMC(HMCKernel(num_steps=8), 150, 2 * DRAWS, num_chains=1),
    "hmc, dense": MCMC(HMCKernel(num_steps=8, mass_matrix="dense"), 150, 2 * DRAWS, num_chains=1),
}
ALPHA = SHARES["calibration"] / (3 + len(SAMPLERS))


def run(source: str, fit: Any, data: Any = None, simulations: int = SIMULATIONS) -> Any:
    model = loads(source).morphism
    return calibrate(
        model, None, fit, num_simulations=simulations, num_draws=DRAWS, data=data, seed=1
    )


@pytest.mark.stats
def test_the_exact_posterior_is_calibrated():
    found = run(KNOWN, Exact())
    assert found.calibrated(ALPHA), found.report(ALPHA)


@pytest.mark.stats
@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (Exact(narrow=0.8), "spread too little"),
        (Exact(narrow=1.3), "spread too much"),
        (Exact(bias=0.3), "too large"),
        (Exact(bias=-0.3), "too small"),
    ],
)
def test_a_posterior_that_is_off_is_not(mutant, words):
    found = run(KNOWN, mutant)
    assert any(words in fault for fault in found.faults(ALPHA)["mu"]), found.report(ALPHA)


@pytest.mark.stats
def test_nuts_is_calibrated_and_its_mutant_is_not():
    """The quick version: 100 simulations see a posterior half as wide as it should be."""
    sampler = Changed(MCMC(NUTSKernel(), 200, 2 * DRAWS, num_chains=1))
    found = run(LINE, sampler, SLOPED, 100)
    assert found.calibrated(ALPHA), found.report(ALPHA)
    assert not run(LINE, replace(sampler, narrow=0.5), SLOPED, 100).calibrated(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_calibrated_and_their_mutants_are_not(name):
    sampler = Changed(SAMPLERS[name])
    found = run(GROUPS, sampler, GROUPED)
    assert found.calibrated(ALPHA), found.report(ALPHA)
    for mutant in (replace(sampler, narrow=0.8), replace(sampler, bias=0.3)):
        assert not run(GROUPS, mutant, GROUPED).calibrated(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
def test_a_guide_that_is_fitted_by_steps_is_calibrated_where_it_is_exact():
    found = run(LINE, fitted(AutoMultivariateNormal), SLOPED)
    assert found.calibrated(ALPHA), found.report(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
def test_a_mean_field_guide_is_too_narrow_for_a_correlated_posterior():
    """The known fault of this family (Turner and Sahani 2011) is the mutant of the guides."""
    found = run(LINE, fitted(AutoNormalGuide), SLOPED)
    faults = found.faults(ALPHA)
    assert any("too narrow" in fault for fault in faults["b"]), found.report(ALPHA)
