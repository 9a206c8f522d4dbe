"""Monotone rational-quadratic splines, the identity outside an interval.

Gregory & Delbourgo (1982), "Piecewise rational quadratic interpolation to monotonic data"; Durkan
et al. (2019), "Neural spline flows", equations 4-5 and appendix A.
"""

from math import expm1, log

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax, softplus

MIN_SIZE = 1e-3  # of a bin, as a part of the interval
MIN_SLOPE = 1e-3
_SLOPE_ONE = log(expm1(1.0 - MIN_SLOPE))  # raw 0 is slope 1


def rational_quadratic(
    value: Tensor,  # (*n,)
    widths: Tensor,  # (*n, K) unconstrained
    heights: Tensor,  # (*n, K) unconstrained
    slopes: Tensor,  # (*n, K - 1) unconstrained, at the inner knots; 1 at the ends
    bound: float,
    *,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """The spline's value and the log of its derivative, ``(*n,)`` each; zeros give the identity."""
    inside = value.abs() < bound
    clamped = value.clamp(-bound, bound)
    x, y = _knots(widths, bound), _knots(heights, bound)
    slope = pad(softplus(slopes + _SLOPE_ONE) + MIN_SLOPE, (1, 1), value=1.0)
    searched = y if inverse else x
    place = (clamped.unsqueeze(-1) >= searched[..., 1:-1]).sum(-1, keepdim=True)
    x0, y0, d0 = (_at(knots, place) for knots in (x, y, slope))
    x1, y1, d1 = (_at(knots, place + 1) for knots in (x, y, slope))
    width, height = x1 - x0, y1 - y0
    mean = height / width
    if inverse:
        theta = _solve(clamped - y0, height, mean, d0, d1)
        result = x0 + width * theta
    else:
        theta = (clamped - x0) / width
        top = height * (mean * theta.square() + d0 * theta * (1 - theta))
        result = y0 + top / (mean + (d0 + d1 - 2 * mean) * theta * (1 - theta))
    log_slope = _log_slope(theta, mean, d0, d1)
    image = torch.where(inside, result, value)
    log_derivative = torch.where(inside, -log_slope if inverse else log_slope, 0.0)
    return image, log_derivative


def _knots(raw: Tensor, bound: float) -> Tensor:  # (*n, K) -> (*n, K + 1)
    """Increasing from -bound to bound, no gap below `MIN_SIZE` of the whole."""
    parts = MIN_SIZE + (1 - MIN_SIZE * raw.shape[-1]) * softmax(raw, -1)
    inner = 2 * bound * parts[..., :-1].cumsum(-1) - bound
    return pad(pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def _at(knots: Tensor, place: Tensor) -> Tensor:
    return knots.gather(-1, place).squeeze(-1)


def _solve(rise: Tensor, height: Tensor, mean: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """The root in [0, 1] of the quadratic of equations 6-8, in the form without cancellation."""
    excess = d0 + d1 - 2 * mean
    a = height * (mean - d0) + rise * excess
    b = height * d0 - rise * excess
    c = -mean * rise
    discriminant = (b.square() - 4 * a * c).clamp(min=0.0)
    return 2 * c / (-b - discriminant.sqrt())


def _log_slope(theta: Tensor, mean: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """Equation 5."""
    rest = 1 - theta
    top = d1 * theta.square() + 2 * mean * theta * rest + d0 * rest.square()
    bottom = mean + (d0 + d1 - 2 * mean) * theta * rest
    return 2 * mean.log() + top.log() - 2 * bottom.log()
