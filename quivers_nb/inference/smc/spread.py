"""How far particles are spread: the metric of their moves.

The correlation matrix of the particles is shrunk towards none at all, by the amount that has least
expected error (Schäfer & Strimmer 2005, "A shrinkage approach to large-scale covariance matrix
estimation", target D with correlations), so that few particles in many dimensions are a diagonal
metric and many in few are a dense one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DENSE = 1000  # coordinates up to which correlations are used
MOST = 0.9999  # of a correlation that is kept, so that the matrix has a factor


@dataclass(frozen=True, slots=True)
class Spread:
    """``q = S L z`` with ``z`` of unit covariance: ``scale`` is the diagonal of S, ``(dim,)``.

    ``factor`` ``(dim, dim)`` is the lower triangular L of the correlations, None for no such.
    """

    scale: Tensor
    factor: Tensor | None

    def position(self, z: Tensor) -> Tensor:  # (N, dim) -> (N, dim)
        """A step of unit covariance in the scale of the particles."""
        return self.scale * (z if self.factor is None else z @ self.factor.mT)

    def slope(self, gradient: Tensor) -> Tensor:  # (N, dim) -> (N, dim)
        """The gradient with respect to ``z``."""
        scaled = self.scale * gradient
        return scaled if self.factor is None else scaled @ self.factor


def spread_of(q: Tensor, size: float) -> Spread:  # (N, dim)
    """That of particles that are worth ``size`` independent ones."""
    scale = q.std(0)
    scale = torch.where(scale > 0.0, scale, 1.0)
    dim = q.shape[-1]
    if not 2 <= dim <= DENSE or size <= 2.0:
        return Spread(scale, None)
    z = (q - q.mean(0)) / scale
    r = z.mT @ z / (len(q) - 1)
    r.fill_diagonal_(0.0)
    squares = float(r.square().sum())
    # The variance of a correlation of n normal pairs is (1 - r²)² / (n - 1).
    noise = float((1.0 - r.square()).square().sum() - dim) / (size - 1.0)
    keep = min(max(0.0, 1.0 - noise / squares), MOST) if squares > 0.0 else 0.0
    return Spread(scale, torch.linalg.cholesky(keep * r + torch.eye(dim, dtype=q.dtype)))
