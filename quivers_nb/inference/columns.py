"""Observations by name: a mapping, or a table with named columns (pandas, polars, numpy)."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from quivers_nb.diagnostics.errors import UserError


def by_name(values: Any) -> Mapping[str, Any]:
    """``values`` as a mapping: none for None, the columns of a table by their names.

    Raises `UserError` for what has no names, or has one twice.
    """
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return values
    names = _column_names(values)
    if names is None:
        lazy = hasattr(values, "collect") and hasattr(values, "lazy")
        raise UserError(
            f"data are given by name, as {{'y': …}} or as the columns of a table, not as "
            f"{type(values).__name__}" + (": .collect() gives the table" if lazy else "")
        )
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise UserError(f"the table has two columns `{twice}`: rename or drop one of them")
    return {str(name): values[name] for name in names}


def _column_names(values: Any) -> Sequence[Any] | None:
    """Those of a frame, or of an array with fields; None for what has none."""
    if isinstance(values, np.ndarray):
        return cast("tuple[str, ...] | None", values.dtype.names)
    eager = hasattr(values, "items") or hasattr(values, "get_columns")  # pandas, polars
    return list(values.columns) if eager and hasattr(values, "columns") else None
