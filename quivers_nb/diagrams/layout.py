"""From a diagram to its geometry: a pure function, linear in what is shown, the same everywhere.

Open groups are laid out first and stand in their surroundings as large items with fixed ports;
frames can therefore never overlap, and folding one group moves nothing in the others. Everything
is computed along and across the flow, and only here turned down the page or to the right.
"""

from quivers_nb.diagrams.align import align
from quivers_nb.diagrams.collect import collect
from quivers_nb.diagrams.columns import Cell, Sheet, assign_columns, planar_order
from quivers_nb.diagrams.crossings import (
    Boundary,
    barycentre_order,
    is_free,
    wished_boundary,
)
from quivers_nb.diagrams.geometry import Geometry
from quivers_nb.diagrams.graph import Diagram, Item, WireType
from quivers_nb.diagrams.metrics import shown, text_width
from quivers_nb.diagrams.route import LANE, draw_paths, run_length
from quivers_nb.diagrams.sizes import LABEL, NOTE, TITLE, Look, leaf_size

PAD = 10.0  # between a frame and what is in it, across
FOOT = 4.0  # after the last gap of a frame
HEAD = 17.0  # the line of the title


def layout(diagram: Diagram, look: Look | None = None, note: str = "") -> Geometry:
    """Where everything of a diagram is when it is shown in this way."""
    look = look or Look()
    return collect(_sheet(diagram, look, None), look, note)


def _sheet(
    diagram: Diagram, look: Look, group: Item | None, boundary: Boundary | None = None
) -> Sheet:
    framed = group is not None
    cells = {item.id: _cell(item, look) for item in diagram.items}
    entries = [_end(wire, -1, look, framed=framed) for wire in diagram.dom]
    exits = [_end(wire, 0, look, framed=framed) for wire in diagram.cod]
    sheet = Sheet(diagram, cells, entries, exits)
    count = assign_columns(diagram, cells)
    for cell in exits:
        cell.column = count
    if diagram.planar:
        planar_order(sheet, count)
    else:
        _relation_order(sheet, count, look, group, boundary)
    align(sheet)
    _frame_across(sheet, look, group)
    run_length(sheet, look, framed=framed, head=_head(look, group))
    _frame_along(sheet, look, group)
    draw_paths(sheet)
    return sheet


def _relation_order(
    sheet: Sheet, count: int, look: Look, group: Item | None, boundary: Boundary | None
) -> None:
    """Order a sheet whose edges may cross; then lay out its plates again, to fit around them."""
    if boundary is not None:
        sheet.first = [sheet.entries[i] for i in boundary[0]]
        sheet.last = [sheet.exits[i] for i in boundary[1]]
    free = boundary is None and group is not None and is_free(group.group)
    barycentre_order(sheet, count, free_boundary=free)
    for cell in sheet.cells.values():
        item = cell.item
        if cell.sheet is not None and item is not None and is_free(item.group):
            again = _cell(item, look, wished_boundary(sheet, cell))
            cell.length, cell.span, cell.sheet = again.length, again.span, again.sheet
            cell.ins, cell.outs = again.ins, again.outs


def _cell(item: Item, look: Look, boundary: Boundary | None = None) -> Cell:
    if not look.open(item) or item.body is None:
        size = leaf_size(item, look)
        return Cell(0, item, size.length, size.span, size.ins, size.outs)
    inner = _sheet(item.body, look, item, boundary)
    own = len(inner.entries) - item.body.feedback
    return Cell(
        column=0,
        item=item,
        length=inner.length,
        span=inner.span,
        ins=[cell.across + cell.outs[0] for cell in inner.entries[:own]],
        outs=[
            cell.across + cell.ins[0]
            for cell in inner.exits[: len(inner.exits) - item.body.feedback]
        ],
        sheet=inner,
    )


def _end(wire: WireType, column: int, look: Look, *, framed: bool) -> Cell:
    """A port of the boundary; that of the whole is as wide as the words beside it."""
    if framed or not look.down:
        return Cell(column)
    wide = max(text_width(shown(wire.name), LABEL, bold=True), text_width(wire.size, NOTE))
    return Cell(column, span=wide, ins=[wide / 2], outs=[wide / 2])


def title(group: Item) -> str:
    """What stands in the upper corner of a frame."""
    return shown(group.label) + ("†" if group.dagger else "")


def _head(look: Look, group: Item | None) -> float:
    if group is None:
        return 0.0
    return HEAD if look.down and title(group) else FOOT


def _frame_across(sheet: Sheet, look: Look, group: Item | None) -> None:
    """Put the cells of a sheet between its borders across the flow, with room for the title."""
    every = [cell for column in sheet.all_columns for cell in column if not cell.ghost]
    low = min((cell.across for cell in every), default=0.0)
    high = max((cell.across + cell.span for cell in every), default=0.0)
    before = after = 0.0
    if group is not None:
        before = after = PAD
        if not look.down and title(group):
            before = HEAD + 2
    after += LANE * sheet.diagram.feedback
    _move(sheet, before - low)
    sheet.span = high - low + before + after
    if group is not None and look.down and title(group):
        _title_beside_wires(sheet, text_width(title(group), TITLE))


def _title_beside_wires(sheet: Sheet, wide: float) -> None:
    """A title stands left or right of the wires that enter the frame, which grows if it must."""
    need = wide + 14
    ports = [cell.across + cell.outs[0] for cell in sheet.entries]
    first, last = (min(ports), max(ports)) if ports else (sheet.span, sheet.span)
    if not ports:
        sheet.span = max(sheet.span, need)
    elif first < need:
        own = len(sheet.entries) - sheet.diagram.feedback
        outer = max((p for p in ports[:own]), default=first)
        if sheet.diagram.feedback == 0 and sheet.span - outer >= need:
            sheet.title_at = (sheet.span - 8, True)
            return
        grow = need - first
        _move(sheet, grow)
        sheet.span += grow + (grow if sheet.diagram.feedback == 0 and last == first else 0)
    sheet.title_at = (8.0, False)


def _move(sheet: Sheet, by: float) -> None:
    for column in sheet.all_columns:
        for cell in column:
            cell.across += by


def _frame_along(sheet: Sheet, look: Look, group: Item | None) -> None:
    """Put the boundary ports at the borders along the flow."""
    if group is not None:
        sheet.length += FOOT
        if not look.down and title(group):
            sheet.length = max(sheet.length, text_width(title(group), TITLE) + 18)
            sheet.title_at = (8.0, False)
    feedback = sheet.diagram.feedback
    for cells, border, inside in (
        (sheet.entries, 0.0, sheet.gaps[0][0]),
        (sheet.exits, sheet.length, sum(sheet.gaps[-1])),
    ):
        own = len(cells) - feedback
        for i, cell in enumerate(cells):
            cell.along = border if i < own else inside
            cell.length = 0.0
