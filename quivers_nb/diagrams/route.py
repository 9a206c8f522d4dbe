"""Along the flow: how far apart columns are, and the path of every wire between two items.

A wire runs straight to the gap between two columns and bends only there, by one cubic with the
direction of flow at both ends. All bends of a gap start and stop together, so wires that are in
order at both ends do not cross in between. Feedback leaves at the end of the frame, runs back
along its far side past a delay sign, and enters again at the start.
"""

from math import sqrt

from quivers_nb.diagrams.columns import Cell, Link, Sheet
from quivers_nb.diagrams.graph import IN, Kind
from quivers_nb.diagrams.metrics import text_width
from quivers_nb.diagrams.sizes import ROUND, TYPE, Look

Points = list[tuple[float, float]]  # a start, then three points for every cubic

GAP = 20.0
EDGE = 10.0  # between a frame and the first column
LANE = 22.0  # between feedback wires
TURN = 8.0  # radius of their corners
_BEND = 0.05  # less than this is straight
_AT_END = frozenset({Kind.COPY, Kind.CAP})
_AT_START = frozenset({Kind.DISCARD, Kind.CUP})


def run_length(sheet: Sheet, look: Look, *, framed: bool, head: float) -> None:
    """Place the columns of a sheet along the flow; sets its length."""
    feedback = sheet.diagram.feedback
    loops = EDGE + TURN * feedback if feedback else 0.0
    place = head + loops
    columns = sheet.columns
    bends = _bends(sheet, look)
    for k in range(len(columns) + 1):
        edge = k in {0, len(columns)}
        gap = max(bends[k], EDGE if edge and framed else GAP)
        sheet.gaps.append((place, gap))
        place += gap
        if k < len(columns):
            length = max((cell.length for cell in columns[k]), default=0.0)
            for cell in columns[k]:
                cell.along = place + _shift(cell, length)
                if cell.item is None:
                    cell.length = length
                    cell.along = place
            place += length
    sheet.length = place + loops


def _shift(cell: Cell, length: float) -> float:
    """Where in its column an item stands: signs near their wires, boxes in the middle."""
    room = length - cell.length
    if cell.item is None or cell.sheet is not None:
        return 0.0  # frames side by side start on one line
    at_end = cell.item.kind in _AT_END or (not cell.ins and len(cell.outs) > 0)
    if cell.item.kind in {Kind.REGROUP, Kind.MERGE}:
        at_end = len(cell.outs) > len(cell.ins)
        return room if at_end else 0.0
    if at_end:
        return room
    if cell.item.kind in _AT_START or not cell.outs:
        return 0.0
    return room / 2


def _bends(sheet: Sheet, look: Look) -> list[float]:
    """The room that the bends and the type labels of every gap need."""
    needed = [0.0] * (len(sheet.columns) + 1)
    share, most, least = (0.3, 46.0, 10.0) if look.down else (0.45, 64.0, 14.0)
    for link in sheet.links:
        bend = abs(_start(link)[1] - _stop(link)[1])
        gap = len(sheet.columns) if link.right in sheet.exits[:1] else link.right.column
        gap = min(gap, len(sheet.columns))
        if bend > _BEND:
            needed[gap] = max(needed[gap], min(most, least + bend * share))
        if is_labelled(link, look):
            room = 17.0 if look.down else text_width(link.wire.type.name, TYPE) + 12
            needed[gap] = max(needed[gap], room)
    return needed


def is_labelled(link: Link, look: Look) -> bool:
    """Whether the type is written at the start of this wire: only where it changes."""
    item = link.left.item
    if item is None or not (item.is_box or item.kind in {Kind.GROUP, Kind.REGROUP}):
        return False
    if Kind.JUNCTION in {item.kind, *([link.right.item.kind] if link.right.item else [])}:
        return False  # it says both types itself
    if link.wire.source.item == IN or look.open(item) or item.kind in {Kind.SITE, Kind.WORD}:
        return False
    return link.wire.type.name not in {wire.name for wire in item.ins}


def draw_paths(sheet: Sheet) -> None:
    """The path of every wire of a sheet, from where it starts to where it ends in it."""
    for link in sheet.links:
        points = _piece(sheet, link)
        whole = sheet.paths.setdefault(link.wire.source, points)
        if whole is not points:
            joined(whole, points)
    _loops(sheet)


def joined(path: Points, more: Points) -> Points:
    """Append a path that starts where another ends (a small step is bridged)."""
    if distance(path[-1], more[0]) > 0.01:
        path.extend(straight(path[-1], more[0]))
    path.extend(more[1:])
    return path


def merged(points: Points) -> Points:
    """Neighbouring straight pieces in the same direction as one."""
    kept = points[:1]
    for k in range(1, len(points), 3):
        piece = points[k : k + 3]
        if len(kept) > 3 and _straight_on(kept[-4:], [kept[-1], *piece]):
            start = kept[-4]
            del kept[-3:]
            third = ((piece[-1][0] - start[0]) / 3, (piece[-1][1] - start[1]) / 3)
            kept.append((start[0] + third[0], start[1] + third[1]))
            kept.append((piece[-1][0] - third[0], piece[-1][1] - third[1]))
            kept.append(piece[-1])
        else:
            kept += piece
    return kept


