"""Elementwise bijectors: the line, half lines, intervals. Bounds may be tensors (R12)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Bound = float | Tensor


def _positive(u: Tensor) -> Tensor:
    """exp(u), kept positive where it underflows: rounding must not leave an open support.

    There the log determinant goes on falling. Overflow is left alone: a greatest value of finite
    density under a log determinant that goes on rising would make the target improper.
    """
    return u.exp().clamp(min=torch.finfo(u.dtype).tiny)


class _Elementwise:
    """Shapes of a scalar support."""

    @property
    def event_rank(self) -> int:
        return 0

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return value_shape


@dataclass(frozen=True, slots=True)
class Identity(_Elementwise):
    """The whole line; also vectors of it, entry by entry."""

    def forward(self, u: Tensor) -> Tensor:
        return u

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return u, torch.zeros_like(u)

    def inverse(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True, slots=True, eq=False)
class FromBelow(_Elementwise):
    """``y = low + exp(u)``."""

    low: Bound = 0.0

    def forward(self, u: Tensor) -> Tensor:
        return self.low + _positive(u)

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        y = self.forward(u)
        return y, _as_wide_as(u, y)

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.low).log()


@dataclass(frozen=True, slots=True, eq=False)
class FromAbove(_Elementwise):
    """``y = high - exp(u)``."""

    high: Bound

    def forward(self, u: Tensor) -> Tensor:
        return self.high - _positive(u)

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        y = self.forward(u)
        return y, _as_wide_as(u, y)

    def inverse(self, y: Tensor) -> Tensor:
        return (self.high - y).log()


@dataclass(frozen=True, slots=True, eq=False)
class Interval(_Elementwise):
    """``y = low + (high - low) sigmoid(u)``."""

    low: Bound = 0.0
    high: Bound = 1.0

    def forward(self, u: Tensor) -> Tensor:
        info = torch.finfo(u.dtype)
        share = u.sigmoid().clamp(info.tiny, 1.0 - info.eps)
        return self.low + (self.high - self.low) * share

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = logsigmoid(u) + logsigmoid(-u)
        width = self.high - self.low
        if isinstance(width, Tensor):
            log_slope = log_slope + width.log()
        elif width != 1.0:
            log_slope = log_slope + torch.tensor(width, dtype=torch.float64).log().item()
        return self.forward(u), log_slope

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.low).log() - (self.high - y).log()


def _as_wide_as(u: Tensor, y: Tensor) -> Tensor:
    return u if u.shape == y.shape else u.expand(y.shape)
