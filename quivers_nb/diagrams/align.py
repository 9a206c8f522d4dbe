"""Across the flow: where in its column everything stands, as straight as the order allows.

In every column the places are the weighted least-squares solution for "as near as possible to the
neighbours' ports" under "in this order, this far apart": isotonic regression, exact and linear by
pooling adjacent violators (Ayer et al. 1955). Alternating sweeps settle the whole sheet.
"""

from itertools import pairwise

from quivers_nb.diagrams.columns import Cell, Sheet
from quivers_nb.diagrams.graph import Kind
from quivers_nb.diagrams.sizes import CORNER, NEAREST, PITCH

SWEEPS = 10
AGAIN = 3  # times that ports slide and everything settles again
APART = 12.0  # between a box and its neighbour
_REACH = 14.0
_STRETCH = 170.0  # a box grows to meet its wires up to this span
_SLIDING = frozenset({Kind.BOX, Kind.CONTRACTION, Kind.SWAP, Kind.GROUP})


def pooled(wanted: list[float], weights: list[float]) -> list[float]:
    """The non-decreasing values nearest to ``wanted`` in weighted squares."""
    blocks: list[tuple[float, float, int]] = []  # weighted sum, weight, length
    for value, weight in zip(wanted, weights, strict=True):
        total, mass, length = value * weight, weight, 1
        while blocks and blocks[-1][0] * mass > total * blocks[-1][1]:
            earlier = blocks.pop()
            total, mass, length = total + earlier[0], mass + earlier[1], length + earlier[2]
        blocks.append((total, mass, length))
    return [total / mass for total, mass, length in blocks for _ in range(length)]


def align(sheet: Sheet) -> None:
    """Give every cell of a sheet its place across."""
    for link in sheet.links:
        link.right.before.append((link.left, link.out, link.into))
        link.left.after.append((link.right, link.out, link.into))
    columns = sheet.all_columns
    for column in columns:
        _start(column)
    _sweep(columns, SWEEPS)
    if sheet.diagram.planar and _slide(sheet):
        for _ in range(AGAIN):
            _sweep(columns, 2)
            _slide(sheet)
        _sweep(columns, 2)
        _reach(columns)
        _slide(sheet, grow=False)
    _draw_together(columns)


def _draw_together(columns: list[list[Cell]]) -> None:
    """Move parts that no wire connects with the rest towards what is on their left."""
    parts = _parts(columns)
    if len(parts) < 2:
        return
    beside = {id(b): (a, distance(a, b)) for column in columns for a, b in pairwise(column)}
    for part in sorted(parts, key=lambda cells: min(cell.across for cell in cells)):
        own = {id(cell) for cell in part}
        slack = [
            cell.across - left.across - apart
            for cell in part
            for left, apart in [beside.get(id(cell), (cell, 0.0))]
            if id(left) not in own
        ]
        if slack and min(slack) > 0:
            for cell in part:
                cell.across -= min(slack)


def _parts(columns: list[list[Cell]]) -> list[list[Cell]]:
    """The cells that hang together by wires."""
    found: list[list[Cell]] = []
    seen: set[int] = set()
    for cell in (cell for column in columns for cell in column):
        if id(cell) in seen:
            continue
        part, todo = [], [cell]
        seen.add(id(cell))
        while todo:
            here = todo.pop()
            part.append(here)
            for other, _, _ in (*here.before, *here.after):
                if id(other) not in seen:
                    seen.add(id(other))
                    todo.append(other)
        found.append(part)
    return found


def distance(left: Cell, right: Cell) -> float:
    """From the start of a cell to the start of the next in its column, at least."""
    if left.ghost or right.ghost:
        return left.span + APART / 2
    wires = left.item is None and right.item is None
    return left.span + (PITCH - left.span if wires and left.span < PITCH - 4 else APART)


def _start(column: list[Cell]) -> None:
    place = 0.0
    for i, cell in enumerate(column):
        cell.across = place
        if i + 1 < len(column):
            place += distance(cell, column[i + 1])
    middle = (place + column[-1].span) / 2 if column else 0.0
    for cell in column:
        cell.across -= middle


def _sweep(columns: list[list[Cell]], times: int) -> None:
    steps = [_steps(column) for column in columns]
    for _ in range(times):
        for k in range(1, len(columns)):
            _settle(columns[k], steps[k], forward=True)
        for k in range(len(columns) - 2, -1, -1):
            _settle(columns[k], steps[k], forward=False)
    for k in range(1, len(columns)):
        _settle(columns[k], steps[k], forward=True)
    _settle(columns[0], steps[0], forward=False)


def _steps(column: list[Cell]) -> list[float]:
    """How far from the first of its column each cell stands at least."""
    steps = [0.0] * len(column)
    for i in range(1, len(column)):
        steps[i] = steps[i - 1] + distance(column[i - 1], column[i])
    return steps


