"""A model at one input with its observations: everything a run needs but the answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Terms
from quivers_nb.inference.trace import Site
from quivers_nb.lower.data import Prepared
from quivers_nb.lower.frame import CompiledProgram, Frame, at_input, bind_raw, every_step
from quivers_nb.lower.inputs import Input
from quivers_nb.lower.run import Run
from quivers_nb.lower.values import Value


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
        """Host data as the program reads them."""
        return at_input(self.compiled.program, self.prepared.host, self.entry.raw)

    def frame(self, run: Run) -> Frame:
        """The outermost activation."""
        run.as_given = self.prepared.host
        run.sizes = self.prepared.sizes
        return Frame(self.compiled, run, self.entry.raw, self.host, self.prepared.sizes)

    # --- one row given to a program that never reads its input (R1)

    def report(self, tensor: Tensor, *, rows: bool = True) -> Tensor:
        """With a leading 1, where un-indexed values are reported so."""
        return tensor.unsqueeze(0) if self.entry.one_row and rows else tensor

    def plain(self, value: Any, stack: tuple[int, ...]) -> Any:
        """A value of a run as its caller sees it: ``(*stack, *b, *own)``."""
        if not isinstance(value, Value):
            return value
        tensor = value.tensor if stack else self.report(value.tensor, rows=value.rows)
        if stack and value.lead < len(stack):
            tensor = tensor.expand((*stack, *tensor.shape[value.lead :]))
        return tensor

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


def per_row(terms: Terms, act: Activation) -> Tensor:
    """Each row's own terms plus every shared one (R4), ``(*b,)``."""
    if terms.row is None:
        return terms.shared.reshape(1) if act.entry.one_row else terms.shared
    return terms.row + terms.shared


def inner_mean(term: Tensor, batch_rank: int) -> Tensor:
    """The log of the mean over inner draws, which lie in front, where the term depends on them."""
    if term.ndim == batch_rank:
        return term
    return torch.logsumexp(term, 0) - math.log(term.shape[0])


__all__ = ["Activation", "inner_mean", "per_row", "terms_of"]
