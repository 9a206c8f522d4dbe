"""Metrics: the inverse mass matrix, which should resemble the posterior covariance.

Momenta are N(0, M); `velocity` is M⁻¹ p. How a metric is learned: `adaptation`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

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
    """A full covariance (D, D) = L Lᵀ; ``factor`` is L, ``whitening`` is L⁻ᵀ."""

    covariance: Vector
    factor: Vector
    whitening: Vector

    @classmethod
    def of(cls, covariance: Vector) -> "Dense":
        factor = torch.linalg.cholesky(torch.from_numpy(covariance))
        eye = torch.eye(len(factor), dtype=factor.dtype)
        inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
        return cls(covariance, factor.contiguous().numpy(), inverse.mT.contiguous().numpy())

    def velocity(self, p: Vector) -> Vector:
        return np.asarray(self.covariance @ p)

    def momentum(self, noise: Vector) -> Vector:
        return np.asarray(self.whitening @ noise)

    def scales(self) -> Vector:
        return np.sqrt(np.diagonal(self.covariance))


@dataclass(frozen=True, slots=True)
class LowRank:
    """Scales S and a few stretched directions: S (1 + Uᵀ (Λ - 1) U) S.

    ``directions`` U is (k, D) with orthonormal rows, ``stretch`` Λ the variances along them (k,).
    All products cost O(k D).
    """

    scale: Vector
    directions: Vector
    stretch: Vector

    def velocity(self, p: Vector) -> Vector:
        return self.scale * self._stretched(self.scale * p, self.stretch)

    def momentum(self, noise: Vector) -> Vector:
        return self._stretched(noise, 1.0 / np.sqrt(self.stretch)) / self.scale

    def scales(self) -> Vector:
        return np.asarray(self.scale * np.sqrt(1.0 + (self.stretch - 1.0) @ self.directions**2))

    def _stretched(self, x: Vector, by: Vector) -> Vector:
        return np.asarray(x + ((by - 1.0) * (self.directions @ x)) @ self.directions)
