"""Whether values can be read as the input of a kernel, and which own axes they leave (7.3, R4)."""

from dataclasses import dataclass
from math import prod

from quivers_nb.check.axes import Axes
from quivers_nb.check.expect import sizes_agree
from quivers_nb.check.values import Value
from quivers_nb.spaces.space import Object, ProductSet, is_finite, width


@dataclass(frozen=True, slots=True)
class Fit:
    """The axes that are not consumed (None: unknown), or what is wrong."""

    left: Axes | None
    fault: str | None = None


def fit_single(value: Value, dom: Object) -> Fit:
    """One value as a whole input."""
    if is_finite(dom):
        return _index(value, dom)
    own, columns = value.own, width(dom)
    if own is None:
        return Fit(None)
    if columns == 1:
        fault = (
            f"it has dimension {value.event[-1]}, the domain has dimension 1"
            if value.event
            else None
        )
        return Fit(own) if value.event in {(), (1,)} else Fit(None, fault)
    if len(value.event) == 2 and prod(value.event) == columns:  # a matrix, read row by row
        return Fit(own[:-2])
    last = own[-1].obj.size if own else None
    if last is None or (isinstance(last, int) and last != columns):
        have = "is a number" if last is None else f"has dimension {last}"
        return Fit(None, f"it {have}, the domain has dimension {columns}")
    return Fit(own[:-1])


@dataclass(frozen=True, slots=True)
class Columns:
    """How many columns each of several values gives, and what is left over; or what is wrong."""

    widths: tuple[int, ...] = ()
    left: tuple[Axes | None, ...] = ()
    fault: str | None = None


def fit_several(values: list[Value], dom: Object) -> Columns:
    """Values side by side: their widths add up to the domain's.

    A value with an event gives its event. Any other is a number per own axis, unless the widths add
    up only if its last own axis is a vector.
    """
    unknown: tuple[Axes | None, ...] = (None,) * len(values)
    if any(value.own is None for value in values):
        return Columns(left=unknown)
    options = [_widths(value) for value in values]
    widths = _choice(options, width(dom))
    if widths is None:
        shown = " + ".join(str(option[-1]) for option in options)
        fault = f"side by side they have dimension {shown}, the domain {width(dom)}"
        return Columns(left=unknown, fault=fault)
    left = tuple(
        own[: len(own) - max(1, len(value.event))]
        if columns > 1 or value.event not in {(), (1,)}
        else own
        for value, columns in zip(values, widths, strict=True)
        if (own := value.own) is not None
    )
    return Columns(widths, left)


def _choice(options: list[tuple[int, ...]], wanted: int) -> tuple[int, ...] | None:
    """One width from each option so that they sum to ``wanted``; first options are preferred."""
    reached: dict[int, tuple[int, ...]] = {0: ()}
    for option in options:
        grown: dict[int, tuple[int, ...]] = {}
        for columns in option:
            for total, chosen in reached.items():
                grown.setdefault(total + columns, (*chosen, columns))
        reached = {total: chosen for total, chosen in grown.items() if total <= wanted}
    return reached.get(wanted)


def _widths(value: Value) -> tuple[int, ...]:
    """How many columns a value may give: its event; or 1, or the length of its last own axis."""
    if value.event:
        return (prod(value.event),)
    own = value.own or ()
    last = own[-1].obj.size if own else 1
    return (1, last) if isinstance(last, int) and last != 1 else (1,)


def _index(value: Value, dom: Object) -> Fit:
    """An index, or a row of indices for a product of finite sets."""
    if value.discrete is False:
        return Fit(None, f"it is a real number, {dom} takes an index")
    known = value.obj
    if known is not None and is_finite(known) and not sizes_agree(known, dom):
        return Fit(None, f"{known} has {known.size} elements, {dom} has {dom.size}")  # type: ignore[union-attr]
    if value.own is None:
        return Fit(None)
    if isinstance(dom, ProductSet) and value.event:
        return Fit(value.read_axes)
    return Fit(value.own)
