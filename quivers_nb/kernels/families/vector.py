"""Families of vectors; the last axis is the event."""

import math
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.kernels.bijectors.simplex import StickBreaking
from quivers_nb.kernels.families.discrete import race
from quivers_nb.kernels.families.normal import normal_log_prob
from quivers_nb.kernels.families.numeric import (
    HALF_LOG_2PI,
    SUM_TOLERANCE,
    Shape,
    as_real,
    draw_exponential,
    draw_log_gamma,
    draw_normal,
    draw_uniform,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params

_STICKS = StickBreaking()


def _simplex(y: Tensor, param: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` lies inside the simplex, and ``y`` with the center put in elsewhere."""
    y = as_real(y, param)
    inside = ((y <= 0).sum(-1) == 0) & ((y.sum(-1) - 1.0).abs() < SUM_TOLERANCE)
    return inside, torch.where(inside.unsqueeze(-1), y, 1.0 / y.shape[-1])


def _to_simplex(log_weights: Tensor) -> Tensor:
    """Normalized weights, kept off the faces by the least that the dtype can tell from zero."""
    return torch.softmax(log_weights, -1).clamp(min=torch.finfo(log_weights.dtype).tiny)


# --- simplex -----------------------------------------------------------------------------------


def _dirichlet_log_prob(y: Tensor, concentration: Tensor) -> Tensor:
    inside, safe = _simplex(y, concentration)
    log_constant = torch.lgamma(concentration.sum(-1)) - torch.lgamma(concentration).sum(-1)
    return where_inside(inside, ((concentration - 1.0) * safe.log()).sum(-1) + log_constant)


def _dirichlet_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    (concentration,) = params
    full = (*shape, concentration.shape[-1])
    return _to_simplex(draw_log_gamma(concentration, full, generator))


def _one_less(width: int) -> int:
    return width - 1


def _logistic_normal_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    inside, safe = _simplex(y, loc)
    u = _STICKS.inverse(safe)
    _, log_det = _STICKS.forward_and_log_det(u)
    return where_inside(inside, normal_log_prob(u, loc, scale).sum(-1) - log_det)


def _logistic_normal_from_noise(noise: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return _STICKS.forward(loc + scale * noise)


def _logistic_normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    noise = draw_normal(params, (*shape, params[0].shape[-1]), generator)
    value = _logistic_normal_from_noise(noise, *params)
    return value.clamp(min=torch.finfo(value.dtype).tiny)


def _relaxed_one_hot_log_prob(y: Tensor, temperature: Tensor, logits: Tensor) -> Tensor:
    """Maddison, Mnih, Teh 2017, equation 10."""
    inside, safe = _simplex(y, logits)
    size = y.shape[-1]
    log_y = safe.log()
    score = logits - temperature.unsqueeze(-1) * log_y
    constant = torch.lgamma(log_y.new_tensor(float(size))) + (size - 1) * temperature.log()
    density = (score - log_y).sum(-1) - size * torch.logsumexp(score, -1) + constant
    return where_inside(inside, density)


def _relaxed_one_hot_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    temperature, logits = params
    clocks = draw_exponential((logits,), (*shape, logits.shape[-1]), generator)
    return _to_simplex((logits - clocks.log()) / temperature.unsqueeze(-1))


# --- Horseshoe ----------------------------------------------------------------------------------

LOCAL_SCALES = 16  # half-Cauchy scales that the density mixes over (section 8)


@cache
def _local_scales(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """log tan(pi t / 2) at Gauss-Legendre nodes t of (0, 1), and the log weights."""
    nodes, weights = np.polynomial.legendre.leggauss(LOCAL_SCALES)
    with torch.inference_mode(False):  # cached, so that autograd may save it later
        log_scales = torch.tensor(np.log(np.tan(0.25 * np.pi * (nodes + 1.0))))
        log_weights = torch.tensor(np.log(0.5 * weights))
        return log_scales.to(device, dtype), log_weights.to(device, dtype)


def _horseshoe_log_prob(y: Tensor, scale: Tensor) -> Tensor:  # (*n, d), (*n,) -> (*n,)
    """Carvalho, Polson, Scott 2010: each entry scale times half-Cauchy times normal."""
    y = as_real(y, scale)
    log_scales, log_weights = _local_scales(y.dtype, y.device)
    log_total = log_scales + scale[..., None, None].log()
    z = y.unsqueeze(-1) * (-log_total).exp()
    terms = log_weights - log_total - 0.5 * z.square() - HALF_LOG_2PI
    return torch.logsumexp(terms, -1).sum(-1)


def _horseshoe_draw(params: Params, shape: Shape, generator: Generator | None, size: int) -> Tensor:
    (scale,) = params
    full = (*shape, size)
    local = torch.tan(0.5 * math.pi * draw_uniform(params, full, generator))
    return scale.unsqueeze(-1) * local * draw_normal(params, full, generator)


# --- one-hot -----------------------------------------------------------------------------------


def _one_hot_log_prob(y: Tensor, logits: Tensor) -> Tensor:
    hot = y == 1
    inside = ((hot | (y == 0)).sum(-1) == y.shape[-1]) & (hot.sum(-1) == 1)
    chosen = torch.where(hot, torch.log_softmax(logits, -1), 0.0).sum(-1)
    return where_inside(inside, chosen)


def _one_hot_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    (logits,) = params
    index = race(params, shape, generator).unsqueeze(-1)
    return logits.new_zeros((*shape, logits.shape[-1])).scatter(-1, index, 1.0)


# --- multivariate normal -----------------------------------------------------------------------


def solve_lower(factor: Tensor, x: Tensor) -> Tensor:  # (*n, d, d), (*n, d) -> (*n, d)
    """``factor^-1 x``; a factor shared by the rows of ``x`` is solved against in one call."""
    if factor.dim() == 2:
        columns = x.reshape(-1, x.shape[-1]).mT
        return _solve(factor, columns).mT.reshape(x.shape)
    if _shared_by_rows(factor, x):
        return _solve(factor.squeeze(-3), x.mT).mT
    return _solve(factor, x.unsqueeze(-1)).squeeze(-1)


def _shared_by_rows(factor: Tensor, x: Tensor) -> bool:
    return factor.dim() > 2 and factor.shape[-3] == 1 and x.dim() > 1


def _solve(factor: Tensor, columns: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return solved


def _multivariate_log_prob(y: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    z = solve_lower(scale_tril, y - loc)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * z.square().sum(-1) - log_det - y.shape[-1] * HALF_LOG_2PI


def _multivariate_from_noise(noise: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    if scale_tril.dim() == 2:
        return loc + noise @ scale_tril.mT
    if _shared_by_rows(scale_tril, noise):
        return loc + noise @ scale_tril.squeeze(-3).mT
    scaled: Tensor = (scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return loc + scaled


def _multivariate_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    noise = draw_normal(params, (*shape, params[0].shape[-1]), generator)
    return _multivariate_from_noise(noise, *params)


def _low_rank_log_prob(y: Tensor, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor) -> Tensor:
    """Woodbury: with A = D^-1/2 F only the r x r matrix I + A'A is factored."""
    root = cov_diag.sqrt()
    scaled = cov_factor / root.unsqueeze(-1)
    inner = _cholesky_above_identity(scaled.mT @ scaled)
    x = (y - loc) / root
    explained = solve_lower(inner, (scaled.mT @ x.unsqueeze(-1)).squeeze(-1))
    square = (x.square().sum(-1) - explained.square().sum(-1)).clamp(min=0.0)
    log_det = root.log().sum(-1) + inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * square - log_det - y.shape[-1] * HALF_LOG_2PI


def _low_rank_from_noise(
    noise: Tensor, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor
) -> Tensor:
    """Noise through the Cholesky factor of the covariance, D^1/2 times that of I + AA'."""
    root = cov_diag.sqrt().unsqueeze(-1)
    scaled = cov_factor / root
    factor = root * _cholesky_above_identity(scaled @ scaled.mT)
    return _multivariate_from_noise(noise, loc, factor)


def _cholesky_above_identity(gram: Tensor) -> Tensor:  # (*n, d, d) -> (*n, d, d)
    """The factor of I + gram, lifted so that rounding of its largest entries leaves it definite."""
    size = gram.shape[-1]
    rounding = 4.0 * size * torch.finfo(gram.dtype).eps
    lift = 1.0 + rounding * gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
    factor: Tensor = torch.linalg.cholesky_ex(gram + lift[..., None, None] * identity).L
    return factor


def _low_rank_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    noise = draw_normal(params, (*shape, params[0].shape[-1]), generator)
    return _low_rank_from_noise(noise, *params)


DENSITIES = (
    Density("Dirichlet", _dirichlet_log_prob, _dirichlet_draw),
    Density(
        "LogisticNormal",
        _logistic_normal_log_prob,
        _logistic_normal_draw,
        _logistic_normal_from_noise,
        noise_width=_one_less,
    ),
    Density("Horseshoe", _horseshoe_log_prob, sized_draw=_horseshoe_draw),
    Density("RelaxedOneHotCategorical", _relaxed_one_hot_log_prob, _relaxed_one_hot_draw),
    Density("OneHotCategorical", _one_hot_log_prob, _one_hot_draw, reparameterized=False),
    Density(
        "MultivariateNormal",
        _multivariate_log_prob,
        _multivariate_draw,
        _multivariate_from_noise,
    ),
    Density("LowRankMVN", _low_rank_log_prob, _low_rank_draw, _low_rank_from_noise),
)
