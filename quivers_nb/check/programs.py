"""Programs: inputs, steps in order, return, effects (section 7)."""

from dataclasses import replace

from quivers_nb.check.drawn import drawn_in
from quivers_nb.check.effects import check_declared, step_effects, written_effects
from quivers_nb.check.environment import Environment
from quivers_nb.check.extent import check_extent
from quivers_nb.check.inlining import inlined
from quivers_nb.check.lets import NOTHING, check_let
from quivers_nb.check.marginalize import check_marginalize
from quivers_nb.check.objects import check_object, declared_label
from quivers_nb.check.options import NAME, NAMES, Settings, read_options
from quivers_nb.check.posteriors import check_posterior, declare_posterior
from quivers_nb.check.reading import reads_input
from quivers_nb.check.scope import MorphismBinding, Scope, Template
from quivers_nb.check.steps import check_observe, check_sample
from quivers_nb.check.tensors import tensor
from quivers_nb.check.term import InputSlot, LetStep, Program, ProgramTerm, ScoreStep, Step
from quivers_nb.check.values import UNKNOWN, info, of_object
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.effect import Effect
from quivers_nb.spaces.space import Object, factors, is_finite, width
from quivers_nb.syntax import tree
from quivers_nb.syntax.printer_expr import obj


def declare_program(decl: tree.ProgramDecl, scope: Scope) -> None:
    """Bind the name of a `program`. A posterior program is kept apart: it is no morphism."""
    options = read_program_options(decl, scope)
    if "over" in options:
        _posterior(decl, options, scope)
        return
    value: ProgramTerm | Template | None = None
    if any(param.kind is not None for param in decl.params):
        value = Template(decl)
        check_declared(
            options.get("effects"), [(written_effects(s), s.span) for s in decl.steps], scope.report
        )
    else:
        program = check_program(decl, options, scope)
        name = decl.name
        if program is not None and check_extent(program, 1, name.text, name.span, scope):
            value = program_term(program, decl.name.span)
    kind = "template" if isinstance(value, Template) else "program"
    scope.declare_morphism(decl.name, MorphismBinding(value, decl.name.span, kind))


def read_program_options(decl: tree.ProgramDecl, scope: Scope) -> Settings:
    """The options of a program."""
    return read_options(
        decl.options, {"effects": NAMES, "over": NAME}, scope.report, what="a program"
    )


def program_term(program: Program, span: Span) -> ProgramTerm:
    """A program as a morphism."""
    return ProgramTerm(
        dom=program.dom, cod=program.cod, sequence=program.sequence, span=span, program=program
    )


def _posterior(decl: tree.ProgramDecl, options: Settings, scope: Scope) -> None:
    """A program over the sites of another, which is no morphism."""
    found = check_posterior(decl, options, scope)
    if found is None:
        scope.posteriors.setdefault(decl.name.text, (None, decl.name.span))
        return
    env, sites, model = found
    program = _checked_steps(decl, (), options, env)
    declare_posterior(decl, sites, model, program, scope)


def check_program(decl: tree.ProgramDecl, options: Settings, scope: Scope) -> Program | None:
    """The program, or None if anything in it is wrong."""
    before = scope.report.count
    decl = replace(decl, steps=inlined(decl.steps, scope))
    dom, cod = check_object(decl.dom, scope), check_object(decl.cod, scope)
    env = Environment(
        scope=scope, reads=reads_input(decl, scope), dom=dom, dom_span=decl.dom.span,
        cod=cod, cod_span=decl.cod.span, dom_name=_domain_name(decl.dom, dom, scope),
    )  # fmt: skip
    inputs = _bind_inputs(decl, dom, env)
    program = _checked_steps(decl, inputs, options, env)
    if program is None or not _tables_are_free(program, env) or scope.report.count > before:
        return None
    scope.results[decl.name.text] = tuple(
        env.look_up(name) or UNKNOWN for name in decl.returns.names
    )
    return program


def _tables_are_free(program: Program, env: Environment) -> bool:
    """Whether the names of tables that the program draws are bound by nothing else."""
    names = {**dict.fromkeys(env.host), **env.closed, **env.bound}
    for name, leaf in drawn_in(program).items():
        if name in names or name in env.scope.data:
            value = names.get(name)
            span = program.span if value is None or value.span is None else value.span
            env.scope.report.error(
                "Q0501",
                f"`{name}` is already bound: it is the table that this program draws",
                span,
                labels=[Label(leaf.morphism.span, "its prior is declared here")],
                hint="a name is bound once: give one of the two another name",
            )
            return False
    return True


def _checked_steps(
    decl: tree.ProgramDecl, inputs: tuple[InputSlot, ...], options: Settings, env: Environment
) -> Program | None:
    """The steps in order, the return and the effects, where the inputs are bound."""
    scope, before, dom, cod = env.scope, env.scope.report.count, env.dom, env.cod
    env.pending = _names_to_come(decl.steps)
    effects: list[tuple[frozenset[Effect], Span]] = []
    steps: list[Step] = []
    for step in decl.steps:
        checked = check_step(step, env)
        done = written_effects(step)
        if checked is not None:
            steps.append(checked)
            done |= step_effects(checked)
        effects.append((done, step.span))
    sequence = env.check_reading()
    returns = _returns(decl, env)
    check_declared(options.get("effects"), effects, scope.report)
    if dom is None or cod is None or scope.report.count > before:
        return None
    variables = (*env.bound.items(), *env.closed.items(), *env.used_data.items())
    return Program(
        name=decl.name.text, dom=dom, cod=cod, inputs=inputs, steps=tuple(steps),
        returns=returns, returns_tuple=decl.returns.is_tuple, reads_input=env.reads,
        sequence=sequence, effects=frozenset[Effect]().union(*(e for e, _ in effects)),
        variables=tuple(info(name, value) for name, value in variables),
        host_names=tuple(env.host), span=decl.name.span,
        dom_text=obj(decl.dom), cod_text=obj(decl.cod),
    )  # fmt: skip


