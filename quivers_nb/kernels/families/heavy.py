"""Families on the line with tails heavier than the normal's, and their halves."""

import math

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.numeric import (
    LOG_2,
    LOG_PI,
    Shape,
    above_zero,
    as_float,
    draw_exponential,
    draw_log_gamma,
    draw_normal,
    draw_uniform,
    log_rising,
    non_negative,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params


def cauchy_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise."""
    z = (y - loc) / scale
    return -torch.log1p(z * z) - scale.log() - LOG_PI


def _standard_cauchy(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return torch.tan(math.pi * (draw_uniform(params, shape, generator) - 0.5))


def _cauchy_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    loc, scale = params
    return loc + scale * _standard_cauchy(params, shape, generator)


def _half_cauchy_log_prob(y: Tensor, scale: Tensor) -> Tensor:
    inside, safe = non_negative(y, scale)
    return where_inside(inside, cauchy_log_prob(safe, torch.zeros_like(scale), scale) + LOG_2)


def _half_cauchy_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return params[0] * _standard_cauchy(params, shape, generator).abs()


# --- Student's t -------------------------------------------------------------------------------


def student_log_prob(y: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Elementwise; for df without bound it tends to the normal, without cancellation."""
    z = (y - loc) / scale
    half = 0.5 * df
    log_constant = log_rising(half, torch.full_like(half, 0.5)) - 0.5 * (df.log() + LOG_PI)
    return log_constant - scale.log() - (half + 0.5) * torch.log1p(z * z / df)


def _standard_student(df: Tensor, shape: Shape, generator: Generator | None) -> Tensor:
    log_gamma = draw_log_gamma(0.5 * df, shape, generator)  # half a Chi2 draw
    noise = draw_normal((df,), shape, generator)
    bound = 0.5 * math.log(torch.finfo(noise.dtype).max) - 8.0  # so that squares do not overflow
    return noise * (0.5 * ((0.5 * df).log() - log_gamma)).clamp(-bound, bound).exp()


def _student_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    df, loc, scale = params
    return loc + scale * _standard_student(df, shape, generator)


def _half_student_log_prob(y: Tensor, df: Tensor, scale: Tensor) -> Tensor:
    inside, safe = non_negative(y, scale)
    return where_inside(inside, student_log_prob(safe, df, torch.zeros_like(scale), scale) + LOG_2)


def _half_student_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    df, scale = params
    return scale * _standard_student(df, shape, generator).abs()


# --- Laplace, Gumbel, Flat ---------------------------------------------------------------------


def _laplace_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -((y - loc) / scale).abs() - scale.log() - LOG_2


def _laplace_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    loc, scale = params
    gap = draw_exponential(params, shape, generator) - draw_exponential(params, shape, generator)
    return loc + scale * gap


def _half_laplace_log_prob(y: Tensor, scale: Tensor) -> Tensor:
    inside, safe = non_negative(y, scale)
    return where_inside(inside, -safe / scale - scale.log())


def _half_laplace_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return params[0] * draw_exponential(params, shape, generator)


def _gumbel_log_prob(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z = (y - loc) / scale
    return -z - torch.exp(-z) - scale.log()


def _gumbel_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    loc, scale = params
    return loc - scale * above_zero(draw_exponential(params, shape, generator)).log()


def _flat_log_prob(y: Tensor) -> Tensor:
    return torch.zeros_like(y, dtype=as_float(y).dtype)


def _half_flat_log_prob(y: Tensor) -> Tensor:
    return where_inside(y >= 0, _flat_log_prob(y))


DENSITIES = (
    Density("Cauchy", cauchy_log_prob, _cauchy_draw),
    Density("HalfCauchy", _half_cauchy_log_prob, _half_cauchy_draw),
    Density("StudentT", student_log_prob, _student_draw),
    Density("HalfStudentT", _half_student_log_prob, _half_student_draw),
    Density("Laplace", _laplace_log_prob, _laplace_draw),
    Density("HalfLaplace", _half_laplace_log_prob, _half_laplace_draw),
    Density("Gumbel", _gumbel_log_prob, _gumbel_draw),
    Density("Flat", _flat_log_prob),
    Density("HalfFlat", _half_flat_log_prob),
)
