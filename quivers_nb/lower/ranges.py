"""Given values that can never have a density, found before a run starts (R10).

Only supports whose bounds are numbers are checked: where a bound depends on other sites, a value
outside it has log density -inf by definition, and that is an answer, not a fault.
"""

from math import isfinite

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import SiteKey
from quivers_nb.lower.dists import Branched, Dist, Joint, Simple
from quivers_nb.lower.measures import Measured
from quivers_nb.spaces.support import Above, Below, Between, Bound, Counts


def check_given(site: SiteKey, dist: Dist, value: Tensor) -> None:
    """Refuse observed values outside a fixed support, naming the first one."""
    inner = dist.inner if isinstance(dist, Branched) else dist
    if isinstance(inner, Joint):
        for part, piece in zip(inner.parts, inner.split(value), strict=True):
            check_given(site, part, piece)
        return
    if isinstance(inner, Measured):
        low, high = (
            bound if isinstance(bound, float) and isfinite(bound) else None
            for bound in inner.measure.bounds
        )
        _check_bounds(site, inner, low, high, value)
    if not isinstance(inner, Simple):
        return
    support = inner.family.support
    if isinstance(support, Counts):
        _check_counts(site, inner, support, value)
    elif isinstance(support, Above | Below | Between):
        low = getattr(support, "low", None)
        high = getattr(support, "high", None)
        _check_bounds(site, inner, _number(low), _number(high), value)


def _number(bound: Bound | None) -> float | None:
    return None if bound is None or isinstance(bound, str) else float(bound)


def _check_counts(site: SiteKey, dist: Simple, support: Counts, value: Tensor) -> None:
    if value.is_floating_point() and bool((value != value.round()).any()):
        bad = float(value[value != value.round()].reshape(-1)[0])
        raise UserError(f"`{site.path}` ~ {dist.label} takes whole numbers, but holds {bad:g}")
    high = _number(support.high)
    if support.labels and high is None:
        high = float(_categories(dist) - 1)
    _check_bounds(site, dist, float(support.low), high, value)


def finite_size(dist: Dist) -> int | None:
    """How many values ``0, 1, …`` a discrete site can have; None if there is no end."""
    inner = dist.inner if isinstance(dist, Branched) else dist
    if not isinstance(inner, Simple) or not isinstance(inner.family.support, Counts):
        return None
    support = inner.family.support
    high = _number(support.high)
    if high is not None:
        return int(high) + 1
    return _categories(inner) if support.labels else None


def _categories(dist: Simple) -> int:
    for parameter, tensor in zip(dist.family.parameters, dist.params, strict=True):
        if parameter.rank == 1:
            ordered = parameter.name == "cutpoints"
            return int(tensor.shape[-1]) + (1 if ordered else 0)
    return 2


def _check_bounds(
    site: SiteKey, dist: Dist, low: float | None, high: float | None, value: Tensor
) -> None:
    outside = torch.isnan(value)
    if low is not None:
        outside = outside | (value < low)
    if high is not None:
        outside = outside | (value > high)
    if bool(outside.any()):
        bad = float(value[outside].reshape(-1)[0])
        shown = f"{'-∞' if low is None else f'{low:g}'} … {'∞' if high is None else f'{high:g}'}"
        raise UserError(f"`{site.path}` holds {bad:g}, outside the support {shown} of {dist.label}")
