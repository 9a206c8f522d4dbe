"""Coordinates between centred and non-centred, element by element, and which ones suit a posterior.

A site ``v`` with a location and a scale that are latent themselves is given the coordinate

    u = a·loc + (v - loc) / scale^(1 - b)

``a = b = 1`` is centred, u = v; ``a = b = 0`` is non-centred, u the standardised value, and what
lies between is partly so (Papaspiliopoulos, Roberts and Sköld 2003, "Non-centered parameterisations
for hierarchical models and data augmentation"; Gorinova, Moore and Hoffman 2020, "Automatic
reparameterisation of probabilistic programs", with one number for both). Sites and their density
stay as they are: only the coordinate changes, with its log-Jacobian ``(1 - b) log scale``.
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
class Located:
    """A site at some draws, in the unconstrained space of its support: each ``(*s, *shape)``."""

    value: Tensor
    loc: Tensor
    scale: Tensor


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

    def value(self, u: Tensor, loc: Tensor, scale: Tensor) -> Tensor:  # (*s, *shape)
        """The value at the coordinate ``u``."""
        return loc + (u - self.loc * loc) * self.log_det(scale).exp()

    def coordinate(self, located: Located) -> Tensor:  # -> (*s, *shape)
        """The coordinate of a value: the inverse of `value`."""
        loc = located.loc
        return self.loc * loc + (located.value - loc) * (-self.log_det(located.scale)).exp()

    def log_det(self, scale: Tensor) -> Tensor:  # -> (*s, *shape)
        """log |dv / du|, element by element."""
        return (1.0 - self.scale) * scale.log()


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

    The first axis of ``located`` is draws of the posterior. Of all products of normals,
    the nearest to the posterior (in Kullback-Leibler divergence from it) is at a distance of

        Σ over elements of log sd(u) + (1 - b) E[log scale],  plus what no centering changes,

    so each element has the least of it by itself: over ``b`` in tenths, and for each the ``a`` of
    least variance, a regression of the rest on the location.
    """
    value, loc, log_scale = located.value, located.loc, located.scale.log()
    mean_log = log_scale.mean(0)
    about = loc - loc.mean(0)
    spread = about.square().mean(0)
    best, chosen = (
        torch.full_like(mean_log, torch.inf),
        Centering.whole(tuple(mean_log.shape), mean_log.dtype, mean_log.device),
    )
    for share in SHARES:
        rest = (value - loc) * ((share - 1.0) * log_scale).exp()
        rest = rest - rest.mean(0)
        most = ((share - 1.0) * mean_log).exp()  # of a, so that the location has the unit of u
        a = (-(about * rest).mean(0) / spread).nan_to_num(1.0, 1.0, 1.0).clamp(min=0.0)
        a = torch.minimum(a, most)
        variance = (rest + a * about).square().mean(0)
        cost = 0.5 * variance.log() + (1.0 - share) * (mean_log + _PREFERENCE)
        better = cost < best
        best = torch.where(better, cost, best)
        chosen = Centering(
            torch.where(better, a, chosen.loc),
            torch.where(better, torch.full_like(a, share), chosen.scale),
        )
    return chosen
