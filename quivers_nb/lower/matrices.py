"""Matrices as values: in a program they have two axes, side by side with others one (3.2).

A value of a matrix family, and data declared over a matrix space, are matrices. A program's input
is one flat vector, and so is what a kernel reads: rows one after another.
"""

import math
from dataclasses import replace

import torch

from quivers_nb.lower.values import Value
from quivers_nb.spaces.family import Parameter
from quivers_nb.spaces.support import REAL


def as_matrix(value: Value, parameter: Parameter, event_size: int | None) -> Value:
    """A matrix parameter from one number, times the identity, or from a flat vector."""
    if parameter.rank != 2:
        return value
    if value.own_rank == 0 and event_size is not None:
        identity = torch.eye(event_size, dtype=value.tensor.dtype, device=value.tensor.device)
        return replace(value, tensor=value.tensor[..., None, None] * identity, names=(None, None))
    *front, last = (1, *value.own_shape)
    size = math.isqrt(last)
    square = bool(front) and front[-1] == last and value.names[-2:] == (None, None)
    if not value.own_rank or square or size * size != last or parameter.support == REAL:
        return value
    shape = (*value.tensor.shape[:-1], size, size)
    return replace(value, tensor=value.tensor.reshape(shape), names=(*value.names, None))


def is_matrix(value: Value, columns: int) -> bool:
    """Whether the last two own axes are a matrix that is read as one row-major vector."""
    names, shape = value.names[-2:], value.own_shape[-2:]
    return names == (None, None) and shape[0] * shape[1] == columns
