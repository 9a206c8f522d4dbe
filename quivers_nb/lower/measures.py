"""Measure operators in torch: from a `MeasureCall` to a distribution of a step (section 8.1).

Reading and building are apart. `read_measure` turns every number inside the operators into a
`Param`, in a fixed order; a plate, a row or a response then places them all alike, as it does the
parameters of one family; `Reading.build` makes the measure of the placed tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import Generator, Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels import Bijector, bijector_for
from quivers_nb.kernels.intervals import Bound
from quivers_nb.kernels.measure import Kind, Measure, normalized_log_density
from quivers_nb.kernels.measures import (
    Base,
    Independent,
    Mixture,
    Normalize,
    OntoSimplex,
    PointMass,
    Pushforward,
    Restrict,
    map_named,
)
from quivers_nb.lower.arguments import (
    Param,
    broadcast_left_over,
    family_params,
    number_param,
    place,
)
from quivers_nb.lower.dists import Dist, widest
from quivers_nb.lower.scope import Scope
from quivers_nb.lower.values import Names, Value
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Clamp
from quivers_nb.spaces.space import Object, Space
from quivers_nb.spaces.support import REAL, Above, Below, Between, Counts, SimplexSupport, Support

Build = Callable[[Sequence[Tensor]], Measure]


# --- the distribution of a step -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A measure as a distribution: normalized here, at the boundary of the step."""

    measure: Measure
    lead: tuple[int, ...]
    event: tuple[int, ...]
    label: str
    params: tuple[Tensor, ...]

    @property
    def discrete(self) -> bool:
        return self.measure.kind is not Kind.SMOOTH

    @property
    def support(self) -> Support:
        if isinstance(self.measure, OntoSimplex):
            return SimplexSupport()
        if self.discrete:
            return Counts(0)
        low, high = (_absent(bound) for bound in self.measure.bounds)
        if low:
            return REAL if high else Below("high")
        return Above("low") if high else Between("low", "high")

    @property
    def noise_event(self) -> tuple[int, ...] | None:
        return None

    def log_prob(self, value: Tensor) -> Tensor:
        return normalized_log_density(self.measure, value)

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        return self.measure.draw((*stack, *self.lead), generator)

    def from_noise(self, noise: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.label} has no noise map")

    def bijector(self, rank: int) -> Bijector:
        """Onto the support; ``rank``: how many axes the value or its coordinates have."""
        low, high = self.measure.bounds
        like = self.params[0]
        named = {
            name: bound if isinstance(bound, Tensor) else like.new_full((), bound)
            for name, bound in (("low", low), ("high", high))
        }
        return bijector_for(self.support, widest(self.support, named, rank))

    def unconstrained_event(self) -> tuple[int, ...]:
        bijector = self.bijector(len(self.lead) + len(self.event))
        return tuple(bijector.unconstrained_shape(self.event))

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        bijector = self.bijector(u.ndim)
        value, log_det = bijector.forward_and_log_det(u)
        axes = len(self.event) - bijector.event_rank
        return value, log_det.sum(tuple(range(-axes, 0))) if axes else log_det

    def unconstrain(self, value: Tensor) -> Tensor:
        return self.bijector(value.ndim).inverse(value)


