"""Logarithms of the regularized incomplete beta and gamma functions, as smooth tensor operations.

Each is a tail of a log-concave density in u = logit(x) or log(x), so beyond the point

    integral of density(t) dt = density(u) * integral from 0 to infinity of exp(g(w)) dw

with g(0) = 0 and g concave. The second factor is a trapezoid sum after w = scale exp(t - exp(-t))
(double exponential; Takahasi and Mori 1974, section 4), over the same nodes for every argument:
no loop, no branch, and all derivatives by autograd. The shorter tail is summed, the other is its
complement. For shapes between 1e-3 and 1e4 the errors of the logarithms stay below 1e-10 (absolute,
or relative where they are beyond one); ``tests/kernels/test_incomplete.py`` measures them.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.kernels.families.numeric import INF, log1mexp, log_rising

NODES = 144
REACH = (-3.5, 4.5)  # of t: beyond it the weights, or exp(g), are below 1e-15
NARROW = 0.5  # shapes below it have their mass in a corner, on whose side they are summed
ALMOST_ZERO = -1e-300


def log_beta_inc(a: Tensor, b: Tensor, x: Tensor, rest: Tensor | None = None) -> Tensor:
    """log I_x(a, b), elementwise for x in [0, 1]: P(Beta(a, b) <= x).

    ``rest`` is 1 - x, where it is known with more digits than the difference has.
    """
    return _beta_sides(a, b, x, 1.0 - x if rest is None else rest)[0]


def log_beta_inc_upper(a: Tensor, b: Tensor, x: Tensor, rest: Tensor | None = None) -> Tensor:
    """log(1 - I_x(a, b)), without cancellation."""
    return _beta_sides(a, b, x, 1.0 - x if rest is None else rest)[1]


def log_gamma_inc(a: Tensor, x: Tensor) -> Tensor:
    """log P(a, x) for x >= 0, elementwise: the Gamma(a, 1) distribution function."""
    return _gamma_sides(a, x)[0]


def log_gamma_inc_upper(a: Tensor, x: Tensor) -> Tensor:
    """log Q(a, x) = log(1 - P(a, x)), without cancellation."""
    return _gamma_sides(a, x)[1]


def inverse(name: str, p: Tensor, *shapes: Tensor) -> Tensor:
    """A function of `scipy.special` such as ``betaincinv(*shapes, p)``; no gradients.

    Whoever records operations is told that numbers leave the world of tensors here: scipy's results
    would otherwise be taken for constants, and replayed as such.
    """
    for tensor in (*shapes, p):
        tensor.detach().sum().item()
    arrays = [tensor.detach().cpu().double().numpy() for tensor in (*shapes, p)]
    return torch.as_tensor(_special(name)(*arrays), dtype=torch.float64).to(p.device)


def _special(name: str) -> Callable[..., Any]:
    """scipy is loaded when it is first needed: only draws invert distribution functions."""
    return getattr(import_module("scipy.special"), name)  # type: ignore[no-any-return]


# --- the rule -----------------------------------------------------------------------------------


@cache
def _rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes of the half line and their log weights."""
    t = np.linspace(*REACH, NODES)
    nodes = np.exp(t - np.exp(-t))
    weights = nodes * (1.0 + np.exp(-t)) * (t[1] - t[0])
    with torch.inference_mode(False):  # cached, so that autograd may save it later
        return tuple(torch.tensor(v, device=device) for v in (nodes, np.log(weights)))  # type: ignore[return-value]


def _log_integral(g: Callable[[Tensor], Tensor], scale: Tensor) -> Tensor:
    """log of the integral of exp(g) over the half line, g given on ``(*n, nodes)``.

    The sum hardly depends on the scale, so its derivative to the scale is left out.
    """
    nodes, log_weights = _rule(scale.device)
    scale = scale.detach()
    return torch.logsumexp(g(scale.unsqueeze(-1) * nodes) + log_weights, -1) + scale.log()


