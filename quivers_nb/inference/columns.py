"""Observations by name: a mapping, or a table with named columns, such as a pandas frame."""

from collections.abc import Mapping
from typing import Any

from quivers_nb.diagnostics.errors import UserError


def by_name(values: Any) -> Mapping[str, Any]:
    """``values`` as a mapping: none for None, the columns of a table by their names.

    Raises `UserError` for what has no names.
    """
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return values
    if hasattr(values, "columns") and hasattr(values, "items"):
        return {str(name): column for name, column in values.items()}
    raise UserError(
        f"data are given by name, as {{'y': …}} or as the columns of a table, not as "
        f"{type(values).__name__}"
    )
