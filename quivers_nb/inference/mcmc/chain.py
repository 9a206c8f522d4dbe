"""One chain as a state machine: every gradient that arrives moves it one leapfrog on.

`step` advances every chain of a tuple by one leapfrog with one batched gradient. The chains need
not be at the same transition, nor in trees of the same depth: nobody waits for anybody. States
are immutable; the only thing that moves is each chain's random generator, passed alongside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from quivers_nb.inference.mcmc.adaptation import metric_kind
from quivers_nb.inference.mcmc.integrator import Drift, Phase, Point, drift, kick, phase
from quivers_nb.inference.mcmc.kernel import Kernel, Stats, Trajectory
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.mcmc.warmup import Tuning, Warmup, initial_tuning, schedule

# A step size is too large while a single step loses more than this in acceptance (Stan's choice).
_SEARCH_ACCEPTANCE = 0.8
_STEP_RANGE = (1e-300, 1e7)


class Search(NamedTuple):
    """Looking for a first step size: doubled or halved until the acceptance crosses 0.8."""

    start: Phase
    direction: int = 0  # +1 doubling, -1 halving, 0 not known yet


class Begun(NamedTuple):
    """Where the work under way began: the tuning, the random stream, and whether it is a search."""

    tuning: Tuning
    stream: Mapping[str, Any]
    searching: bool


class Chain(NamedTuple):
    """A chain between two leapfrogs.

    ``draws`` counts finished transitions, warm-up included; ``stats`` is not None exactly when the
    last leapfrog finished one, and ``point`` is then the new draw. With ``begun`` it is all that is
    needed to make the transition under way again.
    """

    point: Point
    tuning: Tuning
    draws: int
    work: Search | Trajectory
    under_way: Drift
    begun: Begun
    stats: Stats | None = None


Evaluate = Callable[[Vector], tuple[Vector, Vector]]  # (C, D) -> (C,), (C, D)


@dataclass(frozen=True, slots=True)
class Transition:
    """How chains move: a kernel and its warm-up."""

    kernel: Kernel
    warmup: Warmup

    @classmethod
    def of(cls, kernel: Kernel, num_warmup: int) -> "Transition":
        kind = metric_kind(kernel.mass_matrix, kernel.adapt_from)
        warmup = Warmup(
            schedule(num_warmup),
            kind,
            kernel.target_accept,
            kernel.adapt_step_size,
            kernel.adapt_mass_matrix and kind.adapts,
        )
        return cls(kernel, warmup)

    def init(
        self,
        points: tuple[Point, ...],
        rngs: tuple[Generator, ...],
        scales: Vector | None = None,  # (C, D)
    ) -> tuple[Chain, ...]:
        """Chains at ``points``, each about to make its first leapfrog."""
        known = [None] * len(points) if scales is None else list(scales)
        return tuple(self._init_one(*each) for each in zip(points, rngs, known, strict=True))

    def _init_one(self, point: Point, rng: Generator, scale: Vector | None) -> Chain:
        kind = self.warmup.kind
        tuning = initial_tuning(self.kernel.step_size, kind, point.q.size, point.q.dtype, scale)
        if self.kernel.adapt_step_size:
            return self._search(point, tuning, 0, None, rng)
        return self._begin(point, tuning, 0, None, rng)

    def again(self, point: Point, draws: int, begun: Begun, rng: Generator) -> Chain:
        """A chain as it was when its work under way began; ``rng`` is brought to where it was."""
        rng.bit_generator.state = begun.stream
        begin = self._search if begun.searching else self._begin
        return begin(point, begun.tuning, draws, None, rng)

    def step(
        self,
        chains: tuple[Chain, ...],
        evaluate: Evaluate,
        rngs: tuple[Generator, ...],
    ) -> tuple[Chain, ...]:
        """Every chain one leapfrog further."""
        if len(chains) == 1:
            q = chains[0].under_way.q[None]
        else:
            q = np.stack([chain.under_way.q for chain in chains])
        values, grads = evaluate(q)
        # Energies may overflow far out; what is not finite ends as a divergence.
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(
                self._advance(chain, float(values[i]), grads[i], rngs[i])
                for i, chain in enumerate(chains)
            )

    def _advance(self, chain: Chain, value: float, grad: Vector, rng: Generator) -> Chain:
        state = kick(chain.under_way, value, grad, chain.tuning.metric)
        if isinstance(chain.work, Search):
            return self._narrow(chain, chain.work, state, rng)
        work = self.kernel.extend(chain.work, state, rng)
        if not work.done:
            return self._move(chain._replace(work=work, stats=None))
        return self._finish(chain, work, rng)

    def _finish(self, chain: Chain, work: Trajectory, rng: Generator) -> Chain:
        """A transition ended: learn from it while warming up, then begin the next."""
        stats = work.stats(chain.tuning.step_size)
        point, tuning, draw = work.chosen.point, chain.tuning, chain.draws
        if draw < self.warmup.schedule.num_warmup:
            tuning = self.warmup.learn(tuning, draw, point.q, point.grad, stats.acceptance)
            if self.warmup.closes(draw):
                tuning = self.warmup.renew(tuning, point.q)
                if self.kernel.adapt_step_size:
                    return self._search(point, tuning, draw + 1, stats, rng)
        return self._begin(point, tuning, draw + 1, stats, rng)

    def _begin(
        self, point: Point, tuning: Tuning, draws: int, stats: Stats | None, rng: Generator
    ) -> Chain:
        begun = Begun(tuning, rng.bit_generator.state, searching=False)
        work = self.kernel.begin(_kicked(point, tuning, rng), rng)
        return self._move(Chain(point, tuning, draws, work, _NOWHERE, begun, stats))

    def _move(self, chain: Chain) -> Chain:
        work, tuning = chain.work, chain.tuning
        if isinstance(work, Search):
            under_way = drift(work.start, tuning.step_size, tuning.metric)
        else:
            step = tuning.step_size if work.forward else -tuning.step_size
            under_way = drift(work.front, step, tuning.metric)
        return chain._replace(under_way=under_way)

    def _search(
        self, point: Point, tuning: Tuning, draws: int, stats: Stats | None, rng: Generator
    ) -> Chain:
        begun = Begun(tuning, rng.bit_generator.state, searching=True)
        work = Search(_kicked(point, tuning, rng))
        return self._move(Chain(point, tuning, draws, work, _NOWHERE, begun, stats))

    def _narrow(self, chain: Chain, work: Search, state: Phase, rng: Generator) -> Chain:
        """One trial step of the search: go on in its direction, or take the step size."""
        direction = 1 if work.start.energy - state.energy > log(_SEARCH_ACCEPTANCE) else -1
        tuning = chain.tuning
        low, high = _STEP_RANGE
        crossed = work.direction not in (0, direction)
        if crossed or not low < tuning.step_size < high:
            tuning = self.warmup.restart(tuning)
            return self._begin(chain.point, tuning, chain.draws, None, rng)
        tuning = tuning._replace(step_size=tuning.step_size * 2.0**direction)
        again = Search(_kicked(chain.point, tuning, rng), direction)
        return self._move(chain._replace(tuning=tuning, work=again, stats=None))


_NOWHERE = Drift(np.empty(0), np.empty(0), 0.0)


def _kicked(point: Point, tuning: Tuning, rng: Generator) -> Phase:
    """``point`` with a fresh momentum."""
    noise = rng.standard_normal(point.q.size).astype(point.q.dtype, copy=False)
    return phase(point, tuning.metric.momentum(noise), tuning.metric)
