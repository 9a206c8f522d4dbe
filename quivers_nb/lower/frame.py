"""One activation of a program: what its steps share, and how they ask for sites."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.trace import Site
from quivers_nb.lower.answers import Kind, SiteKey
from quivers_nb.lower.branches import enumerated
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.nodes import Node, deterministic
from quivers_nb.lower.ranges import check_given, finite_size
from quivers_nb.lower.run import Run, unanswered
from quivers_nb.lower.scope import Scope
from quivers_nb.lower.values import Value, gather
from quivers_nb.spaces.space import Object, is_finite, width


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """Steps with the nodes of those that use a morphism; ``subs`` are programs as whole steps.

    ``steps`` are the program's, or those of a marginalize block, which stand in ``blocks``.
    """

    program: ir.Program
    steps: tuple[ir.Step, ...]
    nodes: Mapping[int, Node]
    subs: Mapping[int, "CompiledProgram"]
    blocks: Mapping[int, "CompiledProgram"]


def is_anonymous(name: str) -> bool:
    """Whether a site is one that nothing can refer to (``_``, ``_#2``, ...)."""
    return name == "_" or name.startswith("_#")


def integrates_out(compiled: CompiledProgram, index: int) -> bool:
    """Whether a step draws a value that nothing reads or gives (7.2): its density is 1.

    A program called as ``_`` runs all the same: its own sites count.
    """
    step = compiled.steps[index]
    if isinstance(step, ir.ObserveStep):
        return is_anonymous(step.name)
    if not isinstance(step, ir.SampleStep) or len(step.names) > 1 or index in compiled.subs:
        return False
    node = compiled.nodes.get(index)
    return is_anonymous(step.names[0]) and (node is None or not deterministic(node))


def every_step(steps: Iterable[ir.Step]) -> Iterator[ir.Step]:
    """The steps with those of marginalize blocks, in order."""
    for step in steps:
        yield step
        if isinstance(step, ir.MarginalizeStep):
            yield from every_step(step.body)


@dataclass(frozen=True)
class Frame:
    """One activation of a program: the run, its raw input, host data, sizes, and its place."""

    compiled: CompiledProgram
    run: Run
    raw: Value | None
    host: Mapping[str, Any]
    sizes: Mapping[str, int]
    prefix: str = ""
    kind: Kind = Kind.DECLARED

    def scope(self, env: Mapping[str, Any], name: str) -> Scope:
        return Scope(self.run, env, self.sizes, self.prefix + name)

    def key(
        self, name: str, *, observe: bool = False, kernel: bool = False, rows: bool = True
    ) -> SiteKey:
        rank = self.run.batch_rank if rows else 0
        return SiteKey(self.prefix + name, self.kind, observe, kernel, rank)


def ask(run: Run, site: SiteKey, dist: Dist, *, rows: bool, via: tuple[Tensor, ...] = ()) -> Tensor:
    """Ask for a declared site, count its term and note it; the value."""
    answer = run.ask(site, dist)
    if answer is None:
        if run.summing and dist.discrete:
            return _summed(run, site, dist, rows=rows)
        raise unanswered(site)
    if run.checked and answer.given and (site.observe or dist.discrete):
        check_given(site, dist, answer.value)
    own = len(dist.lead) - (run.batch_rank if rows else 0)
    term = answer.term
    if run.block is None and term is not None and own:
        term, own = term.sum(tuple(range(-own, 0))), 0
    shape = dist.lead + dist.event
    value = run.whole(answer.value, shape)
    run.record(site, value, term, dist.label, given=answer.given, behind=len(shape))
    run.add(term, rows=rows, own_rank=own, via=via, observed=site.observe)
    return answer.value


def _summed(run: Run, site: SiteKey, dist: Dist, *, rows: bool) -> Tensor:
    """A finite site that nobody answers for: its values on a stack axis that is summed (R3)."""
    size = finite_size(dist)
    if size is None:
        raise UserError(
            f"`{site.path}` is {dist.label}, which has no end: give its values under this key"
        )
    if len(dist.lead) != (run.batch_rank if rows else 0):
        raise UserError(
            f"`{site.path}` has own axes, whose values together are too many to sum: give them "
            "under this key"
        )
    if run.block is not None:
        raise UserError(
            f"`{site.path}` is a discrete latent inside a marginalize block: write it as a block "
            f"of its own, `marginalize {site.path} <- …`"
        )
    branches = enumerated(site, run, dist, size)
    weights = branches.weights
    if run.tilts is not None and weights is not None:
        places = run.batch_shape if rows else ()
        weights = weights + run.tilts.tilt(site.path, size, run.summed, places)
    run.add(weights, rows=rows)
    run.sum_over(branches.value)
    return branches.value


def record_deterministic(
    frame: Frame, name: str, value: Any, label: str, term: Tensor | None = None
) -> None:
    """Note a deterministic site for the trace."""
    run = frame.run
    if not run.recording:
        return
    shown = value
    if isinstance(value, Value):
        shown = run.whole(value.tensor, tuple(value.tensor.shape[value.lead :]))
    if isinstance(shown, int | float):
        shown = run.whole(torch.as_tensor(shown, dtype=run.dtype, device=run.device), ())
    if run.steps:
        _keep_at_step(frame, name, value, label, term)
        return
    log_prob = torch.zeros((), dtype=run.dtype, device=run.device) if term is None else term
    table = run.sites if frame.kind is Kind.DECLARED else run.internal_sites
    table[frame.prefix + name] = Site(shown, log_prob, False, True, label)


def _keep_at_step(frame: Frame, name: str, value: Any, label: str, term: Tensor | None) -> None:
    """A value inside a scan is shown with all its steps; what no row owns is left out."""
    if not isinstance(value, Value) or (frame.run.batch_rank and not value.rows):
        return
    site = SiteKey(frame.prefix + name, Kind.MIDDLE)
    behind = value.tensor.ndim - value.lead
    frame.run.record(
        site, value.tensor, term, label, given=False, behind=behind, deterministic=True
    )


def width_one(cod: Object) -> bool:
    """A declared ``Real 1``: keeps its axis in the trace, read as a scalar (R2)."""
    return not is_finite(cod) and width(cod) == 1


def bind_raw(program: ir.Program, raw: Value | None) -> dict[str, Any]:
    """Named components of a program's input (7.1)."""
    if raw is None:
        return {}
    out: dict[str, Any] = {}
    for slot in program.inputs:
        if slot.whole or len(program.inputs) == 1:
            out[slot.name] = replace(raw, unit=width_one(slot.obj))
            continue
        piece = raw.tensor[..., slot.start : slot.start + slot.width]
        if is_finite(slot.obj):
            piece = piece.long()
            index = piece.squeeze(-1) if slot.width == 1 else piece
            out[slot.name] = replace(
                raw, tensor=index, names=raw.names[:-1] + ((None,) if slot.width > 1 else ())
            )
        else:
            out[slot.name] = replace(raw, tensor=piece, unit=slot.width == 1)
    return out


def at_input(program: ir.Program, host: Mapping[str, Any], raw: Value | None) -> dict[str, Any]:
    """Host data as a program reads them: those over its one finite domain at its input (R11)."""
    single = is_finite(program.dom) and width(program.dom) == 1
    if raw is None or not (single and program.reads_input):
        return dict(host)
    domain = program.dom_text.strip()
    return {
        name: gather(value, [raw]) if _is_over(value, domain) else value
        for name, value in host.items()
    }


def _is_over(value: Any, domain: str) -> bool:
    return isinstance(value, Value) and value.names[:1] == (domain,) and not any(value.names[1:])
