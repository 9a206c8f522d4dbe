"""Autoregressive flows: coordinate i is scaled and shifted by functions of the coordinates before.

Germain et al. (2015), "MADE"; Papamakarios, Pavlakou & Murray (2017), "Masked autoregressive flow
for density estimation", equations 3-5; Kingma et al. (2016), "Improved variational inference with
inverse autoregressive flow", equations 10-11.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn.functional import softsign

from quivers_nb.inference.vi.flows.bijector import VectorBijector
from quivers_nb.inference.vi.network import Network

LOG_SCALE_BOUND = 3.0  # of one layer: keeps exp() of an untrained network in range


def autoregressive_masks(dim: int, hidden: Sequence[int]) -> list[Tensor]:
    """MADE's masks for ``2 * dim`` outputs: output i and i + dim see the inputs before i only.

    Hidden unit k has degree ``1 + k mod (dim - 1)``: it sees the inputs of at most that degree
    (equations 12, 13). With dim 1 nothing may be seen and every mask is zero.
    """
    degrees = [torch.arange(1, dim + 1)]
    degrees += [1 + torch.arange(width) % max(dim - 1, 1) for width in hidden]
    masks = [after[:, None] >= before for before, after in pairwise(degrees)]
    last = torch.arange(1, dim + 1).repeat(2)
    return [*masks, last[:, None] > degrees[-1]]


class _Conditioner(VectorBijector):
    """The masked network, and the two directions of the map that it describes."""

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        dtype: torch.dtype,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        masks = autoregressive_masks(dim, hidden)
        widths = (dim, *hidden, 2 * dim)
        self.network = Network(widths, dtype, masks=masks, generator=generator)

    def shift_and_log_scale(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """``(*n, d)`` each; entry i is a function of the entries of ``seen`` before i."""
        shift, raw = self.network(seen).chunk(2, -1)
        return shift, LOG_SCALE_BOUND * softsign(raw)

    def _parallel(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """``(value - shift) / scale`` with both computed from ``value`` itself: one pass."""
        shift, log_scale = self.shift_and_log_scale(value)
        return (value - shift) * (-log_scale).exp(), -log_scale.sum(-1)

    def _sequential(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `_parallel`: one pass per coordinate, each of which settles one more."""
        result = torch.zeros_like(value)
        log_scale = result
        for _ in range(value.shape[-1]):
            shift, log_scale = self.shift_and_log_scale(result)
            result = shift + log_scale.exp() * value
        return result, log_scale.sum(-1)


class MaskedAutoregressive(_Conditioner):
    """Fast density, slow draws: ``u_i = shift(u_<i) + scale(u_<i) z_i``."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the network per coordinate."""
        return self._sequential(z)

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """One pass."""
        return self._parallel(u)


class InverseAutoregressive(_Conditioner):
    """Fast draws, slow density of other points: ``u_i = shift(z_<i) + scale(z_<i) z_i``."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """One pass."""
        shift, log_scale = self.shift_and_log_scale(z)
        return shift + log_scale.exp() * z, log_scale.sum(-1)

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the network per coordinate."""
        z = torch.zeros_like(u)
        log_scale = z
        for _ in range(u.shape[-1]):
            shift, log_scale = self.shift_and_log_scale(z)
            z = (u - shift) * (-log_scale).exp()
        return z, -log_scale.sum(-1)
