"""Literal arguments lie where their parameter may lie: `Normal(0.0, -1.0)` is refused."""

from itertools import pairwise
from math import inf, isfinite

from quivers_nb.check.report import Report
from quivers_nb.check.term import Argument, Literal
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import (
    Above,
    Below,
    Between,
    Bound,
    Counts,
    Increasing,
    SimplexSupport,
    Support,
)
from quivers_nb.syntax import tree

Slots = list[Argument | tuple[Argument, ...]]
SIMPLEX_TOLERANCE = 1e-4


def check_ranges(
    call: tree.Call, family: Family, slots: Slots, spans: list[Span], report: Report
) -> None:
    """Report every literal outside the support of its parameter."""
    literals = {
        parameter.name: slot.value
        for parameter, slot in zip(family.parameters, slots, strict=False)
        if isinstance(slot, Literal)
    }
    for parameter, slot, span in zip(family.parameters, slots, spans, strict=False):
        numbers = _numbers(slot)
        need = _violated(
            parameter.support,
            numbers,
            literals,
            whole=isinstance(slot, tuple) and len(slot) == len(numbers),
        )
        if need is not None:
            shown = ", ".join(str(number) for number in numbers)
            report.error(
                "Q0605",
                f"`{parameter.name}` of {family.name} must be {need}, got {shown}",
                span,
                because=[Because(f"{family.name}: {family.summary}", call.name.span)],
            )


def _numbers(slot: Argument | tuple[Argument, ...]) -> list[float | int]:
    items = slot if isinstance(slot, tuple) else (slot,)
    return [item.value for item in items if isinstance(item, Literal)]


def _violated(
    support: Support, numbers: list[float | int], literals: dict[str, float | int], *, whole: bool
) -> str | None:
    """What the numbers should be and are not, in words; None if they may be."""
    if not all(isfinite(number) for number in numbers):
        return "a finite number"
    if whole and isinstance(support, SimplexSupport):
        return _probabilities(numbers)
    if whole and isinstance(support, Increasing):
        rising = all(a < b for a, b in pairwise(numbers))
        return None if rising else "increasing"
    return next((need for n in numbers if (need := _one(support, n, literals))), None)


def _probabilities(numbers: list[float | int]) -> str | None:
    good = all(n >= 0 for n in numbers) and abs(sum(numbers) - 1) <= SIMPLEX_TOLERANCE
    return None if good else "probabilities that sum to 1"


def _one(support: Support, number: float | int, literals: dict[str, float | int]) -> str | None:
    match support:
        case Above(low) if number <= _bound(low, literals, -inf):
            bound = _bound(low, literals, -inf)
            return "positive" if bound == 0 else f"above {bound}"
        case Below(high) if number >= _bound(high, literals, inf):
            return f"below {_bound(high, literals, inf)}"
        case Between(low, high):
            least, most = _bound(low, literals, -inf), _bound(high, literals, inf)
            return None if least <= number <= most else f"between {least} and {most}"
        case Counts(low) if number < low or number != int(number):
            return f"a whole number of at least {low}"
        case _:
            return None


def _bound(bound: Bound, literals: dict[str, float | int], default: float) -> float | int:
    """A bound that is a parameter counts if that parameter is a literal."""
    return literals.get(bound, default) if isinstance(bound, str) else bound
