"""Engines: what moves the chains of a run. The fastest that can serve is taken.

native   compiled gradient and compiled sampler, one chain per thread (`inference.native`);
         for kernels without a compiled sampler, the compiled gradient alone
traced   the chains of `mcmc.chain` in Python, on a recorded and replayed gradient
eager    the same on torch autograd
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from quivers_nb.inference.gradient import Gradient, ValueAndGrad, gradient_of
from quivers_nb.inference.mcmc import snapshot
from quivers_nb.inference.mcmc.chain import Chain, Transition
from quivers_nb.inference.mcmc.fault import ChainFault
from quivers_nb.inference.mcmc.integrator import Point
from quivers_nb.inference.mcmc.kernel import Kernel, Stats
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.mcmc.snapshot import Arrays, Keeper
from quivers_nb.inference.mcmc.store import Store
from quivers_nb.inference.native import (
    ChainSettings,
    Draws,
    Floats,
    NativeChains,
    NativeTarget,
    Unavailable,
    chain_settings,
    prepare,
)
from quivers_nb.inference.target import Target

# Beyond this many coordinates the time goes into large matrix products, where torch's are best.
NATIVE_DIM = 20_000
_WATCHED_PIECE = 25  # transitions between two looks at native chains that are watched


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished transition, as told to ``watch``. ``position`` is unconstrained, ``(dim,)``."""

    chain: int
    transition: int  # from 0, warm-up included
    warming: bool
    position: Vector
    stats: Stats


Watch = Callable[[Progress], bool | None]  # True stops the run and keeps its draws


