"""The run: seeds, starts, tiers, and the loop that keeps every chain moving.

Each chain has a random stream of its own, a function of the seed and the chain's number: a chain
draws the same numbers whether it runs with others, alone, or in another process.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.executors import spread
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.mcmc import arguments
from quivers_nb.inference.mcmc.begin import begin
from quivers_nb.inference.mcmc.engine import Outcome, Task, Watch
from quivers_nb.inference.mcmc.fault import ChainFault, RunFailed
from quivers_nb.inference.mcmc.integrator import Point
from quivers_nb.inference.mcmc.kernel import Kernel
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.mcmc.pilot import (
    DRAWS,
    WARMUP,
    Draw,
    Piloted,
    Positions,
    follow,
    pilot,
    unseen,
)
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.starts import Anchored, DrawValues, Start, Strategy
from quivers_nb.inference.mcmc.store import Selection, Store
from quivers_nb.inference.model import (
    Model,
    OpenTarget,
    Values,
    nothing_to_draw,
    refuse_no_guide,
    refuse_nothing,
)
from quivers_nb.inference.options import known_options
from quivers_nb.inference.problem import Problem
from quivers_nb.inference.ranges import Count, NotNegative, Seed, Tier, Whole
from quivers_nb.inference.target import Target, flat
from quivers_nb.inference.threads import spare_core
from quivers_nb.inference.vi.guide import bound


@known_options
@dataclass(frozen=True)
class MCMC:
    """Runs a kernel: ``num_chains`` chains of ``num_warmup + num_samples`` transitions.

    ``init_strategy`` is "uniform" (each unconstrained coordinate in (-2, 2)), "prior", "value"
    (``init_values``: site values) or "pathfinder" (a draw of the best normal approximation on the
    way from a uniform point to the mode). ``jitter`` adds uniform noise of that half-width to every
    unconstrained coordinate of a start. ``init_scales`` are posterior standard deviations in
    unconstrained space by site, as far as they are known: warm-up begins with them as its metric.
    ``seed`` None takes one from torch's global generator. ``tier``
    forces what computes the gradient ("eager", "traced", "native"; "auto" takes the fastest that
    works). ``executor`` runs every chain as a job of its own. ``dtype`` is that of the target.
    ``recenter`` makes a pilot run first, of two times 200 transitions, and chooses for every
    element of every site with a latent location or scale a coordinate between centred and
    non-centred: hierarchical models move without being written the other way, and the sites and
    their draws stay as they are (`quivers_nb.inference.centering`).
    """

    kernel: Kernel
    num_warmup: Whole
    num_samples: Count
    num_chains: Count = 4
    init_strategy: Strategy = "uniform"
    seed: Seed | None = None
    tier: Tier = "auto"
    executor: Executor | None = None
    dtype: torch.dtype = torch.float64
    init_values: Mapping[str, Any] | None = None
    jitter: NotNegative = 0.0
    init_scales: Mapping[str, Any] | None = None
    recenter: bool = False

    def __post_init__(self) -> None:
        arguments.refuse_unused(self.init_strategy, self.init_values)
        arguments.refuse_unfit(self.kernel, self.executor, self.dtype)

    @known_options
    def run(
        self,
        model: Model,
        x: Tensor | None,
        obs: Values | None = None,
        guide: Any = None,
        *,
        keep_internal: bool = False,
        keep: Collection[str] | None = None,
        thin: Count = 1,
        watch: Watch | None = None,
        missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> MCMCResult:
        """Draw from the posterior of ``model`` at ``x`` given ``obs``.

        ``guide``: chains start at draws of it. ``keep`` names the sites whose draws are kept,
        ``keep_internal`` adds the internal ones (R3), ``thin=k`` keeps every k-th draw. ``watch``
        is told every transition of chains that run here, not in an executor. An interrupted run
        returns the draws so far; before the first transition it raises `Interrupted`. Observe sites
        in ``missing`` may lack a value and are drawn; ``freeze_masks`` holds the masks of dropout
        fixed (R3, R10).

        Raises `UserError` if no start is found or the draws would not fit in memory, and
        `RunFailed`, which has the draws made so far, if the model or a chain fails on the way; what
        the model raises in a run that is watched is raised as it is.
        """
        refuse_nothing(model)
        refuse_no_guide(guide)
        problem = Problem(model, x, obs, missing)
        opened = problem.target(dtype=self.dtype, freeze_masks=freeze_masks)
        target = flat(opened)
        if not target.dim:
            raise UserError(nothing_to_draw(opened))
        values: DrawValues | None = None
        if guide is not None:
            values = _FromGuide(bound(guide, x, obs), x)
        elif self.init_strategy == "prior":
            values = _FromPrior(model, x, obs, target.declared)
        result = self._run(target, values, Selection(keep, keep_internal, thin), watch)
        return replace(result, **problem.facts(opened))

    @known_options
    def run_target(
        self,
        target: Target | OpenTarget,
        *,
        keep: Collection[str] | None = None,
        keep_internal: bool = False,
        thin: Count = 1,
        watch: Watch | None = None,
    ) -> MCMCResult:
        """Draw from a density given as such, with no model behind it."""
        if self.init_strategy == "prior":
            raise UserError('init_strategy="prior" needs a model; a target has no prior to draw')
        flat_target = target if isinstance(target, Target) else flat(target)
        return self._run(flat_target, None, Selection(keep, keep_internal, thin), watch)

    def _run(
        self,
        target: Target,
        values: DrawValues | None,
        selection: Selection,
        watch: Watch | None,
    ) -> MCMCResult:
        if not 1 <= selection.thin <= self.num_samples:
            raise UserError(f"thin={selection.thin} keeps none of {self.num_samples} draws")
        if not target.dim:
            raise UserError("there is nothing to draw: the density has no coordinates")
        seed = int(torch.randint(2**62, ())) if self.seed is None else int(self.seed)
        exact = self.init_strategy == "value"
        if values is None and exact and self.init_values is not None:
            values = _Fixed(self.init_values)
        elif values is None and not isinstance(target.source, Anchored):
            arguments.refuse_missing(self.init_strategy)
        scales = (
            None
            if self.init_scales is None
            else arguments.scales_by_coordinate(target, self.init_scales)
        )
        start = Start(target, values, exact, self.jitter)
        begun = Piloted(start, scales)
        if self.recenter:
            begun = pilot(begun, seed, self._piloting(watch))
        follow(watch, begun.target)
        job = Job(replace(self, executor=None), begun, selection, seed)
        result = self._made(job, watch, begun.stopped)
        more = result.gradients + begun.gradients
        return replace(result, gradients=more, centering=begun.shares)

    def _made(self, job: "Job", watch: Watch | None, stopped: Sequence["Part"]) -> MCMCResult:
        """The draws; none, if the pilot was ``stopped`` already."""
        if stopped:
            return _result(
                self, job.target, job.seed, [job.without_draws(part) for part in stopped]
            )
        if self.executor is None:
            part = job.run(range(self.num_chains), watch)
            try:
                return _result(self, job.target, job.seed, [part])
            except KeyboardInterrupt:  # it is a matter of milliseconds, of work of minutes
                whole = _result(self, job.target, job.seed, [part])
                return replace(whole, interrupted=True)
        return self._apart(self.executor, job)

    def _piloting(self, watch: Watch | None) -> Draw:
        """How `pilot` runs: with this kernel and executor, and transitions that nobody sees."""
        short = replace(
            self, num_warmup=WARMUP, num_samples=DRAWS, recenter=False, executor=None
        )  # fmt: skip

        def draw(begun: Piloted, seed: int) -> list[Part]:
            job = Job(short, begun, Positions(), seed)
            try:
                if self.executor is None:
                    return [job.run(range(self.num_chains), unseen(watch))]
                return spread(self.executor, job.run, self._jobs())
            except RunFailed as failed:
                raise UserError(f"in the pilot run of recenter=True, {failed.fact}") from failed

        return draw

    def _jobs(self) -> list[tuple[tuple[int, ...], None]]:
        return [((number,), None) for number in range(self.num_chains)]

    def _apart(self, executor: Executor, job: "Job") -> MCMCResult:
        """Every chain as a job; chains that have finished are kept, whatever becomes of others."""
        finished: list[Part] = []
        try:
            parts = spread(executor, job.run, self._jobs(), finished)
        except KeyboardInterrupt as error:
            if not finished:
                raise Interrupted(
                    f"interrupted before the first of {self.num_chains} chains was finished: the "
                    "draws of chains in an executor come when they are done. Without executor= an "
                    "interrupted run keeps the draws so far"
                ) from error
            return replace(_result(self, job.target, job.seed, finished), interrupted=True)
        except UserError as error:
            if not finished:
                raise
            fact = error.fact if isinstance(error, RunFailed) else str(error)
            raise RunFailed(fact, _result(self, job.target, job.seed, finished)) from error
        return _result(self, job.target, job.seed, parts)


@dataclass(frozen=True, slots=True)
class Part:
    """What one job returns: the draws of its chains, and where they began and ended."""

    sites: Mapping[str, Tensor]
    stats: Mapping[str, NDArray[Any]]
    counts: Sequence[int]
    starts: tuple[Point, ...]
    outcome: Outcome
    tier: str
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """Some chains of a run; independent of the others."""

    mcmc: MCMC
    begun: Piloted
    selection: Selection
    seed: int

    @property
    def target(self) -> Target:
        return self.begun.target

    def without_draws(self, part: Part) -> Part:
        """A stopped pilot's part as one of the run, which has come to no draw."""
        kept = self.mcmc.num_samples // self.selection.thin
        store = Store(self.target, self.selection, len(part.starts), kept)
        outcome = replace(part.outcome, stopped=True, gradients=0)
        return replace(
            part, sites=store.sites, stats=store.stats, counts=store.counts, outcome=outcome
        )

    def run(self, numbers: Sequence[int], watch: Watch | None) -> Part:
        """Run the chains with these numbers together."""
        with spare_core():
            return self._run(numbers, watch)

    def _run(self, numbers: Sequence[int], watch: Watch | None) -> Part:
        mcmc, start, scales = self.mcmc, self.begun.start, self.begun.scales
        kept = mcmc.num_samples // self.selection.thin
        store = Store(self.target, self.selection, len(numbers), kept)  # refuses what has no room
        nearer = mcmc.init_strategy == "pathfinder" and not start.known
        begun = begin(start, self.seed, numbers, mcmc.kernel, mcmc.num_warmup, mcmc.tier, nearer)
        rngs, points, engine = begun.rngs, begun.points, begun.engine
        counts = (mcmc.num_warmup, mcmc.num_samples)
        known = None if scales is None else np.tile(scales, (len(points), 1))
        task = Task(mcmc.kernel, *counts, self.seed, numbers, points, rngs, store, watch, known)
        fault = None
        try:
            outcome = engine.run(task)
        except ChainFault as found:
            fault, outcome = found, Outcome(tuple(point.q for point in points), stopped=True)
        store.finish()
        part = Part(
            store.sites, store.stats, store.counts, points, outcome, engine.tier, engine.reason
        )
        if fault is None:
            return part
        if watch is not None and isinstance(fault.__cause__, Exception):
            raise fault.__cause__  # whoever watches has the draws, and wants the error as it is
        result = _result(mcmc, self.target, self.seed, [part])
        raise RunFailed(fault.describe(self.target), result) from (fault.__cause__ or fault)


