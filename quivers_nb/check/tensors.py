"""Values in company: what must be a tensor, and the own axes that several values share (R11)."""

from collections.abc import Callable

from quivers_nb.check.axes import Axes, Clash, align, shown
from quivers_nb.check.environment import Environment
from quivers_nb.check.term import LetTerm
from quivers_nb.check.values import UNKNOWN, Shape, Value
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import tree

Typed = tuple[LetTerm, Value]
Infer = Callable[[tree.LetExpr, Environment], Typed]  # how a part of an expression is checked


LISTS = "lists are for `map`, `fold` and indexing; a vector is a plate, or data"


def tensor(value: Value, span: Span, env: Environment, of_list: str = LISTS) -> Value:
    """``value`` where a tensor is wanted; `UNKNOWN` after saying that it is not one.

    ``of_list`` is the hint where it is a list.
    """
    if value.sort in {Shape.TENSOR, Shape.ANY}:
        return value
    hint = of_list if value.sort is Shape.LIST else None
    env.scope.report.error(
        "Q0709", f"{value.sort.value} stands where a number or a tensor is needed", span, hint=hint
    )
    return UNKNOWN


def aligned(values: list[tuple[Value, Span]], env: Environment) -> Axes | None:
    """The common own axes of several values, or None; a clash is reported at the later one."""
    axes: Axes | None = ()
    for i, (value, span) in enumerate(values):
        merged = align(axes, value.own)
        if isinstance(merged, Clash):
            clash(merged, [s for _, s in values[:i]], span, env)
            return None
        axes = merged
    return axes


def clash(found: Clash, others: list[Span], span: Span, env: Environment) -> None:
    """Report two axes that do not align."""
    hint = None
    because = [Because("own axes are aligned from the right")]
    if found.named:
        hint = _gather(found, others[-1:], span, env)
        because.append(Because("an axis remembers the object that made it"))
    else:
        sizes = f"{found.left.obj.size} and {found.right.obj.size}"
        because.append(Because(f"the lengths {sizes} differ"))
    report = env.scope.report
    report.error(
        "Q0704",
        str(found),
        span,
        labels=[Label(other, f"has axis {shown(found.left)}") for other in others[-1:]],
        because=because,
        hint=hint,
    )


def _gather(found: Clash, others: list[Span], span: Span, env: Environment) -> str:
    """Read one of two values at data that lead from the other's object to its own."""
    report = env.scope.report
    left = report.text(others[0]) if others else "v"
    for a, b, text in (
        (found.left, found.right, left),
        (found.right, found.left, report.text(span)),
    ):
        for name, (spec, _) in env.scope.data.items():
            leads = spec is not None and [axis.name for axis in spec.axes] == [b.name]
            if spec is not None and leads and spec.cod == a.obj and text.isidentifier():
                return f"`{name}` leads from {b.name} to {a.name}: write `{text}[{name}]`"
    one, two = found.left.name, found.right.name
    return (
        f"read one at data that lead to it, `v[i]` with `data i : {two} -> {one}`; for all pairs, "
        f"`factor g : {one}, h : {two} in …`, each value indexed by its own binder"
    )


def union(*values: Value) -> frozenset[str]:
    """Why a value computed from these is row-wise."""
    return frozenset().union(*(value.rows for value in values))
