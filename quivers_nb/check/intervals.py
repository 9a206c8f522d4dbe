"""Intervals whose ends are numbers, names of values, or not known before a run."""

from collections.abc import Sequence
from math import inf

from quivers_nb.check.term import Literal, Variable
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import (
    REAL,
    Above,
    Below,
    Between,
    Bound,
    Counts,
    Support,
)

End = float | str | None
Interval = tuple[End, End]
Ends = tuple[float, float]


def interval_of(family: Family, args: Sequence[object]) -> Interval:
    """The interval over which a family is spread, its named bounds as a call gives them."""
    named = dict(zip((p.name for p in family.parameters), args, strict=False))

    def end(bound: Bound) -> End:
        if not isinstance(bound, str):
            return float(bound)
        arg = named.get(bound)
        if isinstance(arg, Literal):
            return float(arg.value)
        return arg.name if isinstance(arg, Variable) else None

    match family.support:
        case Above(low):
            return end(low), inf
        case Below(high):
            return -inf, end(high)
        case Between(low, high):
            return end(low), end(high)
        case Counts(low, high):
            return float(low), inf if high is None else end(high)
        case _:
            return -inf, inf


def common(a: Interval, b: Interval) -> Interval:
    """The part that two intervals share."""
    return _larger(a[0], b[0]), _smaller(a[1], b[1])


def hull(a: Interval, b: Interval) -> Interval:
    """The least interval that holds two."""
    return _smaller(a[0], b[0]), _larger(a[1], b[1])


def _smaller(a: End, b: End) -> End:
    return _extreme(a, b, -inf, inf)


def _larger(a: End, b: End) -> End:
    return _extreme(a, b, inf, -inf)


def _extreme(a: End, b: End, winner: float, loser: float) -> End:
    if isinstance(a, float) and isinstance(b, float):
        return min(a, b) if winner < 0 else max(a, b)
    if winner in (a, b):
        return winner
    if a == loser:
        return b
    return a if b in (a, loser) else None


def is_empty(interval: Interval, *, touching: bool) -> bool:
    """Whether nothing lies between the ends; ``touching`` ends hold one point."""
    low, high = interval
    if not isinstance(low, float) or not isinstance(high, float):
        return False
    return low > high if touching else low >= high


def inside(interval: Interval, domain: Ends) -> bool:
    """Whether known ends lie inside a domain."""
    low, high = interval
    above = not isinstance(low, float) or low >= domain[0]
    return above and (not isinstance(high, float) or high <= domain[1])


def support_of(interval: Interval) -> Support | None:
    """The support that an interval is; None if an end is not known."""
    low, high = interval
    if low is None or high is None:
        return None
    if low == -inf:
        return REAL if high == inf else Below(high)
    return Above(low) if high == inf else Between(low, high)


def span_of(interval: Interval) -> str:
    """An interval in words."""
    low, high = interval
    if low == -inf and high == inf:
        return "every number"
    shown = [
        "…" if end is None else f"{end:g}" if isinstance(end, float) else end for end in (low, high)
    ]
    return f"{shown[0]} … {shown[1]}"
