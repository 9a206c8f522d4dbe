"""The measure operators of section 8.1, as measures; see `quivers_nb.kernels.measure`."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Generator, Tensor

from quivers_nb.kernels.bijectors.simplex import StickBreaking
from quivers_nb.kernels.families import DENSITIES
from quivers_nb.kernels.families.cdfs import CDFS
from quivers_nb.kernels.families.numeric import (
    INF,
    SUM_TOLERANCE,
    Shape,
    broadcast,
    draw_exponential,
)
from quivers_nb.kernels.intervals import (
    Bound,
    draw_between,
    draw_counts_between,
    larger,
    log_interval,
    smaller,
    unbounded,
)
from quivers_nb.kernels.maps import MAPS, Map
from quivers_nb.kernels.measure import (
    WHOLE,
    Interval,
    Kind,
    Measure,
    Terms,
    each,
    implicit,
    inside_or_nothing,
    less,
    log_density,
    log_sum,
    meet,
)
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import Above, Below, Between, Counts, is_discrete
from quivers_nb.spaces.support import Bound as NamedBound


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A scalar family with its parameters."""

    family: Family
    params: tuple[Tensor, ...]
    event_rank: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.COUNTS if is_discrete(self.family.support) else Kind.SMOOTH

    @property
    def invertible(self) -> bool:
        return self.family.name in CDFS

    @property
    def bounds(self) -> Interval:
        support = self.family.support
        match support:
            case Above(low):
                return self._bound(low), INF
            case Below(high):
                return -INF, self._bound(high)
            case Between(low, high):
                return self._bound(low), self._bound(high)
            case Counts(low, high):
                return float(low), INF if high is None else self._bound(high)
            case _:
                return WHOLE

    def _bound(self, bound: NamedBound) -> Bound:
        if not isinstance(bound, str):
            return float(bound)
        names = [parameter.name for parameter in self.family.parameters]
        return self.params[names.index(bound)]

    def terms(self, y: Tensor) -> Terms:
        density = DENSITIES[self.family.name].log_prob(y, *self.params)
        return (density, None) if self.kind is Kind.COUNTS else (None, density)

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        if unbounded(interval):
            like = self.params[0]
            return torch.zeros((), dtype=like.dtype, device=like.device)
        discrete = self.kind is Kind.COUNTS
        return log_interval(self.family.name, self.params, *interval, discrete=discrete)

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        name, params = self.family.name, self.params
        if unbounded(interval):
            return DENSITIES[name].sample(params, shape, generator)
        if self.kind is Kind.COUNTS:
            return draw_counts_between(name, params, shape, generator, interval)
        y = draw_between(name, params, shape, generator, interval)
        return implicit(self, y, interval)


@dataclass(frozen=True, slots=True, eq=False)
class PointMass:
    """All mass at ``value``; ``whole``: it is written as a whole number."""

    value: Tensor
    whole: bool = False
    event_rank: int = 0
    invertible: bool = True

    @property
    def kind(self) -> Kind:
        return Kind.COUNTS if self.whole else Kind.ATOMS

    @property
    def bounds(self) -> Interval:
        return self.value, self.value

    def terms(self, y: Tensor) -> Terms:
        return inside_or_nothing(y == self.value, torch.zeros_like(self.value)), None

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        low, high = interval
        inside = (self.value >= low) & (self.value <= high)
        return inside_or_nothing(inside, torch.zeros_like(self.value))

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        del generator, interval
        value = self.value.expand(shape)
        return value.long() if self.whole else value


