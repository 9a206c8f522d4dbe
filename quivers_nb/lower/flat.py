"""Products of finite sets: one row-major index of the whole, or one column per factor (3.6).

A kernel into ``X * Y`` draws one index; what reads ``X * Y`` reads columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def columns_of(index: Tensor, sizes: Sequence[int]) -> Tensor:  # (*n,) -> (*n, k)
    """The index of each factor."""
    found: list[Tensor] = []
    for size in reversed(sizes):
        found.append(index % size)
        index = index.div(size, rounding_mode="floor")
    return torch.stack(found[::-1], -1)


def index_of(columns: Tensor, sizes: Sequence[int]) -> Tensor:  # (*n, k) -> (*n,)
    """The row-major index of indices of the factors."""
    index = columns[..., 0]
    for k, size in enumerate(sizes[1:], start=1):
        index = index * size + columns[..., k]
    return index
