"""This project's side of the inference benchmark. See `protocol`."""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import quivers_nb.lower  # noqa: F401  (imports are timed on their own)
from benchmarks.peers.inference.data import DATA, VAE, logreg
from benchmarks.peers.inference.models import LOGREG, PROGRAMS, host_data
from benchmarks.peers.inference.models import VAE as AUTOENCODER
from benchmarks.peers.inference.protocol import Result, cpu, serve
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AmortizedNormalGuide,
    AutoNormalGuide,
    HMCKernel,
    NUTSKernel,
)
from quivers_nb.inference.native import (
    ChainSettings,
    NativeFunction,
    NativeTarget,
    chain_settings,
    prepare,
)
from quivers_nb.inference.native.build import load
from quivers_nb.inference.native.emit import header
from quivers_nb.inference.native.toolchain import compiler
from quivers_nb.inference.target import flat

FLOOR = Path(__file__).with_name("floor.c")
FUNCTIONS = ("eight", "logreg", "radon", "irt", "horseshoe", "reading")
TURNS = 4
STEPS = 10  # of a path


@cache
def program(model: str) -> Any:
    """The model, checked once, as the functions of the peers are."""
    return loads(PROGRAMS[model]).morphism


def nuts(
    model: str, seed: int, warmup: int, draws: int, chains: int, options: dict[str, Any]
) -> tuple[dict[str, Any], Result]:
    """From a program to draws: tracing is inside the clock, as it is for the peers."""
    mcmc = MCMC(NUTSKernel(**options), warmup, draws, num_chains=chains, seed=seed)
    result = mcmc.run(program(model), None, host_data(DATA[model]()))
    facts = {
        "gradients": result.gradients,
        "divergences": int(result.divergence_counts.sum()),
        "tier": result.tier,
        "reason": result.tier_reason,
    }
    return dict(result.samples), facts


def first_draw(model: str) -> tuple[dict[str, Any], Result]:
    """One draw of one chain without warm-up: all that comes before the first leapfrog, and it."""
    draws, facts = nuts(model, 0, 0, 1, 1, {"step_size": 0.01, "adapt_step_size": False})
    return draws, facts


