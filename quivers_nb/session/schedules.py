"""Schedules of the learning rate: from the number of steps made to a factor on the rate.

Values rather than closures, so that a fit can be written down and compared.
"""

from dataclasses import dataclass
from math import cos, pi

from quivers_nb.diagnostics.errors import UserError


@dataclass(frozen=True)  # torch reads the `__dict__` of a schedule
class Cosine:
    """From 1 to ``final`` along half a cosine over ``steps`` steps (Loshchilov & Hutter 2017)."""

    steps: int
    final: float = 0.01

    def __post_init__(self) -> None:
        _check(self.steps, self.final)

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(pi * share))


@dataclass(frozen=True)  # torch reads the `__dict__` of a schedule
class Exponential:
    """From 1 to ``final`` by the same factor at each of ``steps`` steps."""

    steps: int
    final: float = 0.01

    def __post_init__(self) -> None:
        _check(self.steps, self.final)

    def __call__(self, step: int) -> float:
        return float(self.final ** min(step / self.steps, 1.0))


def _check(steps: int, final: float) -> None:
    if steps < 1 or not 0.0 < final <= 1.0:
        raise UserError(f"steps={steps}, final={final}: at least one step, and final in (0, 1]")
