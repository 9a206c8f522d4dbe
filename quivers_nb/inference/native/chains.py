"""Chains of a compiled density: one per thread, with the interpreter lock released.

They can be advanced in pieces, and a chain's draws do not depend on the pieces. Threads that have
no chain, or none any more, help the others where a density has long loops (`native.team`); draws do
not depend on that either.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quivers_nb.inference.mcmc.adaptation import MetricKind
from quivers_nb.inference.mcmc.metric import Dense, LowRank, Metric
from quivers_nb.inference.native.function import NativeFunction, aligned
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.team import Team
from quivers_nb.inference.native.toolchain import driver
from quivers_nb.inference.threads import alone, chain_threads, step_back

Floats = NDArray[np.float64]
RUN, PAUSE, STOP = range(3)
DONE, STOPPED, BAD_START, NO_STEP_SIZE, WINDOW, FLAT = range(6)
DIAGONAL, DENSE, LOW_RANK = range(3)
STATE_VECTORS = 6
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """How chains move. Warm-up transitions ``first <= i < stop`` make the metric; ``window_ends``
    counts the transitions after which it is renewed. ``path`` 0 is NUTS, else HMC of that length.
    """

    num_warmup: int
    first: int
    stop: int
    window_ends: tuple[int, ...]
    step_size: float = 0.1
    max_tree_depth: int = 10
    path: int = 0
    target_accept: float = 0.8
    divergence_threshold: float = 1000.0
    adapt_step_size: bool = True
    adapt_metric: bool = True
    kind: MetricKind = field(default_factory=lambda: MetricKind("diagonal"))

    @property
    def longest_window(self) -> int:
        """Draws in the window that has most."""
        edges = (self.first, *self.window_ends)
        return max((b - a for a, b in pairwise(edges)), default=0)

    @property
    def by_rows(self) -> bool:
        """Whether metrics are made of the rows of a window, not of running moments."""
        return self.adapt_metric and not self.kind.by_moments


class _Settings(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dim", "warmup", "max_depth", "path")),
        *((name, ctypes.c_int64) for name in ("adapt_step_size", "adapt_metric", "use_gradients")),
        *((name, ctypes.c_int64) for name in ("first", "stop", "windows")),
        ("window_ends", ctypes.c_void_p),
        ("target_accept", ctypes.c_double),
        ("max_energy_error", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("chain", ctypes.c_uint64),
        *((name, ctypes.c_int64) for name in ("metric", "rank")),
        *((name, ctypes.c_void_p) for name in ("factor", "weight", "window")),
    )


class _Control(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64) for name in ("command", "transitions", "leapfrogs", "divergences")
    )


class _Outputs(ctypes.Structure):
    _fields_ = (
        ("first", ctypes.c_int64),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "position", "log_density", "acceptance", "step_size", "energy", "depth",
                "leapfrogs", "diverged",
            )
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draws:
    """Rows of one chain: positions ``(n, dim)`` and, by name, statistics ``(n,)``."""

    position: Floats
    stats: dict[str, NDArray[Any]]

    @classmethod
    def empty(cls, rows: int, dim: int) -> "Draws":
        kinds: dict[str, Any] = {
            "acceptance": np.float64, "leapfrogs": np.int64, "depth": np.int64,
            "diverged": np.bool_, "log_density": np.float64, "energy": np.float64,
            "step_size": np.float64,
        }  # fmt: skip
        stats = {name: np.zeros(rows, dtype=kind) for name, kind in kinds.items()}
        return cls(np.zeros((rows, dim)), stats)

    def rows(self, start: int, stop: int) -> "Draws":
        """Some of the rows, sharing memory."""
        part = {name: values[start:stop] for name, values in self.stats.items()}
        return Draws(self.position[start:stop], part)


@dataclass(slots=True)
class _Chain:
    """One chain's memory. ``state`` is all that it remembers between transitions."""

    settings: _Settings
    control: _Control
    state: NDArray[np.uint8]
    scratch: Floats
    work: Floats
    draws: Draws
    window: Floats  # (longest window, 2, dim): positions and gradients, if metrics need them
    factors: tuple[Floats, ...] = ()  # what `settings` points to
    first: int = 0
    status: int = DONE

    @property
    def finished(self) -> int:
        return int(self.control.transitions)


@dataclass(slots=True)
class Progress:
    """How far every chain is."""

    transitions: tuple[int, ...]
    leapfrogs: tuple[int, ...]
    divergences: tuple[int, ...]  # after warm-up