def _straight_on(first: Points, second: Points) -> bool:
    """Whether two pieces lie on one line parallel to an axis and go the same way."""
    for axis in (0, 1):
        other = 1 - axis
        here = first[0][axis]
        if all(abs(p[axis] - here) < 0.06 for p in (*first, *second)):
            one, two = first[-1][other] - first[0][other], second[-1][other] - second[0][other]
            return one * two > 0
    return False


def distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The larger of the two differences."""
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))


def straight(a: tuple[float, float], b: tuple[float, float]) -> Points:
    """The three points of a straight cubic from ``a`` to ``b``."""
    third = ((b[0] - a[0]) / 3, (b[1] - a[1]) / 3)
    return [(a[0] + third[0], a[1] + third[1]), (b[0] - third[0], b[1] - third[1]), b]


def crossing(cell: Cell, source: int, target: int) -> Points:
    """The path of one wire through an item that lets wires change places."""
    a = (cell.along, cell.across + cell.ins[source])
    b = (cell.along + cell.length, cell.across + cell.outs[target])
    middle = (a[0] + b[0]) / 2
    return [a, (middle, a[1]), (middle, b[1]), b]


def _start(link: Link) -> tuple[float, float]:
    cell = link.left
    across = cell.across + cell.outs[link.out]
    if cell.item is not None and cell.item.kind in {Kind.COPY, Kind.MERGE}:
        return cell.along + cell.length / 2, across
    return cell.along + cell.length - _inset(cell, cell.outs[link.out]), across


def _stop(link: Link) -> tuple[float, float]:
    cell = link.right
    across = cell.across + cell.ins[link.into]
    if cell.item is None and link.wire.target.item != IN:
        return cell.along + cell.length, across
    if cell.item is not None and cell.item.kind in {Kind.COPY, Kind.MERGE, Kind.DISCARD}:
        return cell.along + cell.length / 2, across
    return cell.along + _inset(cell, cell.ins[link.into]), across


def _inset(cell: Cell, offset: float) -> float:
    """How far inside its rectangle the border of an ellipse is."""
    item = cell.item
    if item is None or item.kind is not Kind.SITE or item.role not in ROUND:
        return 0.0
    from_middle = min(abs(2 * offset / cell.span - 1), 1.0)
    return cell.length / 2 * (1 - sqrt(1 - from_middle**2))


def _piece(sheet: Sheet, link: Link) -> Points:
    gap = len(sheet.columns) if link.right.column >= len(sheet.columns) else link.right.column
    gate, room = sheet.gaps[gap]
    a, b = _start(link), _stop(link)
    if abs(a[1] - b[1]) < _BEND:
        return [a, *straight(a, (b[0], a[1]))]
    points: Points = [a]
    if gate - a[0] > _BEND:
        points += straight(a, (gate, a[1]))
    first = max(gate, a[0])
    middle, last = (first + gate + room) / 2, gate + room
    points += [(middle, a[1]), (middle, b[1]), (last, b[1])]
    if b[0] - last > _BEND:
        points += straight((last, b[1]), b)
    return points


def _loops(sheet: Sheet) -> None:
    count = sheet.diagram.feedback
    for i in range(count):
        leaves = sheet.exits[len(sheet.exits) - count + i]
        enters = sheet.entries[len(sheet.entries) - count + i]
        lane = count - 1 - i
        start = (leaves.along, leaves.across + leaves.ins[0])
        stop = (enters.along, enters.across + enters.outs[0])
        side = sheet.span - LANE / 2 - LANE * i
        far, near = start[0] + TURN * (lane + 1), stop[0] - TURN * (lane + 1)
        middle = ((far + near) / 2, side)
        back = _round([start, (far, start[1]), (far, side), middle])
        forth = _round([middle, (near, side), (near, stop[1]), stop])
        sheet.loops += [back, forth]
        sheet.delays.append(middle)


def _round(corners: Points) -> Points:
    """A path along corners, each of them rounded."""
    path: Points = [corners[0]]
    for before, here, after in zip(corners, corners[1:], corners[2:], strict=False):
        enter, leave = _toward(here, before), _toward(here, after)
        path += straight(path[-1], enter)
        path += [_part(enter, here), _part(leave, here), leave]
    return path + straight(path[-1], corners[-1])


def _toward(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """The point a radius away from ``a`` in the direction of ``b``, or half-way if that is less."""
    length = abs(a[0] - b[0]) + abs(a[1] - b[1])
    share = min(TURN, length / 2) / length if length else 0.0
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _part(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * 0.55, a[1] + (b[1] - a[1]) * 0.55
