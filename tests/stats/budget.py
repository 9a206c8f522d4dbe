"""The error budget of random tests: how often the whole suite may fail for no reason.

With seeds fixed a test fails always or never; the budget says how likely that was when the seed was
chosen. A random test takes a share by name and divides it among its comparisons.
"""

from collections.abc import Mapping
from statistics import NormalDist

TOTAL = 1e-2

SHARES: Mapping[str, float] = {
    "goodness of fit": 1.85e-3,
    "stein": 1e-3,
    "pathwise gradients": 1e-3,
    "network starts": 4e-4,
    "tables": 1e-4,
    "closed forms": 5e-5,
    "special kernels": 5e-5,
    "sampler moments": 5e-4,
    "sampler invariance": 5e-4,
    "posteriordb": 3.95e-3,
    "variational bound": 2e-4,
    "variational guides": 1e-4,
    "guide calibration": 5e-5,
    "calibration": 5e-5,
    "program calibration": 5e-5,
    "recentred calibration": 5e-5,
    "particles": 1e-4,
}


def alpha(name: str, comparisons: int) -> float:
    """The size of one of so many comparisons of a test."""
    return SHARES[name] / comparisons


def critical_z(size: float) -> float:
    """The two-sided bound on a standard normal statistic."""
    return NormalDist().inv_cdf(1.0 - size / 2)
