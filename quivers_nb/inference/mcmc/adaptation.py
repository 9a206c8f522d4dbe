"""How a metric is learned from a window of warm-up draws, alone or with their gradients.

From draws: the sample covariance shrunk towards 10⁻³ with the weight of five draws (Stan Reference
Manual, "Automatic parameter tuning").

From draws and gradients: the matrix Σ for which draws and gradients, both whitened with it, have
the same covariance: Σ Cov(g) Σ = Cov(q) (Seyboldt, Carlson and Carpenter 2024, "Preconditioning
Hamiltonian Monte Carlo by minimizing Fisher divergence", section 3). For a normal posterior g is
-Σ⁻¹(q - μ), so that a few draws give it exactly, however noisy Cov(q) is by itself. A diagonal Σ is
sqrt(var q / var g); a full one the geometric mean of Cov(q) and Cov(g)⁻¹. A low-rank one is the
diagonal and, in the space that draws and gradients span, those eigenvectors of the geometric mean
whose eigenvalue is far from one (section 3.3).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.metric import Dense, Diagonal, LowRank, Metric, Vector

NAMES = ("identity", "diagonal", "dense", "low_rank")
SOURCES = ("draws", "gradients")
STRETCHED = 2.0  # an eigenvalue beyond this, or below its inverse, is kept in a low-rank metric
_RIDGE = 1e-5  # of covariances with fewer draws than dimensions, against the unit scale
_VARIANCE_RANGE = (1e-20, 1e20)


class Window(Protocol):
    """What has been collected since the last metric; immutable."""

    @property
    def size(self) -> int: ...
    def add(self, q: Vector, grad: Vector) -> "Window": ...
    def metric(self) -> Metric: ...  # of at least two draws


class Moments(NamedTuple):
    """Running mean and centred second moment of vectors (Welford 1962), each (D,)."""

    size: int
    mean: Vector
    m2: Vector

    def add(self, q: Vector) -> "Moments":
        size = self.size + 1
        delta = q - self.mean
        mean = self.mean + delta / size
        return Moments(size, mean, self.m2 + delta * (q - mean))


class DiagonalWindow(NamedTuple):
    """Moments of draws and, if they are used, of gradients."""

    draws: Moments
    gradients: Moments | None

    @property
    def size(self) -> int:
        return self.draws.size

    def add(self, q: Vector, grad: Vector) -> "DiagonalWindow":
        gradients = None if self.gradients is None else self.gradients.add(grad)
        return DiagonalWindow(self.draws.add(q), gradients)

    def metric(self) -> Diagonal:
        n = self.size
        if self.gradients is None:
            return Diagonal(n / (n + 5.0) * (self.draws.m2 / (n - 1)) + 1e-3 * 5.0 / (n + 5.0))
        return Diagonal(balance(self.draws.m2, self.gradients.m2))


class Rows(NamedTuple):
    """All draws and gradients of a window, for metrics that are estimated as a whole."""

    kind: "MetricKind"
    draws: tuple[Vector, ...] = ()
    gradients: tuple[Vector, ...] = ()

    @property
    def size(self) -> int:
        return len(self.draws)

    def add(self, q: Vector, grad: Vector) -> "Rows":
        return Rows(self.kind, (*self.draws, q), (*self.gradients, grad))

    def metric(self) -> Metric:
        return self.kind.estimate(np.stack(self.draws), np.stack(self.gradients))


@dataclass(frozen=True, slots=True)
class MetricKind:
    """A family of metrics by name, and what it is learned from."""

    name: str
    source: str = "draws"

    @property
    def adapts(self) -> bool:
        return self.name != "identity"

    @property
    def by_moments(self) -> bool:
        """Whether running moments are enough."""
        return self.name in ("identity", "diagonal")

    def window(self, dim: int, dtype: Any) -> Window:
        """An empty window."""
        if not self.by_moments:
            return Rows(self)
        empty = Moments(0, np.zeros(dim, dtype), np.zeros(dim, dtype))
        return DiagonalWindow(empty, empty if self.source == "gradients" else None)

    def estimate(self, q: Vector, grad: Vector) -> Metric:
        """The metric of the draws (n, D) and gradients (n, D) of a window, n at least 2."""
        if self.name == "low_rank":
            return low_rank(q, grad)
        if self.source == "gradients":
            return dense(q, grad)
        n, draws = len(q), torch.from_numpy(q)
        covariance = draws.mT.cov().reshape(q.shape[1], -1) * (n / (n + 5.0))
        ridge = 1e-3 * 5.0 / (n + 5.0) * torch.eye(q.shape[1], dtype=draws.dtype)
        return Dense.of((covariance + ridge).numpy())


def metric_kind(name: str, source: str = "draws") -> MetricKind:
    """The kind called ``name``; an unknown name is a `UserError` that lists the others."""
    if name not in NAMES:
        raise UserError(f"mass_matrix={name!r} is not one of {', '.join(map(repr, NAMES))}")
    if source not in SOURCES:
        raise UserError(f"adapt_from={source!r} is not one of {', '.join(map(repr, SOURCES))}")
    return MetricKind(name, source)


# --- from draws and gradients ---


def balance(draws: Vector, gradients: Vector) -> Vector:
    """The diagonal: sqrt(var q / var g); 1 where either is zero or not finite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.sqrt(draws / gradients)
        return np.where((variance > 0.0) & np.isfinite(variance), variance, 1.0).clip(
            *_VARIANCE_RANGE
        )


