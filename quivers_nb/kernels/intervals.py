"""Masses of intervals and draws inside them, for families that have a distribution function.

A bound is a number or a tensor; an absent one is the number -inf or inf, never a tensor of it, so
that no gradient meets an infinity. An interval of counts holds its ends.
"""

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.cdfs import CDFS
from quivers_nb.kernels.families.numeric import INF, Shape, draw_uniform, log1mexp
from quivers_nb.kernels.family import Params

Bound = float | Tensor


def larger(a: Bound, b: Bound) -> Bound:
    """The larger bound, elementwise."""
    return -smaller(-a, -b)


def smaller(a: Bound, b: Bound) -> Bound:
    """The smaller bound, elementwise; an absent one is kept a number."""
    if isinstance(a, float | int) and isinstance(b, float | int):
        return float(min(a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    tensor, number = (a, float(b)) if isinstance(a, Tensor) else (b, float(a))
    if number == INF:
        return tensor
    return number if number == -INF else tensor.clamp(max=number)  # type: ignore[union-attr]


def unbounded(interval: tuple[Bound, Bound]) -> bool:
    """Whether an interval is the whole line."""
    return _absent(interval[0]) and _absent(interval[1])


def log_difference(big: Tensor, small: Tensor) -> Tensor:
    """log(exp(big) - exp(small)); -inf where there is nothing between them."""
    gap = small - big
    proper = gap < 0
    return torch.where(proper, big + log1mexp(torch.where(proper, gap, -1.0)), -INF)


def log_interval(
    family: str, params: Params, low: Bound, high: Bound, *, discrete: bool = False
) -> Tensor:
    """log P(low <= Y <= high), from the side on which the interval is the smaller part.

    Both ends belong to an interval of counts.
    """
    cdf = CDFS[family]
    like = params[0]
    if discrete and not _absent(low):
        low = _tensor(low, like).ceil() - 1.0
    if _absent(low) and _absent(high):
        return torch.zeros((), dtype=like.dtype, device=like.device)
    if _absent(low):
        return cdf.log_cdf(_tensor(high, like), *params)
    start = _tensor(low, like)
    if _absent(high):
        return cdf.log_sf(start, *params)
    stop = _tensor(high, like)
    below, above = cdf.log_sf(start, *params), cdf.log_cdf(stop, *params)
    from_above = log_difference(below, cdf.log_sf(stop, *params))
    from_below = log_difference(above, cdf.log_cdf(start, *params))
    return torch.where(below < above, from_above, from_below)


def draw_between(
    family: str,
    params: Params,
    shape: Shape,
    generator: Generator | None,
    interval: tuple[Bound, Bound],
) -> Tensor:
    """Draws of a continuous family inside an interval, by its inverse distribution function.

    The draws carry no gradient; see `with_gradient`.
    """
    cdf = CDFS[family]
    assert cdf.quantile is not None, family
    assert cdf.upper_quantile is not None, family
    with torch.no_grad():
        uniform = draw_uniform(params, shape, generator)
        u = uniform.double()  # a probability of 1e-40 is no zero
        wide = tuple(p.double() for p in params)
        low, high = (_tensor(bound, wide[0]) for bound in interval)
        below, above = cdf.log_cdf(low, *wide).exp(), cdf.log_cdf(high, *wide).exp()
        right, left = cdf.log_sf(low, *wide).exp(), cdf.log_sf(high, *wide).exp()
        upper = (right < above).expand(shape)
        from_below = cdf.quantile(_probability(below + u * (above - below)), *wide)
        from_above = cdf.upper_quantile(_probability(left + u * (right - left)), *wide)
        value = torch.where(upper, from_above, from_below)
        return torch.minimum(torch.maximum(value, low), high).to(uniform.dtype)


def draw_counts_between(
    family: str,
    params: Params,
    shape: Shape,
    generator: Generator | None,
    interval: tuple[Bound, Bound],
) -> Tensor:
    """Counts inside an interval, by bisection of the distribution function; int64."""
    cdf = CDFS[family]
    with torch.no_grad():
        u = draw_uniform(params, shape, generator).double()
        wide = tuple(p.double() for p in params)
        start = larger(interval[0], 0.0)
        low = _tensor(start, wide[0]).ceil().expand(shape)
        high = _tensor(interval[1], wide[0]).floor().expand(shape)
        below, above = cdf.log_cdf(low - 1.0, *wide).exp(), cdf.log_cdf(high, *wide).exp()
        right, left = cdf.log_sf(low - 1.0, *wide).exp(), cdf.log_sf(high, *wide).exp()
        upper = right < above
        target = torch.where(upper, right - u * (right - left), below + u * (above - below))

        def reached(k: Tensor) -> Tensor:
            """Whether at least the share u of the mass lies at or below k."""
            more = cdf.log_cdf(k, *wide).exp() >= target
            less = cdf.log_sf(k, *wide).exp() <= target
            return torch.where(upper, less, more) | (k >= high)

        short, long = low - 1.0, low
        step = torch.ones_like(low)
        while not bool((done := reached(long)).all()) and bool((step < 2.0**40).all()):
            short = torch.where(done, short, long)
            long = torch.where(done, long, torch.minimum(long + step, high))
            step = 2.0 * step
        while bool((long - short > 1.0).any()):
            middle = ((long + short) / 2.0).floor()
            done = reached(middle) & (middle > short)
            short = torch.where(done | (long - short <= 1.0), short, middle)
            long = torch.where(done, middle, long)
        return long.long()


def with_gradient(y: Tensor, log_below: Tensor, log_above: Tensor, log_density: Tensor) -> Tensor:
    """``y`` with the gradients of a draw by inversion, without inverting anything.

    ``log_below`` and ``log_above`` are the logarithms of the shares of mass below and above the
    detached ``y``, as functions of the parameters; ``log_density`` is that of the same distribution
    at ``y``. Implicit reparameterization: dy = -dF / f (Figurnov, Mohamed and Mnih 2018,
    equation 5), taken from the side with less mass.
    """
    lower = (log_below < log_above).detach()
    log_share = torch.where(lower, log_below, log_above)
    sign = torch.where(lower, -1.0, 1.0)
    slope = sign * (log_share - log_density).exp().detach()
    slope = torch.where(slope.isfinite(), slope, 0.0)
    moved = torch.where(log_share.isfinite(), log_share, 0.0)
    return y + (slope * (moved - moved.detach())).to(y.dtype)


def _absent(bound: Bound) -> bool:
    return isinstance(bound, float) and bound in (-INF, INF)


def _tensor(bound: Bound, like: Tensor) -> Tensor:
    if isinstance(bound, Tensor):
        return bound.to(like.dtype)
    return torch.full((), float(bound), dtype=like.dtype, device=like.device)


def _probability(p: Tensor) -> Tensor:
    return p.clamp(torch.finfo(torch.float64).tiny, 1.0 - 1e-16)
