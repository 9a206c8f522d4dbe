"""How a run begins: each chain's random stream, its start, and the engine that moves them all.

Where an earlier run of this process compiled the very same density, the starts are found with it,
and it is compared with the reference there; else the reference finds them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from quivers_nb.inference.gradient import ValueAndGrad, difference_at, eager
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.mcmc.engine import Engine, choose, on_arrays
from quivers_nb.inference.mcmc.integrator import Point
from quivers_nb.inference.mcmc.kernel import Kernel
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.mcmc.pathfinder import pathfinder
from quivers_nb.inference.mcmc.starts import Start, find_start
from quivers_nb.inference.native import begin_building, prepared


@dataclass(frozen=True, slots=True)
class Begun:
    """Streams and starts by chain, and the engine."""

    rngs: tuple[np.random.Generator, ...]
    points: tuple[Point, ...]
    engine: Engine

    def nearer(self) -> "Begun":
        """Starts that `pathfinder` reaches from these; those without a density stay."""
        points, dtype = self.points, self.points[0].q.dtype
        gradient = on_arrays(self.engine.evaluate)

        def evaluate(q: Vector) -> tuple[Vector, Vector]:
            values, grads = gradient(np.ascontiguousarray(q, dtype=dtype))
            return values.astype(np.float64), grads.astype(np.float64)

        starts = np.stack([point.q for point in points]).astype(np.float64)
        q = pathfinder(evaluate, starts, self.rngs).astype(dtype)
        return replace(self, points=_evaluated(q, points, self.engine))


def begin(
    start: Start,
    seed: int,
    numbers: Sequence[int],
    kernel: Kernel,
    num_warmup: int,
    tier: str,
    nearer: bool = False,
) -> Begun:
    """Set out with the chains of these numbers, from starts that `pathfinder` found if ``nearer``.

    Raises `UserError` where no start is found, and `Interrupted`.
    """
    with _nothing_drawn():
        target, reference = start.target, eager(start.target)
        known = None
        if tier in ("auto", "native"):
            begin_building()
            known = prepared(target)
        evaluate = reference if known is None else _either(known.evaluate, reference)
        rngs, points = _starts(start, seed, numbers, evaluate)
        if known is not None and difference_at(_stacked(points), known.evaluate, reference):
            known = None
            rngs, points = _starts(start, seed, numbers, reference)
        engine = choose(target, _stacked(points), kernel, num_warmup, tier, known)
        if engine.tier == "native":  # so that the first run and later ones report the same numbers
            points = _evaluated(np.stack([point.q for point in points]), points, engine)
        begun = Begun(rngs, points, engine)
        return begun.nearer() if nearer else begun


@contextmanager
def _nothing_drawn() -> Iterator[None]:
    """What an interrupt says within it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            "interrupted before the first transition, while the density was compiled and starts "
            "were looked for: there are no draws yet. Run it again; what was compiled is kept"
        ) from error


def chain_generator(seed: int, number: int) -> np.random.Generator:
    """The random stream of chain ``number``, whatever the other chains are."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))))


def _starts(
    start: Start, seed: int, numbers: Sequence[int], evaluate: ValueAndGrad
) -> tuple[tuple[np.random.Generator, ...], tuple[Point, ...]]:
    rngs = tuple(chain_generator(seed, number) for number in numbers)
    each = zip(numbers, rngs, strict=True)
    return rngs, tuple(find_start(start, evaluate, rng, number) for number, rng in each)


def _stacked(points: Sequence[Point]) -> Tensor:  # -> (C, dim)
    return torch.from_numpy(np.stack([point.q for point in points]))


def _either(fast: ValueAndGrad, reference: ValueAndGrad) -> ValueAndGrad:
    """``fast``, but it is the reference that says where a density is not finite."""

    def evaluate(q: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = fast(q)
        finite = bool(torch.isfinite(value).all()) and bool(torch.isfinite(grad).all())
        return (value, grad) if finite else reference(q)

    return evaluate


def _evaluated(q: Vector, points: tuple[Point, ...], engine: Engine) -> tuple[Point, ...]:
    """Points at ``q`` ``(C, dim)`` with the engine's densities; ``points`` where not finite."""
    values, grads = on_arrays(engine.evaluate)(q)
    good = np.isfinite(values) & np.isfinite(grads).all(-1)
    return tuple(
        Point(q[i], float(values[i]), grads[i]) if good[i] else point
        for i, point in enumerate(points)
    )