def _scale(slope: Tensor, curvature: Tensor) -> Tensor:
    """How far exp(g) reaches, by the first two derivatives of g at 0."""
    return (slope.clamp(min=0.0).square() + curvature).rsqrt()


def _sides(lower: Tensor, log_tail: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides, from the tail that was summed."""
    rest = log1mexp(log_tail.clamp(max=ALMOST_ZERO))
    return torch.where(lower, log_tail, rest), torch.where(lower, rest, log_tail)


def _wide(*tensors: Tensor) -> tuple[list[Tensor], torch.dtype]:
    """The arguments in double precision and of one shape, and the dtype that was asked for."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [t.double() for t in torch.broadcast_tensors(*tensors)], dtype


# --- beta ---------------------------------------------------------------------------------------


def _beta_sides(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    (a, b, x, rest), dtype = _wide(a, b, x, rest)
    inside = (x > 0) & (rest > 0)
    below, above = (torch.where(inside, part, 0.5) for part in (x, rest))
    total = a + b
    corner_low = (a < NARROW) & (total * below < NARROW)
    corner_high = (b < NARROW) & (total * above < NARROW)
    lower = torch.where(corner_low == corner_high, total * below <= a, corner_low)
    tail = _beta_tail(
        torch.where(lower, a, b), torch.where(lower, b, a),
        torch.where(lower, below, above), torch.where(lower, above, below),
    )  # fmt: skip
    sides = _sides(lower, tail)
    ends = (x > 0, rest > 0)  # where the mass of a side is one, beyond the interval
    return tuple(  # type: ignore[return-value]
        torch.where(inside, side, torch.where(full, 0.0, -INF)).to(dtype)
        for side, full in zip(sides, ends, strict=True)
    )


def _beta_tail(a: Tensor, b: Tensor, x: Tensor, rest: Tensor) -> Tensor:
    """log I_x(a, b) by g(w) = -a w - (a + b) log(1 - x (1 - exp(-w)))."""
    total = a + b
    scale = _scale(a - total * x, torch.minimum(total * x * rest, a * a))

    def g(w: Tensor) -> Tensor:
        down = x.unsqueeze(-1) * torch.expm1(-w)
        near = down > -0.5
        left = rest.unsqueeze(-1) + x.unsqueeze(-1) * (-w).exp()
        log_left = torch.where(near, torch.log1p(torch.where(near, down, 0.0)), left.log())
        return -a.unsqueeze(-1) * w - total.unsqueeze(-1) * log_left

    low, high = torch.minimum(a, b), torch.maximum(a, b)
    log_density = a * x.log() + b * rest.log() + log_rising(high, low) - torch.lgamma(low)
    return log_density + _log_integral(g, scale)


# --- gamma --------------------------------------------------------------------------------------


def _gamma_sides(a: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    (a, x), dtype = _wide(a, x)
    above, below = (x > 0) & (a < INF), x < INF
    inside = above & below
    shape, at = torch.where(inside, a, 1.0), torch.where(inside, x, 1.0)
    lower = at <= torch.where(shape < NARROW, NARROW, shape)
    sides = _sides(lower, _gamma_tail(shape, at, torch.where(lower, 1.0, -1.0)))
    ends = (above, below)
    return tuple(  # type: ignore[return-value]
        torch.where(inside, side, torch.where(full, 0.0, -INF)).to(dtype)
        for side, full in zip(sides, ends, strict=True)
    )


def _gamma_tail(a: Tensor, x: Tensor, sign: Tensor) -> Tensor:
    """log P(a, x) for sign 1, log Q(a, x) for -1, by g(w) = -sign a w - x (exp(-sign w) - 1)."""
    curvature = torch.where(sign > 0, torch.minimum(x, a * a), x)
    scale = _scale(sign * (a - x), curvature)

    def g(w: Tensor) -> Tensor:
        signed = sign.unsqueeze(-1) * w
        return -a.unsqueeze(-1) * signed - x.unsqueeze(-1) * torch.expm1(-signed)

    return a * x.log() - x - torch.lgamma(a) + _log_integral(g, scale)
