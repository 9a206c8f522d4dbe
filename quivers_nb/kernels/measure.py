"""Measures: what the operators of section 8.1 make of families, in numbers.

A `Measure` has a density that need not integrate to one. Operators nest at will; whoever draws or
scores a site normalizes once, at the outside.

Shapes. A value is ``(*n, *E)``, where ``E`` are the ``event_rank`` axes that `Independent` (or a
vector bijector) has made one event. Parameters and bounds broadcast to the axes of their place.

Atoms. `PointMass` and counts have masses, the rest densities. Where both stand in one `Mixture`,
the base measure is length plus the atoms: at an atom the masses alone count, elsewhere the
densities alone. ``terms`` keeps the two apart.

Laws, checked by ``tests/laws/test_measure_laws.py``:
    mass      exp(log_density) sums and integrates to exp(log_mass);
    sugar     HalfNormal(s) is Normalize(Restrict(Normal(0, s), 0)), and so on (8.1);
    rewrites  flattening mixtures, pushing forward inside a mixture, and restricting a mixture
              component by component change no density;
    draws     have the normalized density, and its gradients.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.families.numeric import INF, Shape
from quivers_nb.kernels.intervals import Bound, larger, smaller, with_gradient


class Kind(Enum):
    """What a measure is spread over."""

    SMOOTH = "numbers"
    COUNTS = "whole numbers"
    ATOMS = "single points"
    MIXED = "points and numbers"


Terms = tuple[Tensor | None, Tensor | None]  # log mass at an atom, log density elsewhere
Interval = tuple[Bound, Bound]
WHOLE: Interval = (-INF, INF)


class Measure(Protocol):
    """See the module docstring for shapes."""

    @property
    def kind(self) -> Kind: ...
    @property
    def event_rank(self) -> int: ...
    @property
    def bounds(self) -> Interval:
        """The least interval that holds every (component of a) value."""
        ...

    @property
    def invertible(self) -> bool:
        """Whether masses of intervals are known, so that it can be restricted."""
        ...

    def terms(self, y: Tensor) -> Terms: ...  # (*n, *E) -> (*n)
    def log_mass(self, interval: Interval = WHOLE) -> Tensor: ...  # -> (*n), or broadcasts to it
    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        """Draws ``(*shape, *E)`` of the normalized measure, restricted to an interval."""
        ...


def log_density(measure: Measure, y: Tensor) -> Tensor:  # (*n, *E) -> (*n)
    """The log density of a measure as it is, not normalized."""
    atoms, smooth = measure.terms(y)
    if atoms is None or smooth is None:
        both = atoms if smooth is None else smooth
        assert both is not None
        return both
    return torch.where(atoms > -INF, atoms, smooth)


def normalized_log_density(measure: Measure, y: Tensor) -> Tensor:  # (*n, *E) -> (*n)
    """The log density of a step: normalized; -inf everywhere if there is no mass."""
    mass = measure.log_mass()
    some = mass > -INF
    density = log_density(measure, y) - torch.where(some, mass, 0.0)
    return torch.where(some, density, -INF)


# --- small things ---------------------------------------------------------------------------------


def inside_or_nothing(inside: Tensor, term: Tensor) -> Tensor:
    """``term`` where inside, -inf elsewhere."""
    return torch.where(inside, term, -INF)


def less(term: Tensor, mass: Tensor) -> Tensor:
    """``term - mass``, -inf where there is no mass."""
    some = mass > -INF
    return torch.where(some, term - torch.where(some, mass, 0.0), -INF)


def each(terms: Terms, change: Callable[[Tensor], Tensor]) -> Terms:
    """The same change of masses and densities."""
    atoms, smooth = terms
    return (
        None if atoms is None else change(atoms),
        None if smooth is None else change(smooth),
    )


def meet(a: Interval, b: Interval) -> Interval:
    """The common part of two intervals."""
    return larger(a[0], b[0]), smaller(a[1], b[1])


def log_sum(terms: list[Tensor]) -> Tensor:
    """logsumexp over a list whose gradient is finite where every term is -inf."""
    stacked = torch.stack(torch.broadcast_tensors(*terms))
    some = stacked.amax(0) > -INF
    return inside_or_nothing(some, torch.logsumexp(torch.where(some, stacked, 0.0), 0))


def implicit(measure: Measure, y: Tensor, interval: Interval) -> Tensor:
    """A draw inside an interval with the gradients of one by inversion."""
    if not torch.is_grad_enabled():
        return y
    y = y.detach()
    mass = measure.log_mass(interval)
    if not mass.requires_grad and not log_density(measure, y).requires_grad:
        return y
    low, high = interval
    below, above = measure.log_mass((low, y)), measure.log_mass((y, high))
    return with_gradient(y, below - mass, above - mass, log_density(measure, y) - mass)
