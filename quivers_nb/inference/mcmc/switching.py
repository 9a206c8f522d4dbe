"""Label switching: components that change places between chains, or within one.

The density of a mixture is the same whichever of its components is called the first. Chains that
call them differently disagree on every component and agree on all of them together: put in order
within each draw, they have settled (Stephens 2000, "Dealing with label switching in mixture
models", section 2; relabelling by order is that of Jasra, Holmes and Stephens 2005, section 3).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import diagnose
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.mcmc.finding import Finding

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.result import MCMCResult

MOST = 12  # components of a plate that is looked at
_HIGH = 1.1  # R-hat of at least two components, from which something is wrong
_SETTLED = 1.05  # R-hat in order, up to which they agree
_SHARE = 0.1  # of the excess of R-hat that may be left
_KEYS = 4  # columns that are tried as what the components are ordered by
_TESTED = 3  # draws at which labels are exchanged
_CLOSE = 1e-9  # relative difference of two log densities that are the same

Axes = Mapping[str, tuple[int, ...]]  # site -> its axes over the components, of ``value_shape``


@dataclass(frozen=True, slots=True)
class Switching:
    """Sites whose components agree in the order of ``key``; R-hat of ``key`` before and after.

    ``same`` says whether the density is the same with labels exchanged, None if it is not known.
    """

    key: str
    sites: tuple[str, ...]
    before: float
    after: float
    same: bool | None


def label_switching(result: "MCMCResult") -> Finding | None:
    """The finding, where there is such a plate."""
    found = next((each for group in _groups(result) if (each := _switching(result, group))), None)
    if found is None:
        return None
    names = ", ".join(f"`{name}`" for name in found.sites)
    sure = {
        True: "Their labels mean nothing: exchanged, they leave the density as it is",
        False: "The density tells their labels apart, so these may also be different modes",
        None: "Whether the density is the same with labels exchanged is not known here",
    }[found.same]
    return Finding(
        "label-switching",
        f"components of {names} change places: R-hat of `{found.key}` is {found.before:.2f}, and "
        f"{found.after:.2f} once each draw is put in the order of `{found.key}`. {sure}",
        f"Quote nothing of single components. Give `{found.key}` an order: draw the lowest and "
        "positive gaps, and add them up in a let; or sort the draws before they are averaged",
    )


def _groups(result: "MCMCResult") -> Iterator[Axes]:
    """Axes that may be over the same components: of one plate, or without a name and as long.

    Axes without a name, such as those of a simplex, stand with each plate of their length.
    """
    named: dict[str, dict[str, tuple[int, ...]]] = {}
    bare: dict[int, dict[str, tuple[int, ...]]] = {}
    sizes: dict[str, int] = {}
    for site, draws in result.samples.items():
        known = result.labels.dims.get(site, ())
        for axis, size in enumerate(draws.shape[2:]):
            if not 2 <= size <= MOST:
                continue
            name = known[axis] if axis < len(known) else None
            places = bare.setdefault(size, {}) if name is None else named.setdefault(name, {})
            places[site] = (*places.get(site, ()), axis)
            if name is not None:
                sizes[name] = size
    for name, axes in named.items():
        yield {**bare.get(sizes[name], {}), **axes}
    for size, axes in bare.items():
        if size not in sizes.values():
            yield axes


def _switching(result: "MCMCResult", group: Axes) -> Switching | None:
    if result.num_samples < diagnose.MIN_DRAWS:
        return None
    best: tuple[tuple[int, float], Switching] | None = None
    for key, column, before in _keys(result, group):
        order = column.argsort(-1)  # (chains, draws, K)
        ordered = column.gather(-1, order)
        after = _worst(ordered)
        if not after <= min(_SETTLED, 1.0 + _SHARE * (before - 1.0)):
            continue
        settled = tuple(
            site
            for site, axes in group.items()
            if site == key
            or _worst(_permuted(result.samples[site], order, axes))
            <= min(_SETTLED, float(result.r_hat[site].max()))
        )
        rank = (len(settled), _apart(ordered))
        if best is None or rank > best[0]:
            best = (rank, Switching(key, settled, before, after, None))
    if best is None:
        return None
    return replace(best[1], same=_exchangeable(result, group))


def _keys(result: "MCMCResult", group: Axes) -> list[tuple[str, Tensor, float]]:
    """What components may be ordered by: columns ``(chains, draws, K)`` that disagree most."""
    found = []
    for site, axes in group.items():
        if len(axes) != 1:
            continue
        rhat = result.r_hat[site].movedim(axes[0], 0)
        rhat = rhat.reshape((len(rhat), -1))  # (K, columns)
        worst, place = rhat.nan_to_num(0.0).max(0).values.max(0)
        bad = (rhat[:, place] > _HIGH).sum()
        if bad >= 2:
            draws = result.samples[site].double().movedim(axes[0] + 2, 2)
            draws = draws.reshape((*draws.shape[:3], -1))
            found.append((site, draws[..., place], float(worst)))
    return sorted(found, key=lambda each: -each[2])[:_KEYS]


def _apart(ordered: Tensor) -> float:  # (chains, draws, K)
    """How far apart neighbours in order are, in standard deviations, where they are nearest."""
    gaps = ordered.mean((0, 1)).diff()
    spread = ordered.std((0, 1))
    return float((gaps / (spread[1:] + spread[:-1])).min())


def _worst(draws: Tensor) -> float:
    return float(np.nanmax(diagnose.r_hat(draws.numpy()), initial=0.0))


def _permuted(draws: Tensor, order: Tensor, axes: Collection[int]) -> Tensor:
    """Draws ``(chains, draws, *value_shape)`` with components along ``axes`` in another order."""
    out = draws
    for axis in axes:
        moved = out.movedim(axis + 2, 2)
        index = order.reshape((*order.shape, *((1,) * (moved.ndim - 3)))).expand(moved.shape)
        out = moved.gather(2, index).movedim(2, axis + 2)
    return out


def _exchangeable(result: "MCMCResult", group: Axes) -> bool | None:
    """Whether the log density is the same with components in another order, at some draws.

    Axes without a name may be over something else that is as long: with or without them.
    """
    if result.problem is None:
        return None
    named = {
        site: axes
        for site, axes in group.items()
        if all(axis < len(result.labels.dims.get(site, ())) for axis in axes)
    }
    answers = [
        _same(result, axes) for axes in ([group, named] if named and named != group else [group])
    ]
    return None if None in answers else any(answers)


def _same(result: "MCMCResult", axes: Axes) -> bool | None:
    problem = result.problem
    assert problem is not None
    places = np.linspace(0, result.num_samples - 1, _TESTED).astype(int)
    size = next(result.samples[site].shape[2 + each[0]] for site, each in axes.items())
    turned = torch.arange(size).roll(1)[None, None]  # every component has another label
    try:
        for place in places.tolist():
            one = {k: v[:1, place : place + 1] for k, v in result.samples.items()}
            other = {k: _permuted(one[k], turned, axes[k]) if k in axes else one[k] for k in one}
            a, b = (
                problem.model.log_density(
                    problem.x, {**by_name(problem.obs), **{k: v[0, 0] for k, v in each.items()}}
                )
                for each in (one, other)
            )
            if not bool((a - b).abs() <= _CLOSE * (1.0 + a.abs())):
                return False
    except UserError:  # not all sites were kept, or the model has no such density
        return None
    return True
