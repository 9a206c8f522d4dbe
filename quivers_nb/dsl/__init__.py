"""Loading QVR: text in, live modules out (section 11.1).

    load(path)      a file; relative paths are relative to the working directory
    loads(source)   a text
    parse(source)   the syntax tree alone, without torch

Raises `ParseError` or `CompileError`, nothing else; both carry line, column and every diagnostic.
"""

import warnings
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quivers_nb.check import check_source
from quivers_nb.check.term import CheckedModule
from quivers_nb.diagnostics.errors import (
    CompileError,
    LanguageError,
    LanguageWarning,
    ParseError,
    UserError,
)
from quivers_nb.diagnostics.render import render_text
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.table_data import as_tables, described
from quivers_nb.syntax.parser import parse

if TYPE_CHECKING:
    from quivers_nb.lower.module import Module


def loads(
    source: str,
    data: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    name: str = "<text>",
) -> "Module":
    """Compile a text. ``data`` feeds `from_data`; ``sizes`` fixes late-bound sizes (R8).

    What is legal and probably not meant is told by a `LanguageWarning`. Raises `UserError` if data
    are no tables of weights, or no `from_data` reads them.
    """
    return _loaded(SourceText(source, name), data, sizes)


def _loaded(
    source: SourceText, data: Mapping[str, Any] | None, sizes: Mapping[str, int] | None
) -> "Module":
    arrays = as_tables(data or {})
    tables = {key: described(array) for key, array in arrays.items()}
    checked = check_source(source, tables=tables, sizes=sizes)
    _all_read(arrays, checked)
    if checked.warnings:
        words = render_text(checked.warnings, source)
        warnings.warn(words, LanguageWarning, stacklevel=3)
    from quivers_nb.lower import lower  # noqa: PLC0415  (torch is needed only now)

    return lower(checked, sizes, arrays)


def _all_read(data: Collection[str], checked: CheckedModule) -> None:
    """Nothing that was given is skipped silently (R10)."""
    for key in data:
        if key not in checked.data_keys:
            near = nearest(key, checked.data_keys)
            known = ", ".join(checked.data_keys) or "nothing"
            hint = f"did you mean `{near}`?" if near else f"`from_data` reads {known}"
            raise UserError(
                f"data `{key}` are read by no `from_data`; {hint} (data that a program reads are "
                "given with its observations)"
            )


def load(
    path: "str | PathLike[str]",
    data: Mapping[str, Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
) -> "Module":
    """Compile a file. Raises `UserError` if it cannot be read as UTF-8 text."""
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(
            f"no file {str(path)!r}: check the path (working directory {Path.cwd()})"
        ) from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} is not a QVR text file: {error}") from error
    return _loaded(SourceText(text, str(path)), data, sizes)


__all__ = ["CompileError", "LanguageError", "ParseError", "load", "loads", "parse"]
