"""Findings: what speaks against trusting particles or the evidence, each with what to do about it.

R-hat and effective sample sizes are judged as those of chains are: the runs are independent.
"""

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING

import torch

from quivers_nb.inference.mcmc.finding import Finding
from quivers_nb.inference.mcmc.findings import R_HAT, extreme, worth

if TYPE_CHECKING:
    from quivers_nb.inference.smc.result import SMCResult

EVIDENCE = 0.5  # standard error of a log evidence: a Bayes factor known up to 2.7
STILL = 0.1  # share of particles that stay where resampling put them
FEW = 20  # effective particles at a temperature

_MORE = "Take more particles (num_particles)"


def findings(result: "SMCResult") -> tuple[Finding, ...]:
    """Every finding about a run, the gravest first."""
    checks: tuple[Callable[[SMCResult], Finding | None], ...] = (
        _interrupted, _few, _still, _undefined, _evidence, _r_hat, _ess, _ess_tail,
    )  # fmt: skip
    found = (check(result) for check in checks)
    return tuple(finding for finding in found if finding is not None)


def _interrupted(result: "SMCResult") -> Finding | None:
    if not result.interrupted:
        return None
    runs = f"{result.num_chains} complete run{'s' if result.num_chains > 1 else ''}"
    return Finding(
        "interrupted",
        f"the run was stopped after {runs}; the particles of the one under way are lost",
        "The draws of the complete runs are kept; the evidence is as well known as they agree",
    )


def _few(result: "SMCResult") -> Finding | None:
    sizes = torch.stack([trail.ess.min() for trail in result.trails])
    run = int(sizes.argmin())
    trail = result.trails[run]
    if float(sizes[run]) >= min(FEW, 0.2 * result.num_samples):
        return None
    at = float(trail.temperature[trail.ess.argmin()])
    return Finding(
        "few-particles",
        f"in run {run} all particles come from what {float(sizes[run]):.1f} were worth at "
        f"temperature {at:.2g}: the data are possible for few draws of the prior",
        f"{_MORE}, or give a prior that the data can come from",
    )


def _still(result: "SMCResult") -> Finding | None:
    shares = torch.stack([trail.still[-1] for trail in result.trails])
    if float(shares.max()) <= STILL:
        return None
    run = int(shares.argmax())
    return Finding(
        "particles-still",
        f"in run {run} {float(shares[run]):.0%} of the particles have not moved at the last "
        f"temperature in {int(result.trails[run].moves[-1])} moves: they are copies of others",
        "Raise max_moves or target_accept, or rescale the parameters",
    )


def _undefined(result: "SMCResult") -> Finding | None:
    met, total = (int(sum(trail.undefined[k] for trail in result.trails)) for k in (0, 1))
    if not met:
        return None
    where = f", the first {result.undefined}" if result.undefined else ""
    return Finding(
        "undefined-density",
        f"the log density is not a number at {met} of {total} positions that particles came "
        f"to{where}; they counted as impossible",
        "Keep the model's formulas within their domain: give the sites they read a support that "
        "ends where the formula does, or write the formula so that it is defined everywhere",
    )


def _evidence(result: "SMCResult") -> Finding | None:
    error = result.log_evidence_se
    if not isfinite(error) or error <= EVIDENCE:
        return None
    runs = ", ".join(f"{float(each):.1f}" for each in result.log_evidences[:8])
    return Finding(
        "evidence-spread",
        f"the runs disagree about the log evidence ({runs}): its standard error is {error:.2g}",
        f"{_MORE}, a higher ess_share, or more moves (max_moves) before comparing models",
    )


def _r_hat(result: "SMCResult") -> Finding | None:
    worst = extreme(result.r_hat, largest=True)
    if worst is None or worst[1] <= R_HAT:
        return None
    return Finding(
        "r-hat",
        f"R-hat of the runs is {worst[1]:.3f} at {worst[0]}: they disagree",
        f"{_MORE}; if modes are far apart, their shares differ between runs",
    )


def _ess(result: "SMCResult") -> Finding | None:
    return worth(result, "low-ess", result.ess, "particles", "quantiles", _MORE)


def _ess_tail(result: "SMCResult") -> Finding | None:
    return worth(result, "low-tail-ess", result.ess_tail, "tails", "intervals", _MORE)
