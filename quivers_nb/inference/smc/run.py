"""The run: particles from the prior to the posterior, several times over.

Runs are independent, each with a random stream of its own, a function of the seed and the run's
number: their log evidences say how well it is known, and their draws are compared as chains are.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.executors import refuse_no_executor
from quivers_nb.inference.executors import spread as spread_out
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.mcmc.fault import RunFailed, values_at
from quivers_nb.inference.mcmc.result import Samples
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.model import Model, OpenTarget, Values, nothing_to_draw, refuse_nothing
from quivers_nb.inference.native import begin_building
from quivers_nb.inference.options import known_options
from quivers_nb.inference.problem import Problem
from quivers_nb.inference.ranges import Count, Range, Seed, Share, Tier
from quivers_nb.inference.smc.moves import Moved, Settings, first_step_size, settle
from quivers_nb.inference.smc.path import Particles, Path
from quivers_nb.inference.smc.result import SMCResult, Stage, Trail
from quivers_nb.inference.smc.spread import spread_of
from quivers_nb.inference.smc.weights import next_step, systematic
from quivers_nb.inference.target import Target, flat
from quivers_nb.inference.threads import spare_core

STAGES = 1000  # temperatures beyond which a run is given up


@known_options
@dataclass(frozen=True)
class SMC:
    """Sequential Monte Carlo with likelihood tempering: draws, and the evidence of the model.

        result = SMC(num_particles=1000).run(model, x, obs)
        result.log_evidence, result.log_evidence_se

    ``num_particles`` draws of the prior are led to the posterior through the densities
    ``prior x likelihood^b``, b from 0 to 1. Each temperature is the highest at which the
    conditional effective sample size is ``ess_share`` of the particles; they are then resampled
    and moved by Hamiltonian Monte Carlo until they have forgotten their places, by ``max_moves``
    moves at most, of at most ``max_leapfrogs`` leapfrogs. Particles start everywhere that the prior
    allows, so that modes far apart all keep their share, where a chain would stay in one.

    ``num_runs`` independent runs are made. ``seed`` None takes one from torch's global generator.
    ``tier`` forces what computes gradients ("eager", "traced", "native"; "auto" takes the
    fastest that works).
    ``executor`` makes every run a job of its own. All is in float64.

    A run is one batch of particles: it takes (4 dim + 6) x ``num_particles`` numbers of memory and
    what the model needs for all of them at once, tells nobody of its progress, and is not resumed.

    Given values are the data, and scores (7.8) count with them: what is drawn in the first place is
    every other site in program order. Del Moral, Doucet & Jasra (2006), "Sequential Monte Carlo
    samplers", section 3; Buchholz, Chopin & Jacob (2021) for the moves.
    """

    num_particles: Annotated[int, Range(low=4, below=2**31, why="they are compared")] = 1000
    num_runs: Count = 4
    ess_share: Share = 0.5
    target_accept: Share = 0.8
    max_moves: Count = 20
    max_leapfrogs: Count = 128
    seed: Seed | None = None
    tier: Tier = "auto"
    executor: Executor | None = None

    def __post_init__(self) -> None:
        refuse_no_executor(self.executor)

    @known_options
    def run(
        self,
        model: Model,
        x: Tensor | None,
        obs: Values | None = None,
        *,
        keep_internal: bool = False,
        keep: Collection[str] | None = None,
        missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> SMCResult:
        """Draw from the posterior of ``model`` at ``x`` given ``obs``, and estimate the evidence.

        Options are those of `MCMC.run`. If it is interrupted, runs that were complete are returned;
        particles on their way are draws of no posterior and are lost (`Interrupted` where there is
        no complete run).

        Raises `NoPrior` (Q0803) where the prior cannot be drawn, `UserError` if the data are
        impossible under all draws of it, and `RunFailed`, which has the runs that were complete, if
        the model fails on the way.
        """
        refuse_nothing(model)
        problem = Problem(model, x, obs, missing)
        opened = problem.target(dtype=torch.float64, freeze_masks=freeze_masks)
        target = flat(opened)
        if not target.dim:
            raise UserError(nothing_to_draw(opened))
        result = self._run(target, Selection(keep, keep_internal))
        return replace(result, **problem.facts(opened))

    @known_options
    def run_target(
        self,
        target: Target | OpenTarget,
        *,
        keep: Collection[str] | None = None,
        keep_internal: bool = False,
    ) -> SMCResult:
        """Draw from a density given as such, which knows its prior: a `Drawable`."""
        whole = target if isinstance(target, Target) else flat(target)
        return self._run(whole, Selection(keep, keep_internal))

    def _run(self, target: Target, selection: Selection) -> SMCResult:
        seed = int(torch.randint(2**62, ())) if self.seed is None else int(self.seed)
        job = _Job(replace(self, executor=None), target, selection, seed)
        finished: list[_Part] = []
        try:
            numbers = [(number,) for number in range(self.num_runs)]
            return _result(target, seed, spread_out(self.executor, job.run, numbers, finished))
        except KeyboardInterrupt as error:
            if not finished:
                raise Interrupted(
                    f"interrupted before the first of {self.num_runs} runs was complete: particles "
                    "on their way are draws of no posterior, so none are kept. Fewer of them, "
                    f"num_particles={max(self.num_particles // 4, 4)}, get there sooner"
                ) from error
            return replace(_result(target, seed, finished), interrupted=True)
        except Exception as error:
            if not finished:
                raise
            fact = f"a run after {len(finished)} complete ones failed ({error})"
            raise RunFailed(fact, _result(target, seed, finished)) from error


@dataclass(frozen=True, slots=True)
class _Part:
    """What one run comes to: draws ``(N, *value_shape)`` by site, and how it got there."""

    sites: dict[str, Tensor]
    stats: dict[str, Tensor]  # (N,)
    trail: Trail
    start: float  # log density of the first particle, at its start
    stationary: bool
    leapfrogs: int
    gradient: tuple[str, str]  # the tier, and why no faster one
    undefined: str


@dataclass(frozen=True, slots=True)
class _Job:
    """The runs of an `SMC`; each independent of the others."""

    smc: SMC
    target: Target
    selection: Selection
    seed: int

    def run(self, number: int) -> _Part:
        """Run ``number``."""
        begin_building()
        with spare_core():
            return self._run(number)

    def _run(self, number: int) -> _Part:
        smc = self.smc
        stream = np.random.SeedSequence(self.seed, spawn_key=(number,))
        generator = Generator().manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))
        path = Path(self.target, smc.tier)
        first = path.begin(smc.num_particles, generator)
        stages: list[Stage] = []
        moved = self._stage(path, first, stages, first_step_size(self.target.dim), generator)
        while stages[-1].temperature < 1.0:
            if len(stages) == STAGES:
                raise UserError(
                    f"after {STAGES} temperatures run {number} has come to "
                    f"{stages[-1].temperature:.3g} of 1: the data tell too much for this prior. "
                    "Use MCMC, a lower ess_share, or a prior nearer to the data"
                )
            moved = self._stage(path, moved.particles, stages, moved.step_size, generator)
        return self._part(path, first, moved, stages)

    def _stage(
        self,
        path: Path,
        particles: Particles,
        stages: list[Stage],
        step_size: float,
        generator: Generator,
    ) -> Moved:
        """To the next temperature: weigh, resample, move; what happened is noted."""
        smc = self.smc
        settings = Settings(smc.target_accept, smc.max_moves, smc.max_leapfrogs)
        before = stages[-1].temperature if stages else 0.0
        step = next_step(particles.log_likelihood, before, smc.ess_share)
        chosen = particles.at(systematic(step.weights, generator))
        spread = spread_of(chosen.q, step.ess)
        moved = settle(path, chosen, step.beta, spread, step_size, settings, generator)
        acceptance = float(moved.acceptance.mean())
        stages.append(
            Stage(
                step.beta, step.ess, step.log_evidence, acceptance, moved.moves, moved.leapfrogs,
                moved.still, moved.correlation,
            )
        )  # fmt: skip
        return moved

    def _part(self, path: Path, first: Particles, moved: Moved, stages: Sequence[Stage]) -> _Part:
        last, undefined = moved.particles, ""
        if path.undefined is not None:
            at = values_at(self.target, path.undefined)
            undefined = f"at {at}: {self.target.names_of(path.undefined)}"
        return _Part(
            sites=self.selection.values(self.target, last.q),
            stats={
                "acceptance": moved.acceptance,
                "diverged": moved.diverged,
                "log_density": last.joint,
                "step_size": torch.full_like(last.joint, moved.step_size),
            },
            trail=Trail.of(stages, (path.met, path.evaluated)),
            start=float(first.joint[0]),
            stationary=bool(torch.equal(first.q, last.q)),
            leapfrogs=sum(stage.leapfrogs for stage in stages),
            gradient=(path.joint.tier, path.joint.reason),
            undefined=undefined,
        )


def _result(target: Target, seed: int, parts: Sequence[_Part]) -> SMCResult:
    return SMCResult(
        samples=Samples(
            (name, torch.stack([part.sites[name] for part in parts])) for name in parts[0].sites
        ),
        stats={name: torch.stack([part.stats[name] for part in parts]) for name in parts[0].stats},
        start_log_densities=torch.tensor([part.start for part in parts], dtype=torch.float64),
        stationary=torch.tensor([part.stationary for part in parts]),
        num_warmup=0,
        max_tree_depth=None,
        dim=target.dim,
        tier=parts[0].gradient[0],
        tier_reason=parts[0].gradient[1],
        seed=seed,
        gradients=sum(part.leapfrogs for part in parts) * len(parts[0].stats["log_density"]),
        trails=tuple(part.trail for part in parts),
        undefined=next((part.undefined for part in parts if part.undefined), ""),
    )
