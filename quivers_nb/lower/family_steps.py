"""Inline families in steps: which axes a site has, and its distribution there (7.4-7.6, R2, R4)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import QuiversWarning, UserError
from quivers_nb.kernels import DENSITIES
from quivers_nb.lower.arguments import (
    Param,
    any_rows,
    broadcast_left_over,
    family_params,
    match_to_factors,
    place,
)
from quivers_nb.lower.dists import Dist, Simple
from quivers_nb.lower.guesses import check_guess
from quivers_nb.lower.measures import MeasureRead, read_measure
from quivers_nb.lower.scope import Scope, axis_size
from quivers_nb.lower.values import Names
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object, SizeVar, Space, is_finite


@dataclass(frozen=True, slots=True)
class FamilyDraw:
    """A family site ready to be asked for: its distribution, and how to read the value.

    ``names`` are the own axes of the value, ``rows`` whether the batch axes stand before them.
    """

    dist: Dist
    names: Names
    rows: bool
    unit: bool = False


@dataclass(frozen=True, slots=True)
class FamilyCallRead:
    """A family with its parameters read, and the event of its value."""

    family: Family
    params: list[Param]
    own_event: tuple[int, ...]
    family_event: tuple[int, ...]

    @property
    def event_names(self) -> Names:
        return (None,) * (len(self.own_event) + len(self.family_event))

    def at(self, params: Sequence[Param], lead: tuple[int, ...], own: int, *, rows: bool) -> Simple:
        """The distribution with parameters placed on ``own`` axes after the batch."""
        placed = tuple(place(p, own + len(self.own_event), rows=rows) for p in params)
        return Simple(self.family, placed, lead, self.own_event, self.family_event)


def read_call(call: ir.FamilyCall, space: Object | None, scope: Scope) -> FamilyCallRead:
    family = FAMILIES[call.family]
    size = _event_size(call, space, family, scope)
    params = family_params(call, family, scope, size)
    if scope.run.checked:
        check_guess(call, params, scope.path)
    own_event: tuple[int, ...] = ()
    family_event: tuple[int, ...] = ()
    if family.event_rank:
        family_event = _family_event(family, params, size)
    elif isinstance(space, Space):
        own_event = (space.dim,)
    return FamilyCallRead(family, params, own_event, family_event)


Read = FamilyCallRead | MeasureRead


def read_drawn(call: ir.Drawn, space: Object | None, scope: Scope) -> Read:
    """A family or a measure with its numbers read."""
    if isinstance(call, ir.MeasureCall):
        return read_measure(call, space, scope)
    return read_call(call, space, scope)


def _event_size(
    call: ir.FamilyCall, space: Object | None, family: Family, scope: Scope
) -> int | None:
    size = call.event_size
    if isinstance(size, int):
        return size
    if size is not None:
        return axis_size(ir.Axis(None, size), scope.sizes)
    if isinstance(space, Space):
        return space.matrix_size if family.event_rank == 2 else space.dim
    return None


def _family_event(family: Family, params: Sequence[Param], size: int | None) -> tuple[int, ...]:
    event = next((param.event for param in params if param.rank == family.event_rank), None)
    if event is not None:
        same = DENSITIES[family.name].noise_width(event[-1]) == event[-1]
        return event if same else (event[-1] + 1,)
    if size is None:
        raise UserError(f"the size of {family.name} is not known: give it with [over=…]")
    return (size,) * family.event_rank


# --- sample -------------------------------------------------------------------------------------


def sample_family(step: ir.SampleStep, scope: Scope) -> FamilyDraw:
    """The site of ``sample v <- F(…)`` or ``sample v : A <- F(…)``."""
    assert not isinstance(step.source, ir.MorphismCall)
    call = read_drawn(step.source, step.space, scope)
    if step.plate is not None:
        return _plate(call, step.plate, scope, step.names[0])
    return _per_row(call, scope)


def _plate(call: Read, plate: tuple[ir.Axis, ...], scope: Scope, name: str) -> FamilyDraw:
    if any_rows(call.params):
        raise UserError(
            f"the plate `{name}` is shared by all rows, but one of its arguments is row-wise: "
            "declare that argument over 1, or run with x=None"
        )
    lead = tuple(axis_size(axis, scope.sizes) for axis in plate)
    axes = tuple(axis.name for axis in plate)
    params = [match_to_factors(param, axes, name) for param in call.params]
    check_sizes(params, lead, call, name)
    unit = lead == (1,) and axes == (None,) and not call.event_names
    dist = call.at(params, lead, len(lead), rows=False)
    return FamilyDraw(dist, axes + call.event_names, rows=False, unit=unit)


def check_sizes(params: Sequence[Param], lead: tuple[int, ...], call: Read, name: str) -> None:
    """Refuse arguments that do not broadcast over ``lead``, naming both shapes."""
    have = lead + call.own_event
    for param in params:
        for k, size in enumerate(reversed(param.left_over), start=1):
            if k > len(have) or size not in (1, have[-k]):
                raise UserError(
                    f"`{name}` has shape {lead}, but `{param.label}` has own shape "
                    f"{param.left_over}"
                )


def _per_row(call: Read, scope: Scope) -> FamilyDraw:
    run = scope.run
    rows = run.batch_rank > 0
    names, left = broadcast_left_over(call.params, scope.path)
    plates = run.plates  # what depends on a marginalized site has its axes as ones
    left = tuple(
        plates.get(n, s) if s == 1 and n is not None else s
        for n, s in zip(names, left, strict=True)
    )
    if call.own_event and left:
        if left[-1] not in (1, *call.own_event):
            raise UserError(
                f"`{scope.path}` is a vector of {call.own_event[0]} numbers, but an argument has "
                f"own shape {left}"
            )
        names, left = names[:-1], left[:-1]
    lead = run.batch_shape + left
    dist = call.at(call.params, lead, len(left), rows=rows)
    unit = call.own_event == (1,)
    return FamilyDraw(dist, names + call.event_names, rows=rows, unit=unit)


# --- observe ------------------------------------------------------------------------------------


def observe_family(step: ir.ObserveStep, scope: Scope, response: Tensor | None) -> FamilyDraw:
    """The site of an observe: a row term, inside the row, or row-independent (R4)."""
    assert not isinstance(step.source, ir.MorphismCall)
    call = read_drawn(step.source, step.space, scope)
    if step.plate is None or any_rows(call.params):
        return _per_row(call, scope)
    axes = tuple(axis.name for axis in step.plate)
    params = [match_to_factors(param, axes, step.name) for param in call.params]
    lead = _response_lead(call, params, step, scope, response)
    check_sizes(params, lead, call, step.name)
    if response is not None and scope.run.checked:
        _remark_on_length(step, lead)
    dist = call.at(params, lead, len(lead), rows=False)
    unit = lead == (1,) and axes == (None,) and not call.event_names
    return FamilyDraw(dist, axes + call.event_names, rows=False, unit=unit)


def _remark_on_length(step: ir.ObserveStep, lead: tuple[int, ...]) -> None:
    """The size of an object does not restrict what is observed over it (7.6); say where it errs."""
    for axis, length in zip(step.plate or (), lead, strict=True):
        size = axis.obj.size
        if isinstance(size, SizeVar) or size in {1, length}:
            continue
        over = axis.name or str(axis.obj)
        warnings.warn(
            f"`{step.name}` has {length} values, and {over}, over which it is observed, {size} "
            f"elements: all {length} values count; declare `object {over} : FinSet n` to let the "
            "data fix the size",
            QuiversWarning,
            stacklevel=2,
        )


def _response_lead(
    call: Read,
    params: Sequence[Param],
    step: ir.ObserveStep,
    scope: Scope,
    response: Tensor | None,
) -> tuple[int, ...]:
    """One axis per factor of A: from the response, else from the arguments, else from |A|."""
    assert step.plate is not None
    count, event = len(step.plate), len(call.event_names)
    if response is not None:
        shape = tuple(response.shape)
        if len(shape) == count + event + 1 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != count + event:
            kind = "axis" if count == 1 else "axes"
            raise UserError(
                f"the response `{step.name}` has shape {shape}, but it is observed over "
                f"{' * '.join(str(a.name) for a in step.plate)}: {count} {kind} wanted"
            )
        return shape[:count]
    _, left = broadcast_left_over(params, step.name)
    left = left[: len(left) - len(call.own_event)] if call.own_event else left
    sizes = [
        axis_size(axis, scope.sizes) if k >= len(left) else 0
        for k, axis in enumerate(reversed(step.plate))
    ]
    known = list(reversed(left))
    out = [
        known[k] if k < len(known) and known[k] != 1 else sizes[k] or axis_size(a, scope.sizes)
        for k, a in enumerate(reversed(step.plate))
    ]
    return tuple(reversed(out))


__all__ = ["FamilyDraw", "is_finite", "observe_family", "sample_family"]
