"""A session: the cells of one notebook, which add to one workspace.

A cell whose meaning has been compiled before gives the same objects again, so that running it twice
loses neither time nor what was learned by its parameters. When a cell changes a declaration, the
cells that use it are compiled anew, and weights are kept by path. A cell that is refused leaves the
session as it was.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import compress
from time import perf_counter
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from quivers_nb.check import check_source
from quivers_nb.check.term import CheckedModule
from quivers_nb.diagnostics.diagnostic import Because, Diagnostic
from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.diagnostics.source import Excerpt, JoinedText, SourceText
from quivers_nb.lower import lower
from quivers_nb.lower.module import Module
from quivers_nb.session.cell import CellResult, Made
from quivers_nb.session.given import Given
from quivers_nb.session.known import Known, known, type_text
from quivers_nb.session.namespace import Binding, bind
from quivers_nb.session.weights import Adopted, adopt, weights
from quivers_nb.session.workspace import Cell, Workspace, names_of, read_cell
from quivers_nb.spaces.table_data import described

KEPT = 64  # results that are kept alive for reuse beside those of the workspace, the latest ones

V = TypeVar("V")
Compiler = Callable[[SourceText, Mapping[str, np.ndarray]], Module]


def compiled(source: SourceText, data: Mapping[str, np.ndarray]) -> Module:
    """From a text that stands alone, and the data that `from_data` reads, to its module."""
    tables = {key: described(array) for key, array in data.items()}
    return lower(check_source(source, tables=tables), data=data)


class Session:
    """The workspace, what its cells have made, and the names bound by them.

    ``variables`` are those of the user, among which `from_data` looks.
    """

    def __init__(
        self, compiler: Compiler = compiled, variables: Mapping[str, object] | None = None
    ) -> None:
        self._compile = compiler
        self.given = Given(variables)
        self._workspace = Workspace()
        self._results: dict[str, CellResult] = {}  # by the text that stands alone
        self._read: dict[str, Cell] = {}  # by the text of the cell
        self._bound: dict[str, Made] = {}

    @property
    def workspace(self) -> Workspace:
        """The cells that have been run."""
        return self._workspace

    @property
    def results(self) -> tuple[CellResult, ...]:
        """What the cells of the workspace have made, in their order."""
        space = self._workspace
        return tuple(self._results[source.text] for source in space.sources())

    @property
    def bound(self) -> Mapping[str, Made]:
        """The objects that cells have put into the user's namespace, by name."""
        return MappingProxyType(self._bound)

    def run_cell(
        self, text: str, name: str | None = None, cell_label: str = "cell", *, fresh: bool = False
    ) -> CellResult:
        """Add a cell to the workspace, and compile anew what depends on it.

        ``fresh`` compiles it in any case and on its own: it sees no other cell, and none sees it.

        Raises `quivers_nb.diagnostics.errors.LanguageError` if the cell, or one that depends on it,
        is refused.
        """
        start = perf_counter()
        if fresh:
            module = self._module(SourceText(text, cell_label))
            return CellResult(module, name, cell_label, perf_counter() - start)
        cell = self._cell(text, name, cell_label)
        if cell in self._workspace.cells and not self._reads_other_data(cell):
            return replace(self._again(cell), unchanged=True)
        after = self._workspace.add(cell)
        sources = tuple(zip(after.cells, after.sources(), strict=True))
        made = self._compile_new(sources, cell)
        # nothing below can fail
        adopted = self._adopt(made.values())
        self._workspace = after
        for each, source in sources:
            known = self._results.get(source.text)
            if source.text in made or known is None:
                seconds = perf_counter() - start if each is cell else 0.0
                known = CellResult(made[source.text], each.name, each.label, seconds)
            self._remember(source.text, replace(known, name=each.name))
            if source.text in made:
                self.given.used(source.text)
        own = after.source(cell).text
        anew = [each for each, source in sources if source.text in made and each is not cell]
        users = [after.depends(each, cell) for each in anew]
        results = [self._results[after.source(each).text] for each in anew]
        return replace(
            self._results[own],
            unchanged=own not in made,
            rebuilt=tuple(compress(results, users)),
            shortened=tuple(compress(results, (not uses for uses in users))),
            kept=adopted.kept,
            reset=adopted.reset,
        )

    def check(self, text: str, cell_label: str = "cell") -> CheckedModule:
        """What the cell and what depends on it would mean, without running it.

        Raises `quivers_nb.diagnostics.errors.LanguageError` as `run_cell` does.
        """
        cell = self._cell(text, None, cell_label)
        after = self._workspace.add(cell)
        for each, source in zip(after.cells, after.sources(), strict=True):
            if each is not cell and source.text not in self._results:
                with _blaming(cell, each):
                    self._checked(source)
        return self._checked(after.source(cell))

    def known(self) -> tuple[Known, ...]:
        """The names that the cells of the workspace declare."""
        checked = (result.module.checked for result in self.results)
        return known(zip(self._workspace.cells, checked, strict=True))

    def declared_names(self) -> frozenset[str]:
        """Every name that `forget` knows: those declared, and those of modules."""
        named = frozenset(cell.name for cell in self._workspace.cells if cell.name is not None)
        return _names(self._workspace) | named

    def type_of(self, expression: str, label: str = "expression") -> str:
        """The type of a morphism expression, or of a name of any kind.

        Raises `quivers_nb.diagnostics.errors.LanguageError` if it has none.
        """
        for each in self.known():
            if each.name == expression and not each.is_morphism:
                return each.type
        with _quoting(expression, label):
            cell = read_cell(f"export {expression}\n", label)
            checked = self._checked(Workspace((*self._workspace.cells, cell)).source(cell))
        return type_text(checked.exports[-1].value)

    def forget(self, names: Iterable[str] = ()) -> tuple[str, ...]:
        """Drop the cells that declare ``names``, or all; the labels of what was dropped.

        What else uses their names is dropped too. Nothing is taken from the user's namespace.
        """
        wanted = frozenset(names)
        before = self._workspace
        after = before.without(wanted) if wanted else Workspace()
        while wanted and (lost := _names(before) - _names(after)):
            less = after.without_users(lost)
            if less == after:
                break
            after = less
        for cell in before.cells:
            if cell not in after.cells:
                self._results.pop(before.source(cell).text, None)
        self._workspace = after
        return tuple(cell.label for cell in before.cells if cell not in after.cells)

    def bind(self, result: CellResult, namespace: Mapping[str, object]) -> Binding[Made]:
        """What of a cell's names may enter ``namespace``; the caller puts it there."""
        binding = bind(result.names, namespace, self._bound)
        self._bound.update(binding.names)
        return binding

    def _cell(self, text: str, name: str | None, label: str) -> Cell:
        """A cell, read once."""
        known = self._read.get(text)
        if known is None:
            known = read_cell(text, label)
            _put(self._read, text, known, room=KEPT)
        return replace(known, label=label, name=name)

    def _again(self, cell: Cell) -> CellResult:
        """What a cell has made that is run again just as it is; people know it by its new label."""
        space = self._workspace
        self._workspace = Workspace(tuple(cell if each == cell else each for each in space.cells))
        return self._results[self._workspace.source(cell).text]

    def _compile_new(
        self, sources: Sequence[tuple[Cell, SourceText]], cell: Cell
    ) -> dict[str, Module]:
        """The modules of cells that are not there yet, by the text that stands alone."""
        made: dict[str, Module] = {}
        for each, source in sorted(sources, key=lambda pair: pair[0] is not cell):
            if source.text not in self._results or self.given.changed(source.text):
                with _blaming(cell, each):
                    made[source.text] = self._module(source)
        return made

    def _module(self, source: SourceText) -> Module:
        return self._compile(source, self.given.arrays(source.text))

    def _checked(self, source: SourceText) -> CheckedModule:
        return check_source(source, tables=self.given.tables(source.text))

    def _reads_other_data(self, cell: Cell) -> bool:
        """Whether what `from_data` reads in a cell has changed since it was compiled."""
        return self.given.any and self.given.changed(self._workspace.source(cell).text)

    def _adopt(self, made: Iterable[Module]) -> Adopted:
        """Let new modules use the weights that are there."""
        held = weights(result.module for result in self.results)
        return adopt(made, held)

    def _remember(self, key: str, result: CellResult) -> None:
        _put(self._results, key, result, room=KEPT + len(self._workspace.cells))


