"""Findings: what speaks against trusting a run, each with what to do about it.

Thresholds: R-hat 1.01 and 100 effective draws per chain are those of Vehtari et al. (2021), BFMI
0.3 that of Betancourt (2016).
"""

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quivers_nb.inference.mcmc.finding import Finding
from quivers_nb.inference.mcmc.geometry import centering, gathered, way_out
from quivers_nb.inference.mcmc.switching import label_switching
from quivers_nb.inference.mcmc.undefined import undefined

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.result import MCMCResult

__all__ = ["Finding", "extreme", "findings", "not_moved", "worth"]

R_HAT = 1.01
BFMI = 0.3  # Betancourt (2016)
ESS_PER_CHAIN = 100
_STILL = 0.05  # change of log density, per sqrt(dimension), below which a chain stood still
_SHORT = 0.01  # length of a trajectory, in posterior sds of the metric, that leads nowhere


def findings(result: "MCMCResult") -> tuple[Finding, ...]:
    """Every finding about a run, the gravest first."""
    checks = (
        _interrupted, _not_moved, undefined, _divergences, _energy, _tree_depth, label_switching,
        _r_hat, _ess, _ess_tail, centering,
    )  # fmt: skip
    found = (check(result) for check in checks)
    return tuple(finding for finding in found if finding is not None)


def not_moved(result: "MCMCResult") -> Tensor:  # -> (chains,) bool
    """Chains that are where they started (R14).

    A step size that collapsed during warm-up gives high acceptance, no divergence and draws that
    are all the same. The log density of a chain that moves varies by about sqrt(dim / 2).
    """
    if not result.num_samples:
        return torch.zeros(result.num_chains, dtype=torch.bool)
    change = (result.log_densities - result.start_log_densities[:, None]).abs().amax(-1)
    still = change <= _STILL * sqrt(max(result.dim, 1))
    lengths = (result.stats["step_size"] * result.stats["leapfrogs"]).mean(-1)
    return result.stationary | (still & (lengths < _SHORT))


def _interrupted(result: "MCMCResult") -> Finding | None:
    if not result.interrupted:
        return None
    return Finding(
        "interrupted",
        f"the run was stopped after {result.num_samples} draws per chain",
        "The draws made so far are kept; run longer before trusting them",
    )


def _not_moved(result: "MCMCResult") -> Finding | None:
    chains = not_moved(result).nonzero().flatten().tolist()
    if not chains:
        return None
    return Finding(
        "not-moved",
        f"chains {chains} have not moved from their start: the step size is tiny against the "
        "metric and the log density is as at the start, so acceptance means nothing",
        "Warm up longer, start elsewhere (init_strategy), or rescale the parameters",
    )


def _divergences(result: "MCMCResult") -> Finding | None:
    count = int(result.divergence_counts.sum())
    if not count:
        return None
    total = result.num_chains * result.num_samples
    places = [
        f"{label} is {low:.3g} where {usual:.3g} is usual" for label, low, usual in gathered(result)
    ]
    where = f" (they gather where {' and '.join(places)})" if places else ""
    return Finding(
        "divergences",
        f"{count} of {total} transitions diverged: parts of the posterior were not reached{where}",
        "Raise target_accept (0.95, 0.99), or write scales and effects non-centred"
        f"{way_out(result)}",
    )


def _energy(result: "MCMCResult") -> Finding | None:
    low = (result.bfmi < BFMI).nonzero().flatten().tolist()
    if not low:
        return None
    least = float(result.bfmi[low].min())
    return Finding(
        "low-bfmi",
        f"the energy of chains {low} changes too little from one transition to the next (fraction "
        f"of missing information {least:.2f}, below {BFMI}): the tails are out of reach",
        "Write scales and effects non-centred, or give scales a prior that does not reach zero"
        f"{way_out(result)}",
    )


def _tree_depth(result: "MCMCResult") -> Finding | None:
    if result.max_tree_depth is None or not result.num_samples:
        return None
    share = float((result.tree_depths >= result.max_tree_depth).double().mean())
    if share <= 0.01:
        return None
    return Finding(
        "tree-depth",
        f"{share:.0%} of the trajectories reached max_tree_depth={result.max_tree_depth} and "
        "were cut off",
        "Raise max_tree_depth, warm up longer, or reparametrise; draws are valid but slow",
    )


def _r_hat(result: "MCMCResult") -> Finding | None:
    worst = extreme(result.r_hat, largest=True)
    if worst is None or worst[1] <= R_HAT:
        return None
    return Finding(
        "r-hat",
        f"R-hat is {worst[1]:.3f} at {worst[0]}: the chains disagree or have not settled",
        "Run longer; if it stays, look at that site's trace, the posterior may have two modes",
    )


def _ess(result: "MCMCResult") -> Finding | None:
    return worth(result, "low-ess", result.ess, "draws", "quantiles")


def _ess_tail(result: "MCMCResult") -> Finding | None:
    return worth(result, "low-tail-ess", result.ess_tail, "tails", "intervals")


def worth(
    result: "MCMCResult",
    name: str,
    sizes: dict[str, Tensor],
    what: str,
    quoted: str,
    more: str = "Run longer",
) -> Finding | None:
    """Fewer effective draws than quotable numbers need, at the site that has the fewest."""
    worst = extreme(sizes, largest=False)
    wanted = ESS_PER_CHAIN * result.num_chains
    if worst is None or worst[1] >= wanted:
        return None
    return Finding(
        name,
        f"the {what} of {worst[0]} are worth {worst[1]:.0f} independent draws, fewer than {wanted}",
        f"{more} before quoting {quoted}",
    )


def extreme(by_site: dict[str, Tensor], *, largest: bool) -> tuple[str, float] | None:
    """The site with the largest or smallest number, NaN aside."""
    found: tuple[str, float] | None = None
    for name, numbers in by_site.items():
        known = numbers[~numbers.isnan()]
        if not known.numel():
            continue
        number = float(known.max() if largest else known.min())
        if found is None or (number > found[1]) == largest:
            found = (name, number)
    return found
