"""Calls of templates: arguments of the kinds that the parameters ask for (7.9)."""

from collections.abc import Sequence

from quivers_nb.check.environment import Environment
from quivers_nb.check.expect import events_meet, why
from quivers_nb.check.objects import check_object
from quivers_nb.check.scope import Pattern, Scope, Template
from quivers_nb.check.substitution import Substitution, substituted
from quivers_nb.check.term import Term
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.space import is_finite
from quivers_nb.syntax import tree

NUMBERS = frozenset({"Real", "Nat"})


def check_template_step(
    template: Template, step: tree.SampleStep | tree.ObserveStep, env: Environment
) -> None:
    """A template in a step: un-indexed, with arguments of the right kinds."""
    if step.index is not None:
        env.scope.report.error(
            "Q0510",
            f"the template `{step.call.name.text}` cannot be indexed",
            step.index.span,
            labels=[Label(template.decl.name.span, "a program with typed parameters")],
            hint="pass the object as an argument, and draw the plate inside",
        )
        return
    good = check_template_call(template, step.call.name, step.call.args or (), env.scope)
    if good and isinstance(step, tree.ObserveStep):
        env.scope.report.error(
            "Q0516",
            f"the template `{step.call.name.text}` gives a deterministic value, which cannot be "
            "observed",
            step.call.name.span,
            hint="call it in a `sample` step, and observe a draw at its value",
        )


def check_template_call(
    template: Template,
    name: tree.Name,
    args: Sequence[tree.StepArg | tree.Name | tree.Number],
    scope: Scope,
) -> bool:
    """Whether the number of arguments is right and each is what its parameter's kind admits."""
    params = template.decl.params
    before = scope.report.count
    if len(args) != len(params):
        names = ", ".join(param.name.text for param in params)
        scope.report.error(
            "Q0511",
            f"the template `{name.text}` expects {names}; got {len(args)}",
            name.span,
            labels=[Label(template.decl.name.span, "declared here")],
        )
        return False
    for param, arg in zip(params, args, strict=True):
        fault = _fault(param, arg, scope)
        if fault is not None:
            scope.report.error(
                "Q0511",
                fault,
                arg.span,
                because=[_asked(param)],
            )
    if scope.report.count == before:
        _morphisms_fit(template, args, scope)
    return scope.report.count == before


def _morphisms_fit(template: Template, args: Sequence[tree.StepArg], scope: Scope) -> None:
    """An argument of kind Mor[A, B] goes from A to B, with the objects of this call."""
    pairs = list(zip(template.decl.params, args, strict=True))
    given = {p.name.text: a for p, a in pairs if isinstance(a, tree.Name)}
    objects = Substitution(given, {}, {}, {})
    for param, arg in pairs:
        if not isinstance(param.kind, tree.KindMor) or not isinstance(arg, tree.Name):
            continue
        dom = check_object(substituted(param.kind.dom, objects), scope)
        cod = check_object(substituted(param.kind.cod, objects), scope)
        term = scope.morphisms[arg.text].value
        if not isinstance(term, Term) or dom is None or cod is None:
            continue
        if not (events_meet(dom, term.dom) and events_meet(term.cod, cod)):
            wanted = f"from {dom} to {cod}"
            scope.report.error(
                "Q0511",
                f"`{arg.text}` goes from {term.dom} to {term.cod}, and {wanted} is wanted",
                arg.span,
                because=[_asked(param), *why(term, cod=False)],
            )


def _asked(param: tree.Param) -> Because:
    kind = "Mor[A, B]" if isinstance(param.kind, tree.KindMor) else getattr(param.kind, "text", "")
    span: Span = param.name.span
    return Because(f"the parameter `{param.name.text}` is of kind {kind}", span)


def _fault(param: tree.Param, arg: tree.StepArg, scope: Scope) -> str | None:
    kind = param.kind.text if isinstance(param.kind, tree.Name) else "Mor"
    text = scope.report.text(arg.span)
    if kind in NUMBERS:
        if not isinstance(arg, tree.Number | tree.Name):
            return f"`{text}` is not a number"
        whole = isinstance(arg, tree.Name) or (isinstance(arg.value, int) and arg.value >= 0)
        if kind == "Nat" and not whole:
            return f"`{text}` is not a whole number from 0 on"
        return None
    if not isinstance(arg, tree.Name):
        return f"`{text}` is not the name of {'a morphism' if kind == 'Mor' else 'an object'}"
    if kind == "Mor":
        return None if arg.text in scope.morphisms else f"`{text}` is not a morphism"
    return _object_fault(kind, arg, scope)


def _object_fault(kind: str, arg: tree.Name, scope: Scope) -> str | None:
    binding = scope.objects.get(arg.text)
    if binding is None:
        return f"`{arg.text}` is not an object"
    value = binding.value
    if value is None or isinstance(value, Pattern):
        return None
    finite = is_finite(value)
    if kind == "FinSet" and not finite:
        return f"`{arg.text}` is not a finite set, but {value}"
    if kind == "Space" and finite:
        return f"`{arg.text}` is not a space, but {value}"
    return None