def _put(table: dict[str, V], key: str, value: V, *, room: int) -> None:
    """Make ``key`` the latest, and drop the oldest where there is no room."""
    table.pop(key, None)
    table[key] = value
    if len(table) > room:
        del table[next(iter(table))]


def _names(space: Workspace) -> frozenset[str]:
    return frozenset[str]().union(*(names_of(cell) for cell in space.cells))


@contextmanager
def _blaming(cell: Cell, each: Cell) -> Iterator[None]:
    """An error in a cell that was not run says which one it was that changed its meaning."""
    try:
        yield
    except LanguageError as error:
        if each is cell:
            told = tuple(_with_a_way_out(d, error.source) for d in error.diagnostics)
            raise type(error)(told, error.source) from error
        shared = sorted(names_of(cell) & each.uses)
        names = ", ".join(f"`{name}`" for name in shared)
        forget = next(iter(sorted(names_of(each) or each.exports)), each.label)
        them = "it" if len(shared) == 1 else "them"
        why = Because(f"{cell.label} declares {names} anew, and {each.label} uses {them}")
        told = tuple(replace(d, because=(*d.because, why)) for d in error.diagnostics)
        first = told[0]
        way = f"nothing was changed; to change both, forget {each.label} first: %qvr_reset {forget}"
        hint = way if first.hint is None else f"{first.hint}; {way}"
        told = (replace(first, hint=hint), *told[1:])
        raise type(error)(told, error.source) from error


def _with_a_way_out(found: Diagnostic, source: SourceText) -> Diagnostic:
    """A name that data of another cell have taken can be had back by forgetting that cell."""
    there = [source.place(label.span.start).name for label in found.labels]
    if found.code != "Q0501" or not there or there[0] == source.place(found.span.start).name:
        return found
    name = source.text[found.span.start : found.span.stop]
    way = f"if {there[0]} is not needed any more, forget it: %qvr_reset {name}"
    return replace(found, hint=way if found.hint is None else f"{found.hint}; {way}")


@contextmanager
def _quoting(expression: str, label: str) -> Iterator[None]:
    """Let errors of a line that was made for ``expression`` quote what the user wrote."""
    try:
        yield
    except LanguageError as error:
        source = error.source
        before = source.excerpts if isinstance(source, JoinedText) else (Excerpt(0, source, 0),)
        at = len(source.text) - len(expression) - 1
        quoted = Excerpt(at, SourceText(expression, label), 0)
        joined = JoinedText(source.text, label, (*before, quoted))
        raise type(error)(error.diagnostics, joined) from error