def _standardised(q: Vector, grad: Vector) -> tuple[Vector, Vector, Vector]:
    """Scales (D,), and centred draws and gradients (n, D) in units of them."""
    q, grad = q - q.mean(0), grad - grad.mean(0)
    scale = np.sqrt(balance((q**2).sum(0), (grad**2).sum(0)))
    return scale, q / scale, grad * scale


def dense(q: Vector, grad: Vector) -> Dense:
    """The full matrix: the geometric mean, in units of the diagonal one."""
    scale, q, grad = _standardised(q, grad)
    values, vectors = _balance_matrix(q, grad)
    covariance = (vectors * values) @ vectors.T * scale[:, None] * scale
    return Dense.of(0.5 * (covariance + covariance.T))


def low_rank(q: Vector, grad: Vector) -> LowRank:
    """The diagonal, and the directions that it leaves stretched by more than `STRETCHED`."""
    scale, q, grad = _standardised(q, grad)
    basis = _span(q, grad)
    values, vectors = _balance_matrix(q @ basis, grad @ basis)
    kept = (values > STRETCHED) | (values < 1.0 / STRETCHED)
    return LowRank(scale, np.ascontiguousarray((basis @ vectors[:, kept]).T), values[kept])


# Matrices are factored by torch: its threads are those of `threads.spare_core`, where numpy's would
# be as many as there are cores, for every chain.


def _span(*rows: Vector) -> Vector:  # (n, D) each -> (D, m)
    """An orthonormal basis of what the rows span."""
    spans = [torch.linalg.svd(torch.from_numpy(x), full_matrices=False) for x in rows]
    kept = [vectors[sizes > 1e-10 * sizes.max()] for _, sizes, vectors in spans]
    return np.asarray(torch.linalg.qr(torch.cat(kept).mT)[0].numpy())


def _balance_matrix(q: Vector, grad: Vector) -> tuple[Vector, Vector]:
    """Eigenvalues and eigenvectors of the geometric mean of Cov(q) and Cov(g)⁻¹.

    With Cov(g) = R Rᵀ it is R⁻ᵀ (Rᵀ Cov(q) R)^½ R⁻¹ (Bhatia 2007, "Positive definite matrices",
    section 4.1).
    """
    draws, gradients = torch.from_numpy(q), torch.from_numpy(grad)
    n, dim = draws.shape
    ridge = _RIDGE * torch.eye(dim, dtype=draws.dtype)
    factor = torch.linalg.cholesky(gradients.mT @ gradients / n + ridge)
    middle = factor.mT @ (draws.mT @ draws / n + ridge) @ factor
    sizes, turns = torch.linalg.eigh(0.5 * (middle + middle.mT))
    scaled = turns * sizes.clamp_min(1e-300) ** 0.25
    half = torch.linalg.solve_triangular(factor.mT, scaled, upper=True)
    values, vectors = torch.linalg.eigh(half @ half.mT)
    return values.numpy(), vectors.numpy()
