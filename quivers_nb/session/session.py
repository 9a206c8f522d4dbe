"""A session: the cells of one notebook, compiled in the order in which they are run.

Each cell is a module of its own. A cell whose text has been compiled before gives the same objects
again, so that running it twice loses neither time nor what was learned by its parameters. A cell
that is refused leaves the session as it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from types import MappingProxyType
from typing import Protocol

from quivers_nb.dsl import loads
from quivers_nb.lower.module import Module
from quivers_nb.session.cell import CellResult, Made
from quivers_nb.session.namespace import Binding, bind

KEPT = 64  # cells whose objects are kept alive for reuse, the latest ones


class Compiler(Protocol):
    """From text to a module; ``name`` is how messages call the text."""

    def __call__(self, source: str, *, name: str) -> Module: ...


class Session:
    """The cells run so far and the names bound by them."""

    def __init__(self, compiler: Compiler = loads) -> None:
        self._compile = compiler
        self._cells: dict[str, CellResult] = {}
        self._bound: dict[str, Made] = {}

    @property
    def bound(self) -> Mapping[str, Made]:
        """The objects that cells have put into the user's namespace, by name."""
        return MappingProxyType(self._bound)

    def run_cell(
        self, text: str, name: str | None = None, cell_label: str = "cell", *, fresh: bool = False
    ) -> CellResult:
        """Compile ``text``, or find it unchanged. ``fresh`` compiles in any case.

        Raises `quivers_nb.diagnostics.errors.LanguageError` if the cell is refused.
        """
        known = None if fresh else self._cells.get(text)
        if known is None:
            start = perf_counter()
            module = self._compile(text, name=cell_label)
            result = CellResult(module, name, cell_label, perf_counter() - start)
        else:
            result = replace(known, name=name, unchanged=True)
        self._remember(text, replace(result, unchanged=False))
        return result

    def bind(self, result: CellResult, namespace: Mapping[str, object]) -> Binding[Made]:
        """What of a cell's names may enter ``namespace``; the caller puts it there."""
        binding = bind(result.names, namespace, self._bound)
        self._bound.update(binding.names)
        return binding

    def _remember(self, text: str, result: CellResult) -> None:
        self._cells.pop(text, None)
        self._cells[text] = result
        if len(self._cells) > KEPT:
            del self._cells[next(iter(self._cells))]
