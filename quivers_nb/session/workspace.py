"""The workspace: the cells of a notebook, and what each of them needs of the others.

A name has one declaration. A cell that declares it again takes it over from the cell that declared
it before, and everything that uses the name means the new declaration from then on. What a cell
means is decided by one text, which stands alone: the declarations of other cells that it needs, in
an order in which they can be read, then the cell itself.

No torch, no state: `Workspace.add` gives another workspace.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace

from quivers_nb.diagnostics.source import Excerpt, JoinedText, SourceText, Span
from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse

Key = tuple[str, str]  # a namespace, and a name in it
WORDS: Mapping[type, str] = {
    tree.ObjectDecl: "object", tree.DataDecl: "data", tree.LetDecl: "let",
    tree.ProgramDecl: "program",
}  # fmt: skip
NAMESPACES = ("object", "data", "morphism")  # lets and programs are found where morphisms are


@dataclass(frozen=True, slots=True)
class Declared:
    """A declaration. ``uses``: every word in it that may be a name declared elsewhere."""

    word: str  # what it is called: "object", "program", …
    key: Key
    span: Span
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Exported:
    """An export. ``text``: its expression as it is written; ``uses``: every word in it."""

    text: str
    span: Span
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that has been read. ``declared``: what other cells have not taken over since."""

    text: str
    label: str = field(compare=False)  # how people find it, for example ``cell [3]``
    name: str | None  # the name that the user gave the module
    declared: tuple[Declared, ...]
    exporting: tuple[Exported, ...]
    lost: tuple[Span, ...] = ()  # lines that other cells have taken over

    @property
    def exports(self) -> frozenset[str]:
        """What it exports, as it is written."""
        return frozenset(each.text for each in self.exporting)

    @property
    def keys(self) -> frozenset[Key]:
        return frozenset(declared.key for declared in self.declared)

    @property
    def uses(self) -> frozenset[str]:
        """Every word that may be a name, of what it declares and exports."""
        lines: list[Declared | Exported] = [*self.declared, *self.exporting]
        return frozenset[str]().union(*(line.uses for line in lines))

    @property
    def live_text(self) -> str:
        """The text with blanks in place of what was taken over: offsets are those of ``text``."""
        text = self.text
        for span in self.lost:
            gone = text[span.start : span.stop]
            blanks = "".join(char if char == "\n" else " " for char in gone)
            text = text[: span.start] + blanks + text[span.stop :]
        return text

    def without(self, by: "Cell") -> "Cell":
        """What is left when ``by`` declares what it does.

        A name that both export leaves with its declaration: the export here would ask ``by`` for
        it, which may need this cell itself.
        """
        gone = [line for line in self.declared if line.key in by.keys]
        if not gone:
            return self
        names = {line.key[1] for line in gone} & by.exports
        moved = [line for line in self.exporting if line.text in names]
        return replace(
            self,
            declared=tuple(line for line in self.declared if line not in gone),
            exporting=tuple(line for line in self.exporting if line not in moved),
            lost=(*self.lost, *(line.span for line in gone), *(line.span for line in moved)),
        )


def read_cell(text: str, label: str, name: str | None = None) -> Cell:
    """Read a cell.

    Raises:
        ParseError: the text is not QVR.
    """
    module = parse(SourceText(text, label))
    declared: list[Declared] = []
    exporting: list[Exported] = []
    for line in module.declarations:
        if isinstance(line, tree.ExportDecl):
            written = text[line.value.span.start : line.value.span.stop]
            exporting.append(Exported(written, line.span, frozenset(_words(line))))
        elif isinstance(declares := getattr(line, "name", None), tree.Name):
            word = WORDS.get(type(line), "morphism")
            key = (word if word in NAMESPACES else "morphism", declares.text)
            uses = frozenset(_words(line)) - {declares.text}
            declared.append(Declared(word, key, line.span, uses))
    return Cell(text, label, name, tuple(declared), tuple(exporting))


def _words(node: object) -> Iterator[str]:
    """Every name in a tree; of ``f_2`` also ``f``, since it may be a member of a group."""
    if isinstance(node, tree.Name):
        yield node.text
        base, _, member = node.text.rpartition("_")
        if member.isdigit():
            yield base
    elif isinstance(node, tuple):
        for item in node:
            yield from _words(item)
    elif is_dataclass(node):
        for each in fields(node):
            yield from _words(getattr(node, each.name))


Place = tuple[int, Cell, Declared]  # where a name is declared: the cell's number, it, the line


