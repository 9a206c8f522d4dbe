"""What a guide must know of a latent before any input: its shapes and where its values lie (R2).

Where that is made of other values only a run can say it (`quivers_nb.lower.supports`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from quivers_nb.check import term as ir
from quivers_nb.check.walk import last_parts
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import DeclaredLatent
from quivers_nb.kernels import bijector_for
from quivers_nb.lower.arguments import event_of
from quivers_nb.lower.frame import CompiledProgram, integrates_out
from quivers_nb.lower.meeting import meetings
from quivers_nb.lower.nodes import deterministic
from quivers_nb.lower.parameters import KernelPlan
from quivers_nb.lower.scope import axis_size
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Space, is_finite
from quivers_nb.spaces.support import (
    REAL,
    Above,
    Below,
    Between,
    Bound,
    Counts,
    RealLine,
    SimplexSupport,
    Support,
    is_discrete,
)


def declared_latents(
    compiled: CompiledProgram, observed: frozenset[str], sizes: Mapping[str, int]
) -> tuple[DeclaredLatent, ...]:
    """The latents of a program that are not observed, in program order, from the program alone."""
    found = _latents(compiled, observed, sizes)
    meets = meetings(compiled, [latent.name for latent in found], observed)
    rows = compiled.program.reads_input
    return tuple(replace(d, rows_expected=rows, meets=meets[d.name]) for d in found)


def _latents(
    compiled: CompiledProgram, observed: frozenset[str], sizes: Mapping[str, int], prefix: str = ""
) -> tuple[DeclaredLatent, ...]:
    """Own shapes of latents."""
    out: list[DeclaredLatent] = []
    for index, step in enumerate(compiled.steps):
        if index in compiled.blocks:
            out.extend(_latents(compiled.blocks[index], observed, sizes, prefix))
        if not isinstance(step, ir.SampleStep) or integrates_out(compiled, index):
            continue
        if index in compiled.subs:
            sub = compiled.subs[index]
            out.extend(_latents(sub, observed, sizes, f"{prefix}{step.names[0]}/"))
            continue
        if index in compiled.nodes and deterministic(compiled.nodes[index]):
            continue  # its kernels are middles, which no guide covers (R3)
        name = "_".join(step.names)
        if prefix + name in observed or all(prefix + n in observed for n in step.names):
            continue
        if step.plate is None and _is_discrete(step):
            _refuse_endless(step, prefix + name)
            continue  # summed in fits, or refused there
        latent = _latent(compiled, step, prefix + name, sizes)
        out.append(replace(latent, plate=tuple(axis.name or "" for axis in step.plate or ())))
    return tuple(out)


def endless_message(name: str, family: str) -> str:
    """Why no fit has a latent count without an end, and what to do."""
    return (
        f"`{name}` is a discrete latent ({family}), which has no gradient and no end to be summed "
        "to: give its value, or observe with a family that has it summed out"
    )


def _refuse_endless(step: ir.SampleStep, name: str) -> None:
    if not isinstance(step.source, ir.FamilyCall):
        return
    support = FAMILIES[step.source.family].support
    if isinstance(support, Counts) and support.high is None and not support.labels:
        raise UserError(endless_message(name, step.source.family))


def _is_discrete(step: ir.SampleStep) -> bool:
    match step.source:
        case ir.MorphismCall(term=term):
            return is_finite(term.cod)
        case ir.FamilyCall(family=name):
            return is_discrete(FAMILIES[name].support)
        case _:
            return False


def _latent(
    compiled: CompiledProgram, step: ir.SampleStep, name: str, sizes: Mapping[str, int]
) -> DeclaredLatent:
    plate = () if step.plate is None else tuple(axis_size(axis, sizes) for axis in step.plate)
    row_wise = step.plate is None
    if isinstance(step.source, ir.MorphismCall):
        return _kernel_latent(step.source.term, name, plate, row_wise=row_wise)
    own = plate + _own_axes(compiled, step, sizes)
    if isinstance(step.source, ir.MeasureCall):
        return _measure_latent(compiled, step, step.source, name, own, len(plate))
    family = FAMILIES[step.source.family]
    if not family.event_rank:
        shape = own + event_of(step.space)
        support = _located(family.support, family, step.source.args)
        return DeclaredLatent(name, shape, shape, support, row_wise, len(plate))
    event = _event(compiled, step, family.event_rank, sizes)
    free = tuple(bijector_for(family.support, {}).unconstrained_shape(event))
    return DeclaredLatent(name, own + free, own + event, family.support, row_wise, len(plate))


def _kernel_latent(
    term: ir.Term, name: str, plate: tuple[int, ...], *, row_wise: bool
) -> DeclaredLatent:
    """A latent drawn by kernels: of one, its own support; of several, one that all share."""
    kernels = _last_kernels(term)
    supports = {_kernel_support(kernel) for kernel in kernels}
    support = supports.pop() if len(supports) == 1 else None
    events = [_kernel_events(kernel) for kernel in kernels]
    if len(kernels) == 1:
        ((free, event),) = events
    else:  # side by side on one axis, as `lower.dists.Joint` has them
        free, event = ((sum(map(prod, shapes)),) for shapes in zip(*events, strict=True))
        support = support if isinstance(support, SCALAR) else None
    return DeclaredLatent(name, plate + free, plate + event, support, row_wise, len(plate))


SCALAR = RealLine | Above | Below | Between


def _kernel_events(kernel: ir.Morphism) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of one kernel: the shape of its unconstrained value, and of the value."""
    plan = KernelPlan(kernel, ())
    own, inner = plan.events
    support = plan.family.support
    if is_discrete(support) or isinstance(support, SCALAR):
        return own + inner, own + inner
    return own + tuple(bijector_for(support).unconstrained_shape(inner)), own + inner


