"""Free vectors laid out as lower triangular matrices."""

from functools import cache

import torch
from torch import Tensor


@cache
def _slots(size: int, offset: int, device: torch.device) -> Tensor:
    """For each entry of the flattened matrix its place in the vector, or the zero behind it."""
    with torch.inference_mode(False):  # cached, so that autograd may save it later
        rows, columns = torch.tril_indices(size, size, offset, device=device)
        count = rows.shape[0]
        slots = torch.full((size, size), count, device=device)
        slots[rows, columns] = torch.arange(count, device=device)
        flat: Tensor = slots.flatten()
        return flat


@cache
def _places(size: int, offset: int, device: torch.device) -> Tensor:
    """The flattened places of the lower entries, row by row."""
    with torch.inference_mode(False):
        rows, columns = torch.tril_indices(size, size, offset, device=device)
        places: Tensor = rows * size + columns
        return places


def entries(size: int, *, diagonal: bool) -> int:
    """How many entries the lower triangle has."""
    return size * (size + 1) // 2 if diagonal else size * (size - 1) // 2


def fill_lower(u: Tensor, size: int, *, diagonal: bool) -> Tensor:  # (*n, k) -> (*n, m, m)
    """The matrix whose lower entries are ``u``, row by row, and zero above."""
    padded = torch.cat([u, u.new_zeros((*u.shape[:-1], 1))], -1)
    flat = padded.index_select(-1, _slots(size, 0 if diagonal else -1, u.device))
    return flat.reshape(*u.shape[:-1], size, size)


def read_lower(matrix: Tensor, *, diagonal: bool) -> Tensor:  # (*n, m, m) -> (*n, k)
    """The inverse of `fill_lower`."""
    size = matrix.shape[-1]
    places = _places(size, 0 if diagonal else -1, matrix.device)
    return matrix.flatten(-2).index_select(-1, places)


def matrix_size(count: int, *, diagonal: bool) -> int:
    """The size of the matrix whose lower triangle has ``count`` entries."""
    size = 0
    while entries(size, diagonal=diagonal) < count:
        size += 1
    return max(size, 1)
