"""Steps whose morphism is declared: inputs, left-over axes, heads (7.3-7.6, R3, R4)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.check.variables import names_read
from quivers_nb.check.walk import is_flat
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import Prior, given_for, sources
from quivers_nb.lower.arguments import KernelInput, Param, kernel_input, match_to_factors
from quivers_nb.lower.flat import columns_of
from quivers_nb.lower.frame import Frame, ask, every_step, record_deterministic, width_one
from quivers_nb.lower.marginal import via_of
from quivers_nb.lower.nodes import Flow, Leaf, Node, deterministic, flow, head
from quivers_nb.lower.parts import Parts
from quivers_nb.lower.scope import axis_size
from quivers_nb.lower.timeline import numbered
from quivers_nb.lower.values import Names, Value
from quivers_nb.spaces.space import Object, ProductSet, factors, is_finite, sizes_of, width


def sample_kernel(frame: Frame, env: dict[str, Any], index: int, step: ir.SampleStep) -> None:
    """``sample v <- f(args)``: bind the names of the step."""
    assert isinstance(step.source, ir.MorphismCall)
    node, term, run = frame.compiled.nodes[index], step.source.term, frame.run
    entry = _entry(frame, env, step.source, step.names[0], force_rows=step.plate is None)
    rows = entry.rows
    if step.plate is not None:
        if rows:
            raise UserError(
                f"the plate `{step.names[0]}` has a row-wise argument, but is shared by all rows: "
                "sample it un-indexed for one value per row"
            )
        entry = _on_plate(entry, step.plate, frame.sizes, step.names[0], term.dom)
    lead = (run.batch_shape if rows else ()) + entry.left_over
    names = entry.names + (() if is_finite(term.cod) else (None,))
    if deterministic(node):
        wanted = _is_read(frame, index, step)
        result = flow(node, replace(run, wanted=wanted), Flow(entry.tensor), lead)
        if result.weights is not None:
            _sum_result(frame, result, step, rows=rows, lead=lead, wanted=wanted)
            if not wanted:
                return
        value = Value(result.value, names, rows, run.batch_rank, unit=width_one(term.cod))
        _bind_columns(step, env, value)
        record_deterministic(frame, step.names[0], value, "let")
        return
    dist = head(node, run, Flow(entry.tensor), lead)
    names = entry.names + (None,) * len(dist.event)
    site = frame.key(step.names[0], kernel=True, rows=rows)
    if len(step.names) > 1:
        flat = isinstance(term.cod, ProductSet) and is_flat(term)
        sizes = sizes_of(term.cod) if flat else None
        single = () if flat else tuple(is_finite(factor) for factor in factors(term.cod))
        names_of = tuple(frame.prefix + n for n in step.names)
        parts = Parts(names_of, step.widths, sizes=sizes, indices=single)
        site = replace(site, path=frame.prefix + "_".join(step.names), parts=parts)
    value = Value(
        ask(run, site, dist, rows=rows), names, rows, run.batch_rank, unit=width_one(term.cod)
    )
    _bind_columns(step, env, value)


def _sum_result(
    frame: Frame,
    result: Flow,
    step: ir.SampleStep,
    *,
    rows: bool,
    lead: tuple[int, ...],
    wanted: bool,
) -> None:
    """A value that depends on summed sites: one branch each on a stack axis, folded in the end."""
    run = frame.run
    assert result.weights is not None
    if not wanted:
        own = len(lead) - (run.batch_rank if rows else 0)
        run.add(torch.logsumexp(result.weights, 0), rows=rows, own_rank=own)
        return
    if run.block is not None or len(lead) > (run.batch_rank if rows else 0):
        raise UserError(
            f"`{step.names[0]}` depends on a finite site that is summed, and is read where that "
            "sum cannot be followed: give the values of that site"
        )
    run.add(result.weights, rows=rows)
    run.sum_over(result.value)


def _is_read(frame: Frame, index: int, step: ir.SampleStep) -> bool:
    """Whether a later step, or a caller, reads what this step binds."""
    later = every_step(frame.compiled.steps[index + 1 :])
    read = {v.name for each in later for v in names_read(each)}
    if frame.prefix or any(isinstance(a, Prior) for a in sources(frame.run.answerers)):
        read |= {name for _, name in frame.compiled.program.returns}
    return bool(read & set(step.names))


def _bind_columns(step: ir.SampleStep, env: dict[str, Any], value: Value) -> None:
    if len(step.names) == 1:
        env[step.names[0]] = value
        return
    assert isinstance(step.source, ir.MorphismCall)
    cod = step.source.term.cod
    if isinstance(cod, ProductSet) and is_flat(step.source.term):
        apart = columns_of(value.tensor, sizes_of(cod)).unbind(-1)
        env.update(
            (name, replace(value, tensor=each))
            for name, each in zip(step.names, apart, strict=True)
        )
        return
    pieces = value.tensor.split(list(step.widths), dim=-1)
    for name, piece, factor in zip(step.names, pieces, factors(cod), strict=True):
        if is_finite(factor):  # one index each, as from a kernel of its own
            index = piece.squeeze(-1).long()
            env[name] = replace(value, tensor=index, names=value.names[:-1], unit=False)
        else:
            env[name] = replace(value, tensor=piece, unit=width_one(factor))


def observe_kernel(frame: Frame, env: dict[str, Any], index: int, step: ir.ObserveStep) -> Value:
    """``observe y <- f(args)``: the value, given or drawn."""
    assert isinstance(step.source, ir.MorphismCall)
    node, term, run = frame.compiled.nodes[index], step.source.term, frame.run
    if deterministic(node):
        raise UserError(f"`{step.name}` is a deterministic value: it cannot be observed")
    entry = _entry(frame, env, step.source, step.name, force_rows=step.plate is None)
    if step.plate is not None and not entry.rows:
        entry = _on_response(entry, step, frame, term, _event_rank(node, term))
    lead = (run.batch_shape if entry.rows else ()) + entry.left_over
    dist = head(node, run, Flow(entry.tensor), lead)
    site = frame.key(step.name, observe=True, kernel=True, rows=entry.rows)
    value = ask(run, site, dist, rows=entry.rows, via=via_of(step, env))
    names = entry.names + (None,) * len(dist.event)
    return Value(value, names, entry.rows, run.batch_rank, unit=width_one(term.cod))


def response_of(frame: Frame, name: str) -> Tensor | None:
    """The value given for an observe site, before anybody asks for it: it decides the rows.

    Of several on a stack, the first: they have one shape.
    """
    path = numbered(frame.run.steps, frame.prefix + name)
    found = given_for(frame.run.answerers, path)
    if found is None or "[t]" in path:
        return None
    answerer, given = found
    return given[(0,) * answerer.stack_rank]


def _event_rank(node: Node, term: ir.Term) -> int:
    """Event axes of a value: two where a single kernel draws matrices."""
    if isinstance(node, Leaf) and len(node.plan.events[1]) == 2:
        return 2
    return 0 if is_finite(term.cod) else 1


def _on_response(
    entry: KernelInput, step: ir.ObserveStep, frame: Frame, term: ir.Term, event: int
) -> KernelInput:
    """A row-independent response decides how many rows there are (7.6); without one, |A| does."""
    assert step.plate is not None
    response = response_of(frame, step.name)
    if response is None:
        if entry.left_over:
            return entry
        return _on_plate(entry, step.plate, frame.sizes, step.name, term.dom)
    if event == 2 and response.ndim == len(step.plate) + 1:
        event = 1  # matrices given as flat rows
    lead = tuple(response.shape[: response.ndim - event])
    if event and response.ndim == len(step.plate) and width_one(term.cod):
        lead = tuple(response.shape)
    return _expand(entry, lead, tuple(axis.name for axis in step.plate), step.name, term.dom)


def _entry(
    frame: Frame, env: Mapping[str, Any], call: ir.MorphismCall, name: str, *, force_rows: bool
) -> KernelInput:
    run = frame.run
    rows = force_rows and run.batch_rank > 0
    if call.args is None:
        entry = _raw_entry(frame, call.term, name)
    else:
        entry = kernel_input(call.args, call.term.dom, frame.scope(env, name), force_rows=rows)
    if not call.term.sequence or call.args is None:
        return entry
    if not entry.left_over:
        raise UserError(f"`{name}` scans a sequence, but its argument has no sequence axis")
    return KernelInput(entry.tensor, entry.names[:-1], entry.left_over[:-1], entry.rows)


def _raw_entry(frame: Frame, term: ir.Term, name: str) -> KernelInput:
    if frame.raw is None:
        raise UserError(
            f"`{frame.prefix}{name}` reads the program's input, but the input is None: pass x"
        )
    value = frame.raw
    tensor = value.tensor
    if not is_finite(term.dom) and not tensor.is_floating_point():
        tensor = tensor if _mixed(term.dom) else tensor.to(frame.run.dtype)
    elif is_finite(term.dom):
        tensor = tensor.long()
        if width(term.dom) == 1 and value.own_rank == 1 and not term.sequence:
            tensor = tensor.squeeze(-1)
    return KernelInput(tensor, (), (), value.rows)


def _mixed(dom: Object) -> bool:
    return any(is_finite(f) for f in getattr(dom, "factors", ()))


def _on_plate(
    entry: KernelInput, plate: tuple[ir.Axis, ...], sizes: Mapping[str, int], name: str, dom: Object
) -> KernelInput:
    lead = tuple(axis_size(axis, sizes) for axis in plate)
    return _expand(entry, lead, tuple(axis.name for axis in plate), name, dom)


def _expand(
    entry: KernelInput, lead: tuple[int, ...], axes: Names, name: str, dom: Object
) -> KernelInput:
    """Match the left-over axes of an input to ``lead`` and expand."""
    event = 0 if is_finite(dom) and width(dom) == 1 else 1
    own = (*entry.names, *((None,) * event))
    matched = match_to_factors(Param(Value(entry.tensor, own, False, 0), event), axes, name)
    tensor, have = matched.value.tensor, matched.left_over
    front = tensor.ndim - len(have) - event
    for k, size in enumerate(reversed(have), start=1):
        if k > len(lead) or size not in (1, lead[-k]):
            raise UserError(
                f"`{name}` has shape {lead} over its plate, but its argument has own shape {have}"
            )
    missing = len(lead) - len(have)
    shaped = tensor.reshape((*tensor.shape[:front], *((1,) * missing), *tensor.shape[front:]))
    tail = shaped.shape[shaped.ndim - event :] if event else ()
    return KernelInput(shaped.expand((*shaped.shape[:front], *lead, *tail)), axes, lead, False)
