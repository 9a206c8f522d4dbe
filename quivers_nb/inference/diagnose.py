"""Convergence diagnostics of draws: rank-normalised split R-hat, effective sample sizes, MCSE.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-normalization, folding, and
localization: an improved R-hat". All functions take draws ``(chains, draws, *shape)`` and work on
every scalar of ``shape`` at once; the results have shape ``shape``. Draws that are not finite
give NaN, and so do fewer than four draws.
"""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quivers_nb.diagnostics.errors import UserError

Draws = NDArray[np.float64]

MIN_DRAWS = 4
_CHUNK = 1 << 22  # elements worked on at once


def r_hat(draws: ArrayLike) -> Draws:
    """The larger of bulk and tail split R-hat, after rank normalisation (equations 4, 14)."""

    def both(x: Draws) -> Draws:
        split = _split(x)
        folded = np.abs(split - np.median(split, axis=(0, 1)))
        return np.maximum(_plain_r_hat(_normal_scores(split)), _plain_r_hat(_normal_scores(folded)))

    return _by_column(both, draws)


def ess(draws: ArrayLike) -> Draws:
    """Bulk effective sample size: of the rank-normalised split chains."""
    return _by_column(lambda x: _ess(_normal_scores(_split(x))), draws)


def ess_mean(draws: ArrayLike) -> Draws:
    """Effective sample size for the mean: of the split chains as they are."""
    return _by_column(lambda x: _ess(_split(x)), draws)


def ess_tail(draws: ArrayLike) -> Draws:
    """The smaller of the effective sample sizes for the 5 % and the 95 % quantile."""

    def tails(x: Draws) -> Draws:
        low, high = np.quantile(x, (0.05, 0.95), axis=(0, 1))
        sizes = [_ess(_split((x <= bound).astype(np.float64))) for bound in (low, high)]
        return np.minimum(*sizes)

    return _by_column(tails, draws)


def mcse(draws: ArrayLike) -> Draws:
    """Monte Carlo standard error of the mean: sd / sqrt(effective sample size)."""
    return _by_column(lambda x: x.std((0, 1), ddof=1) / np.sqrt(_ess(_split(x))), draws)


def bfmi(energy: ArrayLike) -> Draws:  # (chains, draws) -> (chains,)
    """Estimated Bayesian fraction of missing information of each chain.

    Betancourt (2016), "Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo",
    section 4: how far the energy moves in a transition against how far it ranges. Below about 0.3
    momenta are too weak to reach the tails.
    """
    x = np.asarray(energy, dtype=np.float64)
    if x.shape[1] < MIN_DRAWS:
        return np.full(len(x), np.nan)
    moves = (np.diff(x, axis=1) ** 2).mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(moves / x.var(1, ddof=1))


# ---- one column per scalar: arrays (chains, draws, columns) -----------------------------------


def _by_column(function: Callable[[Draws], Draws], draws: ArrayLike) -> Draws:
    given: object = draws  # whatever the types promise
    if isinstance(given, Mapping) or hasattr(given, "samples"):
        raise UserError(
            f"draws of one site are wanted, (chains, draws, …), not a {type(draws).__name__}: take "
            "result.samples[site]; a result has r_hat, ess and mcse of every site"
        )
    x = np.asarray(draws, dtype=np.float64)
    if x.ndim < 2:
        raise UserError(f"draws have shape {x.shape}: (chains, draws, …) is wanted")
    chains, length, *shape = x.shape
    columns = x.reshape(chains, length, prod(shape))
    out = np.full(columns.shape[-1], np.nan)
    if length >= MIN_DRAWS:
        width = max(1, _CHUNK // (chains * length))
        for start in range(0, columns.shape[-1], width):
            part = columns[:, :, start : start + width]
            good = np.isfinite(part).all((0, 1))
            out[start : start + width][good] = function(part[:, :, good])
    return out.reshape(shape)


def _split(x: Draws) -> Draws:
    """Each chain as two, the middle draw of an odd number left out."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normal_scores(x: Draws) -> Draws:
    """Ranks over all chains (ties share their mean rank) as quantiles of a standard normal."""
    flat = x.reshape(-1, x.shape[-1])
    size = len(flat)
    order = np.argsort(flat, axis=0, kind="stable")
    ordered = np.take_along_axis(flat, order, axis=0)
    place = np.arange(size)[:, None]
    starts = np.ones(flat.shape, dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=0)
    ends = np.ones(flat.shape, dtype=bool)
    ends[:-1] = starts[1:]
    last = np.minimum.accumulate(np.where(ends, place, size - 1)[::-1], axis=0)[::-1]
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, 0.5 * (first + last) + 1.0, axis=0)
    quantiles = torch.from_numpy((ranks - 0.375) / (size + 0.25))
    return np.asarray(torch.special.ndtri(quantiles).numpy()).reshape(x.shape)


def _plain_r_hat(x: Draws) -> Draws:
    """Equation 3: sqrt of the ratio of the pooled to the mean within-chain variance."""
    length = x.shape[1]
    within = x.var(1, ddof=1).mean(0)
    between = x.mean(1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Draws = (between + within * (length - 1) / length) / within
        return np.sqrt(ratio)


def _ess(x: Draws) -> Draws:
    """Equations 10 to 13, with Geyer's initial monotone sequence; constant columns: all draws."""
    chains, length, columns = x.shape
    total = chains * length
    result = np.full(columns, float(total))
    varies = np.ptp(x, axis=(0, 1)) > np.finfo(np.float64).resolution
    if length > 1 and varies.any():
        tau = _correlation_time(x[:, :, varies])
        result[varies] = total / np.maximum(tau, 1.0 / np.log10(total))
    return result


def _correlation_time(x: Draws) -> Draws:
    """1 + 2 (sum of autocorrelations), cut off and smoothed by Geyer's rules."""
    chains, length, _ = x.shape
    covariance = _autocovariance(x).mean(0)  # (lags, columns)
    mean_variance = covariance[0] * length / (length - 1.0)
    pooled = mean_variance * (length - 1.0) / length
    if chains > 1:
        pooled = pooled + x.mean(1).var(0, ddof=1)
    rho = 1.0 - (mean_variance - covariance) / pooled
    rho[0] = 1.0
    pairs = length // 2
    even = rho[: 2 * pairs : 2]
    sums = even + rho[1 : 2 * pairs : 2]
    # The first pair that is not positive ends the sum; of the last pair only the even lag counts.
    limit = min(max(-(-(length - 4) // 2), 0), pairs - 1)
    negative = sums <= 0.0
    negative[limit] = True
    stop = negative.argmax(0)
    inside = np.arange(pairs)[:, None] < stop
    smooth = np.where(inside, np.minimum.accumulate(sums, axis=0), 0.0).sum(0)
    at_stop = np.take_along_axis(even, stop[None], axis=0)[0]
    sum_at_stop = np.take_along_axis(sums, stop[None], axis=0)[0]
    tail = np.where((sum_at_stop >= 0.0) | (at_stop > 0.0), at_stop, 0.0)
    return np.asarray(-1.0 + 2.0 * smooth + tail)


def _autocovariance(x: Draws) -> Draws:
    """All lags along axis 1 by FFT, divided by the number of draws."""
    length = x.shape[1]
    padded = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(x - x.mean(1, keepdims=True), n=padded, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.fft.irfft(power, n=padded, axis=1)[:, :length] / length)
