"""Families of positive numbers built on exponentials and gammas."""

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.numeric import (
    INF,
    LOG_2,
    Shape,
    above_zero,
    as_real,
    draw_exponential,
    draw_log_gamma,
    log_rising,
    non_negative,
    softplus,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params


def _positive(y: Tensor, param: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` is inside the open half line, and ``y`` with 1 put in elsewhere."""
    inside = (y > 0) & (y < INF)
    return inside, torch.where(inside, as_real(y, param), 1.0)


def _exponential_log_prob(y: Tensor, rate: Tensor) -> Tensor:
    inside, safe = non_negative(y, rate)
    return where_inside(inside, rate.log() - rate * safe)


def _exponential_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return draw_exponential(params, shape, generator) / params[0]


# --- gammas ------------------------------------------------------------------------------------


def _gamma_log_prob(y: Tensor, concentration: Tensor, rate: Tensor) -> Tensor:
    inside, safe = _positive(y, rate)
    return where_inside(inside, _gamma_formula(safe, concentration, rate))


def _gamma_formula(y: Tensor, concentration: Tensor, rate: Tensor) -> Tensor:
    return (
        concentration * rate.log()
        + (concentration - 1.0) * y.log()
        - rate * y
        - torch.lgamma(concentration)
    )


def _gamma_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    concentration, rate = params
    gamma = torch._standard_gamma(concentration.expand(shape), generator=generator)
    return above_zero(gamma / rate)


def _inverse_gamma_log_prob(y: Tensor, concentration: Tensor, rate: Tensor) -> Tensor:
    inside, safe = _positive(y, rate)
    density = (
        concentration * rate.log()
        - (concentration + 1.0) * safe.log()
        - rate / safe
        - torch.lgamma(concentration)
    )
    return where_inside(inside, density)


def _inverse_gamma_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    concentration, rate = params
    return above_zero(rate * torch.exp(-draw_log_gamma(concentration, shape, generator)))


def _chi2_log_prob(y: Tensor, df: Tensor) -> Tensor:
    inside, safe = _positive(y, df)
    half = 0.5 * df
    density = (half - 1.0) * safe.log() - 0.5 * safe - half * LOG_2 - torch.lgamma(half)
    return where_inside(inside, density)


def _chi2_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    half = (0.5 * params[0]).expand(shape)
    return above_zero(2.0 * torch._standard_gamma(half, generator=generator))


def _fisher_log_prob(y: Tensor, df1: Tensor, df2: Tensor) -> Tensor:
    inside, safe = _positive(y, df1)
    a, b = 0.5 * df1, 0.5 * df2
    log_odds = (df1 / df2).log() + safe.log()
    log_beta = torch.lgamma(a) - log_rising(b, a)
    density = a * log_odds - safe.log() - (a + b) * softplus(log_odds) - log_beta
    return where_inside(inside, density)


def _fisher_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    df1, df2 = params
    top = draw_log_gamma(0.5 * df1, shape, generator)
    bottom = draw_log_gamma(0.5 * df2, shape, generator)
    return above_zero(torch.exp(top - bottom) * df2 / df1)


# --- power laws --------------------------------------------------------------------------------


def _weibull_log_prob(y: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    inside, safe = _positive(y, scale)
    log_z = safe.log() - scale.log()
    density = (
        concentration.log() + concentration * log_z - safe.log() - torch.exp(concentration * log_z)
    )
    return where_inside(inside, density)


def _weibull_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    scale, concentration = params
    hazard = above_zero(draw_exponential(params, shape, generator))
    return above_zero(scale * torch.exp(hazard.log() / concentration))


def _pareto_log_prob(y: Tensor, scale: Tensor, alpha: Tensor) -> Tensor:
    inside = (y >= scale) & (y < INF)
    log_y = torch.where(inside, as_real(y, scale), 1.0).log()
    return where_inside(inside, alpha.log() + alpha * (scale.log() - log_y) - log_y)


def _pareto_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    scale, alpha = params
    value = scale * torch.exp(draw_exponential(params, shape, generator) / alpha)
    return torch.maximum(above_zero(value), scale)


def _generalized_log_prob(y: Tensor, loc: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
    """Survival (1 + c z)^(-1/c) at z = (y - loc) / scale, exp(-z) at c = 0 (Pickands 1975)."""
    y = as_real(y, scale)
    excess = torch.where((y >= loc) & (y < INF), y, loc) - loc
    most = torch.finfo(scale.dtype).max ** 0.8  # so that no product below overflows
    z = torch.minimum(excess, most * scale.detach()) / scale
    bend = concentration * z
    inside = (y >= loc) & (y < INF) & (bend > -1)
    safe = torch.where(inside, bend, 0.0)
    hazard = torch.where(inside, z, 0.0) * _log1p_ratio(safe)
    return where_inside(inside, -scale.log() - (1.0 + concentration) * hazard)


def _generalized_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    loc, scale, concentration = params
    hazard = above_zero(draw_exponential(params, shape, generator))
    excess = above_zero(scale * hazard * _expm1_ratio(concentration * hazard))
    return torch.maximum(loc + excess, loc)


def _log1p_ratio(t: Tensor) -> Tensor:
    """log(1 + t) / t, 1 at 0."""
    near = t.abs() < NEAR
    safe = torch.where(near, 1.0, t)
    t = torch.where(near, t, 0.0)
    series = 1.0 - t * (0.5 - t * (1 / 3 - t * 0.25))
    return torch.where(near, series, torch.log1p(safe) / safe)


def _expm1_ratio(t: Tensor) -> Tensor:
    """(exp(t) - 1) / t, 1 at 0."""
    near = t.abs() < NEAR
    safe = torch.where(near, 1.0, t)
    t = torch.where(near, t, 0.0)
    series = 1.0 + t * (0.5 + t * (1 / 6 + t / 24))
    return torch.where(near, series, torch.expm1(safe) / safe)


NEAR = 1e-4  # where the series of four terms is exact to 1e-17


DENSITIES = (
    Density("Exponential", _exponential_log_prob, _exponential_draw),
    Density("Gamma", _gamma_log_prob, _gamma_draw),
    Density("InverseGamma", _inverse_gamma_log_prob, _inverse_gamma_draw),
    Density("Chi2", _chi2_log_prob, _chi2_draw),
    Density("FisherSnedecor", _fisher_log_prob, _fisher_draw),
    Density("Weibull", _weibull_log_prob, _weibull_draw),
    Density("Pareto", _pareto_log_prob, _pareto_draw),
    Density("GeneralizedPareto", _generalized_log_prob, _generalized_draw),
)
