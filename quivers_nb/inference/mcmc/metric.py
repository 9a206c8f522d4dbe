"""Metrics: the inverse mass matrix, which should resemble the posterior covariance.

Momenta are N(0, M); `velocity` is M⁻¹ p. `estimate` follows Stan (Reference Manual, "Automatic
parameter tuning"): the sample covariance shrunk towards 10⁻³ with the weight of five draws.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quivers_nb.diagnostics.errors import UserError

Vector = NDArray[np.floating[Any]]  # (D,) unless said otherwise


class Metric(Protocol):
    """An inverse mass matrix; immutable."""

    def velocity(self, p: Vector) -> Vector: ...  # (D,) -> (D,)
    def momentum(self, noise: Vector) -> Vector: ...  # N(0, 1) noise (D,) -> N(0, M)
    def scales(self) -> Vector: ...  # the posterior sd that it assumes, (D,) or (1,)


@dataclass(frozen=True, slots=True)
class Identity:
    """M = 1: no coordinate differs from another."""

    def velocity(self, p: Vector) -> Vector:
        return p

    def momentum(self, noise: Vector) -> Vector:
        return noise

    def scales(self) -> Vector:
        return np.ones(1)


@dataclass(frozen=True, slots=True)
class Diagonal:
    """One variance per coordinate."""

    variance: Vector

    def velocity(self, p: Vector) -> Vector:
        return self.variance * p

    def momentum(self, noise: Vector) -> Vector:
        return noise / np.sqrt(self.variance)

    def scales(self) -> Vector:
        return np.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Dense:
    """A full covariance (D, D). ``whitening`` is L⁻ᵀ with covariance = L Lᵀ."""

    covariance: Vector
    whitening: Vector

    @classmethod
    def of(cls, covariance: Vector) -> "Dense":
        factor = np.linalg.cholesky(covariance)
        return cls(covariance, np.linalg.inv(factor).T.copy())

    def velocity(self, p: Vector) -> Vector:
        return np.asarray(self.covariance @ p)

    def momentum(self, noise: Vector) -> Vector:
        return np.asarray(self.whitening @ noise)

    def scales(self) -> Vector:
        return np.sqrt(np.diagonal(self.covariance))


class Moments(NamedTuple):
    """Running mean and centred second moment of draws (Welford 1962); `m2` (D,) or (D, D)."""

    size: int
    mean: Vector
    m2: Vector

    def add(self, q: Vector) -> "Moments":
        size = self.size + 1
        delta = q - self.mean
        mean = self.mean + delta / size
        rest = q - mean
        product = delta * rest if self.m2.ndim == 1 else np.outer(delta, rest)
        return Moments(size, mean, self.m2 + product)


@dataclass(frozen=True, slots=True)
class MetricKind:
    """A family of metrics by name: what it collects, how it is estimated."""

    name: str

    def moments(self, dim: int, dtype: Any) -> Moments:
        shape = (dim, dim) if self.name == "dense" else (dim,)
        return Moments(0, np.zeros(dim, dtype), np.zeros(shape, dtype))

    def estimate(self, moments: Moments) -> Metric:
        """The metric of a finished window of at least two draws."""
        n = moments.size
        weight, floor = n / (n + 5.0), 1e-3 * 5.0 / (n + 5.0)
        covariance = weight * (moments.m2 / (n - 1))
        if covariance.ndim == 1:
            return Diagonal(covariance + floor)
        return Dense.of(covariance + floor * np.eye(len(covariance), dtype=covariance.dtype))

    @property
    def adapts(self) -> bool:
        return self.name != "identity"


METRICS = {name: MetricKind(name) for name in ("identity", "diagonal", "dense")}


def metric_kind(name: str) -> MetricKind:
    """The kind called ``name``; an unknown name is a `UserError` that lists the others."""
    if name not in METRICS:
        raise UserError(f"mass_matrix={name!r} is not one of {', '.join(map(repr, METRICS))}")
    return METRICS[name]
