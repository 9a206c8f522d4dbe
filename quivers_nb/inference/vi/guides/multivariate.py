"""Normal guides with dependence between coordinates: full covariance, or low rank plus diagonal.

Kucukelbir et al. (2017), "Automatic differentiation variational inference", section 2.4 (full
rank); Ong, Nott & Smith (2018), "Gaussian variational approximation with a factor covariance
structure".
"""

from collections.abc import Collection
from math import ceil, log, sqrt

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.model import Model
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive
from quivers_nb.inference.vi.guides.joint import Block, JointGuide
from quivers_nb.inference.vi.guides.normal import HALF_LOG_TWO_PI
from quivers_nb.inference.vi.rows import Shape


class CholeskyNormal(Block):
    """N(loc, L L'), where L is ``diag(exp(log_scale)) (I + lower)``, ``lower`` below the diagonal.

    So the steps of an optimiser are relative to the scale of each coordinate, as in the diagonal.
    """

    def __init__(self, dim: int, dtype: torch.dtype, init_scale: float) -> None:
        super().__init__()
        self.loc = Parameter(torch.zeros(dim, dtype=dtype))
        self.log_scale = Parameter(torch.full((dim,), log(init_scale), dtype=dtype))
        self.lower = Parameter(torch.zeros(dim, dim, dtype=dtype))  # only below the diagonal

    @property
    def scale_tril(self) -> Tensor:  # (dim, dim)
        """The Cholesky factor of the covariance."""
        scale = self.log_scale.exp()
        return scale[:, None] * self.lower.tril(-1) + torch.diag(scale)

    def sample(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """``loc + L noise``."""
        noise = _noise((*shape, len(self.loc)), self.loc, generator)
        return self.loc + noise @ self.scale_tril.mT, self._standard(noise)

    def density(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n,)
        """By a triangular solve."""
        centred = (u - self.loc).reshape(-1, len(self.loc)).mT
        noise = torch.linalg.solve_triangular(self.scale_tril, centred, upper=False).mT
        return self._standard(noise.reshape(u.shape))

    def _standard(self, noise: Tensor) -> Tensor:
        constant = len(self.loc) * HALF_LOG_TWO_PI
        return -0.5 * noise.square().sum(-1) - self.log_scale.sum() - constant

    def entropy(self) -> Tensor:
        """Half the log determinant of 2 pi e times the covariance."""
        return self.log_scale.sum() + len(self.loc) * (0.5 + HALF_LOG_TWO_PI)


class FactorNormal(Block):
    """N(loc, D (I + V V') D), where D is ``diag(exp(log_scale))`` and V is ``factor (dim, rank)``.

    V starts at small random numbers: at zero its gradient would vanish.
    """

    def __init__(
        self,
        dim: int,
        dtype: torch.dtype,
        init_scale: float,
        rank: int,
        generator: Generator | None,
    ) -> None:
        super().__init__()
        start = torch.randn(dim, rank, dtype=dtype, generator=generator)
        self.loc = Parameter(torch.zeros(dim, dtype=dtype))
        self.log_scale = Parameter(torch.full((dim,), log(init_scale), dtype=dtype))
        self.factor = Parameter(start * (0.1 / sqrt(rank)))

    @property
    def covariance(self) -> Tensor:  # (dim, dim)
        """The covariance matrix."""
        scaled = self.log_scale.exp()[:, None] * self.factor
        return scaled @ scaled.mT + torch.diag((2.0 * self.log_scale).exp())

    def sample(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """``loc + D (V noise + noise)``."""
        dim, rank = self.factor.shape
        common = _noise((*shape, rank), self.loc, generator)
        own = _noise((*shape, dim), self.loc, generator)
        u = self.loc + self.log_scale.exp() * (common @ self.factor.mT + own)
        return u, self.density(u)

    def density(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n,)
        """By the matrix inversion lemma; costs ``dim * rank**2``."""
        whitened = (u - self.loc) * (-self.log_scale).exp()
        tril, half_log_det = self._capacitance()
        columns = (whitened @ self.factor).reshape(-1, len(tril)).mT
        inner: Tensor = torch.linalg.solve_triangular(tril, columns, upper=False).mT
        explained = inner.square().sum(-1).reshape(whitened.shape[:-1])
        constant = half_log_det + len(self.loc) * HALF_LOG_TWO_PI
        return -0.5 * (whitened.square().sum(-1) - explained) - constant

    def entropy(self) -> Tensor:
        """By the matrix determinant lemma."""
        return self._capacitance()[1] + len(self.loc) * (0.5 + HALF_LOG_TWO_PI)

    def _capacitance(self) -> tuple[Tensor, Tensor]:
        """The Cholesky factor of ``I + V'V``, and half the log determinant of the covariance.

        Not torch's `LowRankMultivariateNormal`: it writes in place, so a step could not be traced.
        """
        factor = self.factor
        eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        tril: Tensor = torch.linalg.cholesky(eye + factor.mT @ factor)
        return tril, tril.diagonal().log().sum() + self.log_scale.sum()


@known_options
class AutoMultivariateNormal(JointGuide):
    """Normal with a full covariance over all unconstrained coordinates.

    Starts at mean 0 and covariance ``init_scale**2``. Without ``rows``, row-wise sites have a
    covariance among the coordinates of one row, the same in every row; with ``rows=n`` everything
    may depend on everything, and the covariance has ``dim**2`` entries.

    Raises `UserError` if nothing is left to guide or ``init_scale`` is not positive.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        init_scale: Positive = 0.1,
        rows: int | Shape | None = None,
    ) -> None:
        super().__init__(
            model,
            observed_names,
            rows,
            lambda dim, dtype: CholeskyNormal(dim, dtype, init_scale),
        )


@known_options
class AutoLowRankMultivariateNormal(JointGuide):
    """Normal whose covariance is of rank ``rank`` plus a diagonal; rows as in the full-rank guide.

    ``rank`` None is the square root of the number of coordinates, rounded up. ``generator`` draws
    the start of the factor.

    Raises `UserError` if nothing is left to guide, or ``init_scale`` or ``rank`` is not positive.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        init_scale: Positive = 0.1,
        rank: Count | None = None,
        rows: int | Shape | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            model,
            observed_names,
            rows,
            lambda dim, dtype: FactorNormal(
                dim, dtype, init_scale, min(rank or ceil(sqrt(dim)), dim), generator
            ),
        )


def _noise(shape: Shape, like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
