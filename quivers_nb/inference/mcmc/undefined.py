"""Divergences where the density is not a number: a square root below zero, log(0) - log(0).

A trajectory that comes to such a place ends there like one whose energy has run away, and the
advice for the latter is of no use. So trajectories are made again, from draws that diverged, until
one meets a place where the density or its gradient is NaN.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quivers_nb.inference.gradient import eager
from quivers_nb.inference.mcmc.fault import values_at
from quivers_nb.inference.mcmc.finding import Finding
from quivers_nb.inference.target import Target, flat

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.result import MCMCResult

PATHS, TOGETHER = 16, 4  # trajectories, and how many of them move at once
STEPS = 32  # of a trajectory, at most
_SHARE, _LEAST = 0.25, 64  # gradients that may be made again: of those of the run, or so many
_KNOWN = 200  # draws that say how far a coordinate varies


@dataclass(frozen=True, slots=True)
class Undefined:
    """A place ``q`` ``(dim,)`` without a density, and how many of the ``paths`` came to such."""

    q: Tensor
    met: int
    paths: int


def undefined(result: "MCMCResult") -> Finding | None:
    """The finding, where a trajectory meets such a place."""
    problem = result.problem
    if problem is None or not bool(result.stats["diverged"].any()):
        return None
    target = flat(problem.target())
    found = _search(result, target)
    if found is None:
        return None
    gradient = "" if bool(target.log_density(found.q).isnan()) else "the gradient of "
    return Finding(
        "undefined-density",
        f"{gradient}the log density is not a number where {found.met} of {found.paths} "
        f"trajectories from divergent draws came to, the first at {values_at(target, found.q)}: "
        f"{target.names_of(found.q)}",
        "Keep the model's formulas within their domain: give the sites they read a support that "
        "ends where the formula does (a HalfNormal, a truncated normal), or write the formula so "
        "that it is defined everywhere",
    )


def _search(result: "MCMCResult", target: Target) -> Undefined | None:
    if not target.declared <= result.samples.keys():
        return None  # not all sites were kept: where the chains were is not known
    draws = {name: values.flatten(0, 1) for name, values in result.samples.items()}
    places = result.stats["diverged"].flatten().nonzero().flatten()
    places = places[torch.linspace(0, len(places) - 1, min(PATHS, len(places))).long()]
    known = torch.linspace(0, result.num_chains * result.num_samples - 1, _KNOWN).long()
    q, usual = (
        target.unconstrain({name: values[rows] for name, values in draws.items()})
        for rows in (places, known)
    )
    scale = usual.std(0)
    scale = torch.where(scale > 0.0, scale, 1.0) * float(result.step_sizes.median())
    steps = min(STEPS, max(_LEAST, int(_SHARE * result.gradients)) // len(places))
    met = [_followed(target, some, scale, steps) for some in q.split(TOGETHER)]
    bad = torch.cat(met)
    return Undefined(bad[0], len(bad), len(places)) if len(bad) else None


def _followed(target: Target, q: Tensor, scale: Tensor, steps: int) -> Tensor:
    """Places that are not defined, of those that leapfrogs from ``q`` ``(n, dim)`` come to.

    ``scale`` ``(dim,)`` is the step in each coordinate.
    """
    generator = torch.Generator().manual_seed(0)
    density = eager(target)
    gradient = density(q)[1]
    momentum = torch.randn(q.shape, generator=generator, dtype=q.dtype) + 0.5 * scale * gradient
    met: list[Tensor] = []
    for _ in range(steps):
        q = q + scale * momentum
        value, gradient = density(q)
        undefined = value.isnan() | gradient.isnan().any(-1)
        met.extend(q[undefined])
        on = ~undefined & value.isfinite()
        if not bool(on.any()):
            break
        q, momentum = q[on], momentum[on] + scale * gradient[on]
    return torch.stack(met) if met else q.new_empty(0, q.shape[-1])
