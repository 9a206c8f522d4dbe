"""Whether values can be read as the input of a kernel, and which own axes they leave (7.3, R4)."""

from dataclasses import dataclass

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
    last = own[-1].obj.size if own else None
    if last is None or (isinstance(last, int) and last != columns):
        have = "is a number" if last is None else f"has dimension {last}"
        return Fit(None, f"it {have}, the domain has dimension {columns}")
    return Fit(own[:-1])


def fit_several(values: list[Value], dom: Object) -> Fit:
    """Values side by side: widths must add up in some way."""
    if any(value.own is None for value in values):
        return Fit(None)
    wanted = width(dom)
    options = [_widths(value) for value in values]
    sums = {0}
    for option in options:
        sums = {total + columns for total in sums for columns in option if total < wanted}
    if wanted in sums:
        return Fit(None)
    shown = " + ".join(str(max(option)) for option in options)
    return Fit(None, f"side by side they have dimension {shown}, the domain {wanted}")


def _widths(value: Value) -> set[int]:
    """How many columns a value may take: its event, or its last own axis, or 1."""
    if value.event:
        return {value.event[-1]}
    own = value.own or ()
    last = own[-1].obj.size if own else 1
    return {1, last} if isinstance(last, int) else {1}


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
