"""Arithmetic that several families share. Each function is a few torch operations."""

import math
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

LOG_2PI = math.log(2.0 * math.pi)
HALF_LOG_2PI = 0.5 * LOG_2PI
LOG_2 = math.log(2.0)
LOG_PI = math.log(math.pi)
INF = math.inf
SUM_TOLERANCE = 1e-4  # how far a simplex value's sum may be off one (as in R7)

Shape = tuple[int, ...]


# --- shapes and dtypes -------------------------------------------------------------------------


def broadcast(*shapes: Shape) -> Shape:
    """The common shape. (`torch.broadcast_shapes` would import sympy.)"""
    return np.broadcast_shapes(*shapes)


@cache
def _widest(dtypes: tuple[torch.dtype, ...]) -> torch.dtype:
    wide = dtypes[0]
    for dtype in dtypes[1:]:
        wide = torch.promote_types(wide, dtype)
    return wide


def as_float(y: Tensor, *params: Tensor) -> Tensor:
    """``y`` in the widest floating dtype of the computation, so that counts may be int64."""
    wide = _widest((y.dtype, *(p.dtype for p in params)))
    return y.to(wide if wide.is_floating_point else torch.get_default_dtype())


def as_real(y: Tensor, param: Tensor) -> Tensor:
    """``y``, or integers given for real numbers in the dtype of ``param``."""
    return y if y.is_floating_point() else y.to(param.dtype)


def where_inside(inside: Tensor, log_density: Tensor) -> Tensor:
    """``log_density`` inside the support, -inf outside."""
    return torch.where(inside, log_density, -INF)


def minus_outside(inside: Tensor, log_density: Tensor) -> Tensor:
    """As `where_inside` where the density is finite: cheaper, if the mask has fewer axes."""
    return log_density + torch.where(inside, 0.0, -INF)


