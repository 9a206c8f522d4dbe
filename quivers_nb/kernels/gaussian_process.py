"""Gaussian processes at given points: covariance functions, and the factor that a draw needs.

Rasmussen and Williams 2006, chapter 4: with r = |x - x'| / length_scale and the variance
amplitude^2,

    rbf        amplitude^2 exp(-r^2 / 2)
    matern52   amplitude^2 (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)
    linear     amplitude^2 x . x' / length_scale^2

``jitter`` is added to the diagonal, so that the factor exists where points nearly coincide.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor


def _square_distances(x: Tensor) -> Tensor:  # (*n, N, D) -> (*n, N, N)
    """From differences, not products: exact zeros on the diagonal, no cancellation."""
    return (x.unsqueeze(-2) - x.unsqueeze(-3)).square().sum(-1)


def _rbf(x: Tensor) -> Tensor:
    return (-0.5 * _square_distances(x)).exp()


def _matern52(x: Tensor) -> Tensor:
    square = 5.0 * _square_distances(x)
    apart = square > 0  # the root has no derivative at 0, where the function's is 0
    root = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
    return (1.0 + root + square / 3.0) * (-root).exp()


def _linear(x: Tensor) -> Tensor:
    return x @ x.mT


COVARIANCES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"rbf": _rbf, "matern52": _matern52, "linear": _linear}
)


def covariance(
    kind: str, points: Tensor, length_scale: Tensor, amplitude: Tensor, jitter: float
) -> Tensor:
    """Covariances of the values at ``points``: (*n, N, D), (*n,), (*n,) -> (*n, N, N).

    The diagonal is lifted by rounding too (4 N eps of the variance), so that single precision has a
    factor where the points lie close.
    """
    size = points.shape[-2]
    rounding = 4.0 * size * torch.finfo(points.dtype).eps
    identity = torch.eye(size, dtype=points.dtype, device=points.device)
    gram = COVARIANCES[kind](points / length_scale[..., None, None]) + rounding * identity
    return amplitude.square()[..., None, None] * gram + jitter * identity


def process_factor(
    kind: str, points: Tensor, length_scale: Tensor, amplitude: Tensor, jitter: float
) -> Tensor:
    """The Cholesky factor of `covariance`; NaN where rounding left the matrix not definite."""
    gram = covariance(kind, points, length_scale, amplitude, jitter)
    factor: Tensor = torch.linalg.cholesky_ex(gram).L
    return factor
