"""Programs in torch: steps executed in order on an environment of values (section 7).

`execute` is the one evaluation: tracing, scoring, MCMC and guides differ only in who answers for
the sites (`quivers_nb.lower.answers`). Terms are counted once (R4): a row's own terms per row,
plates and row-independent observes once for all rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import Kind
from quivers_nb.lower.arguments import kernel_input, read_argument
from quivers_nb.lower.branches import Flow, columns, pass_on
from quivers_nb.lower.drawn import keep_table
from quivers_nb.lower.family_steps import FamilyDraw, observe_family, sample_family
from quivers_nb.lower.frame import (
    CompiledProgram,
    Frame,
    ask,
    at_input,
    bind_raw,
    integrates_out,
    is_anonymous,
    record_deterministic,
    width_one,
)
from quivers_nb.lower.kernel_steps import observe_kernel, response_of, sample_kernel
from quivers_nb.lower.lets import evaluate, names_in
from quivers_nb.lower.marginal import marginalize, via_of
from quivers_nb.lower.nodes import ProgramBody
from quivers_nb.lower.run import Run
from quivers_nb.lower.values import AxesClash, Names, Value
from quivers_nb.spaces.space import Object, is_finite, width


def execute(frame: Frame, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run every step; the environment afterwards."""
    env: dict[str, Any] = {**frame.host, **inputs}
    for index, step in enumerate(frame.compiled.steps):
        if integrates_out(frame.compiled, index):
            continue
        match step:
            case ir.LetStep(name=name, value=value):
                env[name] = _let(frame, env, name, value)
            case ir.ScoreStep(name=name, value=value):
                env[name] = _score(frame, env, name, value)
            case ir.SampleStep():
                _sample(frame, env, index, step)
            case ir.ObserveStep():
                _observe(frame, env, index, step)
            case ir.MarginalizeStep():
                marginalize(frame, env, index, step, execute)
    return env


def _let(frame: Frame, env: dict[str, Any], name: str, value: ir.LetTerm) -> Any:
    given = frame.host.get(frame.prefix + name)
    result = _evaluated(value, frame, env, name) if given is None else given
    record_deterministic(frame, name, result, "let")
    return result


def _evaluated(value: ir.LetTerm, frame: Frame, env: Mapping[str, Any], name: str) -> Any:
    """The value of an expression; axes that clash are told with the names that brought them."""
    try:
        return evaluate(value, frame.scope(env, name))
    except AxesClash as clash:
        shown = [
            f"`{each}` {env[each].own_shape}"
            for each in names_in(value)
            if isinstance(env.get(each), Value) and env[each].own_rank
        ]
        among = f" ({', '.join(shown)})" if shown else ""
        raise AxesClash(f"in `{frame.prefix}{name}`: {clash}{among}") from None


def _score(frame: Frame, env: dict[str, Any], name: str, value: ir.LetTerm) -> Any:
    result = _evaluated(value, frame, env, name)
    run = frame.run
    if isinstance(result, int | float):
        result = Value(
            torch.as_tensor(float(result), dtype=run.dtype, device=run.device),
            (),
            False,
            run.batch_rank,
        )
    if not isinstance(result, Value):
        raise UserError(
            f"the score `{frame.prefix}{name}` must be a number, not {type(result).__name__}"
        )
    number = result.read() if result.own_rank else result
    if number.own_rank == 1 and number.own_shape == (1,):
        number = replace(number, tensor=number.tensor.squeeze(-1), names=())
    if number.own_rank:
        raise UserError(
            f"the score `{frame.prefix}{name}` must be one number per row, but has own shape "
            f"{number.own_shape}: reduce it, for example with sum(…)"
        )
    if not run.prior:
        run.add(number.tensor, rows=number.rows)
    record_deterministic(frame, name, result, "score", number.tensor)
    return result