def non_negative(y: Tensor, param: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` is inside the closed half line, and ``y`` with 0 put in elsewhere."""
    inside = (y >= 0) & (y < INF)
    return inside, torch.where(inside, as_real(y, param), 0.0)


def is_count(y: Tensor) -> Tensor:
    """Whether each float is one of 0, 1, 2, ..."""
    return (y >= 0) & (y == y.floor()) & (y < INF)


def pick(table: Tensor, index: Tensor) -> Tensor:  # (*n, k), (*m,) -> broadcast of *n, *m
    """Entry ``index`` of the last axis.

    Where no axis of ``index`` meets an axis of ``table`` (classes against rows, in a marginalized
    mixture), columns are selected, and the table is never spread over the rows of the index.
    """
    if table.dim() == 1:
        return table[index]
    shape = broadcast(table.shape[:-1], index.shape)
    own = (1,) * (len(shape) + 1 - table.dim()) + tuple(table.shape[:-1])
    other = (1,) * (len(shape) - index.dim()) + tuple(index.shape)
    if len(shape) > 1 and not any(a > 1 and b > 1 for a, b in zip(own, other, strict=True)):
        return _columns(table, index, own, other)
    rows = table.expand(*shape, table.shape[-1])
    return rows.gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)


def _columns(table: Tensor, index: Tensor, own: Shape, other: Shape) -> Tensor:
    """``(*own, k)`` at ``(*other)``, axes of the two nowhere longer than 1 together."""
    picked = table.reshape(-1, table.shape[-1]).index_select(-1, index.reshape(-1))
    long = [n for n in own if n > 1], [n for n in other if n > 1]
    places = [i for i, n in enumerate(own) if n > 1] + [i for i, n in enumerate(other) if n > 1]
    order = sorted(range(len(places)), key=places.__getitem__)
    apart = picked.reshape((*long[0], *long[1])).permute(order)
    return apart.reshape([max(a, b) for a, b in zip(own, other, strict=True)])


def log_pick(probs: Tensor, index: Tensor) -> Tensor:  # (*n, k), (*m,) -> broadcast of *n, *m
    """The logarithm of `pick` of weights, normalized; before picking where the table is smaller.

    Entries that are 0 are kept away from the logarithm: their slope is infinite, and entries that
    are not picked must not contribute 0 times infinity to a gradient.
    """
    total = probs.sum(-1)
    if probs.numel() >= math.prod(broadcast(probs.shape[:-1], index.shape)):
        return pick(probs, index).log() - total.log()
    some = probs > 0
    logs = torch.where(some, torch.where(some, probs, 1.0).log(), -INF)
    return pick(logs - total.log().unsqueeze(-1), index)


# --- special functions -------------------------------------------------------------------------


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), exact for every x. (torch's switches to x above 20.)"""
    return -logsigmoid(-x)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0 (Maechler 2012, Rmpfr vignette)."""
    near = x > -LOG_2
    return torch.where(
        near,
        torch.where(near, -torch.expm1(x), 1.0).log(),
        torch.log1p(-torch.where(near, -1.0, x).exp()),
    )


def log_rising(r: Tensor, y: Tensor) -> Tensor:
    """lgamma(r + y) - lgamma(r) for r > 0, y >= 0, without cancellation when r is large.

    Above 100 the difference of two Stirling series (error below 1e-13), else the plain difference.
    """
    large = r > 100.0
    small_r = torch.where(large, 1.0, r)
    big_r = torch.where(large, r, 100.0)
    plain = torch.lgamma(small_r + y) - torch.lgamma(small_r)
    total = big_r + y
    series = (
        torch.xlogy(y, big_r)
        + (total - 0.5) * torch.log1p(y / big_r)
        - y
        + _stirling_tail(total)
        - _stirling_tail(big_r)
    )
    return torch.where(large, series, plain)


def _stirling_tail(x: Tensor) -> Tensor:
    return (1 / 12 - x.square().reciprocal() / 360) / x


def log_choose(n: Tensor, y: Tensor) -> Tensor:
    """log of the binomial coefficient."""
    return torch.lgamma(n + 1) - torch.lgamma(y + 1) - torch.lgamma(n - y + 1)


# --- draws -------------------------------------------------------------------------------------


def _like(params: tuple[Tensor, ...]) -> Tensor:
    for p in params:
        if p.is_floating_point():
            return p
    return params[0].to(torch.get_default_dtype())


def draw_normal(params: tuple[Tensor, ...], shape: Shape, generator: Generator | None) -> Tensor:
    """Standard normal noise in the dtype and on the device of the parameters."""
    like = _like(params)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


def draw_uniform(params: tuple[Tensor, ...], shape: Shape, generator: Generator | None) -> Tensor:
    """Uniform noise, never exactly 0 or 1."""
    like = _like(params)
    u = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
    return inside_unit(u)


def draw_exponential(
    params: tuple[Tensor, ...], shape: Shape, generator: Generator | None
) -> Tensor:
    """Exponential noise with mean one."""
    like = _like(params)
    return torch.empty(shape, dtype=like.dtype, device=like.device).exponential_(
        generator=generator
    )


def draw_log_gamma(concentration: Tensor, shape: Shape, generator: Generator | None) -> Tensor:
    """The logarithm of a Gamma(concentration, 1) draw, finite for every concentration.

    With G ~ Gamma(a + 1) and U uniform, G U^(1/a) ~ Gamma(a) (Marsaglia and Tsang 2000, section
    8); its logarithm does not underflow. Gradients: implicit through G, explicit through U.
    """
    a = concentration.expand(shape)
    gamma = torch._standard_gamma(a + 1.0, generator=generator)
    return gamma.log() - draw_exponential((a,), shape, generator) / a


def inside_unit(x: Tensor) -> Tensor:
    """``x`` kept off 0 and 1 by the least that its dtype can tell apart."""
    info = torch.finfo(x.dtype)
    return x.clamp(info.tiny, 1.0 - info.eps)


def above_zero(x: Tensor) -> Tensor:
    """``x`` kept positive and finite: draws may under- or overflow, their support does not."""
    info = torch.finfo(x.dtype)
    return x.clamp(info.tiny, info.max)
