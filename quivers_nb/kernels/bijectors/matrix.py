"""Bijectors onto triangular factors and covariance matrices."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from quivers_nb.kernels.bijectors.triangular import entries, fill_lower, matrix_size, read_lower


def _log_sech_square(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), exact for every u."""
    return 2.0 * math.log(2.0) + 2.0 * (logsigmoid(2.0 * u) - u)


@dataclass(frozen=True, slots=True)
class CorrelationFactor:
    """Row by row, ``tanh(u)`` is the entry's share of what is left of the row's unit length.

    Stan Reference Manual, "Cholesky factors of correlation matrices"; the log determinant is over
    the strictly lower entries.
    """

    @property
    def event_rank(self) -> int:
        return 2

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*value_shape[:-2], entries(value_shape[-1], diagonal=False))

    def forward(self, u: Tensor) -> Tensor:
        return self.forward_and_log_det(u)[0]

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        size = matrix_size(u.shape[-1], diagonal=False)
        log_kept = fill_lower(_log_sech_square(u), size, diagonal=False)
        # Half the log of the squared length left before each entry; at the diagonal, its log.
        log_left = 0.5 * pad(log_kept.cumsum(-1)[..., :-1], (1, 0))
        shares = fill_lower(u.tanh(), size, diagonal=False)
        identity = torch.eye(size, dtype=u.dtype, device=u.device)
        y = (shares + identity) * log_left.exp()
        log_det = log_kept.sum((-2, -1)) + read_lower(log_left, diagonal=False).sum(-1)
        return y, log_det

    def inverse(self, y: Tensor) -> Tensor:
        tails = y.square().flip(-1).cumsum(-1).flip(-1)  # from each entry on, itself included
        after = pad(tails[..., 1:], (0, 1))
        entry = read_lower(y, diagonal=False)
        return torch.asinh(entry * read_lower(after, diagonal=False).rsqrt())


@dataclass(frozen=True, slots=True)
class CholeskyFactor:
    """Lower triangular matrices: entries free below the diagonal, logarithms on it."""

    @property
    def event_rank(self) -> int:
        return 2

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*value_shape[:-2], entries(value_shape[-1], diagonal=True))

    def forward(self, u: Tensor) -> Tensor:
        return self.forward_and_log_det(u)[0]

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        matrix = fill_lower(u, matrix_size(u.shape[-1], diagonal=True), diagonal=True)
        identity = torch.eye(matrix.shape[-1], dtype=u.dtype, device=u.device)
        logs = matrix * identity
        return matrix - logs + identity * logs.exp(), logs.sum((-2, -1))

    def inverse(self, y: Tensor) -> Tensor:
        logs = y.diagonal(dim1=-2, dim2=-1).log()
        return read_lower(y.tril(-1) + torch.diag_embed(logs), diagonal=True)


@dataclass(frozen=True, slots=True)
class Covariance:
    """``L L'`` for a `CholeskyFactor` L.

    The log determinant over the lower entries is m log 2 plus the sum over i from 1 of
    (m - i + 2) log L_ii (Stan Reference Manual, "Covariance matrices").
    """

    @property
    def event_rank(self) -> int:
        return 2

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return CholeskyFactor().unconstrained_shape(value_shape)

    def forward(self, u: Tensor) -> Tensor:
        factor = CholeskyFactor().forward(u)
        return factor @ factor.mT

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        factor = CholeskyFactor().forward(u)
        size = factor.shape[-1]
        logs = fill_lower(u, size, diagonal=True).diagonal(dim1=-2, dim2=-1)
        powers = torch.arange(size + 1, 1, -1, dtype=u.dtype, device=u.device)
        return factor @ factor.mT, (powers * logs).sum(-1) + size * math.log(2.0)

    def inverse(self, y: Tensor) -> Tensor:
        return CholeskyFactor().inverse(torch.linalg.cholesky(y))
