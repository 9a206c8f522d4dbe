"""One run of a program: the state that steps and kernels share while it lasts.

A run fixes the batch of rows, the runtime stack, the dtype, the parameters and who answers for
sites. It collects what the answers add: row terms, shared terms and the record of sites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.trace import Site
from quivers_nb.lower.answers import Answer, Answerer, SiteKey
from quivers_nb.lower.dists import Dist, branch_weight
from quivers_nb.lower.noise import path_seed
from quivers_nb.lower.timeline import Kept, Steps, Timeline, joined

MAX_BRANCHES = 4096


class Block(Protocol):
    """Collects the terms inside a marginalize step; see `quivers_nb.lower.marginal`."""

    def take(self, term: Tensor, own_rank: int, *, rows: bool, via: tuple[Tensor, ...]) -> None: ...


class Tilts(Protocol):
    """Weights whose gradients are class probabilities; see `quivers_nb.lower.classes`."""

    stack: tuple[int, ...]

    def tilt(self, path: str, count: int, branches: int, places: tuple[int, ...]) -> Tensor: ...
    def refuse(self, path: str, reason: str) -> None: ...


@dataclass
class Run:
    """See the module docstring. ``stack`` is the shape of the runtime stack of fresh draws."""

    answerers: tuple[Answerer, ...]
    parameters: Mapping[str, Tensor]  # storage key -> (*s, *storage shape)
    batch_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    stack: tuple[int, ...] = ()
    checked: bool = True  # index ranges and host values are verified
    generator: torch.Generator | None = None  # for random let-builtins; None: fixed by their path
    row_terms: list[Tensor] = field(default_factory=list)  # (*s, *b)
    shared_terms: list[Tensor] = field(default_factory=list)  # (*s,)
    sites: dict[str, Site] = field(default_factory=dict)
    internal_sites: dict[str, Site] = field(default_factory=dict)
    recording: bool = False
    block: "Block | None" = None  # the marginalize block that the steps stand in
    tilts: "Tilts | None" = None  # asks for the class probabilities of summed sites
    steps: Steps = ()  # of the scans that the run goes through
    summing: bool = False  # whether finite sites that nobody answers for become stack axes
    per_state: bool = False  # whether one stack axis holds the states of a chain being summed
    summed: int = 0  # how many of the first stack axes are such sites (or branches that came in)
    elements: list[Tensor] = field(default_factory=list)  # the values on those axes
    observed: list[Tensor] = field(default_factory=list)  # those of the terms that observations add
    observations_only: bool = False  # other terms are not asked for (log densities one by one)
    free_terms: "list[Tensor] | None" = None  # of coordinates, apart, where steps may be padding
    as_given: Mapping[str, Any] = field(default_factory=dict)  # host data, read at no input
    sizes: Mapping[str, int] = field(default_factory=dict)
    tables: dict[ir.Owner, Tensor] = field(default_factory=dict)  # drawn from priors: log rows
    plates: Mapping[str | None, int] = field(default_factory=dict)  # of marginalize around
    wanted: bool = True  # whether the value of the term being evaluated is read by anybody
    prior: bool = False  # given values and scores add nothing: what is left is the draws' density

    @property
    def batch_rank(self) -> int:
        return len(self.batch_shape)

    def ask(self, site: SiteKey, dist: Dist, stack: tuple[int, ...] | None = None) -> Answer | None:
        """The first answer for ``site``; None when nobody knows it."""
        if self.steps or self.summed or self.per_state:
            site = replace(site, steps=self.steps, summed=self.summed > 0 or self.per_state)
        for answerer in self.answerers:
            answer = answerer.answer(site, dist, self.stack if stack is None else stack)
            if answer is not None:
                if self.prior and answer.given:
                    answer = replace(answer, term=branch_weight(dist))
                return self._padded(answer, dist)
        return None

    def _padded(self, answer: Answer, dist: Dist) -> Answer:
        """Terms of coordinates stand apart where steps may be padding: they count nevertheless."""
        if self.free_terms is None or not answer.free or answer.term is None:
            return answer
        extra = len(dist.lead) - self.batch_rank
        term = answer.term.sum(tuple(range(-extra, 0))) if extra else answer.term
        self.free_terms.append(term)
        return replace(answer, term=None)

    def passed_on(self, terms: Sequence[Tensor]) -> list[Tensor]:
        """Which of a nested run's terms the run around it wants."""
        if not self.observations_only:
            return list(terms)
        return [term for term in terms if any(term is each for each in self.observed)]

    def sum_over(self, elements: Tensor) -> None:
        """Everything from here on has one more stack axis, which is summed in the end."""
        alive = count = int(elements.shape[0])
        for size in self.stack[: self.summed]:
            alive *= size
        if alive > MAX_BRANCHES:
            raise UserError(
                f"summing finite sites needs {alive} branches, more than {MAX_BRANCHES}: give the "
                "values of one of them"
            )
        self.stack = (count, *self.stack)
        self.summed += 1
        self.elements = [elements, *self.elements]

    def add(
        self,
        term: Tensor | None,
        *,
        rows: bool,
        own_rank: int = 0,
        via: tuple[Tensor, ...] = (),
        observed: bool = False,
    ) -> None:
        """Count a term: summed over ``own_rank`` trailing axes, per row or shared.

        Inside a marginalize block the block takes it, unsummed; ``via`` leads rows to groups.
        ``observed``: it is the density of an observation.
        """
        if term is None:
            return
        if self.block is not None:
            self.block.take(term, own_rank, rows=rows, via=via)
            return
        if own_rank:
            term = term.sum(tuple(range(-own_rank, 0)))
        if observed:
            self.observed.append(term)
        (self.row_terms if rows else self.shared_terms).append(term)

    def record(
        self,
        site: SiteKey,
        value: Tensor,
        term: Tensor | None,
        label: str,
        *,
        given: bool,
        behind: int,
        deterministic: bool = False,
    ) -> None:
        """Note a site for the trace; ``behind``: its axes without the stack's."""
        if not self.recording:
            return
        log_prob = torch.zeros((), dtype=self.dtype, device=self.device) if term is None else term
        if self.steps:
            step = self.steps[-1]
            kept = Kept(step, site, value, log_prob, label, given, behind, deterministic)
            step.timeline.kept.setdefault(site.path, []).append(kept)
            return
        table = self.internal_sites if site.internal else self.sites
        if site.parts is not None:
            for path, piece in site.parts.split(value):
                table[path] = Site(piece, log_prob, given, False, label)
            return
        table[site.path] = Site(value, log_prob, given, deterministic, label)

    def show(self, line: Timeline) -> None:
        """Record what a finished scan has kept: each site once, with all its steps."""
        for kept in line.kept.values():
            first = kept[0]
            behind = first.behind - (first.step.stop is not None)
            value = joined(line, [(k.step, k.value) for k in kept], behind)
            terms = [line.counted(k.step, k.log_prob) for k in kept]
            total = sum(terms[1:], start=terms[0])
            self.record(
                first.site,
                value,
                total,
                first.label,
                given=first.given,
                behind=behind + 1,
                deterministic=first.deterministic,
            )

    def whole(self, value: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A value to be shown: repeated along stack axes that it does not depend on."""
        return value if not (self.recording and self.stack) else value.expand((*self.stack, *shape))

    def mask(self, path: str, shape: tuple[int, ...], keep: float) -> Tensor:
        """A 0/1 mask of ``shape`` for a random let-builtin; fixed by its path unless drawn."""
        generator = self.generator
        if generator is None:
            generator = torch.Generator(device=self.device).manual_seed(path_seed(path) % 2**63)
        uniform = torch.rand(shape, generator=generator, dtype=self.dtype, device=self.device)
        return (uniform < keep).to(self.dtype)


def unanswered(site: SiteKey) -> UserError:
    """The error for a site that nobody answered for."""
    return UserError(f"no value for `{site.path}`: give one under this key")