@dataclass(frozen=True, slots=True, eq=False)
class Restrict:
    """``inner`` where low <= y <= high, nothing elsewhere: its mass is less than before."""

    inner: Measure
    interval: Interval

    @property
    def kind(self) -> Kind:
        return self.inner.kind

    @property
    def event_rank(self) -> int:
        return self.inner.event_rank

    @property
    def invertible(self) -> bool:
        return self.inner.invertible

    @property
    def bounds(self) -> Interval:
        return meet(self.inner.bounds, self.interval)

    def terms(self, y: Tensor) -> Terms:
        low, high = self.interval
        inside = (y >= low) & (y <= high)
        atoms, smooth = self.inner.terms(y)
        return each((atoms, smooth), lambda term: inside_or_nothing(inside, term))

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        return self.inner.log_mass(meet(interval, self.interval))

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        return self.inner.draw(shape, generator, meet(interval, self.interval))


@dataclass(frozen=True, slots=True, eq=False)
class Normalize:
    """``inner`` divided by its mass."""

    inner: Measure

    @property
    def kind(self) -> Kind:
        return self.inner.kind

    @property
    def event_rank(self) -> int:
        return self.inner.event_rank

    @property
    def invertible(self) -> bool:
        return self.inner.invertible

    @property
    def bounds(self) -> Interval:
        return self.inner.bounds

    def terms(self, y: Tensor) -> Terms:
        mass = self.inner.log_mass()
        return each(self.inner.terms(y), lambda term: less(term, mass))

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        return less(self.inner.log_mass(interval), self.inner.log_mass())

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        return self.inner.draw(shape, generator, interval)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The weighted sum of measures; ``weights`` are ``(*n, K)``, need not sum to one."""

    weights: Tensor
    parts: tuple[Measure, ...]

    @property
    def kind(self) -> Kind:
        kinds = {part.kind for part in self.parts}
        if len(kinds) == 1:
            return kinds.pop()
        return Kind.ATOMS if kinds == {Kind.ATOMS, Kind.COUNTS} else Kind.MIXED

    @property
    def event_rank(self) -> int:
        return self.parts[0].event_rank

    @property
    def invertible(self) -> bool:
        return all(part.invertible for part in self.parts)

    @property
    def bounds(self) -> Interval:
        lows, highs = zip(*(part.bounds for part in self.parts), strict=True)
        return reduce(smaller, lows), reduce(larger, highs)

    def _log_weights(self) -> list[Tensor]:
        positive = self.weights > 0
        logs = inside_or_nothing(positive, torch.where(positive, self.weights, 1.0).log())
        return list(logs.unbind(-1))

    def terms(self, y: Tensor) -> Terms:
        atoms: list[Tensor] = []
        smooth: list[Tensor] = []
        for log_weight, part in zip(self._log_weights(), self.parts, strict=True):
            mass, density = part.terms(y)
            if mass is not None:
                atoms.append(log_weight + mass)
            if density is not None:
                smooth.append(log_weight + density)
        return log_sum(atoms) if atoms else None, log_sum(smooth) if smooth else None

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        return log_sum(self._log_masses(interval))

    def _log_masses(self, interval: Interval) -> list[Tensor]:
        pairs = zip(self._log_weights(), self.parts, strict=True)
        return [log_weight + part.log_mass(interval) for log_weight, part in pairs]

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        masses = torch.stack(torch.broadcast_tensors(*self._log_masses(interval)), -1).detach()
        race = draw_exponential((masses,), (*shape, len(self.parts)), generator)
        chosen = (race.log() - masses).argmin(-1)
        draws = [part.draw(shape, generator, interval) for part in self.parts]
        dtype = reduce(torch.promote_types, (draw.dtype for draw in draws))
        stacked = torch.stack([draw.to(dtype) for draw in draws])
        index = chosen.reshape((1, *shape, *((1,) * self.event_rank)))
        y = stacked.gather(0, index.expand((1, *stacked.shape[1:]))).squeeze(0)
        smooth = self.kind is Kind.SMOOTH and self.event_rank == 0
        return implicit(self, y, interval) if smooth and self.invertible else y


@dataclass(frozen=True, slots=True, eq=False)
class Pushforward:
    """The image of ``inner`` under an increasing map of numbers, entry by entry."""

    inner: Measure
    map: Map

    @property
    def kind(self) -> Kind:
        return self.inner.kind

    @property
    def event_rank(self) -> int:
        return self.inner.event_rank

    @property
    def invertible(self) -> bool:
        return self.inner.invertible

    @property
    def bounds(self) -> Interval:
        low, high = self.inner.bounds
        return self.map.of_bound(low), self.map.of_bound(high)

    def terms(self, y: Tensor) -> Terms:
        low, high = self.map.image
        inside = (y > low) & (y < high)
        x = self.map.inverse(torch.where(inside, y, self.map.inner_point))
        volume = self.map.log_slope(x)
        axes = tuple(range(-self.event_rank, 0))
        whole = inside.all(-1) if axes else inside
        for _ in axes[1:]:
            whole = whole.all(-1)
        volume = volume.expand(y.shape).sum(axes) if axes else volume
        return each(self.inner.terms(x), lambda term: inside_or_nothing(whole, term - volume))

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        return self.inner.log_mass(self._back(interval))

    def _back(self, interval: Interval) -> Interval:
        low, high = interval
        return self.map.inverse_of_bound(low), self.map.inverse_of_bound(high)

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        return self.map.forward(self.inner.draw(shape, generator, self._back(interval)))


@dataclass(frozen=True, slots=True, eq=False)
class OntoSimplex:
    """The image of a measure of vectors under stick-breaking."""

    inner: Measure
    event_rank: int = 1
    invertible: bool = False
    kind: Kind = Kind.SMOOTH
    bounds: Interval = (0.0, 1.0)

    def terms(self, y: Tensor) -> Terms:
        total = (y.sum(-1) - 1.0).abs() <= SUM_TOLERANCE
        inside = (y > 0).all(-1) & total
        safe = torch.where(inside.unsqueeze(-1), y, 1.0 / y.shape[-1])
        bijector = StickBreaking()
        x = bijector.inverse(safe)
        _, log_det = bijector.forward_and_log_det(x)
        return each(self.inner.terms(x), lambda term: inside_or_nothing(inside, term - log_det))

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        assert unbounded(interval)
        return self.inner.log_mass()

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        assert unbounded(interval)
        return StickBreaking().forward(self.inner.draw(shape, generator))


@dataclass(frozen=True, slots=True, eq=False)
class Independent:
    """The last ``len(sizes)`` axes of ``inner`` as one event: densities and masses multiply."""

    inner: Measure
    sizes: tuple[int, ...]
    invertible: bool = False

    @property
    def kind(self) -> Kind:
        return self.inner.kind

    @property
    def event_rank(self) -> int:
        return self.inner.event_rank + len(self.sizes)

    @property
    def bounds(self) -> Interval:
        return self.inner.bounds

    def terms(self, y: Tensor) -> Terms:
        total = self._total(log_density(self.inner, y))
        return (None, total) if self.kind is Kind.SMOOTH else (total, None)

    def _total(self, term: Tensor) -> Tensor:
        axes = tuple(range(-len(self.sizes), 0))
        return torch.broadcast_to(term, broadcast(term.shape, self.sizes)).sum(axes)

    def log_mass(self, interval: Interval = WHOLE) -> Tensor:
        assert unbounded(interval)
        return self._total(self.inner.log_mass())

    def draw(self, shape: Shape, generator: Generator | None, interval: Interval = WHOLE) -> Tensor:
        assert unbounded(interval)
        return self.inner.draw((*shape, *self.sizes), generator)


def map_named(name: str, loc: Tensor | None = None, scale: Tensor | None = None) -> Map:
    """The map of a bijector's name; ``Affine`` takes a location and a positive scale."""
    if loc is None or scale is None:
        return MAPS["Identity" if name == "Affine" else name]
    return Map(
        lambda x: loc + scale * x,
        lambda y: (y - loc) / scale,
        lambda x: scale.log() + torch.zeros_like(x),
        fixed=False,
    )
