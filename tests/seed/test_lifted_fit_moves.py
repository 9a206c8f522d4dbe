"""The lifted seed model under NUTS: what moves, and which density rises (R14).

The joint density of a lifted model is its prior over 272,096 weights plus one score, ``log_lik``,
the model's own density. A chain starts at the module's weights, near the prior's mode; the prior's
typical set is 130,000 lower, so any chain that moves loses prior density. What a fit must raise is
``log_lik``.
"""

from math import log, pi

import torch

from quivers_nb.dsl import load
from quivers_nb.inference import MCMC, NUTSKernel, bayesian_lift_parameters
from tests.support.seed import MODULE

WEIGHTS = 272_096


def test_log_lik_rises_above_the_start_s_while_the_chain_moves() -> None:
    torch.manual_seed(0)
    model = load(str(MODULE)).morphism
    x = torch.randint(0, 32, (16, 2))
    sites = model.trace(x).sites
    observed = {name: sites[name].value.detach() for name in ("h", "next_token")}
    torch.manual_seed(2)
    model = load(str(MODULE)).morphism
    lifted, lx, lobs = bayesian_lift_parameters(model, x, observed, prior_scale=1.0)
    kernel = NUTSKernel(step_size=0.05, max_tree_depth=3, target_accept=0.8)
    result = MCMC(kernel, num_warmup=10, num_samples=10, num_chains=1).run(lifted, lx, lobs)
    assert float(result.acceptance_rates.mean()) > 0.3
    assert int(result.divergence_counts.sum()) == 0
    names = [name for name in result.samples if name.startswith("theta__")]
    weights = torch.cat([result.samples[name][0] for name in names], -1)  # (draws, weights)
    assert weights.shape == (10, WEIGHTS)
    start = torch.cat([p.detach().double().flatten() for p in model.parameters()])
    # the start adds N(0, 0.01²) to every weight: 0.01² per weight in the expected square
    start_square = float(start.square().sum()) + WEIGHTS * 0.01**2
    log_lik = result.log_densities[0] - prior(weights.square().sum(-1))
    start_log_lik = result.start_log_densities[0] - prior(torch.tensor(start_square))
    assert bool((log_lik > start_log_lik + 100).all())
    steps = (weights[1:] - weights[:-1]).norm(dim=-1)
    assert bool((steps > 1.0).all())  # of a typical norm of 522


def prior(square: torch.Tensor) -> torch.Tensor:
    """log N(0, 1) of weights with this sum of squares."""
    return -0.5 * (square + WEIGHTS * log(2 * pi))