@dataclass(frozen=True, slots=True)
class Workspace:
    """Cells, each name declared by one of them."""

    cells: tuple[Cell, ...] = ()

    def add(self, cell: Cell) -> "Workspace":
        """With ``cell``, which takes over the names that it declares.

        A cell of which nothing is left is gone, and the new one stands in its place; otherwise it
        comes last. Cells that need others then move behind them.
        """
        kept: list[Cell] = []
        place: int | None = None
        for other in self.cells:
            rest = other.without(cell)
            if _replaced(rest, cell):
                place = len(kept) if place is None else place
            else:
                kept.append(rest)
        kept.insert(len(kept) if place is None else place, cell)
        return Workspace(_in_order(kept))

    def without(self, names: frozenset[str]) -> "Workspace":
        """Without the cells that declare one of ``names``, or that are named so."""
        kept = (cell for cell in self.cells if not names & ({cell.name} | names_of(cell)))
        return Workspace(tuple(kept))

    def without_users(self, names: frozenset[str]) -> "Workspace":
        """Without the cells that use one of ``names``."""
        return Workspace(tuple(cell for cell in self.cells if not names & cell.uses))

    def holder(self, name: str) -> Cell | None:
        """The cell that declares ``name``."""
        return next((cell for cell in self.cells if name in names_of(cell)), None)

    def depends(self, cell: Cell, on: Cell) -> bool:
        """Whether ``cell`` needs a declaration of ``on``, itself or by what it needs."""
        return any(other is on for other, _ in _needed(cell, self._known()))

    def sources(self) -> tuple[SourceText, ...]:
        """The `source` of every cell."""
        known = self._known()
        return tuple(_source(cell, known) for cell in self.cells)

    def source(self, cell: Cell) -> SourceText:
        """What ``cell`` means as a text that stands alone; places are told in their cells."""
        return _source(cell, self._known())

    def whole(self) -> str:
        """The texts of all cells, one below the other."""
        return "\n".join(cell.live_text.strip("\n") + "\n" for cell in self.cells)

    def _known(self) -> Mapping[Key, Place]:
        return {
            declared.key: (place, other, declared)
            for place, other in enumerate(self.cells)
            for declared in other.declared
        }


def _source(cell: Cell, known: Mapping[Key, Place]) -> SourceText:
    texts: list[str] = []
    excerpts: list[Excerpt] = []
    at = 0
    for other, declared in _needed(cell, known):
        own = SourceText(other.text, other.label)
        excerpts.append(Excerpt(at, own, declared.span.start))
        texts.append(other.text[declared.span.start : declared.span.stop] + "\n")
        at += len(texts[-1])
    text = "".join((*texts, cell.live_text))
    if not excerpts:
        return SourceText(text, cell.label)
    excerpts.append(Excerpt(at, SourceText(cell.text, cell.label), 0))
    return JoinedText(text, cell.label, tuple(excerpts))


def _needed(cell: Cell, known: Mapping[Key, Place]) -> list[tuple[Cell, Declared]]:
    """The declarations of other cells that ``cell`` needs, each after those it uses itself."""
    own, seen = cell.keys, set[Key]()
    found: list[tuple[Cell, Declared]] = []

    def visit(uses: frozenset[str]) -> None:
        keys = [(space, name) for name in uses for space in NAMESPACES]
        near = [key for key in keys if key in known and key not in own]
        for key in sorted(near, key=lambda k: (known[k][0], known[k][2].span)):
            if key not in seen:
                seen.add(key)
                _, other, declared = known[key]
                visit(declared.uses)
                found.append((other, declared))

    visit(cell.uses)
    return found


def names_of(cell: Cell) -> frozenset[str]:
    """The names that a cell declares, of every namespace."""
    return frozenset(name for _, name in cell.keys)


def _in_order(cells: list[Cell]) -> tuple[Cell, ...]:
    """Each cell after those that it needs, otherwise in the order they are in."""
    needs = [[_needs(cell.uses, cell.keys, other) for other in cells] for cell in cells]
    seen: set[int] = set()
    found: list[Cell] = []

    def visit(place: int) -> None:
        if place in seen:
            return
        seen.add(place)
        for other, needed in enumerate(needs[place]):
            if needed:
                visit(other)
        found.append(cells[place])

    for place in range(len(cells)):
        visit(place)
    return tuple(found)


def _needs(uses: frozenset[str], own: frozenset[Key], other: Cell) -> bool:
    return any(d.key[1] in uses and d.key not in own for d in other.declared)


def _replaced(rest: Cell, by: Cell) -> bool:
    """Whether a cell has nothing left: what it declared is declared by another.

    A cell that only exports is replaced by one that exports the same; an empty one by any.
    """
    return not rest.declared and (bool(rest.lost) or rest.exports <= by.exports)
