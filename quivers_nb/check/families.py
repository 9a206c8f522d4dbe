"""Families by name, and inline calls: arguments to parameters, literals in range (7.3, 8)."""

from dataclasses import dataclass

from quivers_nb.check.arguments import check_argument
from quivers_nb.check.elsewhere import parameter_hint
from quivers_nb.check.environment import Environment
from quivers_nb.check.ranges import check_ranges
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Argument, Literal
from quivers_nb.check.values import NUMBER, UNKNOWN, Value
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.syntax import tree

MEASURES = frozenset(
    {"PointMass", "Restrict", "Truncate", "Normalize", "Mixture", "Pushforward", "Independent"}
)
Slot = Argument | tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """One argument in the place of its parameter; a list is ``items`` many values side by side."""

    slot: Slot
    value: Value
    span: Span
    items: int | None = None


def find_family(name: tree.Name, scope: Scope) -> Family | None:
    """The row of a family, or None after saying that there is no such family."""
    family = FAMILIES.get(name.text)
    if family is not None:
        return family
    if name.text in MEASURES:
        scope.report.error(
            "Q0308",
            f"`{name.text}` is a measure operator, not a family",
            name.span,
            hint="measure operators stand in `sample` and `observe` steps",
        )
        return None
    near = nearest(name.text, FAMILIES)
    hint = None if near is None else f"did you mean `{near}`?"
    if name.text in scope.morphisms:
        hint = f"`{name.text}` is a {scope.morphisms[name.text].kind}, not a family"
    message = f"unknown family `{name.text}`"
    scope.report.undefined("Q0308", message, name.span, key=(name.text,), hint=hint)
    return None


def check_arguments(call: tree.Call, family: Family, env: Environment) -> tuple[Given, ...] | None:
    """The arguments in the order of the parameters; None after an error."""
    report = env.scope.report
    before = report.count
    if not family.inline:
        report.error(
            "Q0614",
            f"{family.name} is a family of kernels: a step cannot call it",
            call.name.span,
            because=[Because(f"{family.name}: {family.summary}")],
            hint=f"declare `morphism f : A -> B [role=kernel] ~ {family.name}`, and draw from `f`",
        )
        return None
    if call.args is None and family.parameters:
        names = ", ".join(p.name for p in family.parameters)
        report.error(
            "Q0601",
            f"the inline family {family.name} needs arguments: {names}",
            call.name.span,
            hint=f"write `{family.name}({names})`",
        )
        return None
    placed = _place(call, family, env)
    given = tuple(given_argument(arg, env) for arg in placed)
    if report.count > before:
        return None
    check_ranges(call, family, [g.slot for g in given], [g.span for g in given], report)
    return given


def list_length(args: tuple[tree.StepArg, ...]) -> int | None:
    """How many literals are written side by side: ``Dirichlet(1.0, 2.0)`` or ``[1.0, 2.0]``."""
    if len(args) == 1 and isinstance(args[0], tree.ArgList):
        return len(args[0].items)
    return len(args) if len(args) > 1 else None


def _place(call: tree.Call, family: Family, env: Environment) -> list[tree.StepArg]:
    """Positional arguments first, then keywords; reports arity and names."""
    args = call.args or ()
    if family.name == "Dirichlet" and not any(isinstance(a, tree.ArgKeyword) for a in args):
        args = _side_by_side(args)
    names = [p.name for p in family.parameters]
    slots: dict[str, tree.StepArg] = {}
    keyword = False
    for i, arg in enumerate(args):
        if isinstance(arg, tree.ArgKeyword):
            keyword = True
            _keyword(arg, slots, names, family, env)
        elif keyword:
            env.scope.report.error(
                "Q0602", "a positional argument follows a keyword", arg.span,
                hint="write the positional arguments first",
            )  # fmt: skip
        elif i < len(names):
            slots[names[i]] = arg
    _arity(call, family, args, slots, env)
    return [slots[name] for name in names if name in slots]


def _side_by_side(args: tuple[tree.StepArg, ...]) -> tuple[tree.StepArg, ...]:
    if len(args) < 2:
        return args
    return (tree.ArgList(args, span=args[0].span | args[-1].span),)


def _keyword(
    arg: tree.ArgKeyword,
    slots: dict[str, tree.StepArg],
    names: list[str],
    family: Family,
    env: Environment,
) -> None:
    key, report = arg.key.text, env.scope.report
    if key not in names:
        report.error(
            "Q0602",
            f"{family.name} has no parameter `{key}`",
            arg.key.span,
            because=[Because(_parameters(names))],
            hint=parameter_hint(key, family),
        )
    elif key in slots:
        report.error(
            "Q0602", f"`{key}` is given twice", arg.key.span,
            labels=[Label(slots[key].span, "first here")],
        )  # fmt: skip
    else:
        slots[key] = arg.value


def _arity(
    call: tree.Call,
    family: Family,
    args: tuple[tree.StepArg, ...],
    slots: dict[str, tree.StepArg],
    env: Environment,
) -> None:
    names = [p.name for p in family.parameters]
    missing = [name for name in names if name not in slots]
    unknown = any(isinstance(a, tree.ArgKeyword) and a.key.text not in names for a in args)
    if (not missing and len(args) <= len(names)) or (
        unknown and (not missing or len(args) == len(names))
    ):
        return
    expected = ", ".join(names) or "no arguments"
    env.scope.report.error(
        "Q0603",
        f"{family.name} expects {expected}; got {len(args)}",
        call.span,
        because=[Because(f"missing: {', '.join(missing)}")] if missing else [],
        hint=f"write `{family.name}({', '.join(names)})`" if names else f"write `{family.name}`",
    )


def _parameters(names: list[str]) -> str:
    if not names:
        return "it has no parameters"
    return f"its parameter{'s are' if len(names) > 1 else ' is'} {', '.join(names)}"


def given_argument(arg: tree.StepArg, env: Environment) -> Given:
    """One argument, or a list of numbers, with what is known of it."""
    if isinstance(arg, tree.ArgList):
        found = [check_argument(item, env) for item in arg.items]
        for (_, value), item in zip(found, arg.items, strict=True):
            if value.own:
                _not_a_number(value, item, env)
        rows = frozenset[str]().union(*(value.rows for _, value in found))
        value = Value(rows=rows, axes=None)
        if all(v.own == () for _, v in found):
            value = Value(rows=rows, axes=(), event=(len(found),))
        return Given(tuple(slot for slot, _ in found), value, arg.span, len(found))
    slot, value = check_argument(arg, env)
    if isinstance(slot, Literal) and value is not UNKNOWN:
        value = NUMBER
    return Given(slot, value, arg.span)


def _not_a_number(value: Value, item: tree.StepArg, env: Environment) -> None:
    report = env.scope.report
    count = len(value.own or ())
    labels = [] if value.span is None else [Label(value.span, "bound here")]
    report.error(
        "Q0608",
        f"`{report.text(item.span)}` has {count} own ax{'is' if count == 1 else 'es'}: the items "
        "of a list are numbers",
        item.span,
        labels=labels,
        hint="pass the vector itself, without the list",
    )
