"""Schedules of the learning rate: from the number of steps made to a factor on the rate.

Values rather than closures, so that a fit can be written down and compared.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Annotated

from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Range

Final = Annotated[float, Range(above=0.0, high=1.0)]  # of the first learning rate, at the end


@known_options
@dataclass(frozen=True)  # torch reads the `__dict__` of a schedule
class Cosine:
    """From 1 to ``final`` along half a cosine over ``steps`` steps (Loshchilov & Hutter 2017)."""

    steps: Count
    final: Final = 0.01

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(pi * share))


@known_options
@dataclass(frozen=True)  # torch reads the `__dict__` of a schedule
class Exponential:
    """From 1 to ``final`` by the same factor at each of ``steps`` steps."""

    steps: Count
    final: Final = 0.01

    def __call__(self, step: int) -> float:
        return float(self.final ** min(step / self.steps, 1.0))
