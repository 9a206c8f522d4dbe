"""What a flow is made of: a differentiable map of vectors with its inverse and log-determinant.

Laws, checked for every kind by ``tests/inference/vi/test_flows.py``:
    inverse   ``inverse`` undoes ``forward``, and their log-determinants are opposite;
    log-det   it is the log absolute determinant of the numerical Jacobian.
"""

from torch import Tensor, nn


class VectorBijector(nn.Module):
    """An invertible map ``(*n, d) -> (*n, d)``, with learned parameters."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image and the log absolute determinant of the Jacobian, ``(*n, d)`` and ``(*n,)``."""
        raise NotImplementedError

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The preimage and the log absolute determinant of the inverse's Jacobian."""
        raise NotImplementedError


class Affine(VectorBijector):
    """``loc + exp(log_scale) * z``, elementwise."""

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(loc), nn.Parameter(log_scale)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift."""
        u = self.loc + self.log_scale.exp() * z
        return u, self.log_scale.sum().expand(z.shape[:-1])

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale back."""
        z = (u - self.loc) * (-self.log_scale).exp()
        return z, (-self.log_scale.sum()).expand(u.shape[:-1])


class Reversed(VectorBijector):
    """The coordinates in reverse order, so that the next layer conditions the other way."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Last coordinate first."""
        return z.flip(-1), z.new_zeros(z.shape[:-1])

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Reversal undoes itself."""
        return u.flip(-1), u.new_zeros(u.shape[:-1])


class Chain(VectorBijector):
    """Bijectors one after another."""

    def __init__(self, parts: list[VectorBijector]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """First to last."""
        total = z.new_zeros(z.shape[:-1])
        for part in self.parts:
            z, log_det = part(z)
            total = total + log_det
        return z, total

    def inverse(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Last to first."""
        total = u.new_zeros(u.shape[:-1])
        for part in reversed(self.parts):
            assert isinstance(part, VectorBijector)
            u, log_det = part.inverse(u)
            total = total + log_det
        return u, total
