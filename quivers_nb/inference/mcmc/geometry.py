"""Where a sampler has trouble, by site: the places of divergences, and advice on centering."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quivers_nb.inference.mcmc.finding import Finding

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.result import MCMCResult

PLACES = 2  # sites named in one message
_APART = 0.5  # sds by which the mean of divergent draws must differ from that of all
_TIED = 0.8  # correlation of log scale and log spread from which one ties the other
_PLATE = 3  # elements from which a spread over a plate means something
_BFMI, _ESS_PER_CHAIN = 0.3, 100


def gathered(result: "MCMCResult") -> list[tuple[str, float, float]]:
    """Scalars whose mean over divergent transitions stands apart: name, that mean, the usual one.

    A divergent transition is recorded at the point that it kept, which is near where it began.
    """
    bad = result.stats["diverged"].bool().flatten()
    if not bool(bad.any()) or bool(bad.all()):
        return []
    found: list[tuple[float, str, float, float]] = []
    for name, draws in result.samples.items():
        if not draws[0, 0].numel():
            continue
        x = draws.double().reshape(bad.numel(), -1)
        usual, there, spread = x[~bad].mean(0), x[bad].mean(0), x.std(0)
        apart = ((there - usual).abs() / spread).nan_to_num(0.0)
        place = int(apart.argmax())
        label = name + ("" if draws.ndim == 2 else _index(place, tuple(draws.shape[2:])))
        found.append((float(apart[place]), label, float(there[place]), float(usual[place])))
    worst = sorted(found, reverse=True)[:PLACES]
    return [entry[1:] for entry in worst if entry[0] > _APART]


def _index(place: int, shape: tuple[int, ...]) -> str:
    found = torch.unravel_index(torch.tensor(place), shape)
    return "[" + ", ".join(str(int(i)) for i in found) + "]"


def centering(result: "MCMCResult") -> Finding | None:
    """Effects whose spread over their plate is tied to a scale, in a run that has trouble.

    Betancourt and Girolami (2015), "Hamiltonian Monte Carlo for hierarchical models": centred
    effects follow their scale, log spread against log scale; non-centred ones, where the data say
    what the effects are, run against it. Either is a funnel for the sampler, and the other form is
    the way out.
    """
    if not _in_trouble(result):
        return None
    ties = [
        (abs(r), r, scale, effect)
        for scale, log_scale in _scales(result.samples)
        for effect, log_spread in _spreads(result.samples)
        if effect not in result.centering  # its coordinates are chosen already
        if abs(r := _correlation(log_scale, log_spread)) > _TIED
    ]
    if not ties:
        return None
    _, r, scale, effect = max(ties)
    fact = (
        f"the spread of `{effect}` is tied to `{scale}` (correlation {r:+.2f} of their logarithms)"
    )
    if r > 0:
        advice = (
            f"Write `{effect}` non-centred: draw a standard normal over the plate, and make "
            f"`{effect}` of it in a let, location plus `{scale}` times the draw{way_out(result)}"
        )
    else:
        advice = (
            f"The data determine the effects: write them centred, drawn with `{scale}` as their "
            f"scale instead of multiplying `{effect}` by it"
        )
    return Finding("centering", fact, advice)


def way_out(result: "MCMCResult") -> str:
    """That a run of a model, whose effects are as they are written, can recentre them itself."""
    if result.origin is None or result.centering:
        return ""
    return "; or run with recenter=True, which leaves the program as it is"


def _in_trouble(result: "MCMCResult") -> bool:
    least = [
        float(size.nan_to_num(torch.inf).min()) for size in result.ess.values() if size.numel()
    ]
    return (
        bool(result.divergence_counts.sum() > 0)
        or bool((result.bfmi < _BFMI).any())
        or min(least, default=torch.inf) < _ESS_PER_CHAIN * result.num_chains
    )


def _scales(samples: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Positive scalars as logarithms, (draws,)."""
    flat = [(n, x.double().flatten()) for n, x in samples.items() if x[0, 0].numel() == 1]
    return [(name, x.log()) for name, x in flat if x.numel() and bool((x > 0.0).all())]


def _spreads(samples: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The standard deviation of a site over its elements, as a logarithm, (draws,)."""
    wide = [(n, x.double().flatten(0, 1).flatten(1)) for n, x in samples.items() if x.ndim > 2]
    return [(name, x.std(1).log()) for name, x in wide if x.shape[1] >= _PLATE]


def _correlation(a: Tensor, b: Tensor) -> float:
    r = torch.corrcoef(torch.stack((a, b)))[0, 1]
    return float(r.nan_to_num(0.0))
