"""Coordinates between centred and non-centred, element by element, and which ones suit a posterior.

A site ``v`` with a location and a scale that are latent themselves is given the coordinate

    u = a·loc + (v - loc) / scale^(1 - b)

``a = b = 1`` is centred, u = v; ``a = b = 0`` is non-centred, u the standardised value, and what
lies between is partly so (Papaspiliopoulos, Roberts and Sköld 2003, "Non-centered parameterisations
for hierarchical models and data augmentation"; Gorinova, Moore and Hoffman 2020, "Automatic
reparameterisation of probabilistic programs", with one number for both). Sites and their density
stay as they are: only the coordinate changes, with its log-Jacobian ``(1 - b) log scale``. A normal
vector has a lower triangular matrix for a scale, and is wholly centred or not: ``b`` is 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from quivers_nb.inference.model import OpenTarget

SHARES = tuple(k / 10 for k in range(10, -1, -1))  # of the scale that are compared, centred first
_PREFERENCE = 1e-3  # nats that leaving the centred form must gain, per unit of share


@dataclass(frozen=True, slots=True)
class Place:
    """Where a distribution lies and how wide it is, in the unconstrained space of its support.

    Both broadcast to a value's shape ``(*s, *shape)``; ``vector``: the scale is lower triangular,
    with one more axis.
    """

    loc: Tensor
    scale: Tensor
    vector: bool = False

    def log_scale(self) -> Tensor:  # (*s, *shape)
        """Log scales, of a matrix those of its diagonal."""
        return (self.scale.diagonal(dim1=-2, dim2=-1) if self.vector else self.scale).log()

    def over(self, shape: torch.Size) -> "Place":
        """The same in full, for values of this ``(*s, *shape)``."""
        wide = (*shape, shape[-1]) if self.vector else shape
        return Place(self.loc.expand(shape), self.scale.expand(wide), self.vector)

    def varies(self, shape: torch.Size) -> bool:  # (2, *shape)
        """Whether it is not the same at two points."""
        full = self.over(shape)
        return any(not torch.equal(x[0], x[1]) for x in (full.loc, full.scale))


@dataclass(frozen=True, slots=True)
class Located:
    """The value of a site ``(*s, *shape)`` in unconstrained space, and its place there."""

    value: Tensor
    place: Place


@dataclass(frozen=True, slots=True)
class Centering:
    """How far each element of a site is centred: ``a`` and ``b`` above, each ``(*shape)``."""

    loc: Tensor
    scale: Tensor

    @classmethod
    def whole(cls, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> "Centering":
        """Centred throughout: the coordinate is the value."""
        ones = torch.ones(shape, dtype=dtype, device=device)
        return cls(ones, ones.clone())

    def value(self, u: Tensor, place: Place) -> Tensor:  # (*s, *shape)
        """The value at the coordinate ``u``."""
        rest = u - self.loc * place.loc
        if place.vector:
            return place.loc + (self._factor(place) @ rest.unsqueeze(-1)).squeeze(-1)
        return place.loc + rest * self.log_det(place).exp()

    def coordinate(self, value: Tensor, place: Place) -> Tensor:  # (*s, *shape)
        """The coordinate of a value: the inverse of `value`."""
        rest = value - place.loc
        if place.vector:
            factor = self._factor(place).expand((*rest.shape, rest.shape[-1]))
            apart: Tensor = torch.linalg.solve_triangular(factor, rest.unsqueeze(-1), upper=False)
            return self.loc * place.loc + apart.squeeze(-1)
        return self.loc * place.loc + rest * (-self.log_det(place)).exp()

    def log_det(self, place: Place) -> Tensor:  # -> (*s, *shape)
        """log |dv / du|, element by element."""
        return (1.0 - self.scale) * place.log_scale()

    def _factor(self, place: Place) -> Tensor:  # (*s, *shape, k)
        """The identity where a vector is centred, else its scale."""
        share = self.scale.unsqueeze(-1)
        size = share.shape[-2]
        return share * torch.eye(size, dtype=share.dtype, device=share.device) + (
            (1.0 - share) * place.scale
        )


Centerings = Mapping[str, Centering]


@runtime_checkable
class Recenterable(Protocol):
    """An open target that can change the coordinates of sites with a location and a scale."""

    @property
    def centerings(self) -> Centerings: ...  # of the sites that are not as written
    def located(self, q: Tensor) -> dict[str, Located]:  # (*s, dim)
        """The sites whose location or scale may be latent, at ``q``."""
        ...

    def recentred(self, centerings: Centerings) -> OpenTarget:
        """The same density over coordinates of these centerings; sites not named stay centred."""
        ...


def suited(located: Located) -> Centering:
    """The centering of each element that brings the draws nearest to independent normal ones.

    The first axis of ``located`` is draws of the posterior. Of all products of normals, the nearest
    to the posterior (in Kullback-Leibler divergence from it) is at a distance of

        Σ over elements of log sd(u) + (1 - b) E[log scale],  plus what no centering changes,

    so each element, or vector, has the least of it by itself: over ``b`` in tenths (of a vector 0
    and 1), and for each the ``a`` of least variance, a regression of the rest on the location.
    """
    value, place = located.value, located.place.over(located.value.shape)
    shape = tuple(value.shape[1:])
    chosen = Centering.whole(shape, value.dtype, value.device)
    best = torch.full(shape, torch.inf, dtype=value.dtype, device=value.device)
    for share in (1.0, 0.0) if place.vector else SHARES:
        a, cost = _regressed(value, place, share)
        if place.vector:
            cost = cost.sum(-1, keepdim=True).expand(shape)
        better = cost < best
        best = torch.where(better, cost, best)
        chosen = Centering(
            torch.where(better, a, chosen.loc),
            torch.where(better, torch.full_like(a, share), chosen.scale),
        )
    return chosen


def _regressed(value: Tensor, place: Place, share: float) -> tuple[Tensor, Tensor]:
    """The best ``a`` for a ``b``, and what both cost: each ``(*shape)``."""
    shape = tuple(value.shape[1:])
    none = Centering(value.new_zeros(shape), value.new_full(shape, share))
    rest = none.coordinate(value, place)
    rest, about = rest - rest.mean(0), place.loc - place.loc.mean(0)
    mean_log = place.log_scale().mean(0)
    most = ((share - 1.0) * mean_log).exp()  # of a, so that the location has the unit of u
    slope = -(about * rest).mean(0) / about.square().mean(0)
    a = torch.minimum(slope.nan_to_num(1.0, 1.0, 1.0).clamp(min=0.0), most)
    variance = (rest + a * about).square().mean(0)
    return a, 0.5 * variance.log() + (1.0 - share) * (mean_log + _PREFERENCE)