def _sample(frame: Frame, env: dict[str, Any], index: int, step: ir.SampleStep) -> None:
    if not isinstance(step.source, ir.MorphismCall):
        name = step.names[0]
        known = env if step.table is None else frame.run.as_given
        draw = sample_family(step, frame.scope(known, name))
        env[name] = _answer(frame, name, draw)
        if step.table is not None:
            keep_table(frame.run, step.table, env[name])
    elif index in frame.compiled.subs:
        _bind_outputs(
            step, env, frame, _call_program(frame, env, index, step.names[0], step.source)
        )
    else:
        sample_kernel(frame, env, index, step)


def _answer(
    frame: Frame,
    name: str,
    draw: FamilyDraw,
    *,
    observe: bool = False,
    via: tuple[Tensor, ...] = (),
) -> Value:
    """Ask for a family site, count its term, and give its value."""
    site = frame.key(name, observe=observe, rows=draw.rows)
    value = ask(frame.run, site, draw.dist, rows=draw.rows, via=via)
    return Value(value, draw.names, draw.rows, frame.run.batch_rank, unit=draw.unit)


def _bind_outputs(
    step: ir.SampleStep, env: dict[str, Any], frame: Frame, outputs: list[Any]
) -> None:
    if len(step.names) == 1:
        env[step.names[0]] = outputs[0] if len(outputs) == 1 else _tuple_value(outputs)
        record_deterministic(frame, step.names[0], env[step.names[0]], "program")
        return
    for name, value in zip(step.names, outputs, strict=True):
        if not is_anonymous(name):
            env[name] = value
            record_deterministic(frame, name, value, "program")


def _tuple_value(outputs: list[Any]) -> Any:
    values = [v for v in outputs if isinstance(v, Value)]
    if len(values) != len(outputs):
        return list(outputs)
    columns = [_column(v) for v in values]
    rows = any(v.rows for v in values)
    return Value(torch.cat(columns, dim=-1), (None,), rows, values[0].batch_rank)


def _observe(frame: Frame, env: dict[str, Any], index: int, step: ir.ObserveStep) -> None:
    name = step.name
    if not isinstance(step.source, ir.MorphismCall):
        response = response_of(frame, name)
        draw = observe_family(step, frame.scope(env, name), response)
        env[name] = _answer(frame, name, draw, observe=True, via=via_of(step, env))
        return
    if index in frame.compiled.subs:
        raise UserError(
            f"`{name}` comes from a program, whose result is deterministic: it cannot be observed"
        )
    env[name] = observe_kernel(frame, env, index, step)


# --- programs as whole steps --------------------------------------------------------------------


def _call_program(
    frame: Frame, env: Mapping[str, Any], index: int, name: str, call: ir.MorphismCall
) -> list[Any]:
    """Run a sub-program in the caller's batch; its outputs in order (R3)."""
    sub = frame.compiled.subs[index]
    program = sub.program
    inputs: Mapping[str, Any] = {}
    raw: Value | None
    if call.args is not None and len(call.args) == len(program.inputs) and len(call.args) > 0:
        values = [
            env[a.name] if isinstance(a, ir.Variable) else read_argument(a, frame.scope(env, name))
            for a in call.args
        ]
        inputs = {s.name: _as_input(v, s.obj) for s, v in zip(program.inputs, values, strict=True)}
        raw = _joined(call, program, frame, env, name) if program.reads_input else None
    elif call.args is not None:
        raw = _joined(call, program, frame, env, name)
        inputs = bind_raw(program, raw)
    else:
        raw = frame.raw
        inputs = bind_raw(program, raw) if raw is not None else {}
    kind = Kind.SUB if frame.kind is Kind.DECLARED else frame.kind
    inner = Frame(sub, frame.run, raw, frame.host, frame.sizes, f"{frame.prefix}{name}/", kind)
    result = execute(inner, inputs)
    return [result[variable] for _, variable in program.returns]


def _joined(
    call: ir.MorphismCall, program: ir.Program, frame: Frame, env: Mapping[str, Any], name: str
) -> Value:
    assert call.args is not None
    entry = kernel_input(call.args, program.dom, frame.scope(env, name), force_rows=False)
    event: Names = () if is_finite(program.dom) and width(program.dom) == 1 else (None,)
    return Value(entry.tensor, entry.names + event, entry.rows, frame.run.batch_rank)


