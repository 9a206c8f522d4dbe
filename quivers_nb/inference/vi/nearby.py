"""Comparing two forms of a loss around the present weights: a wrong one may be right at a start."""

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor

SPREADS = (0.3, 1.0, 0.1)  # relative to 1 + |weight|
SECONDS = 0.005


def agree_nearby(weights: Sequence[Tensor], agree: Callable[[], bool]) -> bool:
    """Whether ``agree()`` with ``weights`` moved at random, by `SPREADS` in turn.

    As often as `SECONDS` allow, and once at least. The weights are moved where they live and put
    back.
    """
    began, jitter = perf_counter(), torch.Generator().manual_seed(0)
    starts = [weight.detach().clone() for weight in weights]
    try:
        for points, spread in enumerate(SPREADS, start=1):
            for weight, start in zip(weights, starts, strict=True):
                noise = torch.randn(start.shape, generator=jitter, dtype=start.dtype)
                weight.detach().copy_(start + spread * (1.0 + start.abs()) * noise)
            if not agree():
                return False
            if (perf_counter() - began) * (points + 1) / points > SECONDS:
                break  # one more would take longer
    finally:
        for weight, start in zip(weights, starts, strict=True):
            weight.detach().copy_(start)
    return True


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number is finite: elsewhere a comparison says nothing."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
