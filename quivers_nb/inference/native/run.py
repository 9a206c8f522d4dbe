"""Compiled densities, and chains of the no-U-turn sampler over them.

`compile_graph` turns a recorded graph into a `NativeFunction`. `NutsChains` runs chains of it, one
per thread, with the interpreter lock released; it can be advanced in pieces, and a chain's draws
do not depend on the pieces.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import quivers_nb.inference.native.ops  # noqa: F401  (registers the rules)
from quivers_nb.inference.graph import Graph
from quivers_nb.inference.native.build import Compiler, load, open_cache, probe
from quivers_nb.inference.native.emit import emit, header
from quivers_nb.inference.native.fuse import fuse
from quivers_nb.inference.native.lowering import lower
from quivers_nb.inference.native.program import Refusal

Floats = NDArray[np.float64]
REAL = {torch.float64: "double", torch.float32: "float"}
_NUMPY: dict[torch.dtype, Any] = {torch.float64: np.float64, torch.float32: np.float32}
RUN, PAUSE, STOP = range(3)
DONE, STOPPED, BAD_START, NO_STEP_SIZE = range(4)
POLL_SECONDS = 0.1
GREATEST_SCRATCH = 2**27  # numbers
GREATEST_GRAPH = 30_000  # operations; some ten seconds of compiling
_DRIVER = ("chain_run", "chain_start", "state_bytes", "scratch_doubles")


@cache
def _toolchain(environment: tuple[str | None, ...]) -> tuple[Compiler, ctypes.CDLL] | Refusal:
    """Looked for once, also when there is none: a compiler that hangs is asked only once."""
    del environment  # part of the key: a changed $CC is looked at again
    parts = ("scalar.h", "vector.h", "probe.h", "random.h", "driver.c")
    try:
        compiler, driver = probe("".join(map(header, parts)), _DRIVER)
    except Refusal as refusal:
        return refusal
    whole, address = ctypes.c_int64, ctypes.c_void_p
    driver.chain_run.restype = driver.state_bytes.restype = driver.scratch_doubles.restype = whole
    driver.chain_run.argtypes = [address] * 4 + [whole] + [address] * 4
    driver.chain_start.argtypes = [address, address, ctypes.c_double]
    driver.chain_start.restype = None
    driver.state_bytes.argtypes = [whole]
    driver.scratch_doubles.argtypes = [whole, whole]
    return compiler, driver


def toolchain() -> tuple[Compiler, ctypes.CDLL]:
    """The compiler that works here and the compiled sampler. Raises `Refusal` if there is none."""
    open_cache()
    names = ("CC", "PATH", "QUIVERS_NB_CACHE", "XDG_CACHE_HOME", "HOME")
    found = _toolchain(tuple(map(os.environ.get, names)))
    if isinstance(found, Refusal):
        raise Refusal(str(found))
    return found


def _aligned(count: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Zeros that begin on a cache line."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count * size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * size].view(dtype)


# --- densities ---


@dataclass(frozen=True)
class NativeFunction:
    """A compiled value and gradient of one point, with the data it was traced with.

    Safe to call from several threads: scratch is made per call, or passed to the driver.
    """

    dim: int
    dtype: torch.dtype
    scratch: int
    source: str
    library: ctypes.CDLL
    data: tuple[NDArray[Any], ...]  # literals first

    @property
    def address(self) -> int:
        """Where the function is, for the driver."""
        return ctypes.cast(self.library.density, ctypes.c_void_p).value or 0

    def pointers(self) -> Any:
        """The data as C wants it; keep the result alive as long as it is in use."""
        return (ctypes.c_void_p * len(self.data))(*(a.ctypes.data for a in self.data))

    def value_and_grad(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Log density and gradient, one point after the other: (*s, dim) -> (*s,), (*s, dim)."""
        if q.shape[-1] != self.dim or q.dtype is not self.dtype:
            raise ValueError(f"q {tuple(q.shape)} {q.dtype} is not (..., {self.dim}) {self.dtype}")
        points = q.detach().reshape(q.shape[:-1].numel(), self.dim).contiguous()
        values, grads = points.new_empty(points.shape[0]), torch.empty_like(points)
        work = _aligned(self.scratch, _NUMPY[self.dtype])
        step, pointers = self.dim * points.element_size(), self.pointers()
        density = self.library.density
        for row in range(points.shape[0]):
            at = row * step
            values[row] = density(
                ctypes.c_void_p(points.data_ptr() + at),
                ctypes.c_void_p(grads.data_ptr() + at),
                pointers,
                ctypes.c_void_p(work.ctypes.data),
            )
        return values.reshape(q.shape[:-1]), grads.reshape(q.shape)


def compile_graph(graph: Graph) -> NativeFunction:
    """Compile a graph of ``q (dim,) -> log density (), gradient (dim,)``, or find it in the cache.

    Raises `Refusal` where an operation has no native form, or no compiler works here.
    """
    if len(graph.nodes) > GREATEST_GRAPH:
        raise Refusal(f"{len(graph.nodes)} operations would take too long to compile")
    compiler, _ = toolchain()
    dtype = graph.inputs[0].dtype
    if dtype not in REAL:
        raise Refusal(f"there is no native code for {dtype}")
    program = lower(graph)
    source = emit(program, fuse(program), real=REAL[dtype])
    if source.scratch > GREATEST_SCRATCH:
        raise Refusal(f"it would take {source.scratch * 8 / 2**30:.1f} GiB of scratch per chain")
    library = load(source.text, compiler, ("density",))
    library.density.restype = ctypes.c_double if dtype is torch.float64 else ctypes.c_float
    literals = np.array([*program.literals, 0.0], dtype=_NUMPY[dtype])
    return NativeFunction(
        graph.inputs[0].shape[0], dtype, source.scratch, source.text, library,
        (literals, *program.arrays),
    )  # fmt: skip


