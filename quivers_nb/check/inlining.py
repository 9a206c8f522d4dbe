"""Templates: a call in a `sample` step is inlined, one in an expression makes a program (7.9).

Inlining happens in the tree, before the steps are checked: formal parameters are replaced, the
returned variable takes the bound name, every other local ``x`` becomes ``name$x``. Whatever is
then wrong in the body is found where it stands, by the same judgements as everywhere.
"""

from collections.abc import Sequence
from dataclasses import replace

from quivers_nb.check.scope import Scope, Template
from quivers_nb.check.substitution import Substitution, substituted
from quivers_nb.check.templates import check_template_call
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.syntax import tree

NUMBERS = frozenset({"Real", "Nat"})


def inlined(
    steps: tuple[tree.Step, ...], scope: Scope, active: tuple[str, ...] = ()
) -> tuple[tree.Step, ...]:
    """The steps with every good call of a template replaced by its steps; bad calls stay."""
    found: list[tree.Step] = []
    for step in steps:
        if isinstance(step, tree.MarginalizeStep):
            found.append(replace(step, body=inlined(step.body, scope, active)))
            continue
        template = _called(step, scope)
        body = None
        if template is not None and isinstance(step, tree.SampleStep):
            body = _body(template, step, scope, active)
        found.extend((step,) if body is None else body)
    return tuple(found)


def instantiated(
    template: Template, name: tree.Name, args: Sequence[tree.StepArg], scope: Scope
) -> tree.ProgramDecl | None:
    """A program of its own, its steps under their own names."""
    if not check_template_call(template, name, args, scope):
        return None
    decl = template.decl
    written = ", ".join(scope.report.text(arg.span) for arg in args)
    made = substituted(decl, _parameters(template, args, {}))
    called = replace(name, text=f"{name.text}({written})")
    return replace(made, name=called, params=())  # type: ignore[no-any-return]


def _called(step: tree.Step, scope: Scope) -> Template | None:
    if not isinstance(step, tree.SampleStep):
        return None
    binding = scope.morphisms.get(step.call.name.text)
    value = None if binding is None else binding.value
    return value if isinstance(value, Template) else None


def _body(
    template: Template, step: tree.SampleStep, scope: Scope, active: tuple[str, ...]
) -> tuple[tree.Step, ...] | None:
    """The steps of a call, or None where the call is not one that can be inlined."""
    name, decl = step.call.name, template.decl
    if not _can_be_inlined(template, step, scope, active):
        return None
    args = step.call.args or ()
    if not check_template_call(template, name, args, scope):
        return None
    bound, returned = step.names[0].text, decl.returns.names[0].text
    names = {local: f"{bound}${local}" for local in _locals(decl.steps)}
    names[returned] = bound
    made = substituted(decl.steps, _parameters(template, args, names))
    sized = tuple(_sized(inner, decl, template, args) for inner in made)
    return inlined(sized, scope, (*active, decl.name.text))


def _can_be_inlined(
    template: Template, step: tree.SampleStep, scope: Scope, active: tuple[str, ...]
) -> bool:
    name, decl, report = step.call.name, template.decl, scope.report
    label = Label(decl.name.span, "declared here")
    if step.index is not None:
        return False  # told where steps are checked
    if decl.name.text in active:
        report.error("Q0511", f"the template `{name.text}` calls itself", name.span, labels=[label])
        return False
    if len(step.names) != 1 or len(decl.returns.names) != 1:
        report.error(
            "Q0506",
            f"a call of the template `{name.text}` binds exactly one name",
            step.names[0].span | step.names[-1].span,
            labels=[label],
        )
        return False
    if decl.returns.names[0].text not in _locals(decl.steps):
        report.error(
            "Q0507",
            f"`{decl.returns.names[0].text}` is not bound by a step of the template",
            decl.returns.names[0].span,
        )
        return False
    return True


def _locals(steps: tuple[tree.Step, ...]) -> list[str]:
    """Every name that the steps bind, those of blocks included."""
    found: list[str] = []
    for step in steps:
        names = step.names if isinstance(step, tree.SampleStep) else (step.name,)
        found.extend(name.text for name in names if name.text != "_")
        if isinstance(step, tree.MarginalizeStep):
            found.extend(_locals(step.body))
    return found


def _parameters(
    template: Template, args: Sequence[tree.StepArg], names: dict[str, str]
) -> Substitution:
    objects: dict[str, tree.Name] = {}
    numbers: dict[str, tree.Number | tree.Name] = {}
    morphisms: dict[str, tree.Name] = {}
    for param, arg in zip(template.decl.params, args, strict=True):
        kind = param.kind.text if isinstance(param.kind, tree.Name) else "Mor"
        if kind in NUMBERS and isinstance(arg, tree.Number | tree.Name):
            numbers[param.name.text] = arg
        elif isinstance(arg, tree.Name):
            (morphisms if kind == "Mor" else objects)[param.name.text] = arg
    return Substitution(objects, numbers, morphisms, names)


def _sized(
    step: tree.Step, decl: tree.ProgramDecl, template: Template, args: Sequence[tree.StepArg]
) -> tree.Step:
    """A symmetric Dirichlet takes its size from the template's codomain, not the caller's."""
    sampled = isinstance(step, tree.SampleStep) and step.call.name.text == "Dirichlet"
    if not sampled or not isinstance(step, tree.SampleStep) or step.index is not None:
        return step
    entries = step.options.entries if step.options is not None else ()
    cod = substituted(decl.cod, _parameters(template, args, {}))
    if any(entry.key.text == "over" for entry in entries) or not isinstance(cod, tree.ObjName):
        return step
    over = tree.OptionEntry(tree.Name("over", span=cod.span), cod.name, span=cod.span)
    return replace(step, options=tree.Options((*entries, over), span=cod.span))
