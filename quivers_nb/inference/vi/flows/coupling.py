"""Coupling flows: one half of the coordinates is transformed by functions of the other half.

Dinh, Sohl-Dickstein & Bengio (2017), "Density estimation using Real NVP", equations 4-8; Durkan et
al. (2019), "Neural spline flows", section 3.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import softsign

from quivers_nb.inference.vi.flows.bijector import VectorBijector
from quivers_nb.inference.vi.flows.spline import rational_quadratic
from quivers_nb.inference.vi.network import Network

LOG_SCALE_BOUND = 3.0  # of one layer: keeps exp() of an untrained network in range


class Coupling(VectorBijector):
    """The first half of the coordinates passes; the second is transformed given the first.

    A single coordinate is transformed by learned constants.
    """

    def __init__(
        self,
        dim: int,
        outputs: int,
        hidden: Sequence[int],
        dtype: torch.dtype,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.kept, self.moved, self.outputs = dim // 2, dim - dim // 2, outputs
        hidden = hidden if self.kept else ()
        widths = (self.kept, *hidden, self.moved * outputs)
        self.network = Network(widths, dtype, generator=generator)

    def transform(self, value: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """``(*n, moved)``, raw ``(*n, moved, outputs)`` -> image and log derivatives."""
        raise NotImplementedError

    def _move(self, value: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        kept, moved = value.split([self.kept, self.moved], -1)
        raw = self.network(kept).reshape((*value.shape[:-1], self.moved, self.outputs))
        image, log_derivatives = self.transform(moved, raw, inverse=inverse)
        return torch.cat((kept, image), -1), log_derivatives.sum(-1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the network."""
        return self._move(z, inverse=False)

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """One pass of the network: the passed half is known."""
        return self._move(u, inverse=True)


class AffineCoupling(Coupling):
    """``u = shift + scale z`` on the second half."""

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        dtype: torch.dtype,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(dim, 2, hidden, dtype, generator)

    def transform(self, value: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Scale and shift, or back."""
        shift, log_scale = raw[..., 0], LOG_SCALE_BOUND * softsign(raw[..., 1])
        if inverse:
            return (value - shift) * (-log_scale).exp(), -log_scale
        return shift + log_scale.exp() * value, log_scale


class SplineCoupling(Coupling):
    """A monotone rational-quadratic spline with ``num_bins`` bins on ``[-bound, bound]``."""

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        dtype: torch.dtype,
        generator: Generator | None = None,
        num_bins: int = 8,
        bound: float = 4.0,
    ) -> None:
        super().__init__(dim, 3 * num_bins - 1, hidden, dtype, generator)
        self.num_bins, self.bound = num_bins, bound

    def transform(self, value: Tensor, raw: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """The spline of each coordinate, or its inverse."""
        k = self.num_bins
        widths, heights, slopes = raw.split([k, k, k - 1], -1)
        return rational_quadratic(value, widths, heights, slopes, self.bound, inverse=inverse)
