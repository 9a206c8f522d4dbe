"""Families between two bounds: the unit interval, an interval of parameters, the circle."""

import math

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.numeric import (
    LOG_2PI,
    Shape,
    as_real,
    draw_exponential,
    draw_log_gamma,
    draw_uniform,
    inside_unit,
    log1mexp,
    log_rising,
    softplus,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params


def _unit(y: Tensor, param: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` is inside the open unit interval, and ``y`` with 1/2 put in elsewhere."""
    inside = (y > 0) & (y < 1)
    return inside, torch.where(inside, as_real(y, param), 0.5)


# --- Uniform -----------------------------------------------------------------------------------


def _uniform_log_prob(y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    width = high - low
    inside = (y >= low) & (y <= high) & (width > 0)
    return where_inside(inside, -torch.where(width > 0, width, 1.0).log())


def _uniform_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    low, high = params
    return low + (high - low) * draw_uniform(params, shape, generator)


# --- Beta, Kumaraswamy -------------------------------------------------------------------------


def _beta_log_prob(y: Tensor, concentration1: Tensor, concentration0: Tensor) -> Tensor:
    inside, safe = _unit(y, concentration1)
    low = torch.minimum(concentration1, concentration0)
    high = torch.maximum(concentration1, concentration0)
    density = (
        (concentration1 - 1.0) * safe.log()
        + (concentration0 - 1.0) * torch.log1p(-safe)
        + log_rising(high, low)
        - torch.lgamma(low)
    )
    return where_inside(inside, density)


def _beta_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    one, zero = (draw_log_gamma(p, shape, generator) for p in params)
    return inside_unit(torch.sigmoid(one - zero))


def _kumaraswamy_log_prob(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    inside, safe = _unit(y, a)
    log_y = safe.log()
    density = a.log() + b.log() + (a - 1.0) * log_y + (b - 1.0) * log1mexp(a * log_y)
    return where_inside(inside, density)


def _kumaraswamy_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    a, b = params
    log_u = draw_uniform(params, shape, generator).log()
    return inside_unit(torch.exp(log1mexp(log_u / b) / a))


# --- ContinuousBernoulli -----------------------------------------------------------------------


def _continuous_bernoulli_log_prob(y: Tensor, logits: Tensor) -> Tensor:
    """exp(logits y) over its integral, (exp(logits) - 1) / logits (Loaiza-Ganem, Cunningham 2019).

    Near logits 0 the log integral minus logits/2 is even, and its series is used.
    """
    size = logits.abs()
    near = size < 1e-2
    safe = torch.where(near, 1.0, size)
    far_half = 0.5 * safe + log1mexp(-safe) - safe.log()
    square = torch.where(near, logits, 0.0).square()
    near_half = square / 24 - square.square() / 2880
    log_integral = torch.where(near, near_half, far_half)
    inside = (y >= 0) & (y <= 1)
    return where_inside(inside, logits * (as_real(y, logits) - 0.5) - log_integral)


def _continuous_bernoulli_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """Inverse distribution function, on the side where it does not overflow."""
    (logits,) = params
    u = draw_uniform(params, shape, generator)
    size = logits.abs()
    near = size < 1e-3
    safe = torch.where(near, 1.0, size)
    # The density falls from 0 when logits < 0; the other case is its mirror image.
    falling = -torch.log1p(u * torch.expm1(-safe)) / safe
    value = torch.where(near, u - 0.5 * size * u * (1.0 - u), falling)
    return torch.where(logits > 0, 1.0 - value, value).clamp(0.0, 1.0)


# --- RelaxedBernoulli --------------------------------------------------------------------------


def _relaxed_log_prob(y: Tensor, temperature: Tensor, logits: Tensor) -> Tensor:
    """Maddison, Mnih, Teh 2017, appendix B: a logistic seen through sigmoid(. / temperature)."""
    inside, safe = _unit(y, logits)
    log_y, log_rest = safe.log(), torch.log1p(-safe)
    gap = logits - temperature * (log_y - log_rest)
    density = temperature.log() + gap - 2.0 * softplus(gap) - log_y - log_rest
    return where_inside(inside, density)


def _relaxed_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    temperature, logits = params
    u = draw_uniform(params, shape, generator)
    return inside_unit(torch.sigmoid((logits + torch.logit(u)) / temperature))


# --- VonMises ----------------------------------------------------------------------------------


def _von_mises_log_prob(y: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    inside = (y >= -math.pi) & (y <= math.pi)
    half_chord = torch.sin(0.5 * (y - loc))  # cos - 1 = -2 sin^2(half), exact near the mode
    log_bessel = torch.special.i0e(concentration).log()
    density = -2.0 * concentration * half_chord.square() - LOG_2PI - log_bessel
    return where_inside(inside, density)


def _von_mises_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """Rejection from a wrapped Cauchy (Best and Fisher 1979), in float64, without gradients."""
    loc, kappa = (p.detach().double().expand(shape) for p in params)
    tau = 1.0 + (1.0 + 4.0 * kappa.square()).sqrt()
    rho = (tau - (2.0 * tau).sqrt()) / (2.0 * kappa)
    r = torch.where(kappa < 1e-4, 1.0 / kappa + kappa, (1.0 + rho.square()) / (2.0 * rho))
    angle = torch.zeros_like(loc)
    waiting = torch.ones(shape, dtype=torch.bool, device=loc.device)
    while bool(waiting.any()):
        z = torch.cos(math.pi * draw_uniform((loc,), shape, generator))
        f = ((1.0 + r * z) / (r + z)).clamp(-1.0, 1.0)
        c = kappa * (r - f)
        hazard = draw_exponential((loc,), shape, generator)
        accepted = waiting & (c.log() + 1.0 - c + hazard >= 0)
        side = torch.sign(draw_uniform((loc,), shape, generator) - 0.5)
        angle = torch.where(accepted, side * torch.acos(f), angle)
        waiting = waiting & ~accepted
    # Into [-pi, pi), also after rounding to a narrower dtype.
    wrapped = torch.remainder(angle + loc + math.pi, 2.0 * math.pi) - math.pi
    edge = 3.141592 if params[0].dtype != torch.float64 else math.pi
    return wrapped.clamp(-edge, edge).to(params[0].dtype)


DENSITIES = (
    Density("Uniform", _uniform_log_prob, _uniform_draw),
    Density("Beta", _beta_log_prob, _beta_draw),
    Density("Kumaraswamy", _kumaraswamy_log_prob, _kumaraswamy_draw),
    Density("ContinuousBernoulli", _continuous_bernoulli_log_prob, _continuous_bernoulli_draw),
    Density("RelaxedBernoulli", _relaxed_log_prob, _relaxed_draw),
    Density("VonMises", _von_mises_log_prob, _von_mises_draw, reparameterized=False),
)
