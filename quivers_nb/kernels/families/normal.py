"""Families made from the normal distribution."""

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.numeric import (
    HALF_LOG_2PI,
    INF,
    LOG_2,
    Shape,
    above_zero,
    as_real,
    draw_exponential,
    draw_normal,
    draw_uniform,
    inside_unit,
    log1mexp,
    non_negative,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params


def normal_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise."""
    z = (y - loc) / scale
    return -0.5 * z * z - scale.log() - HALF_LOG_2PI


def normal_from_noise(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise."""
    return torch.addcmul(loc, scale, noise)


def _normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return normal_from_noise(draw_normal(params, shape, generator), *params)


# --- LogNormal, LogitNormal: a normal seen through exp or sigmoid ------------------------------


def _log_normal_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    inside = (y > 0) & (y < INF)
    log_y = torch.where(inside, as_real(y, scale), 1.0).log()
    return where_inside(inside, normal_log_prob(log_y, loc, scale) - log_y)


def _log_normal_from_noise(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return normal_from_noise(noise, loc, scale).exp()


def _log_normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return above_zero(_log_normal_from_noise(draw_normal(params, shape, generator), *params))


def _logit_normal_log_prob(y: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    inside = (y > 0) & (y < 1)
    safe = torch.where(inside, as_real(y, sigma), 0.5)
    log_y, log_rest = safe.log(), torch.log1p(-safe)
    density = normal_log_prob(log_y - log_rest, mu, sigma) - log_y - log_rest
    return where_inside(inside, density)


def _logit_normal_from_noise(noise: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    return normal_from_noise(noise, mu, sigma).sigmoid()


def _logit_normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return inside_unit(_logit_normal_from_noise(draw_normal(params, shape, generator), *params))


# --- HalfNormal, TruncatedNormal ---------------------------------------------------------------


def _half_normal_log_prob(y: Tensor, scale: Tensor) -> Tensor:
    inside, safe = non_negative(y, scale)
    z = safe / scale
    return where_inside(inside, -0.5 * z * z - scale.log() - (HALF_LOG_2PI - LOG_2))


def _half_normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return params[0] * draw_normal(params, shape, generator).abs()


def _left_tail(
    mu: Tensor, sigma: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardized bounds, mirrored where they lie to the right, so that tails stay accurate."""
    a, b = (low - mu) / sigma, (high - mu) / sigma
    mirrored = a > 0
    return torch.where(mirrored, -b, a), torch.where(mirrored, -a, b), mirrored


def log_normal_mass(mu: Tensor, sigma: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """log P(low < X < high) of a normal X."""
    a, b, _ = _left_tail(mu, sigma, low, high)
    # Finite stand-ins keep the gradient of log_ndtr finite at infinite bounds.
    log_b = torch.special.log_ndtr(b.clamp(max=_FAR))
    log_a = torch.special.log_ndtr(a.clamp(min=-_FAR))
    gap = log_a - log_b
    proper = gap < 0
    return where_inside(proper, log_b + log1mexp(torch.where(proper, gap, -1.0)))


_FAR = 1e6  # standard deviations; log_ndtr(-1e6) is -5e11, in either dtype


def _truncated_log_prob(y: Tensor, mu: Tensor, sigma: Tensor, low: Tensor, high: Tensor) -> Tensor:
    log_mass = log_normal_mass(mu, sigma, low, high)
    inside = (y >= low) & (y <= high) & (log_mass > -INF)
    density = normal_log_prob(torch.where(inside, y, low), mu, sigma)
    return where_inside(inside, density - torch.where(inside, log_mass, 0.0))


def _truncated_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """Inverse of the log distribution function, in float64: Phi itself is lost in far tails."""
    u = draw_uniform(params, shape, generator)
    mu, sigma, low, high = (p.double() for p in params)
    a, b, mirrored = _left_tail(mu, sigma, low, high)
    log_a, log_b = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    share = (log_a - log_b).exp()  # of the mass below b that lies below a
    z = _quantile_of_log(log_b + torch.log(share + u.double() * (1.0 - share)))
    value = mu + sigma * torch.where(mirrored, -z, z)
    return torch.minimum(torch.maximum(value, low), high).to(u.dtype)


def _quantile_of_log(log_p: Tensor) -> Tensor:
    """The normal quantile of exp(log_p); in the far tail by Newton steps on the concave log Phi."""
    far = log_p < -15.0
    near = torch.special.ndtri(torch.where(far, -1.0, log_p).exp().clamp(max=1.0 - 1e-16))
    z = -(-2.0 * torch.where(far, log_p, -15.0).clamp(min=-1e300)).sqrt()
    for _ in range(6):
        level = torch.special.log_ndtr(z)
        slope = (-0.5 * z * z - HALF_LOG_2PI - level).exp()
        z = z - (level - torch.where(far, log_p, -15.0)) / slope
    return torch.where(far, z, near)


# --- MixtureNormal -----------------------------------------------------------------------------


def _mixture_log_prob(y: Tensor, weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    present = weights > 0
    parts = normal_log_prob(y.unsqueeze(-1), loc, scale) + torch.where(present, weights, 1.0).log()
    return torch.logsumexp(where_inside(present, parts), -1)


def _mixture_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    weights, loc, scale = params
    components = (*shape, weights.shape[-1])
    race = draw_exponential(params, components, generator) / weights
    chosen = race.argmin(-1, keepdim=True)
    noise = draw_normal(params, shape, generator)
    centers = loc.expand(components).gather(-1, chosen).squeeze(-1)
    scales = scale.expand(components).gather(-1, chosen).squeeze(-1)
    return centers + scales * noise


DENSITIES = (
    Density("Normal", normal_log_prob, _normal_draw, normal_from_noise),
    Density("LogNormal", _log_normal_log_prob, _log_normal_draw, _log_normal_from_noise),
    Density("LogitNormal", _logit_normal_log_prob, _logit_normal_draw, _logit_normal_from_noise),
    Density("HalfNormal", _half_normal_log_prob, _half_normal_draw),
    Density("TruncatedNormal", _truncated_log_prob, _truncated_draw),
    Density("MixtureNormal", _mixture_log_prob, _mixture_draw, reparameterized=False),
)
