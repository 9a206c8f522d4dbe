"""Families of matrices; the last two axes are the event."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels.families.numeric import (
    HALF_LOG_2PI,
    LOG_2,
    LOG_PI,
    SUM_TOLERANCE,
    Shape,
    draw_log_gamma,
    draw_normal,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params

# --- correlation factors -----------------------------------------------------------------------


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


# --- normal matrices ---------------------------------------------------------------------------


def _solve(factor: Tensor, columns: Tensor) -> Tensor:  # (*n, m, m), (*n, m, k) -> (*n, m, k)
    solved: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
    return solved


def _log_diagonal(factor: Tensor) -> Tensor:  # (*n, m, m) -> (*n,)
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _matrix_normal_log_prob(
    y: Tensor, loc: Tensor, row_scale: Tensor, col_scale: Tensor
) -> Tensor:  # (*n, r, c), (*n, r, c), (*n, r, r), (*n, c, c) -> (*n,)
    """With y = loc + A Z B', Z = A^-1 (y - loc) B'^-1 are independent standard normals."""
    rows, columns = loc.shape[-2:]
    left = _solve(row_scale, y - loc)
    z = _solve(col_scale, left.mT)
    log_det = columns * _log_diagonal(row_scale) + rows * _log_diagonal(col_scale)
    return -0.5 * z.square().sum((-2, -1)) - log_det - rows * columns * HALF_LOG_2PI


def _matrix_normal_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    loc, row_scale, col_scale = params
    noise = draw_normal(params, (*shape, *loc.shape[-2:]), generator)
    return loc + row_scale @ noise @ col_scale.mT


# --- covariance matrices -----------------------------------------------------------------------


def _definite(y: Tensor) -> tuple[Tensor, Tensor]:  # (*n, m, m) -> (*n,), (*n, m, m)
    """Where ``y`` is symmetric positive definite, and its Cholesky factor (1 elsewhere)."""
    tried, info = torch.linalg.cholesky_ex(y.detach())
    m = y.shape[-1]
    positive = (tried.diagonal(dim1=-2, dim2=-1) > 0).sum(-1) == m
    size = y.abs().amax((-2, -1), keepdim=True)
    skew = ((y - y.mT).abs() > SUM_TOLERANCE * size).sum((-2, -1)) == 0
    inside = positive & skew & (info == 0)
    identity = torch.eye(m, dtype=y.dtype, device=y.device)
    safe = torch.where(inside[..., None, None], y, identity)
    return inside, torch.linalg.cholesky_ex(safe).L


def _wishart_constant(df: Tensor, scale_tril: Tensor) -> tuple[Tensor, Tensor]:
    """Where df > m - 1, and the log of the Wishart density's constant there."""
    m = scale_tril.shape[-1]
    proper = df > m - 1
    safe = torch.where(proper, df, float(m))
    steps = torch.arange(m, dtype=safe.dtype, device=safe.device)
    log_gamma = torch.lgamma(0.5 * (safe.unsqueeze(-1) - steps)).sum(-1)
    log_gamma = log_gamma + 0.25 * m * (m - 1) * LOG_PI
    return proper, -log_gamma - safe * (0.5 * m * LOG_2 + _log_diagonal(scale_tril))


def _wishart_log_prob(y: Tensor, df: Tensor, scale_tril: Tensor) -> Tensor:
    """Over the lower entries of y; V = scale_tril scale_tril' is the mean over df."""
    inside, factor = _definite(y)
    proper, constant = _wishart_constant(df, scale_tril)
    trace = _solve(scale_tril, factor).square().sum((-2, -1))
    density = constant + (df - y.shape[-1] - 1.0) * _log_diagonal(factor) - 0.5 * trace
    return where_inside(inside & proper, density)


def _inverse_wishart_log_prob(y: Tensor, df: Tensor, scale_tril: Tensor) -> Tensor:
    """The Wishart density of y^-1 times the Jacobian det(y)^-(m + 1)."""
    inside, factor = _definite(y)
    proper, constant = _wishart_constant(df, scale_tril)
    m = y.shape[-1]
    identity = torch.eye(m, dtype=y.dtype, device=y.device)
    trace = _solve(factor, _solve(scale_tril, identity).mT).square().sum((-2, -1))
    density = constant - (df + m + 1.0) * _log_diagonal(factor) - 0.5 * trace
    return where_inside(inside & proper, density)


def _bartlett(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """Bartlett 1933: a lower factor of a standard Wishart draw, (*shape, m, m)."""
    df, scale_tril = params
    m = scale_tril.shape[-1]
    if not bool((df > m - 1).all()):
        raise UserError(
            f"a Wishart matrix of {m} rows needs df above {m - 1}, got {float(df.min()):g}; raise "
            "df, or write it as a let that adds the number of rows"
        )
    steps = torch.arange(m, dtype=df.dtype, device=df.device)
    half = 0.5 * (df.unsqueeze(-1) - steps)
    log_square = draw_log_gamma(half, (*shape, m), generator) + LOG_2
    below = draw_normal(params, (*shape, m, m), generator).tril(-1)
    diagonal = (0.5 * log_square).exp().clamp(min=torch.finfo(below.dtype).tiny ** 0.5)
    return below + torch.diag_embed(diagonal)


def _wishart_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    factor = params[1] @ _bartlett(params, shape, generator)
    return factor @ factor.mT


def _inverse_wishart_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """y = X^-1 with X = F F' is G' G for G = F^-1."""
    factor = params[1] @ _bartlett(params, shape, generator)
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    inverse = _solve(factor, identity)
    return inverse.mT @ inverse


DENSITIES = (
    Density("LKJCholesky", _lkj_log_prob, sized_draw=_lkj_draw),
    Density("MatrixNormal", _matrix_normal_log_prob, _matrix_normal_draw),
    Density("Wishart", _wishart_log_prob, _wishart_draw),
    Density("InverseWishart", _inverse_wishart_log_prob, _inverse_wishart_draw),
)
