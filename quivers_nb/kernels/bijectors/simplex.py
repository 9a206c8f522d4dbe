"""Stick-breaking: free vectors onto the simplex."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad


@cache
def _centers(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """log(K - k): with it, u = 0 is the center of the simplex."""
    with torch.inference_mode(False):  # cached, so that autograd may save it later
        return torch.arange(size, 0, -1, dtype=dtype, device=device).log()


@dataclass(frozen=True, slots=True)
class StickBreaking:
    """Break off the share ``sigmoid(u_k - log(K - k))`` of what is left, K - 1 times.

    Stan Reference Manual, "Unit simplexes". The log determinant is over the first K - 1 entries.
    """

    @property
    def event_rank(self) -> int:
        return 1

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*value_shape[:-1], value_shape[-1] - 1)

    def forward(self, u: Tensor) -> Tensor:
        return self.forward_and_log_det(u)[0]

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        t = u - _centers(u.shape[-1], u.dtype, u.device)
        log_share, log_kept = logsigmoid(t), logsigmoid(-t)
        left = log_kept.cumsum(-1)  # log of what is left after each break
        before = pad(left, (1, 0))  # ... and before it, with log 1 in front
        y = (pad(log_share, (0, 1)) + before).exp().clamp(min=torch.finfo(u.dtype).tiny)
        return y, (log_share + left).sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        left = y.flip(-1).cumsum(-1).flip(-1)[..., 1:]  # sums from the tail: no cancellation
        t = y[..., :-1].log() - left.log()
        return t + _centers(t.shape[-1], t.dtype, t.device)
