"""What a run has written so far, and snapshots of it.

A log has one writer, the run's worker, and any number of readers, and needs no lock: it consists of
lists that only grow, and a reader takes a length first and never looks beyond it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quivers_nb.inference import diagnose
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.inference.mcmc.pilot import LENGTH
from quivers_nb.inference.target import Target

Counts = tuple[int, ...]  # rows per chain; of a log of losses, steps
Floats = NDArray[np.floating[Any]]
KEPT_BYTES = 1 << 30  # of positions; beyond it only the leading coordinates are kept
LEADING = 64
FEWEST = 4  # draws that diagnostics need


@dataclass(frozen=True, slots=True)
class ChainProgress:
    """One chain: finished transitions (warm-up included) and what is known of the last one."""

    chain: int
    iteration: int
    warming: bool
    divergences: int  # after warm-up
    step_size: float
    depth: int
    acceptance: float
    log_density: float


class Log(Protocol):
    """What snapshots and the publisher read."""

    @property
    def counts(self) -> Counts: ...
    @property
    def pilot(self) -> tuple[int, int] | None: ...  # as in `Progress`
    @property
    def columns(self) -> Mapping[str, Sequence[float]]: ...  # for curves; they only grow
    def losses(self, counts: Counts, last: int | None = None) -> Floats: ...  # (steps,)
    def num_draws(self, counts: Counts) -> int: ...  # per chain, after warm-up
    def draws(self, counts: Counts) -> Floats | None: ...  # (chains, draws, coordinates)
    def chains(self, counts: Counts) -> tuple[ChainProgress, ...]: ...


@dataclass(frozen=True)
class Progress:
    """Where a run stands; a snapshot that does not change any more.

    ``iteration`` counts finished steps, or finished transitions (warm-up included) of the chain
    that is furthest behind. ``elapsed`` and ``eta`` are seconds of work, pauses not counted.
    ``r_hat`` is the largest and ``ess`` the smallest over unconstrained coordinates, of the draws
    after warm-up; they are computed when first asked for, and None while there are too few draws.
    ``pilot`` are the finished transitions of a pilot run that is under way, and all it will have.
    """

    state: str
    total: int | None
    elapsed: float
    log: Log
    counts: Counts
    pilot: tuple[int, int] | None = None

    @property
    def iteration(self) -> int:
        return min(self.counts, default=0)

    @property
    def eta(self) -> float | None:
        """Seconds of work still to come at the mean speed so far, None if that is not known."""
        if self.total is None or not self.iteration:
            return None
        return self.elapsed * max(self.total - self.iteration, 0) / self.iteration

    @property
    def loss(self) -> float | None:
        last = self.log.losses(self.counts, 1)
        return float(last[0]) if len(last) else None

    @property
    def losses(self) -> Floats:  # (steps,)
        return self.log.losses(self.counts)

    @property
    def num_draws(self) -> int:
        """Draws after warm-up of the chain that is furthest behind."""
        return self.log.num_draws(self.counts)

    @cached_property
    def chains(self) -> tuple[ChainProgress, ...]:
        return self.log.chains(self.counts)

    @cached_property
    def r_hat(self) -> float | None:
        draws = self.log.draws(self.counts)
        return None if draws is None else float(np.max(diagnose.r_hat(draws)))

    @cached_property
    def ess(self) -> float | None:
        draws = self.log.draws(self.counts)
        return None if draws is None else float(np.min(diagnose.ess(draws)))


class LossLog:
    """The loss before every step of an optimisation."""

    pilot = None

    def __init__(self) -> None:
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        self._losses.append(loss)

    @property
    def counts(self) -> Counts:
        return (len(self._losses),)

    @property
    def columns(self) -> Mapping[str, Sequence[float]]:
        return {"loss": self._losses}

    def losses(self, counts: Counts, last: int | None = None) -> Floats:
        start = 0 if last is None else max(counts[0] - last, 0)
        return np.array(self._losses[start : counts[0]], dtype=np.float64)

    def num_draws(self, counts: Counts) -> int:  # noqa: ARG002
        return 0

    def draws(self, counts: Counts) -> Floats | None:  # noqa: ARG002
        return None

    def chains(self, counts: Counts) -> tuple[ChainProgress, ...]:  # noqa: ARG002
        return ()


class DrawLog:
    """Transitions of chains: statistics of all of them, positions of those after warm-up."""

    def __init__(self, num_chains: int, num_warmup: int, num_samples: int) -> None:
        self._warmup, self._samples = num_warmup, num_samples
        self._stats: list[list[Stats]] = [[] for _ in range(num_chains)]
        self._positions: list[list[Floats]] = [[] for _ in range(num_chains)]
        self._density: list[list[float]] = [[] for _ in range(num_chains)]
        self._divergent: list[list[float]] = [[] for _ in range(num_chains)]
        self._columns: dict[str, list[float]] = {}
        for chain in range(num_chains):
            self._columns[f"log_density[{chain}]"] = self._density[chain]
            self._columns[f"divergent[{chain}]"] = self._divergent[chain]
        self.complete = True  # whether all coordinates are kept
        self.target: Target | None = None  # what positions are of, once that is known
        self._scouted = [0] * num_chains  # transitions of a pilot run

    def moves_on(self, target: Target) -> None:
        """Note what the positions of all transitions to come are of."""
        self.target = target

    def scouted(self, chain: int) -> None:
        """Count a transition of the pilot, of which nothing is kept."""
        self._scouted[chain] += 1

    @property
    def pilot(self) -> tuple[int, int] | None:
        under_way = any(self._scouted) and not any(self.counts)
        return (min(self._scouted), LENGTH) if under_way else None

    def add(self, transition: Transition) -> None:
        chain, stats, position = transition.chain, transition.stats, transition.position
        if not transition.warming:
            if position.nbytes * len(self._stats) * self._samples > KEPT_BYTES:
                self.complete = False
                position = position[:LEADING].copy()
            self._positions[chain].append(position)
        elif stats.diverged:
            stats = stats._replace(diverged=False)
        self._density[chain].append(stats.log_density)
        if stats.diverged:
            self._divergent[chain].append(float(transition.transition))
        self._stats[chain].append(stats)  # last: `counts` promises the rest

    @property
    def counts(self) -> Counts:
        return tuple(len(rows) for rows in self._stats)

    @property
    def columns(self) -> Mapping[str, Sequence[float]]:
        return self._columns

    def losses(self, counts: Counts, last: int | None = None) -> Floats:  # noqa: ARG002
        return np.empty(0)

    def positions(self, counts: Counts) -> Floats | None:
        """Positions after warm-up that every chain has: (chains, draws, coordinates)."""
        number = self.num_draws(counts)
        if not number:
            return None
        return np.stack([np.stack(rows[:number]) for rows in self._positions])

    def finished(self, chain: int) -> list[Stats]:
        """What is known of every transition of a chain so far."""
        return self._stats[chain][:]

    def positions_of(self, chain: int, start: int, stop: int) -> list[Floats]:
        """Some positions of a chain after warm-up, each (coordinates,)."""
        return self._positions[chain][start:stop]

    def energies(self, counts: Counts) -> Floats:  # -> (chains, draws)
        """Energies at the start of the transitions after warm-up that every chain has made."""
        stop = self._warmup + self.num_draws(counts)
        return np.array([[s.energy for s in rows[self._warmup : stop]] for rows in self._stats])

    def num_draws(self, counts: Counts) -> int:
        return max(min(counts, default=0) - self._warmup, 0)

    def draws(self, counts: Counts) -> Floats | None:
        return self.positions(counts) if self.num_draws(counts) >= FEWEST else None

    def chains(self, counts: Counts) -> tuple[ChainProgress, ...]:
        return tuple(self._chain(chain, count) for chain, count in enumerate(counts) if count)

    def _chain(self, chain: int, count: int) -> ChainProgress:
        last = self._stats[chain][count - 1]
        divergences = sum(at < count for at in tuple(self._divergent[chain]))
        return ChainProgress(
            chain,
            count,
            count < self._warmup,
            divergences,
            float(last.step_size),
            int(last.depth),
            float(last.acceptance),
            float(last.log_density),
        )
