"""A model at one input with its observations: everything a run needs but the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import DeclaredLatent
from quivers_nb.inference.trace import Site
from quivers_nb.kernels import bijector_for
from quivers_nb.lower.arguments import event_of
from quivers_nb.lower.data import Prepared
from quivers_nb.lower.frame import CompiledProgram, Frame, bind_raw, every_step
from quivers_nb.lower.inputs import Input
from quivers_nb.lower.nodes import deterministic
from quivers_nb.lower.run import Run
from quivers_nb.lower.scope import axis_size
from quivers_nb.lower.values import Value, gather
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import FinSet, is_finite, width
from quivers_nb.spaces.support import (
    REAL,
    Above,
    Below,
    Between,
    Bound,
    SimplexSupport,
    Support,
)


@dataclass(frozen=True)
class Activation:
    """See the module docstring."""

    compiled: CompiledProgram
    entry: Input
    prepared: Prepared
    dtype: torch.dtype
    device: torch.device
    declared: Mapping[str, ir.DataSpec]

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Named components of the input."""
        return bind_raw(self.compiled.program, self.entry.raw)

    @cached_property
    def host(self) -> dict[str, Any]:
        """Host data; data over the domain of a reading program are read at the input (R11)."""
        out: dict[str, Any] = {}
        for key, value in self.prepared.host.items():
            spec = self.declared.get(key)
            at_input = spec is not None and self._over_domain(spec) and isinstance(value, Value)
            out[key] = gather(value, [self.entry.raw]) if at_input and self.entry.raw else value
        return out

    def _over_domain(self, spec: ir.DataSpec) -> bool:
        program = self.compiled.program
        single = is_finite(program.dom) and width(program.dom) == 1
        if not (single and program.reads_input and len(spec.axes) == 1):
            return False
        return spec.axes[0].name == program.dom_text.strip()

    def frame(self, run: Run) -> Frame:
        """The outermost activation."""
        run.host = {k: v for k, v in self.host.items() if not (isinstance(v, Value) and v.rows)}
        run.sizes = self.prepared.sizes
        return Frame(self.compiled, run, self.entry.raw, self.host, self.prepared.sizes)

    # --- one row given to a program that never reads its input (R1)

    def report(self, tensor: Tensor, *, rows: bool = True) -> Tensor:
        """With a leading 1, where un-indexed values are reported so."""
        return tensor.unsqueeze(0) if self.entry.one_row and rows else tensor

    @cached_property
    def plates(self) -> frozenset[str]:
        """The names of indexed sites: shared by all rows, never reported per row."""
        return frozenset(
            name
            for step in every_step(self.compiled.steps)
            if isinstance(step, ir.SampleStep | ir.ObserveStep) and step.plate is not None
            for name in (step.names if isinstance(step, ir.SampleStep) else (step.name,))
        )

    def report_sites(self, sites: Mapping[str, Site]) -> Mapping[str, Site]:
        """Sites as the trace shows them."""
        if not self.entry.one_row:
            return sites
        return {name: self._report_site(name, site) for name, site in sites.items()}

    def _report_site(self, name: str, site: Site) -> Site:
        if name in self.plates or site.is_deterministic or not isinstance(site.value, Tensor):
            return site
        return replace(site, value=site.value.unsqueeze(0), log_prob=site.log_prob.reshape(1))


def terms_of(run: Run) -> tuple[Tensor | None, Tensor]:
    """Row terms and shared terms of a finished run, each summed to one tensor."""
    row: Tensor | None = None
    for term in _folded(run.row_terms, run, run.batch_rank):
        row = term if row is None else row + term
    shared: Tensor | None = None
    for term in _folded(run.shared_terms, run, 0):
        shared = term if shared is None else shared + term
    if shared is None:
        shared = torch.zeros((), dtype=run.dtype, device=run.device)
    if row is not None and tuple(row.shape[row.ndim - run.batch_rank :]) != run.batch_shape:
        row = row.expand((*row.shape[: row.ndim - run.batch_rank], *run.batch_shape))
    if row is None and run.batch_rank:
        row = torch.zeros(run.batch_shape, dtype=run.dtype, device=run.device)
    return row, shared


def _folded(terms: list[Tensor], run: Run, rank: int) -> list[Tensor]:
    """Terms of finite sites that are summed (R3) as one term without their stack axes."""
    base = len(run.stack) - run.summed + rank
    deep = [term for term in terms if term.ndim > base]
    if not deep:
        return terms
    if run.batch_rank and not rank:
        raise UserError(
            "a term that all rows share depends on a finite site that is summed per row: give the "
            "values of that site"
        )
    total = sum(deep[1:], start=deep[0])
    one = torch.logsumexp(total, tuple(range(total.ndim - base)))
    return [*(term for term in terms if term.ndim <= base), one]


