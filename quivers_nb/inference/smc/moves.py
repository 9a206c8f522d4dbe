"""Moves of all particles at one temperature: Hamiltonian paths of random length, until they mix.

Buchholz, Chopin & Jacob (2021), "Adaptive tuning of Hamiltonian Monte Carlo within sequential
Monte Carlo": the particles tell the metric, the step size follows their acceptance, and moves are
made until particles have forgotten where they were. Neal's HMC (2011) is the kernel: unlike a tree
it has the same number of leapfrogs for all particles, so that they move as one batch; unlike a
random walk it needs few moves in many dimensions.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from quivers_nb.inference.smc.path import Particles, Path
from quivers_nb.inference.smc.spread import Spread

DIVERGED = 1000.0  # error of the energy beyond which a path has diverged, as for chains
_GAIN = 2.0  # log step size per unit of acceptance
_JITTER = 0.2  # relative half-width of each particle's own step size
_FORGOTTEN = 0.1  # correlation with the places before the moves that counts as none
_STALLED = 0.97  # a move that leaves more of it than this does not help
_WELL = 0.5  # acceptance from which a step size counts as right


@dataclass(frozen=True, slots=True)
class Settings:
    """How particles move; ``most`` moves at one temperature, of ``longest`` leapfrogs each."""

    target_accept: float
    most: int
    longest: int


class Moved(NamedTuple):
    """Particles after the moves of one temperature."""

    particles: Particles
    step_size: float  # for the next temperature
    acceptance: Tensor  # (N,), of each particle over all moves
    diverged: Tensor  # (N,) bool, in the last move
    leapfrogs: int  # of all moves
    moves: int
    still: float  # share of particles that were never accepted
    correlation: float  # the largest over coordinates, between start and end


def first_step_size(dim: int) -> float:
    """That of a normal target in its own metric; it falls with dim^(1/4) (Beskos et al. 2013)."""
    return 1.0 / sqrt(sqrt(dim))


def settle(
    path: Path,
    start: Particles,
    beta: float,
    spread: Spread,
    step_size: float,
    settings: Settings,
    generator: Generator,
) -> Moved:
    """Move until the particles have forgotten their places, or forget no more.

    Particles of separate modes remember their mode for good, so that the correlation of coordinates
    stays; then moves end once another one, well accepted, no longer lowers it. Within modes they
    have mixed when their log-likelihood has been forgotten, too.
    """
    now, forgetting = start, _Forgetting(start)
    acceptance = torch.zeros_like(start.prior)
    leapfrogs, moves, moved = 0, 0, torch.zeros_like(start.prior, dtype=torch.bool)
    while True:
        one = _move(path, now, beta, spread, step_size, settings.longest, generator)
        now = one.particles
        moves, leapfrogs = moves + 1, leapfrogs + one.leapfrogs
        acceptance, moved = acceptance + one.acceptance, moved | one.accepted
        mean = float(one.acceptance.mean())
        done = forgetting.done(now, accepted_well=mean > _WELL)
        if moves >= settings.most or (moves > 1 and done):
            break
        step_size = _tuned(step_size, mean, settings)
    return Moved(
        now,
        _tuned(step_size, mean, settings),
        acceptance / moves,
        one.diverged,
        leapfrogs,
        moves,
        float((~moved).double().mean()),
        forgetting.of_places,
    )


def _tuned(step_size: float, acceptance: float, settings: Settings) -> float:
    """The step size for the next move. One of all particles has hardly any noise."""
    factor = torch.tensor(_GAIN * (acceptance - settings.target_accept)).exp()
    return min(step_size * float(factor), 0.5 * pi)


@dataclass(slots=True)
class _Forgetting:
    """Correlations with the particles before the moves: of places, and of the log-likelihood."""

    start: Particles
    of_places: float = 1.0
    of_likelihood: float = 1.0

    def done(self, now: Particles, *, accepted_well: bool) -> bool:
        """Whether both are small, or no smaller than they were, although moves are accepted."""
        before = (self.of_places, self.of_likelihood)
        self.of_places = _correlation(self.start.q, now.q)
        self.of_likelihood = _correlation(
            self.start.log_likelihood.unsqueeze(-1), now.log_likelihood.unsqueeze(-1)
        )
        pairs = zip(before, (self.of_places, self.of_likelihood), strict=True)
        return all(
            new < _FORGOTTEN or (accepted_well and new > _STALLED * old) for old, new in pairs
        )


def _correlation(before: Tensor, after: Tensor) -> float:  # (N, dim) each
    """The largest correlation of a coordinate before and after, in absolute value."""
    a, b = before - before.mean(0), after - after.mean(0)
    size = (a.square().sum(0) * b.square().sum(0)).sqrt()
    found = (a * b).sum(0).abs() / torch.where(size > 0.0, size, 1.0)
    return float(found.max())


class _Move(NamedTuple):
    particles: Particles
    acceptance: Tensor  # (N,)
    accepted: Tensor  # (N,) bool
    diverged: Tensor  # (N,) bool
    leapfrogs: int


def _move(
    path: Path,
    start: Particles,
    beta: float,
    spread: Spread,
    step_size: float,
    longest: int,
    generator: Generator,
) -> _Move:
    """One path of every particle, accepted by Metropolis: the tempered density is invariant.

    Time goes to a quarter of a turn of a normal target, more or less by half, so that no coordinate
    comes back to where it was at every move.
    """
    uniform = torch.rand((len(start.q), 2), generator=generator, dtype=start.q.dtype)
    momentum = torch.randn(start.q.shape, generator=generator, dtype=start.q.dtype)
    time = pi * (0.25 + 0.5 * float(torch.rand((), generator=generator)))
    leapfrogs = min(max(round(time / step_size), 1), longest)
    step = (step_size * (1.0 + _JITTER * (2.0 * uniform[:, :1] - 1.0))).to(start.q.dtype)
    before = _energy(start, beta, momentum)
    now = start
    for _ in range(leapfrogs):
        momentum = momentum + 0.5 * step * spread.slope(now.slope(beta))
        now = path.at(now.q + spread.position(step * momentum))
        momentum = momentum + 0.5 * step * spread.slope(now.slope(beta))
    gain = before - _energy(now, beta, momentum)
    gain = torch.where(gain.isnan(), -torch.inf, gain)
    acceptance = gain.clamp_max(0.0).exp()
    accepted = uniform[:, 1] < acceptance
    diverged = gain < -DIVERGED
    return _Move(start.where(accepted, now), acceptance, accepted, diverged, leapfrogs)


def _energy(particles: Particles, beta: float, momentum: Tensor) -> Tensor:  # -> (N,)
    return 0.5 * momentum.square().sum(-1) - particles.tempered(beta)
