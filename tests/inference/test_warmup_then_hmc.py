"""A guide first, then chains."""

import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoDelta,
    FitGuide,
    NUTSKernel,
    WarmupThenHMC,
)

SOURCE = """object N : FinSet 50
program line : N -> N
    sample a <- Normal(0.0, 100.0)
    sample b <- Normal(0.0, 100.0)
    sample s <- HalfNormal(10.0)
    let m = a + b * t
    observe y : N <- Normal(m, s)
    return a
export line
"""
MODEL = loads(SOURCE).morphism
T = torch.linspace(-0.02, 0.02, 50)
NOISE = torch.randn(50, generator=torch.Generator().manual_seed(0))
DATA = {"t": T, "y": 2.0 - 30.0 * T + 0.5 * NOISE}  # b is two hundred times as wide as a
QUICK = MCMC(NUTSKernel(), 50, 200, num_chains=2, seed=2)
FIT = FitGuide(num_steps=1000, lr=0.3)


def test_chains_start_at_the_guide_and_end_at_the_posterior():
    fitted = WarmupThenHMC(QUICK, FIT).run(MODEL, None, DATA)
    plain = QUICK.run(MODEL, None, DATA)
    assert fitted.start_log_densities.min() > plain.start_log_densities.max()
    assert abs(float(fitted.samples["a"].mean()) - 2.0) < 0.2
    assert float(fitted.r_hat["a"]) < 1.05


def test_the_spread_of_the_guide_is_the_first_metric():
    """Without it steps are as short as the narrowest coordinate wants."""
    mcmc = MCMC(NUTSKernel(adapt_mass_matrix=False), 60, 100, num_chains=2, seed=3)
    with_metric = WarmupThenHMC(mcmc, FIT).run(MODEL, None, DATA)
    starts_only = mcmc.run(MODEL, None, DATA, FIT(MODEL, None, DATA, 3))
    assert with_metric.gradients < 0.5 * starts_only.gradients


def test_a_seed_repeats_it_and_a_point_has_no_spread():
    fit = FitGuide(AutoDelta, num_steps=50)
    first, again = (WarmupThenHMC(QUICK, fit).run(MODEL, None, DATA) for _ in range(2))
    assert torch.equal(first.samples["a"], again.samples["a"])
