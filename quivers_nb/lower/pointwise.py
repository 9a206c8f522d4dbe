"""Log densities of observations one by one, for many draws at once.

A run adds its terms up as it goes. Here they are caught before they are added: the collector stands
where a marginalize block would stand, and so gets every term unsummed, with its axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.activation import Activation
from quivers_nb.lower.answers import (
    Answer,
    Answerer,
    FreshNoise,
    Given,
    Kind,
    SiteKey,
    first_answer,
)
from quivers_nb.lower.dists import Branched, Dist
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute


def pointwise(
    act: Activation,
    weights: Mapping[str, Tensor],  # storage key -> (*s, *storage shape)
    values: Mapping[str, Tensor],  # site -> (*s, *value_shape)
    stack: tuple[int, ...],
    fresh: "FreshNoise | None",
) -> dict[str, Tensor]:  # observe site -> (*s, *b, *own)
    """The terms of the given observe sites; those summed in a block are the block's together."""
    one_row = act.entry.one_row
    data = Given(act.prepared.sites, rows_reported=one_row)
    draws = Given({k: v.to(act.dtype) for k, v in values.items()}, len(stack), one_row)
    watch = _Observes((data, draws, fresh or NoMiddles()), frozenset(act.prepared.sites))
    collector = _Terms(watch, stack, act)
    run = Run(
        (watch,), weights, act.entry.batch_shape, act.dtype, act.device, stack,
        checked=False, block=collector, observations_only=True,
    )  # fmt: skip
    with torch.no_grad():
        execute(act.frame(run), act.inputs)
    return collector.found


@dataclass
class _Observes:
    """Passes every question on and notes which observe sites with data were asked for."""

    sources: tuple[Answerer, ...]
    data: frozenset[str]
    asked: list[str] = field(default_factory=list)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        if site.observe and site.path in self.data:
            self.asked.append(site.path)
        return first_answer(self.sources, site, dist, stack)


@dataclass(frozen=True)
class NoMiddles:
    """The last one asked: continuous middles need a value, finite ones are summed."""

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        if site.kind is not Kind.MIDDLE or dist.discrete or isinstance(dist, Branched):
            return None
        raise UserError(
            f"the draws have no value for the internal site `{site.path}`: keep them, "
            "MCMC(...).run(..., keep_internal=True), or pass generator= to draw it from the model"
        )


@dataclass
class _Terms:
    """Terms of observe sites, as a run adds them; ``by_name``: each belongs to those just asked."""

    by_name: ClassVar[bool] = True
    watch: _Observes
    stack: tuple[int, ...]
    act: Activation
    found: dict[str, Tensor] = field(default_factory=dict)

    def take(
        self,
        term: Tensor,
        own_rank: int,
        *,
        rows: bool,
        via: tuple[Tensor, ...],  # noqa: ARG002  (groups are the block's affair)
    ) -> None:
        """A term ``(*stack?, *b?, *own)`` of the run."""
        names = list(dict.fromkeys(self.watch.asked))
        self.watch.asked.clear()
        if not names:
            return
        batch = self.act.entry.batch_shape if rows else ()
        own = tuple(term.shape[term.ndim - own_rank :])
        shape = (*self.stack, *batch, *own)
        full = term.expand(shape) if term.ndim <= len(shape) else term.reshape(shape)
        name = " + ".join(names)
        known = self.found.get(name)  # of a scan: the steps before, which are of the same row
        self.found[name] = full if known is None else known + full
