"""Families of matrices; the last two axes are the event."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.kernels.families.numeric import (
    LOG_PI,
    SUM_TOLERANCE,
    Shape,
    draw_log_gamma,
    draw_normal,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params


def _lkj_log_prob(y: Tensor, concentration: Tensor) -> Tensor:
    """Lewandowski, Kurowicka, Joe 2009, for the factor: density over its strictly lower entries.

    Row i (from 1) is a point of the half sphere with density proportional to the power
    c = m - i + 2 concentration - 2 of its last entry, whose integral over the ball of the i - 1
    others is pi^((i-1)/2) Gamma(c/2 + 1) / Gamma(concentration + (m-1)/2).
    """
    m = y.shape[-1]
    inside, diagonal = _factor(y)
    before = torch.arange(1, m, dtype=diagonal.dtype, device=y.device)  # i - 1 of rows 2, 3, ...
    eta = concentration.unsqueeze(-1)
    half_power = eta - 1.0 + 0.5 * (m - 1 - before)
    log_integral = (
        0.5 * before * LOG_PI + torch.lgamma(half_power + 1.0) - torch.lgamma(eta + 0.5 * (m - 1))
    )
    density = (2.0 * half_power * diagonal[..., 1:].log() - log_integral).sum(-1)
    return where_inside(inside, density)


def _factor(y: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` is a correlation factor, and its diagonal with 1 put in elsewhere."""
    diagonal = y.diagonal(dim1=-2, dim2=-1)
    off = (y.square().sum(-1) - 1.0).abs() >= SUM_TOLERANCE  # rows off unit length
    faults = (y.triu(1) != 0).sum((-2, -1)) + off.sum(-1) + (diagonal <= 0).sum(-1)
    inside = faults == 0
    return inside, torch.where(inside.unsqueeze(-1), diagonal, 1.0)


def _lkj_draw(params: Params, shape: Shape, generator: Generator | None, size: int) -> Tensor:
    """Row by row: a direction on the sphere, and a Beta draw for its squared length."""
    (concentration,) = params
    noise = draw_normal(params, (*shape, size, size), generator).tril(-1)
    length = noise.square().sum(-1, keepdim=True).sqrt()
    direction = noise / torch.where(length > 0, length, 1.0)
    before = torch.arange(size, dtype=noise.dtype, device=noise.device)
    full = (*shape, size)
    eta = concentration.unsqueeze(-1)
    # The first row has no entries before its diagonal; any concentration will do there.
    inner = draw_log_gamma((0.5 * before).clamp(min=0.5), full, generator)
    outer = draw_log_gamma(eta + 0.5 * (size - 1 - before), full, generator)
    log_odds = torch.where(before > 0, inner - outer, -torch.inf)
    radius = torch.exp(0.5 * logsigmoid(log_odds))
    diagonal = torch.exp(0.5 * logsigmoid(-log_odds)).clamp(min=torch.finfo(noise.dtype).tiny)
    return direction * radius.unsqueeze(-1) + torch.diag_embed(diagonal)


DENSITIES = (Density("LKJCholesky", _lkj_log_prob, sized_draw=_lkj_draw),)