def svi(model: str, particles: int, steps: int, seed: int) -> tuple[dict[str, Any], Result]:
    """``steps`` steps of a mean-field guide with Adam 0.01, a thousand before the clock."""
    fitted = program(model)
    data = {k: torch.as_tensor(v) for k, v in host_data(DATA[model]()).items()}
    guide = AutoNormalGuide(fitted, fitted.observed_names)
    optim = torch.optim.Adam(guide.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(seed)
    fit = SVI(fitted, guide, optim, ELBO(particles), generator=generator)
    first = fit.run(None, data, 1000)
    wall, used = time.time(), cpu()
    result = fit.run(None, data, steps)
    taken = {"wall": time.time() - wall, "cpu": cpu() - used}
    facts = {"steps": steps, "loss": float(result.losses[-steps // 10 :].mean())}
    return {}, facts | taken | {"tier": result.tier, "reason": first.tier_reason}


def vae(particles: int, steps: int, seed: int) -> tuple[dict[str, Any], Result]:
    """Minibatch steps of an autoencoder with an amortized guide, in float32, by `SVI.step`.

    Compiled before the clock, as the peer's are; without ``tier`` that is done at the 500th.
    """
    torch.manual_seed(seed)
    fitted = loads(AUTOENCODER).morphism
    x = torch.as_tensor(DATA["vae"]()["x"])
    batches = x.reshape(-1, VAE["batch"], VAE["width"]).unbind()
    guide = AmortizedNormalGuide(fitted, {"y"}, in_features=VAE["width"], hidden=(VAE["hidden"],))
    weights = [*fitted.parameters(), *guide.parameters()]
    optim = torch.optim.Adam(weights, lr=VAE["rate"])
    fit = SVI(fitted, guide, optim, ELBO(particles), total_rows=len(x), tier="native")

    def many(count: int) -> list[float]:
        picked = (batches[k % len(batches)] for k in range(count))
        return [fit.step(batch, {"y": batch}) for batch in picked]

    many(steps)
    wall, used = time.time(), cpu()
    losses = many(steps)
    facts = {"steps": steps, "dtype": str(x.dtype), "reason": fit.eager_reason or fit.replay_reason}
    taken = {"loop_wall": time.time() - wall, "loop_cpu": cpu() - used}
    return {}, facts | taken | {"loss": float(np.mean(losses[-steps // 10 :]))}


# --- the gradient alone ---


@cache
def hand_written() -> ctypes.CDLL:
    """The same densities written by hand, compiled with the flags of our own code."""
    text = FLOOR.read_text(encoding="utf-8")
    return load(
        "\n".join(("typedef double real;", *map(header, ("scalar.h", "vector.h")), text)),
        compiler(),
        FUNCTIONS,
    )


def _per_call(library: Any, name: str, dim: int, data: Any, scratch: int) -> float:
    """CPU seconds of one call, the least of five timings."""
    q, g, w = np.full(dim, 0.1), np.empty(dim), np.zeros(scratch + 64)
    function = getattr(library, name)
    function.restype = ctypes.c_double
    arguments = [ctypes.c_void_p(array.ctypes.data) for array in (q, g)]
    arguments += [data, ctypes.c_void_p(w.ctypes.data + (-w.ctypes.data % 64))]
    repeat = library_repeat()
    address = ctypes.cast(function, ctypes.c_void_p)
    count, spent = 1, 0.0
    while spent < 0.05:
        count *= 2
        before = time.process_time()
        repeat(address, *arguments, ctypes.c_int64(count))
        spent = time.process_time() - before
    times = []
    for _ in range(5):
        before = time.process_time()
        repeat(address, *arguments, ctypes.c_int64(count))
        times.append((time.process_time() - before) / count)
    return min(times)


def _in_turn(*calls: Callable[[], float]) -> list[float]:
    """The least seconds of each, timed in turn: a shared machine has fast and slow moments."""
    rounds = [[call() for call in calls] for _ in range(TURNS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _emitted(function: NativeFunction) -> Callable[[], float]:
    """A timing of our own code."""
    data = function.pointers()
    return lambda: _per_call(function.library, "density", function.dim, data, function.scratch)


@cache
def library_repeat() -> Any:
    """A C loop around a density: calls from Python would cost more than the gradient."""
    text = """#include <stdint.h>
    typedef double (*density_fn)(const double *, double *, const void *const *, double *);
    void repeat(density_fn f, const double *q, double *g, const void *const *d, double *w,
                int64_t n) { for (int64_t i = 0; i < n; i++) ((double *)q)[0] = 0.1 + 1e-9 *
                f(q, g, d, w) / (1.0 + 1e9); }
    """
    function = load(text, compiler(), ("repeat",)).repeat
    function.restype = None
    return function


def _native(source: str, data: dict[str, Any]) -> NativeTarget:
    target = flat(loads(source).morphism.target(None, data, dtype=torch.float64))
    native = prepare(target, torch.full((target.dim,), 0.1, dtype=torch.float64))
    assert isinstance(native, NativeTarget), native
    return native


def gradient(model: str) -> tuple[dict[str, Any], Result]:
    """Our emitted gradient beside one written by hand, at the same point, with their difference."""
    raw = DATA[model]()
    native = _native(PROGRAMS[model], host_data(raw))
    arrays = [np.ascontiguousarray(v) for v in raw.values() if isinstance(v, np.ndarray)]
    pointers = _pointers(arrays)
    scratch = 2 * max(array.size for array in arrays) + 1000
    dim = native.function.dim
    ours, floor = _in_turn(
        _emitted(native.function),
        lambda: _per_call(hand_written(), model, dim, pointers, scratch),
    )
    facts: Result = {"ours_ns": ours * 1e9, "hand_ns": floor * 1e9, "ratio": ours / floor}
    error = _difference(native, model, pointers, scratch)
    return {}, facts | {"dim": dim, "gradient_error": error}


def _pointers(arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))


def _difference(native: NativeTarget, model: str, pointers: Any, scratch: int) -> float:
    q = np.linspace(-0.3, 0.3, native.function.dim)
    g, w = np.empty_like(q), np.zeros(scratch)
    places = [ctypes.c_void_p(array.ctypes.data) for array in (q, g)]
    getattr(hand_written(), model)(*places, pointers, ctypes.c_void_p(w.ctypes.data))
    _, ours = native.evaluate(torch.from_numpy(q))
    return float(np.abs(ours.numpy() - g).max() / np.abs(g).max())


def scaling(rows: list[int]) -> tuple[dict[str, Any], Result]:
    """Logistic regression, 20 predictors: seconds per gradient, and of reading its data once.

    CPU seconds of a call of the gradient; and of one chain, wall and CPU seconds per leapfrog when
    it has one thread and when it has a thread for each core.
    """
    data = [logreg(n=n) for n in rows]
    sources = [LOGREG.replace("FinSet 1000", f"FinSet {n}") for n in rows]
    natives = [_native(*each) for each in zip(sources, data, strict=True)]
    calls = [*(_emitted(native.function) for native in natives), *map(_reading, data)]
    seconds = _in_turn(*calls)
    cores = len(os.sched_getaffinity(0))
    facts: Result = {"seconds": seconds[: len(rows)], "reading": seconds[len(rows) :]}
    for name, threads in (("one_thread", 1), ("all_cores", cores)):
        each = [_leapfrog(native, threads) for native in natives]
        facts |= {f"{name}_wall": [wall for wall, _ in each], f"{name}_cpu": [c for _, c in each]}
    return {}, facts | {"cores": cores, "segments": [n.function.segments for n in natives]}


def _leapfrog(native: NativeTarget, threads: int) -> tuple[float, float]:
    """Wall and CPU seconds of one leapfrog of one chain, each the least of several runs."""
    settings = _fixed_paths()
    start, length = np.full((1, native.target.dim), 0.1), 1
    while True:
        runs = []
        for seed in range(5):
            chain = native.chains(settings, start, seed, [0], threads=threads)
            wall, used = time.perf_counter(), time.process_time()
            chain.advance(length, length)
            runs.append((time.perf_counter() - wall, time.process_time() - used))
        wall, used = (min(times) for times in zip(*runs, strict=True))
        if wall > 0.3:
            return wall / length / STEPS, used / length / STEPS
        length *= 4


def _fixed_paths() -> ChainSettings:
    """Transitions of `STEPS` short leapfrogs each, nothing adapted."""
    kernel = HMCKernel(
        step_size=1e-4, num_steps=STEPS, adapt_step_size=False, adapt_mass_matrix=False
    )
    settings = chain_settings(kernel, 0)
    assert isinstance(settings, ChainSettings), settings
    return settings


def _reading(data: dict[str, Any]) -> Callable[[], float]:
    """A timing of what only reads the data of a logistic regression."""
    arrays = [data["x"], data["y"], np.array([len(data["y"])])]
    pointers = _pointers(arrays)
    return lambda: _per_call(hand_written(), "reading", len(arrays), pointers, 0)


def scalar_sites(sites: int) -> tuple[dict[str, Any], Result]:
    """The same regression with every coefficient a site of its own, ``sites`` of them."""
    lines = [f"    sample b{k} <- Normal(0.0, 1.0)\n" for k in range(sites)]
    total = " + ".join(f"b{k} * x{k}" for k in range(sites))
    source = f"""object Row : FinSet 1000
program p : Row -> Row
{"".join(lines)}    let eta = {total}
    observe y : Row <- BernoulliLogit(eta)
    return b0
export p
"""
    raw = logreg(d=sites)
    data = {"y": raw["y"], **{f"x{k}": raw["x"][:, k].copy() for k in range(sites)}}
    apart = _native(source, data).function
    plates = LOGREG.replace("FinSet 20", f"FinSet {sites}")
    joined = _native(plates, raw).function
    one, other = _in_turn(_emitted(apart), _emitted(joined))
    seconds = {"apart_ns": one * 1e9, "joined_ns": other * 1e9}
    return {}, {"sites": sites, **seconds, "ratio": one / other}


def chains(model: str) -> tuple[dict[str, Any], Result]:
    """Wall seconds of 1, 2 and 4 chains of one length on all cores, the least of three runs."""
    native = _native(PROGRAMS[model], host_data(DATA[model]()))
    settings = _fixed_paths()
    cores = len(os.sched_getaffinity(0))
    seconds = {}
    for count in (1, 2, 4):
        times = []
        for seed in range(3):
            starts = np.full((count, native.target.dim), 0.1)
            some = native.chains(settings, starts, seed, range(count), threads=cores)
            begun = time.time()
            some.advance(10_000, 10_000)
            times.append(time.time() - begun)
        seconds[count] = min(times)
    return {}, {"cores": cores, "seconds": seconds}


def memory(model: str) -> tuple[dict[str, Any], Result]:
    """Nothing but the run, for the peak of the resident set."""
    return nuts(model, 0, 1000, 1000, 4, {})


JOBS = {
    "nuts": nuts, "first_draw": first_draw, "svi": svi, "vae": vae, "gradient": gradient,
    "scaling": scaling, "scalar_sites": scalar_sites, "memory": memory, "chains": chains,
}  # fmt: skip

if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    serve(JOBS)
