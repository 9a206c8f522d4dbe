"""The order in columns for the picture of a program, whose edges are a relation and may cross.

Barycentre sweeps (Sugiyama, Tagawa, Toda 1981), the best order of all sweeps kept. Everything
starts in the order of the steps, ties keep it, so equal programs have equal pictures.
"""

from itertools import pairwise

from quivers_nb.diagrams.columns import Cell, Link, Sheet
from quivers_nb.diagrams.graph import IN, OUT, GroupKind, Port, Wire

SWEEPS = 12


Boundary = tuple[tuple[int, ...], tuple[int, ...]]  # entries and exits in the order of places


def barycentre_order(sheet: Sheet, count: int, *, free_boundary: bool) -> None:
    """Fill the columns and link the cells; edges meet an item in the order of their other ends."""
    columns: list[list[Cell]] = [[] for _ in range(count)]
    for item in sheet.diagram.items:
        columns[sheet.cells[item.id].column].append(sheet.cells[item.id])
    for wire in sheet.diagram.wires:
        _link(sheet, wire, columns)
    sheet.columns = columns
    _reorder(sheet, free_boundary=free_boundary)
    _spread_ports(sheet)


def wished_boundary(sheet: Sheet, cell: Cell) -> Boundary:
    """In which order the edges of a group best cross its border, given what is around it."""
    place = _places(sheet)
    ins = {link.into: place[id(link.left)] for link in sheet.links if link.right is cell}
    outs = {link.out: place[id(link.right)] for link in sheet.links if link.left is cell}
    return tuple(sorted(ins, key=ins.__getitem__)), tuple(sorted(outs, key=outs.__getitem__))


def _places(sheet: Sheet) -> dict[int, int]:
    return {id(cell): i for column in sheet.all_columns for i, cell in enumerate(column)}


def is_free(kind: GroupKind | None) -> bool:
    """Whether the boundary of a group has no order of its own."""
    return kind is GroupKind.PLATE


def _link(sheet: Sheet, wire: Wire, columns: list[list[Cell]]) -> None:
    left, out = _end(sheet, wire.source)
    right, into = _end(sheet, wire.target)
    stop = len(columns) if wire.target.item == OUT else right.column
    for k in range(left.column + 1, stop):
        passing = Cell(k)
        columns[k].append(passing)
        sheet.links.append(Link(left, out, passing, 0, wire))
        left, out = passing, 0
    sheet.links.append(Link(left, out, right, into, wire))


def _end(sheet: Sheet, port: Port) -> tuple[Cell, int]:
    if port.item == IN:
        return sheet.entries[port.at], 0
    if port.item == OUT:
        return sheet.exits[port.at], 0
    return sheet.cells[port.item], port.at


def _reorder(sheet: Sheet, *, free_boundary: bool) -> None:
    before, after = _neighbours(sheet)
    columns = sheet.all_columns
    fixed = set() if free_boundary else {0, len(columns) - 1}
    best = [list(column) for column in columns]
    least = _crossings(columns, after)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(columns)) if down else range(len(columns) - 2, -1, -1)
        for k in order:
            if k not in fixed:
                other = columns[k - 1] if down else columns[k + 1]
                _sort(columns[k], other, before if down else after)
        crossed = _crossings(columns, after)
        if crossed < least:
            least, best = crossed, [list(column) for column in columns]
    for column, kept in zip(columns, best, strict=True):
        column[:] = kept


_Ends = list[tuple[Cell, float]]  # the other ends of edges, and where on their cells
_Neighbours = dict[int, _Ends]


def _neighbours(sheet: Sheet) -> tuple[_Neighbours, _Neighbours]:
    before: _Neighbours = {}
    after: _Neighbours = {}
    for link in sheet.links:
        here = _share(link.left, link.left.outs, link.out)
        there = _share(link.right, link.right.ins, link.into)
        before.setdefault(id(link.right), []).append((link.left, here))
        after.setdefault(id(link.left), []).append((link.right, there))
    return before, after


def _share(cell: Cell, offsets: list[float], port: int) -> float:
    """Where a port is on its cell, from 0 to 1. That of an item has no place yet."""
    return offsets[port] / cell.span if cell.sheet is not None and cell.span else 0.5


def _ends(cell: Cell, place: dict[int, int], links: _Neighbours) -> list[float]:
    return [place[id(end)] + share for end, share in links.get(id(cell), ()) if id(end) in place]


def _sort(column: list[Cell], other: list[Cell], links: _Neighbours) -> None:
    place = {id(cell): i for i, cell in enumerate(other)}
    own = {id(cell): i for i, cell in enumerate(column)}
    scale = max(len(other), 1) / max(len(column), 1)

    def key(cell: Cell) -> float:
        ends = _ends(cell, place, links)
        return sum(ends) / len(ends) if ends else (own[id(cell)] + 0.5) * scale

    column.sort(key=key)


def _crossings(columns: list[list[Cell]], after: _Neighbours) -> int:
    total = 0
    for left, right in pairwise(columns):
        place = {id(cell): i for i, cell in enumerate(right)}
        ends = [end for cell in left for end in sorted(_ends(cell, place, after))]
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return total


def _spread_ports(sheet: Sheet) -> None:
    """Number the ends of edges at every item by the order of their other ends."""
    place = _places(sheet)
    links = sheet.links
    for side in ("in", "out"):
        at: dict[int, list[int]] = {}
        for k, link in enumerate(links):
            cell = link.right if side == "in" else link.left
            if cell.item is not None and cell.sheet is None:
                at.setdefault(id(cell), []).append(k)
        for ends in at.values():
            far = [links[k].left if side == "in" else links[k].right for k in ends]
            places = [place[id(cell)] for cell in far]
            for rank, i in enumerate(sorted(range(len(ends)), key=places.__getitem__)):
                link = links[ends[i]]
                into = link._replace(into=rank)
                links[ends[i]] = into if side == "in" else link._replace(out=rank)