# Callables as plain data, so that they can be sent to other processes.


@dataclass(frozen=True, slots=True)
class _Fixed:
    values: Mapping[str, Any]

    def __call__(self, _generator: torch.Generator) -> Mapping[str, Any]:
        return self.values


@dataclass(frozen=True, slots=True)
class _FromPrior:
    model: Model
    x: Tensor | None
    obs: Values | None
    names: frozenset[str]

    def __call__(self, generator: torch.Generator) -> Mapping[str, Any]:
        sites = self.model.trace(self.x, self.obs, generator=generator).latent_sites
        return {name: site.value for name, site in sites.items() if name in self.names}


@dataclass(frozen=True, slots=True)
class _FromGuide:
    guide: Any
    x: Tensor | None

    def __call__(self, generator: torch.Generator) -> Mapping[str, Any]:
        with torch.no_grad():
            return dict(self.guide.rsample(self.x, generator=generator))


def keep_most(counts: Sequence[int]) -> tuple[list[int], int]:
    """The chains and the number of draws of the largest full table of draws.

    Chains are at different places when a run is interrupted; one that is still warming up must not
    cost the others their draws. As many chains as possible, if there is a choice.
    """
    order = sorted(range(len(counts)), key=lambda chain: -counts[chain])
    area, size = max(((k + 1) * counts[chain], k + 1) for k, chain in enumerate(order))
    return sorted(order[:size]), area // size