def _as_input(value: Any, obj: Object) -> Any:
    """An argument as its component: a scalar given for a ``Real 1`` gets the axis."""
    if isinstance(value, Value) and width_one(obj) and value.own_rank == 0:
        return replace(value, tensor=value.tensor.unsqueeze(-1), names=(None,), unit=True)
    return value


def _column(value: Any) -> Tensor:
    if not isinstance(value, Value):
        raise UserError("a program used as a morphism must return numbers")
    tensor = value.tensor if value.own_rank else value.tensor.unsqueeze(-1)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _one_output(env: Mapping[str, Any], program: ir.Program) -> Tensor:
    value = env[program.returns[0][1]]
    if not isinstance(value, Value):
        raise UserError(f"the program `{program.name}` used as a morphism must return a number")
    if is_finite(program.cod) or value.own_rank:
        return value.tensor
    return value.tensor.unsqueeze(-1)


# --- programs inside expressions ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ProgramInExpression(ProgramBody):
    """A program as a part of a composite: every site is a middle, the lead axes are its rows."""

    compiled: CompiledProgram

    def flow(self, run: Run, x: Flow, lead: tuple[int, ...], path: str) -> Flow:
        """Run as part of an expression; finite sites without a value become branches."""
        branches = () if x.weights is None else (x.weights.shape[0],)
        nested = replace(
            run, batch_shape=lead, stack=(*branches, *run.stack), summed=len(branches),
            summing=True, elements=[], row_terms=[], shared_terms=[], observed=[], block=None,
        )  # fmt: skip
        program = self.compiled.program
        single = is_finite(program.dom) and width(program.dom) == 1
        raw = Value(x.value, () if single else (None,), bool(lead), len(lead))
        given = {name: _in_rows(value, len(lead)) for name, value in run.as_given.items()}
        host = at_input(program, given, raw)
        frame = Frame(self.compiled, nested, raw, host, run.sizes, path + "/", Kind.MIDDLE)
        env = execute(frame, bind_raw(program, raw))
        pieces = [_column(env[name]) for _, name in program.returns]
        several = len(pieces) > 1
        out = columns(pieces) if several else _one_output(env, program)
        if not is_finite(program.cod) and not out.is_floating_point():
            out = out.to(run.dtype)  # a count is a number, and no index
        event = 0 if is_finite(program.cod) and not several else 1
        return _branching(run, nested, out, lead, event, path, x.weights)


def _in_rows(value: Any, batch_rank: int) -> Any:
    """Host data as a program inside an expression sees them, with other rows than its caller."""
    return replace(value, batch_rank=batch_rank) if isinstance(value, Value) else value


def _branching(
    run: Run,
    nested: Run,
    out: Tensor,
    lead: tuple[int, ...],
    event: int,
    path: str,
    weights: Tensor | None,
) -> Flow:
    """Count the terms of a program that has run; those of summed sites become log weights."""
    deep = pass_on(run, nested, lead, path)
    count = nested.summed
    if not count:
        return Flow(out)
    total = sum(deep, start=torch.zeros((), dtype=run.dtype, device=run.device))
    if weights is not None:
        total = total + weights
    for axis, values in enumerate(nested.elements):
        if out is values:  # the value is a summed site itself: one branch per element will do
            older = tuple(range(1, count - axis))
            others = tuple(k for k in range(count) if k != axis)
            kept = torch.logsumexp(total, others) if others else total
            return Flow(out.squeeze(older) if older else out, kept, states=True)
    shape = (1,) * (count + len(run.stack) + len(lead) + event - out.ndim) + tuple(out.shape)
    value = out.reshape(shape).expand((*nested.stack[:count], *shape[count:]))
    return Flow(value.flatten(0, count - 1), total.flatten(0, count - 1))