# --- chains ---


@dataclass(frozen=True, slots=True)
class NutsSettings:
    """How chains move. Moments of warm-up transitions ``first <= i < stop`` make the metric;
    ``window_ends`` counts the transitions after which it is renewed. A diagonal metric only.
    """

    num_warmup: int
    first: int
    stop: int
    window_ends: tuple[int, ...]
    step_size: float = 0.1
    max_tree_depth: int = 10
    target_accept: float = 0.8
    divergence_threshold: float = 1000.0
    adapt_step_size: bool = True
    adapt_metric: bool = True


class _Settings(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("dim", "warmup", "max_depth")),
        *((name, ctypes.c_int64) for name in ("adapt_step_size", "adapt_metric")),
        *((name, ctypes.c_int64) for name in ("first", "stop", "windows")),
        ("window_ends", ctypes.c_void_p),
        ("target_accept", ctypes.c_double),
        ("max_energy_error", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("chain", ctypes.c_uint64),
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
class NutsChains:
    """Chains of one density. ``starts`` ``(C, dim)`` must have finite densities and gradients."""

    function: NativeFunction
    settings: NutsSettings
    starts: Floats
    seed: int
    numbers: Sequence[int]  # each chain's stream is a function of the seed and its number
    threads: int | None = None
    inverse_metric: Floats | None = None
    _chains: list[_Chain] = field(init=False)
    _ends: NDArray[np.int64] = field(init=False)
    _driver: ctypes.CDLL = field(init=False)

    def __post_init__(self) -> None:
        if self.function.dtype is not torch.float64:
            raise Refusal("native chains run in float64")
        if not 1 <= self.settings.max_tree_depth < 64:
            raise Refusal(f"max_tree_depth={self.settings.max_tree_depth} is not below 64")
        _, self._driver = toolchain()
        self._ends = np.array(sorted(self.settings.window_ends), dtype=np.int64)
        pairs = zip(self.numbers, self.starts, strict=True)
        self._chains = [self._chain(number, start) for number, start in pairs]

    def _chain(self, number: int, start: Floats) -> _Chain:
        s, dim = self.settings, self.function.dim
        settings = _Settings(
            dim, s.num_warmup, s.max_tree_depth, s.adapt_step_size, s.adapt_metric, s.first,
            s.stop, len(self._ends), self._ends.ctypes.data, s.target_accept,
            s.divergence_threshold, self.seed % 2**64, number,
        )  # fmt: skip
        state = _aligned(self._driver.state_bytes(dim), np.uint8)
        vectors = state[-4 * dim * 8 :].view(np.float64).reshape(4, dim)
        vectors[0], vectors[1] = start, 1.0 if self.inverse_metric is None else self.inverse_metric
        self._driver.chain_start(ctypes.addressof(settings), state.ctypes.data, s.step_size)
        scratch = _aligned(self._driver.scratch_doubles(dim, s.max_tree_depth))
        work = _aligned(self.function.scratch)
        return _Chain(settings, _Control(), state, scratch, work, Draws.empty(0, dim))

    def advance(
        self, until: int, first: int = 0, on_poll: Callable[[Progress], bool | None] | None = None
    ) -> bool:
        """Move every chain to ``until`` finished transitions; True if all got there.

        Rows of transitions from number ``first`` on are kept, see `draws`. ``on_poll`` is called
        about ten times a second from this thread and stops the chains by returning True. An
        interrupt stops the chains and is raised again once they have stopped; their rows remain.
        """
        threads = self.threads or default_threads()
        pool = ThreadPoolExecutor(min(threads, len(self._chains)), "nuts")
        try:
            jobs = [pool.submit(self._run, chain, until, first) for chain in self._chains]
            self._watch(jobs, on_poll)
        except BaseException:
            self.stop()
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

    def _run(self, chain: _Chain, until: int, first: int) -> None:
        chain.first = max(first, chain.finished)
        chain.draws = draws = Draws.empty(max(until - chain.first, 0), self.function.dim)
        stats = draws.stats
        names = ("log_density", "acceptance", "step_size", "energy", "depth", "leapfrogs")
        pointers = [stats[name].ctypes.data for name in (*names, "diverged")]
        out = _Outputs(chain.first, draws.position.ctypes.data, *pointers)
        data = self.function.pointers()
        chain.status = self._driver.chain_run(
            self.function.address, ctypes.addressof(data), chain.work.ctypes.data,
            ctypes.addressof(chain.settings), until, chain.state.ctypes.data,
            chain.scratch.ctypes.data, ctypes.addressof(chain.control), ctypes.addressof(out),
        )  # fmt: skip

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
        return np.stack([self._vectors(chain)[0] for chain in self._chains])

    def metrics(self) -> Floats:
        """The diagonals of the inverse mass matrices, ``(C, dim)``."""
        return np.stack([self._vectors(chain)[1] for chain in self._chains])

    def _vectors(self, chain: _Chain) -> Floats:
        dim = self.function.dim
        return chain.state[-4 * dim * 8 :].view(np.float64).reshape(4, dim)

    def failures(self) -> tuple[str | None, ...]:
        """Per chain, why it could not go on; None if nothing is wrong."""
        reasons = {
            BAD_START: "the density or its gradient is not finite at the start",
            NO_STEP_SIZE: "no step size is small enough: the density is not continuous there",
        }
        return tuple(reasons.get(chain.status) for chain in self._chains)


def default_threads() -> int:
    """One core less than there are: that one serves the notebook."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores - 1)
