"""Rank statistics: whether ranks of true values among posterior draws are uniform.

If a truth and L draws come from the same distribution, the rank of the truth, 0 ... L, is uniform
(Talts, Betancourt, Simpson, Vehtari and Gelman 2018, "Validating Bayesian inference algorithms
with simulation-based calibration", theorem 1). Two z scores come first: of the mean of the ranks,
which a bias moves, and of their spread, which a posterior that is too narrow or too wide moves.
Each sees its fault with fewer simulations than chi-square over bins, which comes second and sees
the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import asin, erfc, pi, sqrt
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

BINS = 8
_LEAST_EXPECTED = 5  # simulations per bin, for chi-square to be one
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Ranks:
    """The ranks of one scalar, one per simulation, each 0 ... ``num_draws``."""

    name: str
    ranks: NDArray[np.int64]  # (simulations,)
    num_draws: int

    @cached_property
    def _levels(self) -> NDArray[np.float64]:
        """The possible ranks as numbers in (-1/2, 1/2)."""
        size = self.num_draws + 1
        return (np.arange(size) + 0.5) / size - 0.5

    @cached_property
    def z_mean(self) -> float:
        """Above 0: truths lie above the draws, so the draws are too small."""
        levels = self._levels
        return float(levels[self.ranks].mean() / levels.std() * sqrt(len(self.ranks)))

    @cached_property
    def z_spread(self) -> float:
        """Above 0: ranks are too far out, so the posterior is too narrow; below 0: too wide."""
        squares = self._levels**2
        excess = squares[self.ranks].mean() - squares.mean()
        return float(excess / squares.std() * sqrt(len(self.ranks))) if squares.std() else 0.0

    @cached_property
    def chi_square(self) -> tuple[float, int]:
        """Pearson's statistic over equal bins, and its degrees of freedom; (0, 0): too few."""
        count = len(self.ranks)
        bins = min(BINS, self.num_draws + 1, count // _LEAST_EXPECTED)
        if bins < 2:
            return 0.0, 0
        place = np.arange(self.num_draws + 1) * bins // (self.num_draws + 1)
        expected = np.bincount(place, minlength=bins) * (count / (self.num_draws + 1))
        observed = np.bincount(place[self.ranks], minlength=bins)
        return float(((observed - expected) ** 2 / expected).sum()), bins - 1

    @property
    def p_mean(self) -> float:
        """Two-sided."""
        return _two_sided(self.z_mean)

    @property
    def p_spread(self) -> float:
        """Two-sided."""
        return _two_sided(self.z_spread)

    @property
    def p_chi_square(self) -> float:
        """The upper tail."""
        statistic, freedom = self.chi_square
        if not freedom:
            return 1.0
        halves = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
        return float(torch.special.gammaincc(halves[0], halves[1]))

    def faults(self, size: float) -> list[str]:
        """What is wrong, in words, each a test of at most this size; z pair first."""
        found = []
        if self.p_mean < size:
            where = "too small" if self.z_mean > 0 else "too large"
            found.append(
                f"the draws are {where} (mean of ranks: {_shown(self.z_mean, self.p_mean)})"
            )
        if self.p_spread < size:
            how = "little: too narrow" if self.z_spread > 0 else "much: too wide"
            fact = _shown(self.z_spread, self.p_spread)
            found.append(f"the draws are spread too {how} (spread of ranks: {fact})")
        if not found and self.p_chi_square < size:
            statistic, freedom = self.chi_square
            found.append(
                f"the ranks are not uniform (chi-square {statistic:.1f} on {freedom} degrees of "
                f"freedom, p = {self.p_chi_square:.1g})"
            )
        return found


def ranks_of(
    truth: NDArray[np.float64],  # (k,)
    draws: NDArray[np.float64],  # (L, k)
    rng: np.random.Generator,
) -> NDArray[np.int64]:  # (k,)
    """How many draws are below each truth; ties, as discrete values have, are broken at random."""
    below = (draws < truth).sum(0)
    return np.asarray(below + rng.integers(0, (draws == truth).sum(0) + 1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The smallest faults that would be seen with probability 95 %, in posterior sds.

    For a normal posterior with many draws: a bias d moves the mean of the ranks to Phi(d / sqrt 2),
    a standard deviation c times the right one their variance to asin(1 / (1 + c^2)) / (2 pi).
    """

    bias: float
    too_narrow: float  # a factor below 1; 0.0 if no factor would be seen

    @classmethod
    def of(cls, num_simulations: int, size: float) -> "Sensitivity":
        """For two-sided tests of this size."""
        wanted = (_NORMAL.inv_cdf(1 - size / 2) + _NORMAL.inv_cdf(0.95)) / sqrt(num_simulations)
        mean, spread = wanted / sqrt(12), wanted / sqrt(180)
        return cls(
            bias=_least(lambda d: _NORMAL.cdf(d / sqrt(2)) - 0.5, mean, 10.0),
            too_narrow=1 - _least(lambda e: variance_of_ranks(1 - e) - 1 / 12, spread, 1 - 1e-9),
        )


def variance_of_ranks(factor: float) -> float:
    """Of Phi(Z / c), Z standard normal: ranks under a posterior whose sd is c times too large.

    From E Phi(a Z)^2 = 1/4 + asin(a^2 / (1 + a^2)) / (2 pi), with a = 1 / c.
    """
    return asin(1.0 / (1.0 + factor**2)) / (2 * pi)


def _least(effect: Callable[[float], float], wanted: float, top: float) -> float:
    """Where an increasing effect reaches ``wanted``, by bisection; ``top`` if it never does."""
    low, high = 0.0, top
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effect(middle) < wanted else (low, middle)
    return high


def _two_sided(z: float) -> float:
    return erfc(abs(z) / sqrt(2.0))


def _shown(z: float, p: float) -> str:
    return f"z = {z:+.1f}, p = {p:.1g}"
