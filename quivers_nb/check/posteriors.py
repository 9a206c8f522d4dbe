"""Posterior programs: deterministic functions of the sites of a declared program (7.11)."""

from dataclasses import replace

from quivers_nb.check.drawn import with_tables
from quivers_nb.check.effects import written_effects
from quivers_nb.check.environment import Environment
from quivers_nb.check.objects import check_object
from quivers_nb.check.options import Settings
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import (
    ObserveStep,
    Posterior,
    Program,
    ProgramTerm,
    SampleStep,
    VariableInfo,
)
from quivers_nb.check.values import SITE, UNKNOWN, Value
from quivers_nb.check.walk import all_steps
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax import tree


def check_posterior(
    decl: tree.ProgramDecl, options: Settings, scope: Scope
) -> tuple[Environment, tuple[VariableInfo, ...], Program] | None:
    """The environment of its steps, the sites it reads, and their program; None after an error."""
    model = _model(options, scope)
    before = scope.report.count
    _deterministic(decl, scope)
    env = Environment(
        scope=scope, reads=model is not None and model.reads_input,
        dom=check_object(decl.dom, scope), dom_span=decl.dom.span,
        cod=check_object(decl.cod, scope), cod_span=decl.cod.span, dom_name=None,
    )  # fmt: skip
    infos = {} if model is None else _sites(model)
    sites: list[VariableInfo] = []
    for param in decl.params:
        info = infos.get(param.name.text)
        if info is None and model is not None:
            _no_site(param.name, model, infos, scope)
        env.bind(param.name, UNKNOWN if info is None else _value(info, env))
        if info is not None:
            sites.append(info)
    if model is None or scope.report.count > before:
        return None
    return env, tuple(sites), model


def declare_posterior(
    decl: tree.ProgramDecl,
    sites: tuple[VariableInfo, ...],
    model: Program,
    program: Program | None,
    scope: Scope,
) -> None:
    """Keep it under its name: it is no morphism."""
    known = scope.posteriors.get(decl.name.text)
    if known is not None:
        scope.already(decl.name, "posterior program", known[1])
        return
    value = None
    if program is not None:
        reads = replace(program, reads_input=model.reads_input)
        value = Posterior(decl.name.text, model, sites, reads)
    scope.posteriors[decl.name.text] = (value, decl.name.span)


def _model(options: Settings, scope: Scope) -> Program | None:
    model = options["over"]
    binding = scope.morphisms.get(model.name)
    if binding is None:
        hint = scope.hint(model.name, tuple(scope.morphisms))
        scope.report.error("Q0517", f"undefined model `{model.name}`", model.span, hint=hint)
        return None
    if binding.kind != "program":
        scope.report.error(
            "Q0517",
            f"`{model.name}` is a {binding.kind}, and `over` names a program",
            model.span,
            labels=[Label(binding.span, "declared here")],
        )
        return None
    value = binding.value
    return with_tables(value.program) if isinstance(value, ProgramTerm) else None


def _deterministic(decl: tree.ProgramDecl, scope: Scope) -> None:
    """Nothing in it is drawn or scored, whether or not it says `Pure`."""
    for step in decl.steps:
        if written_effects(step):
            scope.report.error(
                "Q0522",
                "a posterior program is deterministic: it has `let` steps and a `return`",
                step.span,
                labels=[Label(decl.name.span, "it reads sites of another program")],
                hint="draw in the model, or use `Predictive` for new draws",
            )


def _sites(model: Program) -> dict[str, VariableInfo]:
    """The declared sites of a program, as far as their shapes are known."""
    names = {
        name
        for step in all_steps(model.steps)
        if isinstance(step, SampleStep | ObserveStep)
        for name in (step.names if isinstance(step, SampleStep) else (step.name,))
    }
    return {info.name: info for info in model.variables if info.name in names}


def _no_site(name: tree.Name, model: Program, sites: dict[str, VariableInfo], scope: Scope) -> None:
    near = nearest(name.text, sites)
    known = ", ".join(sites) or "none"
    scope.report.error(
        "Q0522",
        f"`{name.text}` is not a site of `{model.name}`",
        name.span,
        labels=[Label(model.span, "the program named by `over`")],
        hint=f"did you mean `{near}`?" if near else f"its sites: {known}",
    )


def _value(info: VariableInfo, env: Environment) -> Value:
    rows = frozenset({SITE}) if info.row_wise and env.reads else frozenset[str]()
    return Value(
        rows=rows, axes=info.axes, event=info.event, discrete=True if info.integer else None,
        simplex=info.simplex,
    )  # fmt: skip
