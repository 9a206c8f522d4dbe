"""Warm-up: step size by dual averaging, metric by windows.

Hoffman & Gelman (2014), section 3.2 for dual averaging; Stan Reference Manual, "Automatic
parameter tuning" for the windows: 75 draws of step size only, then windows of 25, 50, 100, ...
that each end with a new metric, then 50 draws of step size only. A warm-up that is too short for
this is divided 15 : 75 : 10; one shorter than 20 draws adapts the step size alone.

Two things are not as in Stan. A last window is never shorter than the one before it (Stan's has one
draw for a warm-up of 151). And where fewer than 20 draws are left for the final step size (as in
every warm-up of less than 150) dual averaging takes no long shots: it starts at the step size that
was searched for, not at ten times that, and ends at half of its average, which is uncertain by
about that much, while too long a step costs far more than too short a one.
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, NamedTuple

from quivers_nb.inference.mcmc.adaptation import MetricKind, Window
from quivers_nb.inference.mcmc.metric import Diagonal, Identity, Metric, Vector

INITIAL, WINDOW, FINAL = 75, 25, 50
SHORT = 20  # a warm-up below this adapts the step size alone; a final phase below it, cautiously
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75  # of dual averaging, as in the paper


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which warm-up draws a window collects (``first <= i < stop``) and where windows end."""

    num_warmup: int
    first: int
    stop: int
    ends: frozenset[int]  # the number of draws made when a window is closed

    @property
    def hurried(self) -> bool:
        """Whether the final step size has few draws to settle in."""
        return self.num_warmup - (self.stop if self.ends else 0) < SHORT


def schedule(num_warmup: int) -> Schedule:
    """Stan's windows for ``num_warmup`` draws."""
    if num_warmup < SHORT:
        return Schedule(num_warmup, num_warmup, num_warmup, frozenset())
    initial, window, final = INITIAL, WINDOW, FINAL
    if initial + window + final > num_warmup:
        initial, final = int(0.15 * num_warmup), int(0.1 * num_warmup)
        window = num_warmup - initial - final
    stop = num_warmup - final
    ends = []
    end = initial + window
    while stop - end >= window:  # a rest shorter than this window is added to it
        ends.append(end)
        window *= 2
        # The next window takes the rest where a further doubling would not fit after it.
        end = end + window if end + 3 * window <= stop else stop
    return Schedule(num_warmup, initial, stop, frozenset((*ends, stop)))


class DualAveraging(NamedTuple):
    """Nesterov's dual averaging on log ε towards a mean acceptance."""

    shrink_to: float
    updates: int = 0
    error: float = 0.0
    log_step: float = 0.0
    log_average: float = 0.0

    @classmethod
    def start(cls, step_size: float, *, boldness: float = 10.0) -> "DualAveraging":
        """From a step size; the first steps tend to ``boldness`` times as much."""
        return cls(shrink_to=log(boldness * step_size), log_step=log(step_size))

    def update(self, acceptance: float, target: float) -> "DualAveraging":
        updates = self.updates + 1
        eta = 1.0 / (updates + T0)
        error = (1.0 - eta) * self.error + eta * (target - acceptance)
        log_step = self.shrink_to - sqrt(updates) / GAMMA * error
        weight = updates**-KAPPA
        average = weight * log_step + (1.0 - weight) * self.log_average
        return DualAveraging(self.shrink_to, updates, error, log_step, average)


class Tuning(NamedTuple):
    """A chain's step size and metric, with what it has learned so far."""

    step_size: float
    metric: Metric
    averaging: DualAveraging
    window: Window


def initial_tuning(
    step_size: float, kind: MetricKind, dim: int, dtype: Any, scale: Vector | None = None
) -> Tuning:
    """Before the first draw. ``scale``: the posterior sds as far as they are known, (D,)."""
    metric = Identity() if scale is None else Diagonal((scale**2).astype(dtype, copy=False))
    return Tuning(step_size, metric, DualAveraging.start(step_size), kind.window(dim, dtype))


@dataclass(frozen=True, slots=True)
class Warmup:
    """How tunings change while warming up."""

    schedule: Schedule
    kind: MetricKind
    target_accept: float
    adapt_step_size: bool
    adapt_metric: bool

    def learn(
        self, tuning: Tuning, draw: int, q: Vector, grad: Vector, acceptance: float
    ) -> Tuning:
        """After warm-up draw number ``draw`` (from 0) at this position and gradient."""
        if self.adapt_step_size:
            averaging = tuning.averaging.update(acceptance, self.target_accept)
            last = draw + 1 == self.schedule.num_warmup
            log_step = averaging.log_average - log(self._caution) if last else averaging.log_step
            tuning = tuning._replace(averaging=averaging, step_size=_step(log_step))
        if self.adapt_metric and self.schedule.first <= draw < self.schedule.stop:
            tuning = tuning._replace(window=tuning.window.add(q, grad))
        return tuning

    @property
    def _caution(self) -> float:
        return 2.0 if self.schedule.hurried else 1.0

    def restart(self, tuning: Tuning) -> Tuning:
        """A fresh start of dual averaging from a step size that was searched for."""
        boldness = 1.0 if self.schedule.hurried else 10.0
        averaging = DualAveraging.start(tuning.step_size, boldness=boldness)
        return tuning._replace(averaging=averaging)

    def closes(self, draw: int) -> bool:
        """Whether a window ends with this draw, so that `renew` is due."""
        return self.adapt_metric and draw + 1 in self.schedule.ends

    def renew(self, tuning: Tuning, q: Vector) -> Tuning:
        """A new metric from the finished window, which is then forgotten."""
        empty = self.kind.window(len(q), q.dtype)
        return tuning._replace(metric=tuning.window.metric(), window=empty)


def _step(log_step: float) -> float:
    return exp(min(max(log_step, -700.0), 700.0))
