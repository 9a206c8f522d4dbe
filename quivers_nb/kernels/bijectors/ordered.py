"""Free vectors onto increasing ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ordered:
    """The first entry is free, each next one is higher by ``exp(u)``."""

    @property
    def event_rank(self) -> int:
        return 1

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return value_shape

    def forward(self, u: Tensor) -> Tensor:
        return torch.cat([u[..., :1], u[..., 1:].exp()], -1).cumsum(-1)

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(u), u[..., 1:].sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        return torch.cat([y[..., :1], y.diff(dim=-1).log()], -1)
