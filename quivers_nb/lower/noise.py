"""Noise that is a fixed function of place (ruling R6).

`log_joint` and `log_density` never touch a global generator. Where a continuous middle is not
given, its standard normal noise depends only on the site's path, the row number and the own shape:
row ``i`` of a batch of any length is the same numbers, so a stacked, sliced or repeated evaluation
equals the single one. NumPy's Philox stream is drawn sequentially, row by row, which gives the
prefix property that torch's vectorised generators do not have.
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor


def path_seed(path: str) -> int:
    """A 64-bit seed from a site path."""
    return int.from_bytes(blake2b(path.encode(), digest_size=8).digest(), "little")


@lru_cache(maxsize=512)
def _normals(path: str, draw: int, shape: tuple[int, ...]) -> np.ndarray:
    stream = np.random.Philox(key=np.array([path_seed(path), draw], dtype=np.uint64))
    return np.random.Generator(stream).standard_normal(shape)


def fixed_noise(
    path: str, shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device, draw: int = 0
) -> Tensor:
    """Standard normal noise of ``shape`` for the site at ``path``; ``draw`` numbers inner draws."""
    return torch.as_tensor(_normals(path, draw, shape), dtype=dtype, device=device).clone()
