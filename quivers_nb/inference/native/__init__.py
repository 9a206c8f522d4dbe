"""The native tier: a target's value and gradient as compiled C, and samplers that run on it.

Two calls serve the rest of inference. Either may answer `Unavailable`, whose ``reason`` is a
clause for people ("there is no C compiler ..."); the next tier then serves.

    native = prepare(target, example)           # example: (dim,) tensor, finite density there
    native = prepared(target)                   # the same of an earlier call, or None
    native.evaluate(q)                          # (C, dim) -> (C,), (C, dim): a `ValueAndGrad`

    settings = chain_settings(kernel, num_warmup)            # from a NUTSKernel or HMCKernel
    chains = native.chains(settings, starts, seed, numbers) # starts: (C, dim) float64 numpy
    while chains.progress().transitions[0] < total:         # in pieces, or all at once
        whole = chains.advance(until, first, on_poll)       # blocks; releases the GIL
        for c in range(C):
            draws = chains.draws(c)     # .position (n, dim), .stats[name] (n,), from row `first`
    chains.stop(), .pause(), .resume()          # from any thread, within one leapfrog
    chains.failures()                           # per chain None or a reason

``until`` counts finished transitions, warm-up included. Row 0 of ``draws`` is transition number
``max(first, where the chain was)``; the names of the statistics are those of ``mcmc.kernel.Stats``.
The same seed and chain number give the same draws, however the run is cut into pieces. Starts must
have a finite density and gradient; `advance` on an interrupt stops the chains, keeps their rows and
raises again. The first call in a process compiles (or loads) the sampler, each new model its
density; both are kept in the cache folder (see `build`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from quivers_nb.inference.gradient import (
    difference_at,
    eager,
    near,
    record_value_and_grad,
)
from quivers_nb.inference.graph import RecordingError
from quivers_nb.inference.mcmc.adaptation import metric_kind
from quivers_nb.inference.mcmc.hmc import HMCKernel
from quivers_nb.inference.mcmc.kernel import Kernel
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.mcmc.warmup import schedule
from quivers_nb.inference.native.chains import (
    ChainSettings,
    Draws,
    Floats,
    NativeChains,
    Progress,
)
from quivers_nb.inference.native.function import NativeFunction, compile_graph
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.reuse import keep, recall
from quivers_nb.inference.native.toolchain import begin_building, driver
from quivers_nb.inference.target import Target

__all__ = [
    "ChainSettings",
    "Draws",
    "Floats",
    "NativeChains",
    "NativeFunction",
    "NativeTarget",
    "Progress",
    "Unavailable",
    "begin_building",
    "chain_settings",
    "compile_graph",
    "prepare",
    "prepared",
]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The native tier cannot serve. ``reason`` is a clause that names the cause."""

    reason: str


@dataclass(frozen=True, slots=True)
class NativeTarget:
    """A target whose value and gradient are compiled."""

    target: Target
    function: NativeFunction

    def evaluate(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradients of several points: (*s, dim) -> (*s,), (*s, dim)."""
        return self.function.value_and_grad(q)

    def chains(
        self,
        settings: ChainSettings,
        starts: Floats,  # (C, dim)
        seed: int,
        numbers: Sequence[int],
        *,
        threads: int | None = None,
        scales: Floats | None = None,  # (C, dim)
    ) -> NativeChains:
        """Chains at ``starts``; nothing runs before `NativeChains.advance`."""
        points = np.ascontiguousarray(starts, dtype=np.float64)
        return NativeChains(self.function, settings, points, seed, numbers, threads, scales)


def prepared(target: Target) -> NativeTarget | None:
    """What an earlier `prepare` of this process made for the very same density, if it is kept.

    Compare it with the reference once more before it is used.
    """
    function = recall(target)
    return None if function is None else NativeTarget(target, function)


def prepare(target: Target, example: Tensor) -> NativeTarget | Unavailable:
    """Compile ``target``'s value and gradient, and compare them with autograd's.

    ``example`` ``(dim,)`` is a point where the density is finite; it gives dtype and shape.
    """
    if example.device.type != "cpu":
        return Unavailable(f"native code runs on the CPU, and the target is on {example.device}")
    if example.shape[-1] == 0:
        return Unavailable("there are no coordinates to move")
    try:
        graph = record_value_and_grad(target, example.detach().clone())
        function = compile_graph(graph)
    except (RecordingError, Refusal) as refusal:
        return Unavailable(str(refusal))
    native = NativeTarget(target, function)
    difference = difference_at(near(example), native.evaluate, eager(target))
    if difference is not None:
        return Unavailable(difference)
    keep(target, function)
    return native


def chain_settings(kernel: Kernel, num_warmup: int) -> ChainSettings | Unavailable:
    """How the driver is to run a kernel, with the warm-up windows of every other tier."""
    match kernel:
        case NUTSKernel(max_tree_depth=depth):
            path = 0
        case HMCKernel(num_steps=path):
            depth = 1
        case _:
            return Unavailable(f"{type(kernel).__name__} has no native driver")
    try:
        driver()
    except Refusal as refusal:
        return Unavailable(str(refusal))
    windows = schedule(num_warmup)
    kind = metric_kind(kernel.mass_matrix, kernel.adapt_from)
    return ChainSettings(
        num_warmup=num_warmup,
        first=windows.first,
        stop=windows.stop,
        window_ends=tuple(sorted(windows.ends)),
        step_size=kernel.step_size,
        max_tree_depth=depth,
        path=path,
        target_accept=kernel.target_accept,
        divergence_threshold=kernel.divergence_threshold,
        adapt_step_size=kernel.adapt_step_size,
        adapt_metric=kernel.adapt_mass_matrix and kind.adapts,
        kind=kind,
    )
