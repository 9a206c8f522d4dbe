"""What is known of a bound value before a run: rows, own axes, event, type (R1, R2, R7, R11)."""

from dataclasses import dataclass, replace
from enum import Enum
from math import prod

from quivers_nb.check.term import Axis, VariableInfo
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.space import UNIT, FinSet, Object, Space, is_finite, width

SITE = "<site>"  # a cause of being row-wise other than an input: an un-indexed site, the raw input


class Shape(Enum):
    """What sort of thing a let value is."""

    TENSOR = "a tensor"
    LIST = "a list"
    FUNCTION = "a function"
    TEXT = "a string"
    ANY = "unknown"


@dataclass(frozen=True, slots=True)
class Value:
    """A value. ``rows``: why it carries the batch (inputs by name, or `SITE`); empty: it does not.

    ``axes``: own axes before the event; None where only data will tell. ``discrete``: True for
    indices and whole numbers, False for a value known to be continuous, None if not known.
    ``element``: of a list, what its items have in common.
    """

    rows: frozenset[str] = frozenset()
    axes: tuple[Axis, ...] | None = None
    event: tuple[int, ...] = ()
    discrete: bool | None = None
    simplex: bool = False
    sort: Shape = Shape.TENSOR
    obj: Object | None = None
    element: "Value | None" = None
    span: Span | None = None
    host: bool = False  # a key of the observations, declared or not
    plate: bool = False  # of a plate or declared data: unit axes are there, and are not read (R2)

    @property
    def own(self) -> tuple[Axis, ...] | None:
        """Own axes as lets and arguments see them: a `Real 1` reads as a scalar (R2)."""
        if self.axes is None:
            return None
        event = () if self.event == (1,) else self.event
        return self.read_axes + tuple(Axis(None, FinSet(n)) for n in event)

    @property
    def read_axes(self) -> tuple[Axis, ...]:
        """Own axes before the event, without the units of a plate or of data; known ones."""
        axes = self.axes or ()
        return own_axes(axes) if self.plate else axes

    @property
    def columns(self) -> int | None:
        """Width as part of a kernel's input vector; None if not known."""
        if self.axes is None:
            return None
        return prod(self.event)


UNKNOWN = Value(sort=Shape.ANY)
HOST = Value(sort=Shape.ANY, host=True)
NUMBER = Value(axes=(), discrete=False)


def scalar(rows: frozenset[str] = frozenset(), *, discrete: bool | None = None) -> Value:
    """A number per row, or one number."""
    return Value(rows=rows, axes=(), discrete=discrete)


def of_object(obj: Object, rows: frozenset[str], axes: tuple[Axis, ...] | None) -> Value:
    """A value of a declared type: indices of a finite set, vectors of a space."""
    if is_finite(obj):
        columns = width(obj)
        event = (columns,) if columns > 1 else ()
        return Value(rows=rows, axes=axes, event=event, discrete=True, obj=obj)
    simplex = isinstance(obj, Space) and obj.ctor == "Simplex"
    return Value(
        rows=rows, axes=axes, event=(width(obj),), discrete=False, simplex=simplex, obj=obj
    )


def own_axes(plate: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The axes of a plate as they are read: the unit ``1`` is dropped, a named set never (R2)."""
    return tuple(axis for axis in plate if axis.name is not None or axis.obj != UNIT)


def at(value: Value, span: Span) -> Value:
    """``value``, bound at a place."""
    return replace(value, span=span)


def info(name: str, value: Value) -> VariableInfo:
    """What the term keeps of a value."""
    return VariableInfo(
        name=name, row_wise=bool(value.rows), axes=value.axes, event=value.event,
        integer=value.discrete is True, simplex=value.simplex,
    )  # fmt: skip
