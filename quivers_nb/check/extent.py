"""How many morphisms a term stands for once its names, copies and passes are written out.

Names make terms small and their meaning large: forty lets, each used twice by the next, stand for
10^12 morphisms. Whoever walks a term visits each, so the number is bounded where names are bound.
"""

from quivers_nb.check.scope import Scope
from quivers_nb.check.term import (
    Generator,
    MorphismCall,
    ObserveStep,
    Program,
    ProgramTerm,
    Repeat,
    SampleStep,
    Term,
)
from quivers_nb.check.walk import all_steps, parts
from quivers_nb.diagnostics.source import Span

MOST = 20_000


def extent(value: Term | Program, scope: Scope) -> int:
    """The number of morphisms; what was counted before is looked up."""
    known = scope.extents.get(id(value))
    if known is not None:
        return known[0]
    count = _count(value, scope)
    scope.extents[id(value)] = (count, value)  # holding the value keeps its id from being reused
    return count


def check_extent(value: Term | Program, times: int, name: str, span: Span, scope: Scope) -> bool:
    """Whether ``times`` uses of a value can be walked; says so where not."""
    count = extent(value, scope) * times
    if count <= MOST:
        return True
    scope.report.error(
        "Q0417",
        f"`{name}` stands for {count} morphisms; the most are {MOST}",
        span,
        hint="lower a count; `repeat` and `stack` multiply what they contain",
    )
    return False


def _count(value: Term | Program, scope: Scope) -> int:
    if isinstance(value, Program):
        return 1 + sum(_step(step, scope) for step in all_steps(value.steps))
    if isinstance(value, ProgramTerm):
        return extent(value.program, scope)
    inside = sum(extent(part, scope) for part in parts(value))
    if isinstance(value, Repeat):
        return inside * value.count
    return inside + int(isinstance(value, Generator))


def _step(step: object, scope: Scope) -> int:
    if isinstance(step, SampleStep | ObserveStep) and isinstance(step.source, MorphismCall):
        return extent(step.source.term, scope)
    return 0