# --- inputs -----------------------------------------------------------------------------------


def _domain_name(obj: tree.Obj, dom: Object | None, scope: Scope) -> str | None:
    """The name of the one axis of a finite domain."""
    if dom is None or not is_finite(dom) or not isinstance(obj, tree.ObjName):
        return None
    axes = scope.objects[obj.name.text].axes
    return axes[0].name if len(axes) == 1 else None


def _bind_inputs(
    decl: tree.ProgramDecl, dom: Object | None, env: Environment
) -> tuple[InputSlot, ...]:
    names = [param.name for param in decl.params]
    slots = () if dom is None else _slots(decl, names, dom, env)
    env.inputs = frozenset(name.text for name in names)
    if len(slots) != len(names):
        for name in names:
            env.bind(name, UNKNOWN)
        return ()
    for name, slot in zip(names, slots, strict=True):
        env.bind(name, of_object(slot.obj, frozenset({name.text}), ()))
    return slots


def _slots(
    decl: tree.ProgramDecl, names: list[tree.Name], dom: Object, env: Environment
) -> tuple[InputSlot, ...]:
    parts = factors(dom)
    if len(names) == 1:
        return (InputSlot(names[0].text, dom, 0, width(dom), whole=True),)
    if names and len(parts) != len(names):
        count = len(parts)
        env.scope.report.error(
            "Q0505",
            f"{len(names)} input names, but the domain has {count} "
            f"component{'' if count == 1 else 's'}",
            names[0].span | names[-1].span,
            labels=[
                Label(decl.dom.span, f"the domain, {dom}"), *declared_label(decl.dom, env.scope)
            ],
            hint="one name stands for the whole input; more name its components in order",
        )  # fmt: skip
        return ()
    slots: list[InputSlot] = []
    start = 0
    for name, part in zip(names, parts, strict=False):
        slots.append(InputSlot(name.text, part, start, width(part)))
        start += width(part)
    return tuple(slots)


def _names_to_come(steps: tuple[tree.Step, ...]) -> dict[str, Span]:
    """The names that steps bind, and where: to tell an early use from host data."""
    found: dict[str, Span] = {}
    for step in steps:
        names = step.names if isinstance(step, tree.SampleStep) else (step.name,)
        for name in names:
            if name.text != "_":
                found.setdefault(name.text, name.span)
        if isinstance(step, tree.MarginalizeStep):
            found = {**_names_to_come(step.body), **found}
    return found


# --- steps ------------------------------------------------------------------------------------


def check_step(step: tree.Step, env: Environment) -> Step | None:
    """One step; None where there is nothing to run."""
    match step:
        case tree.SampleStep():
            return check_sample(step, env)
        case tree.ObserveStep():
            return check_observe(step, env)
        case tree.LetStep():
            return _let(step, env)
        case tree.ScoreStep():
            return _score(step, env)
        case tree.MarginalizeStep():
            return check_marginalize(step, env, check_step)


def _let(step: tree.LetStep, env: Environment) -> Step:
    if isinstance(step.value, tree.LetName):
        env.known(step.value.name, what="(a bare alias is never host data)")
        if env.look_up(step.value.name) is None:
            env.bind(step.name, UNKNOWN)
            return LetStep(step.name.text, NOTHING, span=step.span)
    term, value = check_let(step.value, env)
    env.bind(step.name, value)
    return LetStep(step.name.text, term, span=step.span)


def _score(step: tree.ScoreStep, env: Environment) -> Step:
    term, value = check_let(step.value, env)
    value = tensor(value, step.value.span, env)
    report = env.scope.report
    if env.groups is not None:
        report.error(
            "Q0520",
            f"the score `{step.name.text}` has no group: a grouped `marginalize` adds up terms of "
            "its groups",
            step.name.span,
            hint="score before the block, or write the term as an observe with `via`",
        )
    elif value.own:
        report.error(
            "Q0710",
            f"`{step.name.text}` must be one number per row or one number, but it has "
            f"{len(value.own)} own {'axis' if len(value.own) == 1 else 'axes'}",
            step.value.span,
            because=[Because("a score is added to the joint density")],
            hint=f"reduce it first: `sum({report.text(step.value.span)})`",
        )
    env.bind(step.name, value)
    return ScoreStep(step.name.text, term, span=step.span)


# --- return -----------------------------------------------------------------------------------


def _returns(decl: tree.ProgramDecl, env: Environment) -> tuple[tuple[str, str], ...]:
    step = decl.returns
    labels = step.labels or step.names
    for name in step.names:
        if env.look_up(name) is None:
            near = nearest(name.text, env.bound)
            env.scope.report.error(
                "Q0507",
                f"return variable `{name.text}` is not bound",
                name.span,
                hint=None if near is None else f"did you mean `{near}`?",
            )
    first: dict[str, Span] = {}
    for label in labels:
        if label.text in first:
            env.scope.report.error(
                "Q0507",
                f"`{label.text}` is returned twice under one label",
                label.span,
                labels=[Label(first[label.text], "first here")],
                hint="give the values labels: `return (a: x, b: x)`",
            )
        first.setdefault(label.text, label.span)
    return tuple((a.text, b.text) for a, b in zip(labels, step.names, strict=True))