def _absent(bound: Bound) -> bool:
    return isinstance(bound, float) and abs(bound) == float("inf")


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers inside a measure, and what makes it of them once they are placed."""

    params: list[Param]
    build: Build
    event: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasureRead:
    """A measure with its numbers read: what a step needs to place it.

    ``own_event`` stays empty: the axes of the event belong to the numbers already.
    """

    label: str
    reading: Reading
    params: list[Param]
    own_event: tuple[int, ...] = ()

    @property
    def event_names(self) -> Names:
        return (None,) * len(self.reading.event)

    def at(self, params: Sequence[Param], lead: tuple[int, ...], own: int, *, rows: bool) -> Dist:
        """The distribution with numbers placed on ``own`` axes after the batch."""
        placed = tuple(place(param, own, rows=rows) for param in params)
        measure = self.reading.build(placed)
        return Measured(measure, lead, self.reading.event, self.label, placed)


def read_measure(call: ir.MeasureCall, space: Object | None, scope: Scope) -> MeasureRead:
    """The numbers of a measure; ``: S`` with S a space makes its components one event."""
    reading = _read(call, scope)
    if isinstance(space, Space) and not reading.event:
        reading = _independent(reading, (space.dim,))
    return MeasureRead(call.operator, reading, reading.params)


def _read(call: ir.Drawn, scope: Scope) -> Reading:
    if isinstance(call, ir.FamilyCall):
        family = FAMILIES[call.family]
        return Reading(family_params(call, family, scope, None), lambda t: Base(family, tuple(t)))
    if call.operator == "PointMass":
        whole = bool(call.count)
        return Reading(_numbers(call, scope), lambda t: PointMass(t[0], whole))
    inner = [_read(part, scope) for part in call.inner]
    if call.operator == "Mixture":
        return _mixture(inner, _weights(call, scope))
    return _around(call, inner[0], scope)


def _around(call: ir.MeasureCall, inner: Reading, scope: Scope) -> Reading:
    """An operator over one measure."""
    match call.operator:
        case "Restrict":
            return _over(inner, _numbers(call, scope), Restriction.of(call))
        case "Normalize":
            return _over(inner, [], lambda measure, _: Normalize(measure))
        case "Independent":
            return _independent(inner, _last_axes(inner, call.count, scope))
        case _:
            return _pushforward(call, inner, scope)


def _over(
    inner: Reading, own: list[Param], make: Callable[[Measure, Sequence[Tensor]], Measure]
) -> Reading:
    """An operator over one measure: its own numbers come first."""
    count = len(own)
    return Reading(
        [*own, *inner.params], lambda t: make(inner.build(t[count:]), t[:count]), inner.event
    )


def _numbers(call: ir.MeasureCall, scope: Scope) -> list[Param]:
    clamps = [Clamp.NONE, Clamp.POSITIVE if call.bijector else Clamp.NONE]
    return [
        number_param(number, scope, call.operator, clamp)
        for number, clamp in zip(call.numbers, clamps, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class Restriction:
    """Bounds as written: a literal stays a number, so that an absent bound is one, too."""

    low: float | None
    high: float | None

    @classmethod
    def of(cls, call: ir.MeasureCall) -> "Restriction":
        low, *rest = call.numbers
        return cls(_literal(low), _literal(rest[0]) if rest else float("inf"))

    def __call__(self, inner: Measure, placed: Sequence[Tensor]) -> Measure:
        low = placed[0] if self.low is None else self.low
        high = placed[1] if self.high is None else self.high
        return Restrict(inner, (low, high))


def _literal(arg: object) -> float | None:
    return float(arg.value) if isinstance(arg, ir.Literal) else None


def _weights(call: ir.MeasureCall, scope: Scope) -> Param:
    weights = number_param(call.numbers[0], scope, "Mixture", Clamp.NONE, rank=1)
    tensor = weights.value.tensor
    if tensor.shape[-1] != len(call.inner):
        raise UserError(
            f"the Mixture in `{scope.path}` has {len(call.inner)} components, but "
            f"{tensor.shape[-1]} weights"
        )
    if scope.run.checked and bool((tensor < 0).any()):
        bad = float(tensor[tensor < 0].reshape(-1)[0])
        raise UserError(f"a weight of the Mixture in `{scope.path}` is {bad:g}; weights are >= 0")
    return weights


def _mixture(parts: list[Reading], weights: Param) -> Reading:
    params = [weights, *(param for part in parts for param in part.params)]

    def build(placed: Sequence[Tensor]) -> Measure:
        rest = iter(placed[1:])
        made = tuple(part.build(list(islice(rest, len(part.params)))) for part in parts)
        return Mixture(placed[0], made)

    events = {part.event for part in parts}
    if len(events) > 1:
        shown = " and ".join(map(str, sorted(events)))
        raise UserError(f"the components of a Mixture have values of shapes {shown}")
    return Reading(params, build, parts[0].event)


def _pushforward(call: ir.MeasureCall, inner: Reading, scope: Scope) -> Reading:
    name = call.bijector or "Identity"
    if name == "StickBreaking":
        event = (inner.event[0] + 1,)
        return Reading(inner.params, lambda t: OntoSimplex(inner.build(t)), event)
    own = _numbers(call, scope)
    spread = [_consumed(param, len(inner.event)) for param in own]
    return _over(inner, spread, lambda measure, t: Pushforward(measure, map_named(name, *t)))


# --- axes that become events ----------------------------------------------------------------------


def _last_axes(inner: Reading, count: int, scope: Scope) -> tuple[int, ...]:
    _, left = broadcast_left_over(inner.params, scope.path)
    if len(left) < count:
        raise UserError(
            f"Independent in `{scope.path}` takes the last {count} own axes of the arguments, but "
            f"they have own shape {left}"
        )
    return left[len(left) - count :]


def _independent(inner: Reading, sizes: tuple[int, ...]) -> Reading:
    """The last axes of every number belong to the event from now on."""
    params = [_consumed(param, len(sizes)) for param in inner.params]
    for param in params:
        have = param.event[: len(sizes)]
        if any(size not in (1, want) for size, want in zip(have, sizes, strict=True)):
            raise UserError(
                f"an argument has own shape {param.value.own_shape}, and {sizes} is wanted"
            )
    return Reading(params, lambda t: Independent(inner.build(t), sizes), (*sizes, *inner.event))


def _consumed(param: Param, count: int) -> Param:
    """The last ``count`` left-over axes as part of the number; missing ones become singletons."""
    value, kept = param.value, len(param.left_over)
    missing = max(0, count - kept)
    start = value.front + max(0, kept - count)
    shape = value.tensor.shape
    tensor = value.tensor.reshape((*shape[:start], *((1,) * missing), *shape[start:]))
    names = (*param.names[: max(0, kept - count)], *((None,) * (count + param.rank)))
    moved = Value(tensor, names, value.rows, value.batch_rank)
    return replace(param, value=moved, rank=param.rank + count)
