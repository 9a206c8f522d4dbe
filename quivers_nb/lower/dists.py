"""Distributions of one step: what a site is asked to be, with its parameters at hand.

Shapes. A site's value is ``(*s, *lead, *event)``: runtime stack, then the axes of independent
draws (batch rows, plate or left-over axes), then the event of one draw. ``lead`` and ``event`` are
known numbers here; ``*s`` is never inspected. ``log_prob`` reduces the event only:

    log_prob : (*s, *lead, *event) -> (*s, *lead)

Three kinds: `Simple`, one family (`Weighted`, a row of a table); `Joint`, independent parts side
by side on the last axis (``@`` and ``fan``); `Branched`, a distribution that depends on finite
middles being summed (R3), with one log weight per branch in front of the stack.

What depends on a finite site that is summed has axes of branches in front of those of its value. A
coordinate is one value for all branches, so its bounds are the widest of them (`widest`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.kernels import DENSITIES, Bijector, bijector_for
from quivers_nb.kernels.families.discrete import table_log_prob
from quivers_nb.kernels.finite import LOG_EPS, drawable, given_log_prob
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import Support, is_discrete

Number = int | float


class Dist(Protocol):
    """See the module docstring for shapes."""

    @property
    def lead(self) -> tuple[int, ...]: ...
    @property
    def event(self) -> tuple[int, ...]: ...
    @property
    def discrete(self) -> bool: ...
    @property
    def noise_event(self) -> tuple[int, ...] | None:
        """Event shape of the standard normal noise, None if there is no noise map."""
        ...

    @property
    def label(self) -> str: ...
    @property
    def support(self) -> Support | None: ...
    def log_prob(self, value: Tensor) -> Tensor: ...
    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor: ...
    def from_noise(self, noise: Tensor) -> Tensor: ...
    def unconstrained_event(self) -> tuple[int, ...]: ...
    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value and log-Jacobian ``(*s, *lead)`` at unconstrained ``u``."""
        ...

    def unconstrain(self, value: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Simple:
    """One family. ``own_event``: trailing axes of independent scalars that form one vector value.

    A kernel ``~ Normal`` into ``Real 3`` and ``sample z : R3 <- Normal(…)`` are vectors of three
    independent scalars: event ``(3,)``, summed by `log_prob`. ``params`` broadcast to
    ``(*s, *lead, *own_event)`` (plus their own event axes for vector parameters).
    """

    family: Family
    params: tuple[Tensor, ...]
    lead: tuple[int, ...]
    own_event: tuple[int, ...] = ()
    family_event: tuple[int, ...] = ()

    @property
    def event(self) -> tuple[int, ...]:
        return self.own_event + self.family_event

    @property
    def discrete(self) -> bool:
        return is_discrete(self.family.support)

    @property
    def label(self) -> str:
        return self.family.name

    @property
    def support(self) -> Support | None:
        return self.family.support

    @property
    def noise_event(self) -> tuple[int, ...] | None:
        density = DENSITIES[self.family.name]
        if not self.family.noise or density.from_noise is None:
            return None
        if not self.family.event_rank:
            return self.event
        *front, last = self.family_event
        return (*self.own_event, *front, density.noise_width(last))

    def log_prob(self, value: Tensor) -> Tensor:
        term = DENSITIES[self.family.name].log_prob(value, *self.params)
        return _sum_last(term, len(self.own_event))

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        shape = (*stack, *self.lead, *self.own_event)
        size = self.family_event[-1] if self.family_event else None
        return DENSITIES[self.family.name].sample(self.params, shape, generator, size=size)

    def from_noise(self, noise: Tensor) -> Tensor:
        density = DENSITIES[self.family.name]
        assert density.from_noise is not None, self.family.name
        return density.from_noise(noise, *self.params)

    def bijector(self, rank: int) -> Bijector:
        """Onto the support; ``rank``: how many axes the value or its coordinates have."""
        named = dict(zip((p.name for p in self.family.parameters), self.params, strict=False))
        return bijector_for(self.family.support, widest(self.family.support, named, rank))

    def unconstrained_event(self) -> tuple[int, ...]:
        bijector = self.bijector(len(self.lead) + len(self.event))
        return self.own_event + tuple(bijector.unconstrained_shape(self.family_event))

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        bijector = self.bijector(u.ndim)
        value, log_det = bijector.forward_and_log_det(u)
        return value, _sum_last(log_det, len(self.event) - bijector.event_rank)

    def unconstrain(self, value: Tensor) -> Tensor:
        return self.bijector(value.ndim).inverse(value)


@dataclass(frozen=True, slots=True)
class Weighted(Simple):
    """A row of a table of weights, read as a finite kernel: see `quivers_nb.kernels.finite`."""

    def log_prob(self, value: Tensor) -> Tensor:
        return given_log_prob(value, *self.params)

    def log_weight(self, value: Tensor) -> Tensor:
        """The log probability of an outcome in a sum over all of them: not bounded."""
        return table_log_prob(value, *self.params)

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        exact = Simple(self.family, tuple(map(drawable, self.params)), self.lead)
        return exact.sample(stack, generator)


@dataclass(frozen=True, slots=True)
class Joint:
    """Independent parts side by side on the last axis; scalar parts take one column (5.2, 5.3)."""

    parts: tuple[Dist, ...]
    lead: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(prod(part.event) for part in self.parts)

    @property
    def event(self) -> tuple[int, ...]:
        return (sum(self.widths),)

    @property
    def discrete(self) -> bool:
        return any(part.discrete for part in self.parts)

    @property
    def label(self) -> str:
        return " * ".join(part.label for part in self.parts)

    @property
    def support(self) -> Support | None:
        supports = {part.support for part in self.parts}
        return supports.pop() if len(supports) == 1 else None

    @property
    def noise_event(self) -> tuple[int, ...] | None:
        events = [part.noise_event for part in self.parts]
        if any(event is None for event in events):
            return None
        return (sum(prod(event) for event in events if event is not None),)

    def split(self, value: Tensor) -> list[Tensor]:  # (*n, Σ widths) -> [(*n, *event_i)]
        """The parts of a value; finite parts as indices."""
        pieces = value.split(list(self.widths), dim=-1)
        return [_as_event(piece, part) for piece, part in zip(pieces, self.parts, strict=True)]

    def log_prob(self, value: Tensor) -> Tensor:
        terms = [p.log_prob(v) for p, v in zip(self.parts, self.split(value), strict=True)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        return side_by_side([part.sample(stack, generator) for part in self.parts], self.parts)

    def from_noise(self, noise: Tensor) -> Tensor:
        sizes = [prod(part.noise_event or ()) for part in self.parts]
        pieces = noise.split(sizes, dim=-1)
        values = [
            part.from_noise(piece.reshape((*piece.shape[:-1], *(part.noise_event or ()))))
            for part, piece in zip(self.parts, pieces, strict=True)
        ]
        return side_by_side(values, self.parts)

    def unconstrained_event(self) -> tuple[int, ...]:
        return (sum(prod(part.unconstrained_event()) for part in self.parts),)

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        sizes = [prod(part.unconstrained_event()) for part in self.parts]
        values, total = [], None
        for part, piece in zip(self.parts, u.split(sizes, dim=-1), strict=True):
            shaped = piece.reshape((*piece.shape[:-1], *part.unconstrained_event()))
            value, log_det = part.constrain(shaped)
            values.append(value)
            total = log_det if total is None else total + log_det
        assert total is not None
        return side_by_side(values, self.parts), total

    def unconstrain(self, value: Tensor) -> Tensor:
        pieces = [p.unconstrain(v) for p, v in zip(self.parts, self.split(value), strict=True)]
        return torch.cat([p.reshape((*p.shape[: value.ndim - 1], -1)) for p in pieces], dim=-1)


@dataclass(frozen=True, slots=True)
class Branched:
    """``inner`` has one more stack axis in front, of branches; ``weights`` are their log weights.

    The density is ``log Σ_k exp(weights_k + log p_k(value))``; weights are ``(K, *s, *lead)``.
    """

    inner: Dist
    weights: Tensor

    @property
    def lead(self) -> tuple[int, ...]:
        return self.inner.lead

    @property
    def event(self) -> tuple[int, ...]:
        return self.inner.event

    @property
    def discrete(self) -> bool:
        return self.inner.discrete

    @property
    def label(self) -> str:
        return self.inner.label

    @property
    def support(self) -> Support | None:
        return self.inner.support

    @property
    def noise_event(self) -> tuple[int, ...] | None:
        return None  # R3: where a summed site decides the distribution, the value is the coordinate

    def log_prob(self, value: Tensor) -> Tensor:
        if not isinstance(self.inner, Weighted):
            return torch.logsumexp(self.weights + self.inner.log_prob(value), dim=0)
        total = torch.logsumexp(self.weights + self.inner.log_weight(value), dim=0)
        return torch.maximum(total, torch.logsumexp(self.weights, dim=0) + LOG_EPS)

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        """Draw a branch by its weight, then from its distribution."""
        weights = self.weights.expand(-1, *stack, *self.lead)
        flat = weights.movedim(0, -1).softmax(-1).reshape(-1, weights.shape[0])
        branch = torch.multinomial(flat, 1, generator=generator).reshape(weights.shape[1:])
        values = self.inner.sample((weights.shape[0], *stack), generator)
        index = branch.reshape((1, *branch.shape, *((1,) * len(self.event))))
        return values.gather(0, index.expand(1, *values.shape[1:])).squeeze(0)

    def from_noise(self, noise: Tensor) -> Tensor:
        return self.inner.from_noise(noise)

    def unconstrained_event(self) -> tuple[int, ...]:
        return self.inner.unconstrained_event()

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner.constrain(u)

    def unconstrain(self, value: Tensor) -> Tensor:
        return self.inner.unconstrain(value)


def branch_weight(dist: Dist) -> Tensor | None:
    """What is left of the density of a value that is not scored: the sum over branches, whose
    weights hold the terms of other sites. None where there are no branches.
    """
    if isinstance(dist, Branched):
        return torch.logsumexp(dist.weights, dim=0)
    found = [w for part in getattr(dist, "parts", ()) if (w := branch_weight(part)) is not None]
    return sum(found[1:], start=found[0]) if found else None


def widest(support: Support, named: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The bounds of ``support``, by name, for values of ``rank`` axes; other parameters are left.

    Axes beyond these, in front, are branches: the least lower bound, the greatest upper one. Where
    a branch has no values it has no density, so the sum over all is that of the values themselves.
    """
    found = dict(named)
    for end, widen in (("low", torch.amin), ("high", torch.amax)):
        name = getattr(support, end, None)
        if isinstance(name, str) and found[name].ndim > rank:
            found[name] = widen(found[name], tuple(range(found[name].ndim - rank)))
    return found


def simple(
    name: str, params: Sequence[Tensor], lead: tuple[int, ...], **events: tuple[int, ...]
) -> Simple:
    """A `Simple` by family name."""
    return Simple(FAMILIES[name], tuple(params), lead, **events)


def side_by_side(values: list[Tensor], parts: Sequence[Dist]) -> Tensor:
    """Concatenate values on the last axis; scalars become one column, matrices are read flat."""
    columns = [_as_columns(v, len(part.event)) for v, part in zip(values, parts, strict=True)]
    dtype = next((c.dtype for c in columns if c.is_floating_point()), columns[0].dtype)
    shapes = [c.shape[:-1] for c in columns]
    front = np.broadcast_shapes(*shapes) if len(set(shapes)) > 1 else shapes[0]
    return torch.cat([c.to(dtype).expand((*front, c.shape[-1])) for c in columns], dim=-1)


def _as_columns(value: Tensor, rank: int) -> Tensor:
    if rank == 0:
        return value.unsqueeze(-1)
    return value if rank == 1 else value.flatten(-rank)


def _as_event(piece: Tensor, part: Dist) -> Tensor:
    if part.event:
        return piece if len(part.event) == 1 else piece.unflatten(-1, part.event)
    column = piece.squeeze(-1)
    return column.long() if part.discrete else column


def _sum_last(term: Tensor, count: int) -> Tensor:
    return term.sum(tuple(range(-count, 0))) if count else term


__all__ = [
    "Branched",
    "Dist",
    "Joint",
    "Simple",
    "branch_weight",
    "side_by_side",
    "simple",
    "widest",
]
