"""Whether two runs drew from one posterior, and how many independent draws they are worth.

Positive sites are compared as logarithms, which have moments where the sites themselves need not.
"""

import numpy as np

from benchmarks.peers.inference.models import POSITIVE
from quivers_nb.inference import diagnose

LARGEST_Z, TYPICAL_Z = 4.5, 1.3
TYPICAL_SD, LARGEST_SD = 0.1, 0.5  # of the log ratio of standard deviations
LEAST_ESS = 100.0  # below it a run says too little to agree or disagree
UNDECIDED = "a run is worth only"

Draws = dict[str, np.ndarray]  # (chains, draws, *shape) by site


def _matrix(draws: Draws, names: list[str]) -> np.ndarray:  # (chains, draws, coordinates)
    parts = [np.log(draws[n]) if n in POSITIVE else draws[n] for n in names]
    return np.concatenate([part.reshape((*part.shape[:2], -1)) for part in parts], -1)


def least_ess(draws: Draws) -> float:
    """The smallest bulk effective sample size, by one program for all sides."""
    return float(np.nanmin(diagnose.ess(_matrix(draws, sorted(draws)))))


def agreement(a: Draws, b: Draws) -> str:
    """Nothing if means and standard deviations of all coordinates agree, else the fact."""
    names = sorted(a)
    if names != sorted(b):
        return f"different sites: {names} and {sorted(b)}"
    x, y = _matrix(a, names), _matrix(b, names)
    sizes = np.minimum(diagnose.ess_mean(x), diagnose.ess_mean(y))
    if sizes.min() < LEAST_ESS:
        return f"{UNDECIDED} {sizes.min():.0f} independent draws"
    error = np.hypot(diagnose.mcse(x), diagnose.mcse(y))
    z = (x.mean((0, 1)) - y.mean((0, 1))) / error
    sds = np.log(x.std((0, 1)) / y.std((0, 1)))
    typical, typical_sd = np.sqrt((z**2).mean()), np.sqrt((sds**2).mean())
    # With few coordinates the mean square of z is itself noisy: four of its standard errors.
    bound = max(TYPICAL_Z, float(np.sqrt(1.0 + 4.0 * np.sqrt(2.0 / len(z)))))
    if np.abs(z).max() > LARGEST_Z or typical > bound:
        return f"means differ: largest z {np.abs(z).max():.1f}, root mean square {typical:.2f}"
    if typical_sd > TYPICAL_SD or np.abs(sds).max() > LARGEST_SD:
        return f"sds differ: by {np.abs(sds).max():.2f} at most, typically {typical_sd:.2f}"
    return ""
