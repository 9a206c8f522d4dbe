"""What sequential Monte Carlo returns: draws as of chains, the evidence, and how it came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import isfinite, log, nan, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quivers_nb.inference.mcmc.finding import Finding
from quivers_nb.inference.mcmc.result import MCMCResult


class Stage(NamedTuple):
    """One temperature of one run, in numbers."""

    temperature: float  # 0 is the prior, 1 the posterior
    ess: float  # of the weights, before resampling
    log_evidence: float  # what the stage adds
    acceptance: float  # mean over particles and moves
    moves: int
    leapfrogs: int  # of all moves, for each particle
    still: float  # share of particles that no move was accepted of
    correlation: float  # the largest of a coordinate, between resampling and the last move


@dataclass(frozen=True)
class Trail:
    """The stages of one run, ``(stages,)`` each, as in `Stage`.

    ``undefined`` are the numbers of positions where the density was not a number, and of all.
    """

    temperature: Tensor
    ess: Tensor
    log_evidence: Tensor
    acceptance: Tensor
    moves: Tensor
    leapfrogs: Tensor
    still: Tensor
    correlation: Tensor
    undefined: Tensor

    @classmethod
    def of(cls, stages: Sequence[Stage], undefined: tuple[int, int]) -> "Trail":
        """The trail of a run that has come through ``stages``."""
        columns = zip(*stages, strict=True)
        return cls(*(torch.tensor(c, dtype=torch.float64) for c in (*columns, undefined)))

    def as_tensors(self, prefix: str) -> dict[str, Tensor]:
        """Its tensors by name, to be saved."""
        return {f"{prefix}/{f.name}": getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, prefix: str, tensors: Mapping[str, Tensor]) -> "Trail":
        """What `as_tensors` gave."""
        return cls(*(tensors[f"{prefix}/{f.name}"] for f in fields(cls)))


@dataclass(frozen=True)
class SMCResult(MCMCResult):
    """The particles of every run at temperature 1, and the evidence.

    ``samples`` maps sites to ``(runs, particles, *value_shape)``: a run stands where a chain stands
    in an `MCMCResult`, and all that takes one takes this. Particles are in the order of their
    ancestors, so that relatives are neighbours and `ess` counts how many are worth it. ``stats``
    has ``(runs, particles)`` tensors: acceptance (over the moves of the last temperature),
    diverged, log_density, step_size. ``trails`` has the stages of each run.
    """

    trails: tuple[Trail, ...] = ()
    undefined: str = ""  # where the density was not a number, if it was; not saved

    @property
    def log_evidences(self) -> Tensor:  # (runs,)
        """The log evidence of the data as each run has it."""
        return torch.stack([trail.log_evidence.sum() for trail in self.trails])

    @property
    def log_evidence(self) -> float:
        """The log of the mean evidence of all runs.

        Evidence of a run at fixed temperatures has no bias (Del Moral 2004); its log has one of
        half its variance downwards, which the mean over runs divides by their number. Choosing
        temperatures by the particles adds a bias of the order of 1 / particles (Beskos, Jasra,
        Kantas & Thiery 2016).
        """
        runs = self.log_evidences
        return float(torch.logsumexp(runs, 0)) - log(len(runs))

    @property
    def log_evidence_se(self) -> float:
        """Its standard error, from the spread of the runs: sd(log Z) / sqrt(runs).

        With R runs it has R - 1 degrees of freedom (a t distribution). NaN for one run. The spread
        is that of logs, which sees a run that lost a mode, where its evidence would be a mere 0.
        """
        runs = self.log_evidences
        return float(runs.std()) / sqrt(len(runs)) if len(runs) > 1 else nan

    @property
    def temperatures(self) -> tuple[Tensor, ...]:  # (stages,) for each run
        """The temperatures that each run came through, the last 1."""
        return tuple(trail.temperature for trail in self.trails)

    @property
    def stage_ess(self) -> tuple[Tensor, ...]:  # (stages,) for each run
        """Effective sample size of the weights at each temperature."""
        return tuple(trail.ess for trail in self.trails)

    @property
    def stage_acceptance(self) -> tuple[Tensor, ...]:  # (stages,) for each run
        """Mean acceptance of the moves at each temperature."""
        return tuple(trail.acceptance for trail in self.trails)

    @property
    def bfmi(self) -> Tensor:  # (runs,)
        """NaN: particles have no sequence of energies."""
        return torch.full((self.num_chains,), torch.nan, dtype=torch.float64)

    @property
    def tree_depths(self) -> Tensor:  # (runs, particles)
        """Zeros: the paths of particles are no trees."""
        return torch.zeros((self.num_chains, self.num_samples), dtype=torch.int64)

    @cached_property
    def warnings(self) -> tuple[Finding, ...]:
        """What speaks against trusting these draws or the evidence, and what to do about each."""
        from quivers_nb.inference.smc.findings import findings  # noqa: PLC0415  (it knows results)

        return findings(self)

    def summary(self, max_rows: int = 40) -> str:
        """That of draws, and the evidence."""
        se = self.log_evidence_se
        known = f"log evidence {self.log_evidence:.4g}"
        known += f" (standard error {se:.2g})" if isfinite(se) else " (one run: no standard error)"
        return f"{known}\n{super().summary(max_rows)}"

    def __repr__(self) -> str:
        stages = "/".join(str(len(trail.temperature)) for trail in self.trails)
        parts: list[Any] = [
            f"{self.num_chains} runs x {self.num_samples} particles",
            f"{len(self.samples)} sites",
            f"{self.dim} coordinates",
            self.tier,
            f"{stages} temperatures",
            f"log evidence {self.log_evidence:.4g} +- {self.log_evidence_se:.2g}",
        ]
        return f"SMCResult({', '.join(parts + ['interrupted'] * self.interrupted)})"


def trail_tensors(result: MCMCResult) -> dict[str, Tensor]:
    """What a file of particles has beyond one of chains; nothing for chains."""
    trails = enumerate(getattr(result, "trails", ()))
    return {k: v for n, trail in trails for k, v in trail.as_tensors(f"trails/{n}").items()}


def with_trails(result: MCMCResult, tensors: Mapping[str, Tensor]) -> MCMCResult:
    """The result of particles, if the ``tensors`` of its file have trails."""
    names = [f"trails/{n}" for n in range(result.num_chains) if f"trails/{n}/ess" in tensors]
    if not names:
        return result
    known = {f.name: getattr(result, f.name) for f in fields(MCMCResult)}
    return SMCResult(**known, trails=tuple(Trail.from_tensors(n, tensors) for n in names))