def _result(mcmc: MCMC, target: Target, seed: int, parts: Sequence[Part]) -> MCMCResult:
    kept, count = keep_most([n for part in parts for n in part.counts])
    starts = [point for part in parts for point in part.starts]
    ends = [q for part in parts for q in part.outcome.ends]
    still = [np.array_equal(a.q, b) for a, b in zip(starts, ends, strict=True)]
    densities = torch.tensor([s.log_density for s in starts], dtype=torch.float64)
    return MCMCResult(
        samples=Samples(
            (name, _table([part.sites[name] for part in parts], kept, count))
            for name in parts[0].sites
        ),
        stats={
            name: _table([torch.from_numpy(part.stats[name]) for part in parts], kept, count)
            for name in parts[0].stats
        },
        start_log_densities=densities[kept],
        stationary=torch.tensor(still)[kept],
        num_warmup=mcmc.num_warmup,
        max_tree_depth=mcmc.kernel.max_tree_depth if isinstance(mcmc.kernel, NUTSKernel) else None,
        dim=target.dim,
        tier=parts[0].tier,
        tier_reason=_reason(parts),
        interrupted=any(part.outcome.stopped for part in parts),
        seed=seed,
        gradients=sum(part.outcome.gradients for part in parts),
    )


def _reason(parts: Sequence[Part]) -> str:
    """Why nothing faster ran; workers of a cluster may differ in what they can do."""
    if len({part.tier for part in parts}) == 1:
        return parts[0].reason
    return "; ".join(f"job {k} ran {part.tier} ({part.reason})" for k, part in enumerate(parts))


def _table(parts: Sequence[Tensor], chains: Sequence[int], count: int) -> Tensor:
    """Draws of several jobs as one tensor: these chains, this many draws; no copy if it is all."""
    whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    return (whole if len(chains) == len(whole) else whole[list(chains)])[:, :count]
