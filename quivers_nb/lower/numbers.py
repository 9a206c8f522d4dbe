"""From what people have to tensors of numbers: arrays, columns of tables, lists; or a refusal.

A column that says which rows are missing, or in which order its rows are, is never read as if it
said neither (R10).
"""

import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.values import surely_finite


def as_array(key: str, value: Any) -> Tensor | np.ndarray:
    """A tensor or a numeric numpy array. Raises `UserError`, with the way to one."""
    if isinstance(value, Tensor):
        return value
    _refuse_masked(key, value)
    try:
        array = np.array(value)  # a copy: pandas columns may be read-only
    except ValueError as error:
        raise UserError(f"`{key}` is a ragged list: its rows have different lengths") from error
    if array.dtype.kind == "c":
        raise UserError(f"`{key}` is complex: give its real part")
    if array.dtype.kind == "O":
        array = _objects(key, value, array)
    if array.dtype.kind in "OUSMm":
        shown = getattr(value, "dtype", None) or array.dtype
        raise UserError(
            f"`{key}` is not numeric (dtype {shown}): {_to_numbers(value, shown, array)}"
        )
    return array


def _refuse_masked(key: str, value: Any) -> None:
    """A masked array has values where it says that there are none."""
    # Importing numpy.ma takes longer than all data; whoever has a masked array has done so. Another
    # thread may be at it just now: then there is no class of them yet, and no array.
    masked = sys.modules.get("numpy.ma")
    kind = getattr(masked, "MaskedArray", None)
    if masked is None or kind is None or not isinstance(value, kind):
        return
    mask = masked.getmaskarray(value)
    if mask.any():
        raise UserError(
            f"`{key}` holds {int(mask.sum())} masked values (first at "
            f"{np.argwhere(mask)[0].tolist()}): drop those rows, or model the missing values as a "
            "sample site"
        )


def _objects(key: str, value: Any, array: np.ndarray) -> np.ndarray:
    """Numbers that came as objects, as numbers."""
    if not array.ndim and not isinstance(array.item(), str):
        raise UserError(
            f"`{key}` is a {type(value).__name__}, not numbers: give a list, an array or a tensor"
        )
    if any(each is None for each in array.flat):
        raise UserError(f"`{key}` holds None: drop those rows, or model the missing values")
    return array.astype(np.float64) if all(isinstance(v, Real) for v in array.flat) else array


def _to_numbers(value: Any, dtype: Any, array: np.ndarray) -> str:
    """The way from what is not numeric to numbers."""
    polars = hasattr(value, "to_physical")
    if array.dtype.kind in "Mm":
        return "turn times into numbers, such as days since the first"
    if str(dtype) == "category":
        return "turn categories into integer codes, such as its `.cat.codes` (-1 is missing there)"
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        codes = (
            'such as its `.rank("dense") - 1`' if polars else "for example with pandas.factorize"
        )
        return f"turn categories into integer codes, {codes}"
    cast = ".cast(pl.Float64)" if polars else ".astype(float)"
    what = "objects" if array.dtype.kind == "O" else "texts"
    return f"its {what} are numbers: convert it with {cast}"


def float_bits(value: Any) -> int:
    """64 or 32 for floating tensors and arrays, 0 for anything else."""
    name = str(getattr(value, "dtype", ""))
    return int(name[-2:]) if name.endswith(("float64", "float32")) else 0


def as_numbers(
    key: str, value: Any, dtype: torch.dtype, device: torch.device, *, finite: bool
) -> Tensor:
    """A tensor of ``dtype``, or of whole numbers. Raises `UserError` for NaN, and for infinities
    where ``finite`` numbers are wanted: values of sites have an end, host data may be bounds.
    """
    tensor = torch.as_tensor(as_array(key, value), device=device)
    if tensor.dtype == torch.bool:
        tensor = tensor.long()
    if not tensor.is_floating_point():
        return tensor.long()
    if not tensor.requires_grad and not surely_finite(tensor):
        _refuse_nan(key, tensor)
        if finite:
            _refuse_infinite(key, tensor)
    return tensor.to(dtype)


def _refuse_nan(key: str, tensor: Tensor) -> None:
    bad = torch.isnan(tensor)
    if bool(bad.any()):
        place = f" (first at {first(bad)})" if tensor.ndim else ""
        raise UserError(
            f"`{key}` holds {int(bad.sum())} NaN{place}: drop those rows, or model the missing "
            "values as a sample site"
        )


def _refuse_infinite(key: str, tensor: Tensor) -> None:
    bad = tensor.isinf()
    if bool(bad.any()):
        place = f" at {first(bad)}" if tensor.ndim else ""
        raise UserError(
            f"`{key}` is infinite{place}: no density is positive there; drop the row, or model "
            "what was censored"
        )


def first(bad: Tensor) -> list[int]:
    """The place of the first number of which ``bad`` is true."""
    place: list[int] = bad.nonzero()[0].tolist()
    return place


def refuse_reordered(values: Mapping[str, Any]) -> None:
    """Columns of tables are read by place: the same rows in two orders are a mistake.

    Raises `UserError` for two columns whose indices have the same labels in another order.
    """
    seen: list[tuple[str, Any]] = []
    for key, value in values.items():
        index: Any = getattr(value, "index", None)
        if not hasattr(index, "equals") or not getattr(index, "is_unique", False):
            continue
        for other, known in seen:
            if len(known) != len(index) or known.equals(index):
                continue
            if set(known.tolist()) == set(index.tolist()):
                raise UserError(
                    f"`{key}` has the row labels of `{other}` in another order, but values are "
                    f"read by their place: give `{key}.reindex({other}.index)`, or "
                    f"`{key}.to_numpy()` if the places are right"
                )
        seen.append((key, index))
