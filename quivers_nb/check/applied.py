"""Declared morphisms and programs applied to values: `g(z)`, `sub(a, b)`, bare `g` (7.3, R3)."""

from dataclasses import replace

from quivers_nb.check.arguments import check_argument
from quivers_nb.check.draw import Draw, Remainder
from quivers_nb.check.environment import Environment
from quivers_nb.check.expect import dom_text, events_meet, label, mismatch, why
from quivers_nb.check.fitting import Fit, fit_several, fit_single
from quivers_nb.check.joints import read_as_kernel
from quivers_nb.check.kernels import matrix_event
from quivers_nb.check.term import (
    Argument,
    Generator,
    Morphism,
    MorphismCall,
    ProgramTerm,
    Term,
)
from quivers_nb.check.values import SITE, UNKNOWN, Value, of_object
from quivers_nb.check.walk import entered, is_flat, last_parts, programs_in
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import ProductSet, is_finite
from quivers_nb.syntax import tree

Checked = tuple[tree.StepArg, Argument, Value]


def applied_draw(call: tree.Call, term: Term, env: Environment) -> Draw | None:
    """The draw of a morphism or program, or None after an error."""
    report = env.scope.report
    if not read_as_kernel(term, call.name.span, env.scope):
        return None
    before = report.count
    program = _program(term)
    for inner in programs_in(term):
        env.host.update(dict.fromkeys(inner.host_names))
    if call.args is None:
        remainders = _raw_input(call, term, env)
        source = MorphismCall(term, None, span=call.span)
        rows = frozenset({SITE})
        args: list[Value] = [Value(rows=rows, axes=())]
    else:
        checked = _arguments(call, env, sequence=term.sequence)
        if report.count > before:
            return None
        args = [value for _, _, value in checked]
        widths, remainders = _fitted(call, term, checked, env)
        slots = tuple(slot for _, slot, _ in checked)
        source = MorphismCall(term, slots, widths, span=call.span)
        rows = frozenset[str]().union(*(value.rows for value in args))
    if report.count > before:
        return None
    if program is not None:
        return _program_draw(source, program, args, rows, remainders, env)
    result = of_object(term.cod, rows, ())
    event = () if isinstance(term.cod, ProductSet) and is_flat(term) else result.event
    kernel = _single_kernel(term)
    simplex = result.simplex
    if kernel is not None and kernel.family is not None:
        event = matrix_event(kernel) or event
        simplex = simplex or FAMILIES[kernel.family].simplex
    return Draw(
        source, rows=rows, remainders=remainders, event=event, obj=term.cod,
        discrete=is_finite(term.cod), simplex=simplex, deterministic=deterministic(term),
    )  # fmt: skip


def deterministic(term: Term) -> bool:
    """Whether any part of the result is computed rather than drawn (R3)."""
    inner = last_parts(term)
    return any(map(deterministic, inner)) if inner else not isinstance(term, Generator)


def _single_kernel(term: Term) -> Morphism | None:
    """The kernel that draws the whole result, where there is one."""
    if isinstance(term, Generator):
        return term.morphism
    inner = last_parts(term)
    return _single_kernel(inner[0]) if len(inner) == 1 else None


def _program(term: Term) -> ProgramTerm | None:
    whole = entered(term)
    return whole if isinstance(whole, ProgramTerm) else None


def _raw_input(call: tree.Call, term: Term, env: Environment) -> tuple[Remainder, ...]:
    program = _program(term)
    if program is not None and not program.program.reads_input:
        return ()
    env.read_input(call.name.span, sequence=term.sequence)
    if env.dom is not None and not events_meet(env.dom, term.dom):
        report = env.scope.report
        report.error(
            "Q0607",
            f"the program's input does not fit `{call.name.text}`: {mismatch(env.dom, term.dom)}",
            call.name.span,
            because=[
                Because("a morphism without arguments reads the input of the program"),
                Because(f"the program's domain is {env.dom}", env.dom_span),
                *why(term, cod=False),
            ],
            hint=f"pass what it should read: `{call.name.text}(…)`",
        )
    return ()


def _arguments(call: tree.Call, env: Environment, *, sequence: bool) -> list[Checked]:
    report = env.scope.report
    checked: list[Checked] = []
    lacking: list[tree.StepArg] = []
    for arg in call.args or ():
        if isinstance(arg, tree.Number):
            report.error(
                "Q0606",
                f"literal argument {report.text(arg.span)} for the declared morphism "
                f"`{call.name.text}`",
                arg.span,
                hint="a morphism reads names: bind the number with `let` first",
            )
            continue
        with env.reading(sequence=sequence):
            slot, value = check_argument(arg, env)
        if sequence and value.axes is not None and not value.read_axes and not env.is_input(arg):
            lacking.append(arg)
        checked.append((arg, slot, value))
    if lacking and len(lacking) == len(checked):  # one that has none is the same at every step
        _no_sequence(lacking[0], call, env)
    return checked