@dataclass(slots=True)
class NativeChains:
    """Chains of one density. ``starts`` ``(C, dim)`` must have finite densities and gradients."""

    function: NativeFunction
    settings: ChainSettings
    starts: Floats
    seed: int
    numbers: Sequence[int]  # each chain's stream is a function of the seed and its number
    threads: int | None = None
    scales: Floats | None = None  # (C, dim): posterior sds as far as they are known
    _chains: list[_Chain] = field(init=False)
    _ends: NDArray[np.int64] = field(init=False)
    _driver: ctypes.CDLL = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.settings.max_tree_depth < 64:
            raise Refusal(f"max_tree_depth={self.settings.max_tree_depth} is not below 64")
        self._driver = driver()
        self._ends = np.array(sorted(self.settings.window_ends), dtype=np.int64)
        scales = np.ones_like(self.starts) if self.scales is None else self.scales
        each = zip(self.numbers, self.starts, scales, strict=True)
        self._chains = [self._chain(*one) for one in each]

    def _chain(self, number: int, start: Floats, scale: Floats) -> _Chain:
        s, dim = self.settings, self.function.dim
        window = np.empty((s.longest_window if s.by_rows else 0, 2, dim))
        settings = _Settings(
            dim, s.num_warmup, s.max_tree_depth, s.path, s.adapt_step_size, s.adapt_metric,
            s.kind.source == "gradients", s.first, s.stop, len(self._ends),
            self._ends.ctypes.data, s.target_accept, s.divergence_threshold, self.seed % 2**64,
            number, DIAGONAL, 0, None, None, window.ctypes.data if s.by_rows else None,
        )  # fmt: skip
        state = aligned(self._driver.state_bytes(dim), np.uint8)
        vectors = _vectors(state, dim)
        vectors[0], vectors[1] = start, scale
        self._driver.chain_start(ctypes.addressof(settings), state.ctypes.data, s.step_size)
        scratch = aligned(self._driver.scratch_doubles(dim, s.max_tree_depth))
        work = aligned(self.function.scratch)
        return _Chain(settings, _Control(), state, scratch, work, Draws.empty(0, dim), window)

    def advance(
        self, until: int, first: int = 0, on_poll: Callable[[Progress], bool | None] | None = None
    ) -> bool:
        """Move every chain to ``until`` finished transitions; True if all got there.

        Rows of transitions from number ``first`` on are kept, see `draws`. ``on_poll`` is called
        about ten times a second from this thread and stops the chains by returning True. An
        interrupt stops the chains and is raised again once they have stopped; their rows remain.
        """
        threads, team = self._team()
        pool = ThreadPoolExecutor(threads, "nuts", initializer=step_back)
        try:
            jobs = [
                pool.submit(self._run, number, until, first, team)
                for number in range(len(self._chains))
            ]
            if team is not None:
                team.helped_by(pool, threads)
            self._watch(jobs, on_poll)
        except BaseException:
            self.stop()
            if team is not None:
                team.close()
            raise
        finally:
            pool.shutdown(wait=True)
        for job in jobs:
            job.result()
        return all(chain.status == DONE for chain in self._chains)

    def _watch(
        self, jobs: list[Future[None]], on_poll: Callable[[Progress], bool | None] | None
    ) -> None:
        pending = set(jobs)
        while pending:
            _, pending = wait(pending, timeout=POLL_SECONDS)
            if on_poll is not None and on_poll(self.progress()) is True:
                self.stop()

    def _team(self) -> tuple[int, Team | None]:
        """How many threads there are to be, and the team of those that find no chain to move."""
        chains, threads = len(self._chains), self.threads or chain_threads()
        team = None
        if threads > 1 and self.function.segments > 1 and not alone():
            team = Team.of(chains)
        return min(threads, chains * self.function.segments if team else chains), team

    def _run(self, number: int, until: int, first: int, team: Team | None) -> None:
        with nullcontext(0) if team is None else team.desk(number) as desk:
            self._move(self._chains[number], until, first, desk)

    def _move(self, chain: _Chain, until: int, first: int, desk: int) -> None:
        chain.first = max(first, chain.finished)
        chain.draws = draws = Draws.empty(max(until - chain.first, 0), self.function.dim)
        stats = draws.stats
        names = ("log_density", "acceptance", "step_size", "energy", "depth", "leapfrogs")
        pointers = [stats[name].ctypes.data for name in (*names, "diverged")]
        out = _Outputs(chain.first, draws.position.ctypes.data, *pointers)
        data = self.function.pointers()
        data[-1] = desk
        chain.status = WINDOW
        while chain.status == WINDOW:
            chain.status = self._driver.chain_run(
                self.function.chain_address, ctypes.addressof(data), chain.work.ctypes.data,
                ctypes.addressof(chain.settings), until, chain.state.ctypes.data,
                chain.scratch.ctypes.data, ctypes.addressof(chain.control), ctypes.addressof(out),
            )  # fmt: skip
            if chain.status == WINDOW:
                self._renew(chain)

    def _renew(self, chain: _Chain) -> None:
        """A new metric from the rows of a window that has closed."""
        state = chain.state.ctypes.data
        rows = chain.window[: self._driver.window_rows(state)].copy()
        self._use(chain, self.settings.kind.estimate(rows[:, 0], rows[:, 1]))
        self._driver.window_close(state)

    def _use(self, chain: _Chain, metric: Metric) -> None:
        settings, scale = chain.settings, _vectors(chain.state, self.function.dim)[1]
        match metric:
            case Dense():
                chain.factors = (np.ascontiguousarray(metric.factor),)
                settings.metric, scale[:] = DENSE, metric.scales()
            case LowRank():
                weight = np.sqrt(metric.stretch) - 1.0
                chain.factors = (np.ascontiguousarray(metric.directions), weight)
                settings.metric, scale[:] = LOW_RANK, metric.scale
                settings.rank, settings.weight = len(weight), weight.ctypes.data
            case _:
                chain.factors = ()
                settings.metric, scale[:] = DIAGONAL, metric.scales()
        if chain.factors:
            settings.factor = chain.factors[0].ctypes.data

    # --- from any thread, at any time ---

    def stop(self) -> None:
        """Ask every chain to stop within one leapfrog; unfinished transitions are forgotten."""
        self._command(STOP)

    def pause(self) -> None:
        """Ask every chain to wait where it is."""
        self._command(PAUSE)

    def resume(self) -> None:
        """Let paused chains go on, and stopped ones with the next `advance`."""
        self._command(RUN)

    def _command(self, command: int) -> None:
        for chain in self._chains:
            chain.control.command = command

    def progress(self) -> Progress:
        """How far every chain is."""
        controls = [chain.control for chain in self._chains]
        return Progress(
            tuple(c.transitions for c in controls),
            tuple(c.leapfrogs for c in controls),
            tuple(c.divergences for c in controls),
        )

    # --- what there is so far ---

    def draws(self, chain: int) -> Draws:
        """The finished rows of the last `advance`, sharing memory with it."""
        c = self._chains[chain]
        return c.draws.rows(0, max(c.finished - c.first, 0))

    def positions(self) -> Floats:
        """Where the chains are, ``(C, dim)``."""
        dim = self.function.dim
        return np.stack([_vectors(chain.state, dim)[0] for chain in self._chains])

    def scale_vectors(self) -> Floats:
        """The scales of the metrics, ``(C, dim)``; of a low-rank one without its directions."""
        dim = self.function.dim
        return np.stack([_vectors(chain.state, dim)[1] for chain in self._chains])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the chains remember between two pieces, for `restore`."""
        found: dict[str, NDArray[Any]] = {}
        for i, c in enumerate(self._chains):
            found |= {f"{i}/state": c.state.copy(), f"{i}/window": c.window.copy()}
            found[f"{i}/metric"] = np.array([c.settings.metric, c.settings.rank])
            found |= {f"{i}/factor{k}": factor for k, factor in enumerate(c.factors)}
        p = self.progress()
        return {**found, "counts": np.array([p.transitions, p.leapfrogs, p.divergences])}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Bring chains that have not moved yet to where others of the same kind were."""
        for i, (c, counts) in enumerate(zip(self._chains, saved["counts"].T, strict=True)):
            c.state[:], c.window[:] = saved[f"{i}/state"], saved[f"{i}/window"]
            c.settings.metric, c.settings.rank = saved[f"{i}/metric"].tolist()
            names = [f"{i}/factor{k}" for k in range(2) if f"{i}/factor{k}" in saved]
            c.factors = tuple(np.ascontiguousarray(saved[name]) for name in names)
            if c.factors:
                c.settings.factor = c.factors[0].ctypes.data
            if len(c.factors) > 1:
                c.settings.weight = c.factors[1].ctypes.data
            c.control = _Control(RUN, *counts.tolist())

    def failures(self) -> tuple[str | None, ...]:
        """Per chain, why it could not go on; None if nothing is wrong."""
        reasons = {
            BAD_START: "the density or its gradient is not finite at the start",
            FLAT: "no step size is too large: the density is flat there, the posterior improper",
            NO_STEP_SIZE: "no step size is small enough: the density is not continuous there",
        }
        return tuple(reasons.get(chain.status) for chain in self._chains)


def _vectors(state: NDArray[np.uint8], dim: int) -> Floats:  # -> (STATE_VECTORS, dim), a view
    """Position, scales, and the moments of a window."""
    size = STATE_VECTORS * dim * 8
    return state[len(state) - size :].view(np.float64).reshape(STATE_VECTORS, dim)