def _settle(column: list[Cell], steps: list[float], *, forward: bool) -> None:
    wanted: list[float] = []
    weights: list[float] = []
    for cell, step in zip(column, steps, strict=True):
        place, weight = _wish(cell, forward=forward)
        wanted.append(place - step)
        weights.append(weight)
    for cell, value, step in zip(column, pooled(wanted, weights), steps, strict=True):
        cell.across = value + step


def _wish(cell: Cell, *, forward: bool) -> tuple[float, float]:
    """Where a cell wants to be for its neighbours on one side, and how much."""
    first, second = (cell.before, cell.after) if forward else (cell.after, cell.before)
    if first:
        return _mean(cell, first, before=forward), _weight(cell)
    if second:
        return _mean(cell, second, before=not forward), _weight(cell)
    return cell.across, 0.05


def _mean(cell: Cell, links: list[tuple[Cell, int, int]], *, before: bool) -> float:
    total = 0.0
    if before:
        for other, out, into in links:
            total += other.across + other.outs[out] - cell.ins[into]
    else:
        for other, out, into in links:
            total += other.across + other.ins[into] - cell.outs[out]
    return total / len(links)


def _weight(cell: Cell) -> float:
    if cell.item is None:
        return 4.0
    return 2.0 if len(cell.ins) <= 1 and len(cell.outs) <= 1 else 1.0


def _slide(sheet: Sheet, *, grow: bool = True) -> bool:
    """Move the ports of wide boxes along their sides to where their wires come from."""
    moved = False
    for cell in sheet.cells.values():
        if not _slides(cell):
            continue
        moved = True
        if grow:
            _grow(cell)
        if len(cell.ins) > 1:
            cell.ins = _slid(cell, [a + o.outs[p] for a, o, p in _places(cell.before)], cell.ins)
        if len(cell.outs) > 1:
            ends = [(o.across, o, q, p) for o, p, q in sorted(cell.after, key=lambda x: x[1])]
            cell.outs = _slid(cell, [a + o.ins[q] for a, o, q, _ in ends], cell.outs)
    return moved


def _places(links: list[tuple[Cell, int, int]]) -> list[tuple[float, Cell, int]]:
    return [(o.across, o, out) for o, out, _ in sorted(links, key=lambda link: link[2])]


def _slid(cell: Cell, wanted: list[float], now: list[float]) -> list[float]:
    """Ports in order, not too near to each other or to a corner; as now if there is no room."""
    count = len(now)
    swap = cell.item is not None and cell.item.kind is Kind.SWAP
    margin, near = (1.0, PITCH - 6) if swap else (CORNER, NEAREST)
    room = cell.span - 2 * margin - (count - 1) * near
    if len(wanted) != count or room <= 0:
        return now
    places = [w - cell.across - margin - i * near for i, w in enumerate(wanted)]
    free = pooled(places, [1.0] * count)
    return [margin + i * near + min(max(f, 0.0), room) for i, f in enumerate(free)]


def _reach(columns: list[list[Cell]]) -> None:
    """Let boxes reach out a little to wires that end just beside them, where there is room."""
    for column in columns:
        for i, cell in enumerate(column):
            ends = _ends(cell)
            if len(ends) < 2 or not _slides(cell):
                continue
            low, high = min(ends) - CORNER, max(ends) + CORNER
            before, after = column[i - 1] if i else None, column[i + 1 : i + 2]
            left = min(cell.across - low, _REACH)
            if before is not None:
                left = min(left, cell.across - before.across - distance(before, cell))
            right = min(high - cell.across - cell.span, _REACH)
            for other in after:
                right = min(right, other.across - cell.across - distance(cell, other))
            _widen(cell, max(left, 0.0), max(right, 0.0))


def _ends(cell: Cell) -> list[float]:
    """Where the other ends of the wires are, at sides with several of them."""
    before = [other.across + other.outs[out] for other, out, _ in cell.before]
    after = [other.across + other.ins[into] for other, _, into in cell.after]
    return [end for side in (before, after) if len(side) > 1 for end in side]


def _widen(cell: Cell, left: float, right: float) -> None:
    cell.across -= left
    cell.span += left + right
    cell.ins = [place + left for place in cell.ins]
    cell.outs = [place + left for place in cell.outs]


def _slides(cell: Cell) -> bool:
    """Whether the ports of a cell may move along its sides."""
    item = cell.item
    if item is None or cell.sheet is not None or item.kind not in _SLIDING:
        return False
    return len(cell.ins) > 1 or len(cell.outs) > 1


def _grow(cell: Cell) -> None:
    """Let a box become as wide as the wires that it meets, if they are near."""
    before = [other.across + other.outs[out] for other, out, _ in cell.before]
    after = [other.across + other.ins[into] for other, _, into in cell.after]
    widest = max((max(e) - min(e) for e in (before, after) if len(e) > 1), default=0.0)
    extra = widest + 2 * CORNER - cell.span
    if 0 < extra <= _STRETCH - cell.span:
        _widen(cell, extra / 2, extra / 2)
