"""Weights of particles: the next temperature, the evidence of a step, and who survives it."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

_STEPS = 200  # of bisection at most; far fewer are made


class Step(NamedTuple):
    """From one temperature to the next: ``weights`` (N,) sum to 1."""

    beta: float
    weights: Tensor
    ess: float  # 1 / sum of squares: the conditional ESS, as all particles had the same weight
    log_evidence: float  # log of the mean of likelihood^(beta' - beta)


def next_step(log_likelihood: Tensor, beta: float, share: float) -> Step:  # (N,)
    """The highest temperature up to 1 at which the conditional effective sample size is at least
    ``share`` of the particles whose data are possible.

    Del Moral, Doucet & Jasra (2012), "An adaptive sequential Monte Carlo method for approximate
    Bayesian computation", and Jasra, Stephens, Doucet & Tsagaris (2011), choose temperatures so;
    Zhou, Johansen & Aston (2016), section 3.3, give the conditional form, which is the plain one
    here, since particles are resampled at every temperature. It falls as the step grows.
    """
    possible = int(log_likelihood.isfinite().sum())
    wanted = share * possible
    low, high = 0.0, 1.0 - beta
    if _ess(high * log_likelihood) >= wanted:
        return _step(log_likelihood, 1.0, high)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _ess(middle * log_likelihood) >= wanted else (low, middle)
        if high - low <= 1e-6 * high:
            break
    size = low if low > 0.0 else high
    return _step(log_likelihood, beta + size, size)


def _step(log_likelihood: Tensor, beta: float, size: float) -> Step:
    logs = size * log_likelihood
    total = torch.logsumexp(logs, 0)
    weights = (logs - total).exp()
    count = torch.tensor(float(len(logs)), dtype=logs.dtype)
    return Step(beta, weights, _ess(logs), float(total - count.log()))


def _ess(logs: Tensor) -> float:  # (N,)
    return float((2.0 * torch.logsumexp(logs, 0) - torch.logsumexp(2.0 * logs, 0)).exp())


def systematic(weights: Tensor, generator: Generator) -> Tensor:  # (N,) -> (N,) places, rising
    """Each particle floor(N w) or ceil(N w) times, N w on average.

    One uniform number shifts N equally spaced points (Carpenter, Clifford & Fearnhead 1999;
    compared in Douc, Cappé & Moulines 2005).
    """
    count = len(weights)
    shift = torch.rand((), generator=generator, dtype=weights.dtype)
    points = (torch.arange(count, dtype=weights.dtype) + shift) / count
    edges = weights.cumsum(0)
    return torch.searchsorted(edges / edges[-1], points, right=True).clamp_max(count - 1)