@runtime_checkable
class Attentive(Protocol):
    """A watch that also has a say while transitions are under way, at least ten times a second.

    ``asked`` is cheap and says that ``hold`` should be called. That waits as long as the chains
    are to rest, and returns True to stop the run; the transitions under way are then forgotten.
    """

    def asked(self) -> bool: ...
    def hold(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run: these chains, from these points, into this store."""

    kernel: Kernel
    num_warmup: int
    num_samples: int
    seed: int
    numbers: Sequence[int]
    points: tuple[Point, ...]
    rngs: tuple[Generator, ...]
    store: Store
    watch: Watch | None
    scales: Vector | None = None  # (C, dim): posterior sds as far as they are known

    @property
    def total(self) -> int:
        return self.num_warmup + self.num_samples

    def finished(self, i: int, transition: int, q: Vector, stats: Stats) -> bool:
        """Keep a finished transition of the i-th chain; True if the run is to stop."""
        warming = transition < self.num_warmup
        if not warming:
            self.store.add(i, transition - self.num_warmup, q, stats)
        if self.watch is None:
            return False
        return self.watch(Progress(self.numbers[i], transition, warming, q, stats)) is True

    def keep(self, kind: str, take: Callable[[], Arrays], *, last: bool = False) -> None:
        """Offer a snapshot to a watch that keeps them."""
        keeper = _keeper(self.watch)
        if keeper is not None:
            keeper.keep(kind, take, last=last)

    def go_on(self, kind: str) -> Arrays | None:
        """The snapshot to go on from, if there is one; what was finished then is finished again."""
        keeper = _keeper(self.watch)
        saved = None if keeper is None else keeper.saved(kind)
        if keeper is None or saved is None:
            return None
        for i, number in enumerate(self.numbers):
            for transition, (q, stats) in enumerate(keeper.rows(number)):
                self.finished(i, transition, q, stats)
        return saved


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the chains ended, and whether they were stopped before their time.

    ``gradients`` counts those of all transitions, of warm-up too, and of step size searches only
    where chains run in Python.
    """

    ends: tuple[Vector, ...]
    stopped: bool
    gradients: int = 0


class Engine(Protocol):
    """A way to run a `Task`; ``reason`` says why no faster one serves."""

    @property
    def tier(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def evaluate(self) -> ValueAndGrad: ...
    def run(self, task: Task) -> Outcome: ...


def choose(
    target: Target,
    example: Tensor,
    kernel: Kernel,
    num_warmup: int,
    tier: str,
    known: NativeTarget | None = None,
) -> Engine:
    """The fastest engine that serves, or the one asked for (which may fall back, with reason).

    ``example`` ``(C, D)`` are points of finite density and gradient. ``known`` is what an earlier
    run compiled for this target, checked again.
    """
    refusal = ""
    if tier in ("auto", "native"):
        native = known or prepared_native(target, example[0], forced=tier == "native")
        engine = native if isinstance(native, Unavailable) else _moving(native, kernel, num_warmup)
        if not isinstance(engine, Unavailable):
            return engine
        refusal = f"not native: {engine.reason}"
    gradient = gradient_of(target, example, tier)
    reasons = "; ".join(reason for reason in (refusal, gradient.reason) if reason)
    return PythonEngine(Gradient(gradient.evaluate, gradient.tier, reasons))


def prepared_native(target: Target, example: Tensor, *, forced: bool) -> NativeTarget | Unavailable:
    """The compiled density, unless torch is faster; ``example`` ``(dim,)`` is a point of it."""
    if target.dim > NATIVE_DIM and not forced:
        return Unavailable(f"{target.dim} coordinates are moved faster by torch")
    return prepare(target, example)


def _moving(native: NativeTarget, kernel: Kernel, num_warmup: int) -> "Engine":
    settings = chain_settings(kernel, num_warmup)
    if isinstance(settings, Unavailable):
        why = f"only the gradient is native: {settings.reason}"
        return PythonEngine(Gradient(native.evaluate, "native", why))
    return NativeEngine(native, settings)


@dataclass(frozen=True, slots=True)
class PythonEngine:
    """All chains in one thread, one batched gradient per leapfrog."""

    gradient: Gradient

    @property
    def tier(self) -> str:
        return self.gradient.tier

    @property
    def reason(self) -> str:
        return self.gradient.reason

    @property
    def evaluate(self) -> ValueAndGrad:
        return self.gradient.evaluate

    def run(self, task: Task) -> Outcome:
        transition = Transition.of(task.kernel, task.num_warmup)
        evaluate = on_arrays(self.gradient.evaluate)
        saved = task.go_on("python")
        chains = list(
            transition.init(task.points, task.rngs, task.scales)
            if saved is None
            else snapshot.restore(saved, transition, task.rngs)
        )
        guarded = _Guarded(evaluate, task, chains)
        active = [i for i, chain in enumerate(chains) if chain.draws < task.total]
        stopped, gradients = False, 0
        try:
            while active and not stopped:
                some = tuple(task.rngs[i] for i in active)
                guarded.active = active
                moved = transition.step(tuple(chains[i] for i in active), guarded, some)
                gradients += len(active)
                stopped = _settle(task, chains, active, moved) or _held(task.watch)
                active = [i for i in active if chains[i].draws < task.total]
                task.keep("python", lambda: snapshot.take(chains))
        except KeyboardInterrupt:
            stopped = True
        task.keep("python", lambda: snapshot.take(chains), last=True)
        return Outcome(tuple(chain.point.q for chain in chains), stopped, gradients)


@dataclass(slots=True)
class _Guarded:
    """A gradient whose errors say which chain was where."""

    evaluate: Callable[[Vector], tuple[Vector, Vector]]
    task: Task
    chains: list[Chain]
    active: list[int] = field(default_factory=list)

    def __call__(self, q: Vector) -> tuple[Vector, Vector]:
        try:
            return self.evaluate(q)
        except Exception as error:
            raise self._fault(q, error) from error

    def _fault(self, q: Vector, error: Exception) -> ChainFault:
        fact = f"{type(error).__name__}: {error}"
        if len(q) == 1:
            (i,) = self.active
            place = torch.from_numpy(q[0].copy())
            return ChainFault(self.task.numbers[i], self.chains[i].draws, place, fact)
        return ChainFault(None, max(self.chains[i].draws for i in self.active), None, fact)


def _held(watch: object) -> bool:
    """Rest as long as ``watch`` wants; True if the run is to stop."""
    return isinstance(watch, Attentive) and watch.asked() and watch.hold()


def _settle(
    task: Task, chains: list[Chain], active: Sequence[int], moved: tuple[Chain, ...]
) -> bool:
    stopped = False
    for i, chain in zip(active, moved, strict=True):
        chains[i] = chain
        if chain.stats is not None:
            stopped |= task.finished(i, chain.draws - 1, chain.point.q, chain.stats)
    return stopped


@dataclass(frozen=True, slots=True)
class NativeEngine:
    """Chains on threads of compiled code, in pieces that fit into memory."""

    native: NativeTarget
    settings: ChainSettings
    tier: str = "native"
    reason: str = ""

    @property
    def evaluate(self) -> ValueAndGrad:
        return self.native.evaluate

    def run(self, task: Task) -> Outcome:
        starts = np.stack([point.q for point in task.points]).astype(np.float64, copy=False)
        chains = self.native.chains(
            self.settings, starts, task.seed, task.numbers, scales=_doubles(task.scales)
        )
        saved = task.go_on("native")
        if saved is not None:
            chains.restore(saved)
        first = 0 if task.watch is not None else task.num_warmup
        piece = _WATCHED_PIECE if task.watch is not None else task.store.block
        done = min(chains.progress().transitions)
        until = min(max(done, first) + piece, task.total)
        stopped = False
        try:
            while not stopped:
                stopped = self._advance(task, chains, until, first)
                if until >= task.total:
                    break
                task.keep("native", chains.snapshot)
                until = min(until + piece, task.total)
        except KeyboardInterrupt:
            stopped = True
        task.keep("native", chains.snapshot, last=True)
        ends = chains.positions().astype(task.points[0].q.dtype, copy=False)
        return Outcome(tuple(ends), stopped, sum(chains.progress().leapfrogs))

    def _advance(self, task: Task, chains: NativeChains, until: int, first: int) -> bool:
        """One piece; True if the run was interrupted or is to stop."""
        before = chains.progress().transitions
        stopped = False
        try:
            stopped = not chains.advance(until, first, _poll(task.watch, chains))
        except KeyboardInterrupt:  # the chains have stopped, their finished rows are there
            stopped = True
        for i, start in enumerate(before):
            stopped |= _collect(task, i, max(first, start), _narrowed(task, chains.draws(i)))
        for i, reason in enumerate(chains.failures()):
            if reason is not None:
                q = torch.from_numpy(chains.positions()[i])
                raise ChainFault(task.numbers[i], chains.progress().transitions[i], q, reason)
        return stopped


def _narrowed(task: Task, draws: Draws) -> Draws:
    """Positions in the dtype of the target, of which the density was taken."""
    return replace(draws, position=draws.position.astype(task.points[0].q.dtype, copy=False))


def _doubles(scales: Vector | None) -> Floats | None:
    return None if scales is None else scales.astype(np.float64, copy=False)


def _poll(watch: object, chains: NativeChains) -> Callable[[object], bool] | None:
    """What `NativeChains.advance` is to ask ten times a second: chains rest where they are."""
    if not isinstance(watch, Attentive):
        return None
    attentive: Attentive = watch

    def poll(_: object) -> bool:
        if not attentive.asked():
            return False
        chains.pause()
        try:
            return attentive.hold()
        finally:
            chains.resume()

    return poll


def _collect(task: Task, i: int, start: int, draws: Draws) -> bool:
    """Hand finished rows on; rows after one that stops the run are forgotten.

    An `Attentive` watch is told of them all: it has had its say while they were made.
    """
    if task.watch is None:
        kept = slice(max(task.num_warmup - start, 0), None)
        stats = {name: values[kept] for name, values in draws.stats.items()}
        first = max(start - task.num_warmup, 0)
        task.store.extend(i, first, draws.position[kept], stats)
        return False
    columns = [draws.stats[name].tolist() for name in Stats._fields]
    told = (
        task.finished(i, start + row, draws.position[row], Stats(*values))
        for row, values in enumerate(zip(*columns, strict=True))
    )
    return any(list(told) if _is_attentive(task.watch) else told)


def _keeper(watch: object) -> Keeper | None:
    return watch if isinstance(watch, Keeper) else None


def _is_attentive(watch: object) -> bool:
    return isinstance(watch, Attentive)


def on_arrays(evaluate: ValueAndGrad) -> Callable[[Vector], tuple[Vector, Vector]]:
    """The same function on numpy arrays that share memory with the tensors."""

    def call(q: Vector) -> tuple[Vector, Vector]:
        values, grads = evaluate(torch.from_numpy(q))
        return values.numpy(), grads.numpy()

    return call