# --- static shapes for guides -------------------------------------------------------------------


def latent_shapes(
    compiled: CompiledProgram, observed: frozenset[str], sizes: Mapping[str, int], prefix: str = ""
) -> tuple[DeclaredLatent, ...]:
    """Own shapes of declared latents from the checked program alone, in program order."""
    out: list[DeclaredLatent] = []
    for index, step in enumerate(compiled.steps):
        if not isinstance(step, ir.SampleStep):
            continue
        if index in compiled.subs:
            sub = compiled.subs[index]
            out.extend(latent_shapes(sub, observed, sizes, f"{prefix}{step.names[0]}/"))
            continue
        if index in compiled.nodes and deterministic(compiled.nodes[index]):
            continue  # its kernels are middles, which no guide covers (R3)
        name = "_".join(step.names)
        if prefix + name in observed or all(prefix + n in observed for n in step.names):
            continue
        out.append(_latent(compiled, step, prefix + name, sizes))
    return tuple(out)


def _latent(
    compiled: CompiledProgram, step: ir.SampleStep, name: str, sizes: Mapping[str, int]
) -> DeclaredLatent:
    plate = () if step.plate is None else tuple(axis_size(axis, sizes) for axis in step.plate)
    row_wise = step.plate is None
    if isinstance(step.source, ir.MorphismCall):
        cod = step.source.term.cod
        event: tuple[int, ...] = () if is_finite(cod) else (width(cod),)
        return DeclaredLatent(name, plate + event, plate + event, REAL, row_wise, len(plate))
    own = plate + _own_axes(compiled, step, sizes)
    if isinstance(step.source, ir.MeasureCall):
        return _measure_latent(compiled, step, step.source, name, own, len(plate))
    family = FAMILIES[step.source.family]
    if not family.event_rank:
        shape = own + event_of(step.space)
        support = _located(family.support, family, step.source.args)
        return DeclaredLatent(name, shape, shape, support, row_wise, len(plate))
    event = _event(step, family.event_rank)
    free = tuple(bijector_for(family.support, {}).unconstrained_shape(event))
    return DeclaredLatent(name, own + free, own + event, family.support, row_wise, len(plate))


def _measure_latent(
    compiled: CompiledProgram,
    step: ir.SampleStep,
    call: ir.MeasureCall,
    name: str,
    own: tuple[int, ...],
    plate: int,
) -> DeclaredLatent:
    """A latent drawn by a measure operator, whose interval the checker has found."""
    if call.support is None:
        raise UserError(
            f"where `{name}` lies depends on more than one value, which a guide cannot follow: "
            "bind each bound with one `let`, or use MCMC"
        )
    info = next((v for v in compiled.program.variables if v.name == step.names[0]), None)
    event = event_of(step.space) or (() if info is None else info.event)
    free = event
    if isinstance(call.support, SimplexSupport):
        free = tuple(bijector_for(call.support, {}).unconstrained_shape(event))
    row_wise = step.plate is None
    return DeclaredLatent(name, own + free, own + event, call.support, row_wise, plate)


def _located(support: Support, family: Family, args: Sequence[object]) -> Support:
    """``support`` with its named bounds as the call gives them: numbers, or names of values."""

    def bound(given: Bound) -> Bound:
        arg = named.get(given) if isinstance(given, str) else None
        if isinstance(arg, ir.Literal):
            return float(arg.value)
        return arg.name if isinstance(arg, ir.Variable) else given

    named = dict(zip((p.name for p in family.parameters), args, strict=False))
    if isinstance(support, Above):
        return Above(bound(support.low))
    if isinstance(support, Below):
        return Below(bound(support.high))
    if isinstance(support, Between):
        return Between(bound(support.low), bound(support.high))
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


def _event(step: ir.SampleStep, rank: int) -> tuple[int, ...]:
    assert isinstance(step.source, ir.FamilyCall)
    size = step.source.event_size
    if size is not None and not isinstance(size, int):
        size = axis_size(ir.Axis(None, size), {})
    if size is None and step.space is not None:
        size = width(step.space)
    if size is None:
        vectors = [len(a) for a in step.source.args if isinstance(a, tuple)]
        size = vectors[0] if vectors else 1
    return (int(size),) * rank


__all__ = ["Activation", "FinSet", "latent_shapes", "prod", "terms_of"]