def _last_kernels(term: ir.Term) -> list[ir.Morphism]:
    if isinstance(term, ir.Generator):
        return [term.morphism]
    return [kernel for part in last_parts(term) for kernel in _last_kernels(part)]


def _kernel_support(kernel: ir.Morphism) -> Support | None:
    """Where values of a kernel lie, if that is the same at every input."""
    support = KernelPlan(kernel, ()).family.support
    cod = kernel.cod
    if is_discrete(support):
        return REAL  # never asked for coordinates: given, summed or refused (R3)
    if kernel.family == "TruncatedNormal" and isinstance(cod, Space):
        return Between(float(cod.low or 0.0), float(cod.high or 0.0))
    return _fixed(support)


def _fixed(support: Support | None) -> Support | None:
    """``support`` if its bounds are numbers."""
    bounds = (getattr(support, end, None) for end in ("low", "high"))
    return None if any(isinstance(bound, str) for bound in bounds) else support


def _measure_latent(
    compiled: CompiledProgram,
    step: ir.SampleStep,
    call: ir.MeasureCall,
    name: str,
    own: tuple[int, ...],
    plate: int,
) -> DeclaredLatent:
    """A latent drawn by a measure operator, whose interval the checker has found."""
    info = next((v for v in compiled.program.variables if v.name == step.names[0]), None)
    event = event_of(step.space) or (() if info is None else info.event)
    free = event
    if isinstance(call.support, SimplexSupport):
        free = tuple(bijector_for(call.support, {}).unconstrained_shape(event))
    row_wise = step.plate is None
    support = _fixed(call.support)
    return DeclaredLatent(name, own + free, own + event, support, row_wise, plate)


def _located(support: Support, family: Family, args: Sequence[object]) -> Support | None:
    """``support`` with the numbers that the call gives for its named bounds; None without them."""

    def end(bound: Bound) -> Bound:
        arg = named.get(bound) if isinstance(bound, str) else None
        return float(arg.value) if isinstance(arg, ir.Literal) else bound

    named = dict(zip((p.name for p in family.parameters), args, strict=False))
    match support:
        case Above(low):
            return _fixed(Above(end(low)))
        case Below(high):
            return _fixed(Below(end(high)))
        case Between(low, high):
            return _fixed(Between(end(low), end(high)))
        case _:
            return support


def _own_axes(
    compiled: CompiledProgram, step: ir.SampleStep, sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """Own axes of an un-indexed site, as far as the checker knows them."""
    if step.plate is not None or step.space is not None:
        return ()
    info = next((v for v in compiled.program.variables if v.name == step.names[0]), None)
    axes = () if info is None or info.axes is None else info.axes
    return tuple(axis_size(axis, sizes) for axis in axes)


def _event(
    compiled: CompiledProgram, step: ir.SampleStep, rank: int, sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """The event of a vector or matrix: as the checker found it, else by `over`."""
    assert isinstance(step.source, ir.FamilyCall)
    info = next((v for v in compiled.program.variables if v.name == step.names[0]), None)
    if info is not None and len(info.event) == rank:
        return info.event
    size = step.source.event_size
    if size is not None and not isinstance(size, int):
        size = axis_size(ir.Axis(None, size), sizes)
    if size is None:
        raise UserError(
            f"the size of `{step.names[0]}` is known only with its data, which a guide cannot wait "
            "for: declare the data (`data m : 1 -> Real 3`), or say `sample v : Real 3 <- …`"
        )
    return (size,) * rank
