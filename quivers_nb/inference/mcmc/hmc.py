"""Hamiltonian Monte Carlo with a fixed number of leapfrog steps.

Neal (2011), "MCMC using Hamiltonian dynamics", section 3: the end of the path is accepted with
probability min(1, exp(H₀ - H)).
"""

from dataclasses import dataclass
from math import exp
from typing import NamedTuple, cast

from numpy.random import Generator

from quivers_nb.inference.mcmc.integrator import Phase
from quivers_nb.inference.mcmc.kernel import (
    AdaptFrom,
    EnergyError,
    MassMatrix,
    Stats,
    Trajectory,
)
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive, Share


class HmcPath(NamedTuple):
    """A path under way, always forward in time: the momentum's sign is a coin already."""

    start: Phase
    front: Phase
    leapfrogs: int
    acceptance: float
    diverged: bool
    done: bool
    chosen: Phase
    forward: bool = True

    def stats(self, step_size: float) -> Stats:
        return Stats(
            self.acceptance,
            self.leapfrogs,
            0,
            self.diverged,
            self.chosen.log_density,
            self.start.energy,
            step_size,
        )


@known_options
@dataclass(frozen=True)
class HMCKernel:
    """HMC with ``num_steps`` leapfrogs per transition; other options as in `NUTSKernel`."""

    step_size: Positive = 0.1
    num_steps: Count = 10
    mass_matrix: MassMatrix = "diagonal"
    target_accept: Share = 0.8
    divergence_threshold: EnergyError = 1000.0
    adapt_step_size: bool = True
    adapt_mass_matrix: bool = True
    adapt_from: AdaptFrom = "draws"

    def begin(self, start: Phase, rng: Generator) -> HmcPath:  # noqa: ARG002
        """A path of one state."""
        return HmcPath(start, start, 0, 0.0, False, False, start)

    def extend(self, trajectory: Trajectory, state: Phase, rng: Generator) -> HmcPath:
        """The path one leapfrog longer; at its end, accepted or not."""
        old = cast(HmcPath, trajectory)
        log_ratio = old.start.energy - state.energy
        grown = old._replace(front=state, leapfrogs=old.leapfrogs + 1)
        if not log_ratio >= -self.divergence_threshold:
            return grown._replace(diverged=True, done=True)
        if grown.leapfrogs < self.num_steps:
            return grown
        acceptance = exp(min(0.0, log_ratio))
        chosen = state if rng.random() < acceptance else old.start
        return grown._replace(acceptance=acceptance, done=True, chosen=chosen)