def _no_sequence(arg: tree.StepArg, call: tree.Call, env: Environment) -> None:
    report = env.scope.report
    report.error(
        "Q0410",
        f"`{call.name.text}` consumes a sequence, and `{report.text(arg.span)}` has no axis for it",
        arg.span,
        hint="compose the two, as in `embed >> scan(cell)`, and read the input as a sequence",
    )


def _fitted(
    call: tree.Call, term: Term, checked: list[Checked], env: Environment
) -> tuple[tuple[int, ...], tuple[Remainder, ...]]:
    """The columns of each argument, where there are several, and what is left over of each."""
    program = _program(term)
    if program is not None and program.program.inputs:
        return (), _bound_one_to_one(call, program, checked, env)
    values = [(value, arg.span) for arg, _, value in checked]
    if not values:
        env.scope.report.error(
            "Q0603",
            f"`{call.name.text}` needs at least one argument between the parentheses",
            call.span,
            hint=f"without parentheses, `{call.name.text}` reads the program's input",
        )
        return (), ()
    if len(values) == 1:
        fit = fit_single(values[0][0], term.dom)
        return (), _one(term, fit, values[0], env)
    columns = fit_several([value for value, _ in values], term.dom)
    if columns.fault is not None:
        _misfit(term, columns.fault, values[0][1] | values[-1][1], env)
    return columns.widths, tuple(
        Remainder(left[:-1] if term.sequence and left else left, span, value.rows)
        for left, (value, span) in zip(columns.left, values, strict=True)
    )


def _one(
    term: Term, fit: Fit, given: tuple[Value, Span], env: Environment
) -> tuple[Remainder, ...]:
    value, span = given
    if fit.fault is not None:
        _misfit(term, fit.fault, span, env, value)
        return ()
    axes = fit.left
    if term.sequence and axes:
        axes = axes[:-1]
    return (Remainder(axes, span, value.rows),)


def _bound_one_to_one(
    call: tree.Call, term: ProgramTerm, checked: list[Checked], env: Environment
) -> tuple[Remainder, ...]:
    inputs = term.program.inputs
    if len(checked) != len(inputs):
        names = ", ".join(slot.name for slot in inputs)
        env.scope.report.error(
            "Q0603",
            f"`{call.name.text}` expects {names}; got {len(checked)}",
            call.span,
            because=[Because("its inputs are named here", term.program.span)],
        )
        return ()
    found: list[Remainder] = []
    for slot, (arg, _, value) in zip(inputs, checked, strict=True):
        fit = fit_single(value, slot.obj)
        if fit.fault is not None:
            _misfit(term, f"input `{slot.name}`: {fit.fault}", arg.span, env, value)
        found.append(Remainder(fit.left, arg.span, value.rows))
    return tuple(found)


def _misfit(
    term: Term,
    fault: str,
    span: Span,
    env: Environment,
    value: Value | None = None,
) -> None:
    report = env.scope.report
    because = [*why(term, cod=False)]
    if value is not None and value.span is not None:
        because.insert(0, Because(f"`{report.text(span)}` is bound here", value.span))
    report.error(
        "Q0607",
        f"`{report.text(span)}` does not fit the domain {dom_text(term)} of "
        f"`{label(term, report)}`: {fault}",
        span,
        because=because,
    )


def _program_draw(
    source: MorphismCall,
    term: ProgramTerm,
    args: list[Value],
    rows: frozenset[str],
    remainders: tuple[Remainder, ...],
    env: Environment,
) -> Draw:
    program = term.program
    names = {slot.name: value for slot, value in zip(program.inputs, args, strict=False)}
    plain = all(left.axes == () for left in remainders)
    results = tuple(
        _as_called(value, names, rows, plain=plain)
        for value in env.scope.results.get(program.name, ())
    )
    return Draw(
        source, rows=rows, remainders=(), event=None, obj=None, discrete=None,
        deterministic=True, results=results, tuple_result=program.returns_tuple,
        simplex=len(results) == 1 and results[0].simplex,
    )  # fmt: skip


def _as_called(value: Value, args: dict[str, Value], rows: frozenset[str], *, plain: bool) -> Value:
    """A result of a program with the rows of the actual arguments in place of its inputs."""
    causes: set[str] = set()
    for cause in value.rows:
        causes |= args[cause].rows if cause in args else ({SITE} if cause == SITE else rows)
    if plain or not (value.rows - {SITE}):
        return replace(value, rows=frozenset(causes), host=False)
    return replace(UNKNOWN, rows=frozenset(causes), simplex=value.simplex, discrete=value.discrete)
