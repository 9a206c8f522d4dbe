"""A draw: the checked right side of a step, and what is known of its value."""

from dataclasses import dataclass

from quivers_nb.check.axes import Axes
from quivers_nb.check.term import Source
from quivers_nb.check.values import Value
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.space import Object


@dataclass(frozen=True, slots=True)
class Remainder:
    """Own axes of an argument that the family or kernel does not consume (R4); None: unknown."""

    axes: Axes | None
    span: Span
    rows: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Draw:
    """A source with what its arguments leave over.

    ``event``: axes of one value; None if only data will tell. ``results``: of a program, the values
    it returns. ``deterministic``: the step binds a value without a density of its own (R3).
    """

    source: Source
    rows: frozenset[str]
    remainders: tuple[Remainder, ...]
    event: tuple[int, ...] | None = ()
    obj: Object | None = None
    discrete: bool | None = False
    simplex: bool = False
    deterministic: bool = False
    results: tuple[Value, ...] = ()
    tuple_result: bool = False
