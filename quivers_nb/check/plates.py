"""Plates: arguments are matched to the axes of a step by object name, and carry no rows (R11)."""

from quivers_nb.check.axes import Axes, Clash, match, shown, shown_all
from quivers_nb.check.draw import Draw, Remainder
from quivers_nb.check.environment import Environment
from quivers_nb.check.options import Setting
from quivers_nb.check.term import FamilyCall
from quivers_nb.check.values import own_axes
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.syntax import tree

Plated = tree.SampleStep | tree.ObserveStep | tree.MarginalizeStep


def check_plate(
    step: Plated,
    plate: Axes,
    draw: Draw,
    env: Environment,
    *,
    observed: bool,
) -> bool:
    """Whether every argument can be read over the plate; says so where not."""
    good = True
    for left in draw.remainders:
        if left.rows and env.reads and not observed:
            good = False
            _row_wise(left, env)
            continue
        fault = match(own_axes(plate), left.axes)
        if fault is not None:
            good = False
            _unmatched(left, plate, fault, step, env)
    return good


def check_shared(
    step: tree.SampleStep, per: Setting | None, plate: Axes, draw: Draw, env: Environment
) -> bool:
    """A plate is shared by all rows (R1, R11): it cannot be one per row as well."""
    if per is None:
        return True
    name, label = step.names[0].text, []
    if step.index is not None:
        label = [Label(step.index.span, f"a plate over {shown_all(plate)}")]
    env.scope.report.error(
        "Q0524",
        f"`{name}` is drawn over a plate, which all rows share, and `per=row` asks for one per row",
        per.span,
        labels=label,
        hint=_one_per_row(name, plate, draw),
    )
    return False


def _one_per_row(name: str, plate: Axes, draw: Draw) -> str:
    """How to have as many values in each row, or one for all rows."""
    total = 1
    for axis in plate:
        total = axis.obj.size * total if isinstance(axis.obj.size, int) else 0
    shared = "drop `[per=row]` if all rows share them"
    source = draw.source
    scalar = isinstance(source, FamilyCall) and not FAMILIES[source.family].event_rank
    if total == 1 and plate:
        return "drop what follows the name for one per row, or `[per=row]` for one that is shared"
    if total and scalar and draw.discrete is False:
        return f"`sample {name} : Real {total} <- … [per=row]` draws them in each row; {shared}"
    return f"a kernel into a space, `sample {name} <- k(input)`, draws one vector per row; {shared}"


def _row_wise(left: Remainder, env: Environment) -> None:
    report = env.scope.report
    name = report.text(left.span)
    data = env.used_data.get(name)
    at = data if data is not None else env.bound.get(name)
    why = "the program reads its input, so an un-indexed site has one value per row"
    hint = f"to share `{name}`, declare it over 1: `sample {name} : 1 <- …`"
    if data is not None:
        why = f"data over the domain `{env.dom_name}` are read at the input: `{name}[input]`"
        hint = "declare them over an object of the plate; one of the same size will do"
    span = None if at is None else at.span
    report.error(
        "Q0512",
        f"`{name}` has one value per row, and a plate is shared by all rows",
        left.span,
        because=[
            *([Because(f"`{name}` is bound here", span)] if span is not None else []),
            Because(why),
        ],
        hint=hint,
    )


def _unmatched(
    left: Remainder,
    plate: Axes,
    fault: object,
    step: Plated,
    env: Environment,
) -> None:
    report = env.scope.report
    text = report.text(left.span)
    because = [
        Because(f"the step is over {shown_all(plate)}", step.index.span if step.index else None)
    ]
    if isinstance(fault, Clash):
        message = f"`{text}` does not fit the plate: {fault}"
    else:
        axis = next(a for a in left.axes or () if a == fault)
        message = f"`{text}` has axis {shown(axis)}, which the plate has not"
    because.append(Because("arguments are matched to the axes of a plate by object name"))
    hint = None
    if left.axes and left.axes[0].name is not None:
        hint = f"gather it first: `let at = {text}[index]`, with one index per element of the plate"
    report.error("Q0513", message, left.span, because=because, hint=hint)
