"""Finite sets that are listed: enums, words over a set, categories over an enum (3.1)."""

from quivers_nb.check.scope import Scope
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.categories import MAX_CATEGORIES, OPS, at_most
from quivers_nb.spaces.space import EnumSet, FinSet, FreeMonoid, FreeResiduated, Object
from quivers_nb.syntax import tree

MAX_ELEMENTS = 100_000_000


def enum_set(name: str, obj: tree.ObjEnum, scope: Scope) -> EnumSet:
    """An enum; a label that stands twice is reported and counted once."""
    seen: dict[str, Span] = {}
    for label in obj.labels:
        if label.text in seen:
            scope.report.error(
                "Q0207",
                f"duplicate label `{label.text}`",
                label.span,
                labels=[Label(seen[label.text], "first here")],
            )
        seen.setdefault(label.text, label.span)
    return EnumSet(name, tuple(seen))


def free_monoid(
    obj: tree.ObjFreeMonoid, generators: Object | None, scope: Scope
) -> FreeMonoid | None:
    """Words over a finite set, unless there are too many or the generators are no FinSet."""
    length = obj.max_length.value
    if generators is None:
        return None
    if not isinstance(generators, FinSet):
        kind = "an enum" if isinstance(generators, EnumSet) else str(generators)
        scope.report.error(
            "Q0208",
            f"FreeMonoid needs a FinSet of generators, `{obj.generators.text}` is {kind}",
            obj.generators.span,
            labels=[Label(scope.objects[obj.generators.text].span, "declared here")],
        )
        return None
    if isinstance(generators.size, int) and _words(generators.size, int(length)) > MAX_ELEMENTS:
        _too_many(obj.max_length, "words", scope)
        return None
    return FreeMonoid(generators, int(length))


def _words(letters: int, length: int) -> int:
    """The number of words, counted until there are too many."""
    total = power = 1
    for _ in range(length):
        power *= letters
        total += power
        if total > MAX_ELEMENTS:
            break
    return total


def _too_many(number: tree.Number, what: str, scope: Scope) -> None:
    scope.report.error(
        "Q0208", f"{number.value} gives more than {MAX_ELEMENTS} {what}", number.span
    )


def free_residuated(
    obj: tree.ObjFreeResiduated, generators: Object | None, scope: Scope
) -> FreeResiduated | None:
    """Categories over the labels of an enum, unless there are too many."""
    ops = ("slash",) if obj.ops is None else tuple(op.text for op in obj.ops)
    depth = 1 if obj.depth is None else int(obj.depth.value)
    known = True
    for op in obj.ops or ():
        if op.text not in OPS:
            known = False
            near = nearest(op.text, OPS)
            scope.report.error(
                "Q0208",
                f"unknown category operation `{op.text}`; the operations are {', '.join(OPS)}",
                op.span,
                hint=None if near is None else f"did you mean `{near}`?",
            )
    if generators is None or not known:
        return None
    if not isinstance(generators, EnumSet):
        scope.report.error(
            "Q0208",
            f"the generators of FreeResiduated must be an enum, "
            f"`{obj.generators.text}` is {generators}",
            obj.generators.span,
            labels=[Label(scope.objects[obj.generators.text].span, "declared here")],
            hint=f"declare `object {obj.generators.text} : {{a, b}}`",
        )
        return None
    if at_most(len(generators.labels), depth, ops) > MAX_CATEGORIES:
        assert obj.depth is not None
        scope.report.error(
            "Q0208",
            f"depth {depth} gives more than {MAX_CATEGORIES} categories",
            obj.depth.span,
        )
        return None
    return FreeResiduated(generators, depth, ops)
