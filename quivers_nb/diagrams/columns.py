"""From a port graph to columns: which items stand in one row, in which order, past which wires.

A term is planar, so the order is known: the open wires are swept through the columns, and an item
stands where its inputs are. Nothing is searched. A wire that passes a column has a cell there, so
no box can be put on it. For programs the order comes from `quivers_nb.diagrams.crossings`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from quivers_nb.diagrams.graph import IN, OUT, Anchor, Diagram, Ghost, Item, Port, Wire

WIRE = 6.0  # the width of a passing wire


@dataclass(slots=True, eq=False)
class Cell:
    """An item, a wire that passes a column, or a port of the boundary. Offsets are across."""

    column: int
    item: Item | None = None
    length: float = 0.0
    span: float = WIRE
    ins: list[float] = field(default_factory=lambda: [WIRE / 2])
    outs: list[float] = field(default_factory=lambda: [WIRE / 2])
    along: float = 0.0
    across: float = 0.0
    before: "list[tuple[Cell, int, int]]" = field(default_factory=list)  # cell, its out, our in
    after: "list[tuple[Cell, int, int]]" = field(default_factory=list)  # cell, our out, its in
    sheet: "Sheet | None" = None
    ghost: bool = False


class Link(NamedTuple):
    """A piece of a wire between cells of neighbouring columns."""

    left: Cell
    out: int
    right: Cell
    into: int
    wire: Wire


@dataclass(slots=True, eq=False)
class Sheet:
    """A diagram on its way to a place: cells in columns, and later their coordinates."""

    diagram: Diagram
    cells: dict[str, Cell]
    entries: list[Cell]
    exits: list[Cell]
    columns: list[list[Cell]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    length: float = 0.0
    span: float = 0.0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    paths: dict[Port, list[tuple[float, float]]] = field(default_factory=dict)
    loops: list[list[tuple[float, float]]] = field(default_factory=list)
    delays: list[tuple[float, float]] = field(default_factory=list)
    title_at: tuple[float, bool] = (0.0, False)  # where the title starts (or ends) across
    first: list[Cell] = field(default_factory=list)  # entries in the order of their places
    last: list[Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first, self.last = list(self.entries), list(self.exits)

    @property
    def all_columns(self) -> list[list[Cell]]:
        """The columns with those of the boundary."""
        return [self.first, *self.columns, self.last]


def assign_columns(diagram: Diagram, cells: dict[str, Cell]) -> int:
    """Longest path from the inputs; an item without inputs goes as late as it can.

    Returns the number of columns. Items of a diagram stand in topological order.
    """
    sources = _sources(diagram)
    for item in diagram.items:
        least = _ghost_column(item, cells)
        if item.ins:
            least = max(_column(port, cells) + 1 for port in sources[item.id])
        least = max([least, *(cells[name].column + 1 for name in item.waits)])
        cells[item.id].column = least
    last = max((cell.column for cell in cells.values()), default=-1)
    readers = _readers(diagram)
    for item in diagram.items:
        anchor = _anchor(item, cells)
        if not item.ins and isinstance(anchor, Port) and anchor.item != IN:
            readers[anchor.item].append(item.id)
    for item in reversed(diagram.items):
        if not item.ins and item.outs:
            nearest = [cells[name].column - 1 for name in readers[item.id] if name != OUT]
            least = _ghost_column(item, cells)
            cells[item.id].column = max(least, min(nearest, default=last))
    return last + 1


def _sources(diagram: Diagram) -> dict[str, list[Port]]:
    """Where the inputs of every item come from, in their order."""
    found: dict[str, list[Port]] = {item.id: [] for item in diagram.items}
    ordered = sorted(diagram.wires, key=lambda wire: wire.target.at)
    for wire in ordered:
        if wire.target.item != OUT:
            found[wire.target.item].append(wire.source)
    return found


def _readers(diagram: Diagram) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {item.id: [] for item in diagram.items}
    for wire in diagram.wires:
        if wire.source.item != IN:
            found[wire.source.item].append(wire.target.item)
    return found


def _column(port: Port, cells: dict[str, Cell]) -> int:
    return -1 if port.item == IN else cells[port.item].column


def _ghost_column(item: Item, cells: dict[str, Cell]) -> int:
    """The first column in which the place of an item without inputs exists."""
    anchor = _anchor(item, cells)
    return _column(anchor, cells) + 1 if isinstance(anchor, Port) else 0


def _anchor(item: Item, cells: dict[str, Cell]) -> Anchor:
    """The port beside which the place of an item without inputs begins."""
    anchor = item.ghost
    while isinstance(anchor, Ghost):
        owner = cells[anchor.item].item
        anchor = owner.ghost if owner is not None else None
    return anchor


class _Open(NamedTuple):
    """An open wire of the sweep, or (no cell) the place of an item still to come."""

    key: Port | Ghost
    cell: Cell | None
    out: int


def planar_order(sheet: Sheet, count: int) -> None:
    """Fill the columns in the order of the open wires, and link the cells."""
    _Sweep(sheet, count).run()


class _Sweep:
    """The row of open wires on its way through the columns."""

    def __init__(self, sheet: Sheet, count: int) -> None:
        self.sheet = sheet
        self.sources = _sources(sheet.diagram)
        self.wires = {wire.source: wire for wire in sheet.diagram.wires}
        self.inside: list[list[Item]] = [[] for _ in range(count)]
        self.born: dict[Port | Ghost | None, list[str]] = {}
        for item in sheet.diagram.items:
            self.inside[sheet.cells[item.id].column].append(item)
            if not item.ins:
                self.born.setdefault(item.ghost, []).insert(0, item.id)
        self.row = self._ghosts(None)
        for i, cell in enumerate(sheet.entries):
            self.row.append(_Open(Port(IN, i), cell, 0))
            self.row.extend(self._ghosts(Port(IN, i)))

    def run(self) -> None:
        for column, items in enumerate(self.inside):
            self._column(column, items)
        for state in self.row:
            if state.cell is not None and isinstance(state.key, Port):
                wire = self.wires[state.key]
                exit_cell = self.sheet.exits[wire.target.at]
                self.sheet.links.append(Link(state.cell, state.out, exit_cell, 0, wire))

    def _ghosts(self, key: Port | Ghost | None) -> list[_Open]:
        """The places of items without inputs on the right of ``key``, the latest the nearest."""
        found: list[_Open] = []
        for ident in self.born.get(key, ()):
            found.append(_Open(Ghost(ident), None, 0))
            found.extend(self._ghosts(Ghost(ident)))
        return found

    def _column(self, column: int, items: list[Item]) -> None:
        place = {state.key: i for i, state in enumerate(self.row)}
        here: list[tuple[float, Item | _Open]] = []
        used: set[Port | Ghost] = set()
        for item in items:
            keys: list[Port | Ghost] = [*self.sources[item.id]] or [Ghost(item.id)]
            used.update(keys)
            here.append((sum(place[key] for key in keys) / len(keys), item))
        here.extend((place[s.key], s) for s in self.row if s.key not in used)
        here.sort(key=lambda pair: pair[0])
        before = {state.key: state for state in self.row}
        cells: list[Cell] = []
        self.row = []
        for _, thing in here:
            if isinstance(thing, Item):
                cells.append(self._enter(thing, before))
            else:
                cells.append(self._pass(thing, column))
        self.sheet.columns.append(cells)

    def _enter(self, item: Item, before: dict[Port | Ghost, _Open]) -> Cell:
        cell = self.sheet.cells[item.id]
        for i, key in enumerate(self.sources[item.id]):
            state = before[key]
            if state.cell is not None:
                self.sheet.links.append(Link(state.cell, state.out, cell, i, self.wires[key]))
        for i in range(len(item.outs)):
            self.row.append(_Open(Port(item.id, i), cell, i))
            self.row.extend(self._ghosts(Port(item.id, i)))
        return cell

    def _pass(self, state: _Open, column: int) -> Cell:
        if state.cell is None:
            self.row.append(state)
            return Cell(column, span=0.0, ghost=True)
        cell = Cell(column)
        if isinstance(state.key, Port):
            wire = self.wires[state.key]
            self.sheet.links.append(Link(state.cell, state.out, cell, 0, wire))
        self.row.append(_Open(state.key, cell, 0))
        return cell
