"""Tables as people give them: from lists, arrays, tensors or frames to checked weights."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.spaces.table import TOLERANCE, Table


def as_tables(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every value as a float64 array ``(n0, …)``; numbers stay without axes.

    Raises:
        UserError: a value is not numeric, has NaN, an infinite or a negative entry, or a row
            without weight.
    """
    return {key: _array(key, value) for key, value in data.items()}


def described(array: np.ndarray) -> Table:
    """The shape of a table, and whether its rows sum to one."""
    if not array.ndim or not array.size:
        return Table(array.shape)
    sums = _rows(array).sum(1)
    worst = int(np.abs(sums - 1.0).argmax())
    off = float(sums[worst])
    return Table(array.shape, None if abs(off - 1.0) <= TOLERANCE else (worst, off))


def _rows(array: np.ndarray) -> np.ndarray:
    """``(n0, rest)``; a vector has one column."""
    return array.reshape(array.shape[0], prod(array.shape[1:]))


def _array(key: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise UserError(
            f"data `{key}` is a ragged list: its rows have different lengths"
        ) from error
    if raw.dtype.kind not in "biuf":
        raise UserError(
            f"data `{key}` has entries of type {raw.dtype}: a table holds numbers that are not "
            "negative"
        )
    array = np.array(raw, dtype=np.float64)
    _entries(key, array)
    return array


def _entries(key: str, array: np.ndarray) -> None:
    for fault, where in (
        ("is not a number", np.isnan(array)),
        ("is infinite", np.isinf(array)),
        ("is negative", array < 0.0),
    ):
        if where.any():
            place = tuple(int(i) for i in np.argwhere(where)[0])
            shown = f"{array[place]:g}"
            raise UserError(
                f"data `{key}` at {list(place)} is {shown}, which {fault}: a table holds weights "
                "of outcomes, finite and at least 0"
            )
    if array.ndim and array.size:
        empty = _rows(array).sum(1) == 0.0
        if empty.any():
            raise UserError(
                f"row {int(empty.argmax())} of data `{key}` is 0 throughout: no outcome has any "
                "weight, so nothing can be drawn from it"
            )
