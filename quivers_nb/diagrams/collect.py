"""From laid-out sheets to the geometry: frames, nodes, and every true wire in one piece.

A true wire runs from the port of something visible to the port of something visible, through the
borders of open groups and through places where wires cross.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypedDict

from quivers_nb.diagrams.columns import Cell, Sheet
from quivers_nb.diagrams.geometry import End, Frame, Geometry, Label, Node, Path, Point
from quivers_nb.diagrams.graph import (
    IN,
    OUT,
    Diagram,
    GroupKind,
    Item,
    Kind,
    Port,
    Wire,
    WireType,
    signature,
    walk,
)
from quivers_nb.diagrams.metrics import shown, text_width
from quivers_nb.diagrams.route import Points, crossing, joined, merged
from quivers_nb.diagrams.sizes import DELAY, LABEL, NOTE, Look, label_text
from quivers_nb.diagrams.typewords import type_words

MARGIN = 8.0
_END_HEIGHT = 30.0  # the words of an object above or below the picture
_SHAPES = {
    Kind.BOX: "box",
    Kind.CONTRACTION: "square",
    Kind.COPY: "dot",
    Kind.DISCARD: "dot",
    Kind.MERGE: "dot",
    Kind.REGROUP: "bar",
    Kind.CUP: "cup",
    Kind.CAP: "cap",
    Kind.GROUP: "folded",
    Kind.JUNCTION: "junction",
    Kind.WORD: "word",
}
_SITES = {
    "sample": "ellipse",
    "observe": "ellipse",
    "marginalize": "ellipse",
    "let": "dashed",
    "score": "dashed",
}


class _Box(TypedDict):
    x: float
    y: float
    width: float
    height: float


class _End(NamedTuple):
    """Something visible, and the number of its input."""

    node: str
    into: int


@dataclass(frozen=True)
class _Placed:
    """A sheet, where its origin is, and what it is the body of."""

    sheet: Sheet
    along: float
    across: float
    depth: int
    group: Item | None = None
    parent: "_Placed | None" = None
    inside: dict[str, "_Placed"] = field(default_factory=dict)

    @cached_property
    def wires(self) -> dict[Port, Wire]:
        return {wire.source: wire for wire in self.sheet.diagram.wires}

    @property
    def id(self) -> str:
        return self.group.id if self.group is not None else ""

    def shifted(self, points: Points) -> Points:
        return [(a + self.along, c + self.across) for a, c in points]


def collect(sheet: Sheet, look: Look, note: str) -> Geometry:
    """The geometry of a laid-out diagram."""
    return _Collector(sheet, look).geometry(note)


class _Collector:
    """Walks the placed sheets once, and turns places into coordinates."""

    def __init__(self, sheet: Sheet, look: Look) -> None:
        self.look = look
        self.sheet = sheet
        self.types = _types(sheet.diagram)
        self.colors = {name: i for i, name in enumerate(self.types)}
        self.slanted = {
            item.label for _, item in walk(sheet.diagram) if item.dagger and item.is_box
        }
        before, beside = self._margins()
        self.root = _placed(sheet, before, beside, 0, None, None)
        self.all = list(_all(self.root))

    def geometry(self, note: str) -> Geometry:
        width, height = self._size()
        wires = [path for placed in self.all for path in self._wires(placed)]
        return Geometry(
            title=shown(self.sheet.diagram.title),
            orient="tb" if self.look.down else "lr",
            width=_r(width),
            height=_r(height),
            frames=tuple(self._frame(p) for p in self.all if p.group is not None),
            nodes=tuple(node for placed in self.all for node in self._nodes(placed)),
            wires=tuple(wires),
            labels=tuple(label for placed in self.all for label in self._labels(placed)),
            ends=tuple(self._ends()),
            types=self.types,
            note=note,
        )

    # --- coordinates ---

    def _margins(self) -> tuple[float, float]:
        """Room before the first column, and beside it, for the objects of the boundary."""
        if self.look.down:
            return (_END_HEIGHT if self.sheet.entries else 0.0) + MARGIN, MARGIN
        return _words_width(self.sheet.diagram.dom) + MARGIN, MARGIN + 10

    def _size(self) -> tuple[float, float]:
        before, beside = self._margins()
        if self.look.down:
            after = (_END_HEIGHT if self.sheet.exits else 0.0) + MARGIN
            return self.sheet.span + 2 * beside, self.sheet.length + before + after
        after = _words_width(self.sheet.diagram.cod) + MARGIN
        return self.sheet.length + before + after, self.sheet.span + 2 * beside

    def _point(self, along: float, across: float) -> Point:
        return (_r(across), _r(along)) if self.look.down else (_r(along), _r(across))

    def _box(self, along: float, across: float, length: float, span: float) -> "_Box":
        x, y = self._point(along, across)
        width, height = (span, length) if self.look.down else (length, span)
        return {"x": x, "y": y, "width": _r(width), "height": _r(height)}

    # --- what is drawn ---

    def _frame(self, placed: _Placed) -> Frame:
        group, sheet = placed.group, placed.sheet
        assert group is not None
        start, at_end = sheet.title_at
        if self.look.down:
            title_x, title_y = placed.across + start, placed.along + 12
        else:
            title_x, title_y = placed.along + start, placed.across + 13
        kind = group.group or GroupKind.LET
        return Frame(
            id=group.id,
            parent=placed.parent.id if placed.parent else "",
            kind=kind.value,
            label=shown(group.label) + ("†" if group.dagger else ""),
            about=shown(signature(group), 200) if kind is not GroupKind.PLATE else "",
            depth=placed.depth,
            title_x=_r(title_x),
            title_y=_r(title_y),
            title_end=at_end,
            dagger=group.dagger,
            **self._box(placed.along, placed.across, sheet.length, sheet.span),
        )

    def _nodes(self, placed: _Placed) -> list[Node]:
        nodes = [
            self._node(cell, placed)
            for item in placed.sheet.diagram.items
            if (cell := placed.sheet.cells[item.id]).sheet is None and item.kind is not Kind.SWAP
        ]
        return nodes + [self._delay(i, placed) for i in range(placed.sheet.diagram.feedback)]

    def _node(self, cell: Cell, placed: _Placed) -> Node:
        item = cell.item
        assert item is not None
        wire = (*item.outs, *item.ins)[:1]
        return Node(
            id=item.id,
            parent=placed.id,
            shape=self._shape(item),
            label=label_text(item),
            badge=self.look.badge(item),
            about=shown(item.about or signature(item), 200),
            role=item.role or (item.group.value if item.group else item.kind.value),
            color=self.colors.get(wire[0].name, -1) if wire and not item.is_box else -1,
            folded=item.body is not None,
            dagger=item.dagger,
            kind=item.kind.value,
            **self._box(
                placed.along + cell.along, placed.across + cell.across, cell.length, cell.span
            ),
        )

    def _shape(self, item: Item) -> str:
        if item.kind is Kind.SITE:
            return _SITES.get(item.role, "box")
        if item.kind is Kind.BOX and item.label in self.slanted:
            return "slant"
        return _SHAPES[item.kind]

    def _delay(self, i: int, placed: _Placed) -> Node:
        diagram = placed.sheet.diagram
        along, across = placed.sheet.delays[i]
        wire = diagram.dom[len(diagram.dom) - diagram.feedback + i]
        half = DELAY / 2
        return Node(
            id=_delay_id(placed, i),
            parent=placed.id,
            shape="delay",
            label="",
            badge="",
            about=f"one step earlier: {shown(wire.name)}",
            role="delay",
            color=self.colors[wire.name],
            kind="delay",
            **self._box(placed.along + along - half, placed.across + across - half, DELAY, DELAY),
        )

    def _ends(self) -> list[End]:
        ends: list[End] = []
        for side, cells, types in (
            ("in", self.root.sheet.entries, self.sheet.diagram.dom),
            ("out", self.root.sheet.exits, self.sheet.diagram.cod),
        ):
            for i, (cell, wire) in enumerate(zip(cells, types, strict=True)):
                across = cell.across + (cell.outs[0] if side == "in" else cell.ins[0])
                x, y = self._point(self.root.along + cell.along, self.root.across + across)
                name, size = shown(wire.name), shown(wire.size)
                color = self.colors[wire.name]
                ends.append(End(f"{side}[{i}]", side, name, size, x, y, color))
        return ends

    # --- wires ---

    def _wires(self, placed: _Placed) -> list[Path]:
        found: list[Path] = []
        if placed.parent is None:
            found += [
                self._trace(placed, Port(IN, i), [], f"in[{i}]", i)
                for i in range(len(placed.sheet.entries))
            ]
        for item in placed.sheet.diagram.items:
            if item.id not in placed.inside and item.kind is not Kind.SWAP:
                found += [
                    self._trace(placed, Port(item.id, i), [], item.id, i)
                    for i in range(len(item.outs))
                ]
        own = len(placed.sheet.entries) - placed.sheet.diagram.feedback
        for i in range(placed.sheet.diagram.feedback):
            forth = placed.shifted(placed.sheet.loops[2 * i + 1])
            found.append(self._trace(placed, Port(IN, own + i), forth, _delay_id(placed, i), 0))
        return found

    def _trace(self, placed: _Placed, port: Port, points: Points, source: str, out: int) -> Path:
        """Follow a wire from ``port`` of a sheet to something visible."""
        carried = placed.wires[port].type
        while True:
            wire = placed.wires[port]
            carried = carried if carried.weight else wire.type
            piece = placed.shifted(placed.sheet.paths[port])
            points = joined(points, piece) if points else piece
            after = self._after(placed, wire.target, points)
            if isinstance(after, _End):
                arrow = not placed.sheet.diagram.planar
                return self._path(carried, (source, out), after, points, arrow)
            placed, port = after

    def _after(self, placed: _Placed, port: Port, points: Points) -> "_End | tuple[_Placed, Port]":
        """What a wire meets at the end of a piece: something visible, or its next piece."""
        name, index = port
        if name == OUT:
            return self._leave(placed, index, points)
        if name in placed.inside:
            return placed.inside[name], Port(IN, index)
        cell = placed.sheet.cells[name]
        if cell.item is None or cell.item.kind is not Kind.SWAP:
            return _End(name, index)
        k = cell.item.order.index(index)
        joined(points, placed.shifted(crossing(cell, index, k)))
        return placed, Port(name, k)

    def _leave(self, placed: _Placed, index: int, points: Points) -> "_End | tuple[_Placed, Port]":
        """What is behind the end of a sheet: the end of all, a delay, or the sheet around it."""
        diagram = placed.sheet.diagram
        own = len(diagram.cod) - diagram.feedback
        if index >= own:
            joined(points, placed.shifted(placed.sheet.loops[2 * (index - own)]))
            return _End(_delay_id(placed, index - own), 0)
        if placed.parent is None:
            return _End(f"out[{index}]", index)
        return placed.parent, Port(placed.id, index)

    def _path(
        self, wire: WireType, start: tuple[str, int], end: "_End", points: Points, arrow: bool
    ) -> Path:
        (source, out), (target, into) = start, end
        return Path(
            id=f"{source}.{out}>{target}.{into}",
            source=source,
            out=out,
            target=target,
            into=into,
            type=shown(wire.name),
            size=shown(wire.size),
            color=self.colors.get(wire.name, -1),
            weight=wire.weight,
            points=tuple(self._point(*point) for point in merged(points)),
            arrow=arrow,
        )

    def _labels(self, placed: _Placed) -> list[Label]:
        found: list[Label] = []
        for word in type_words(placed.sheet, self.look):
            x, y = self._point(placed.along + word.along, placed.across + word.across)
            wire = f"{word.source.item}.{word.source.at}"
            color = self.colors[word.type.name]
            found.append(Label(wire, shown(word.type.name), x, y, word.ends_there, color))
        return found


def _placed(
    sheet: Sheet,
    along: float,
    across: float,
    depth: int,
    group: Item | None,
    parent: _Placed | None,
) -> _Placed:
    here = _Placed(sheet, along, across, depth, group, parent)
    for name, cell in sheet.cells.items():
        if cell.sheet is not None:
            here.inside[name] = _placed(
                cell.sheet, along + cell.along, across + cell.across, depth + 1, cell.item, here
            )
    return here


def _all(placed: _Placed) -> list[_Placed]:
    return [placed, *(one for inner in placed.inside.values() for one in _all(inner))]


def _delay_id(placed: _Placed, i: int) -> str:
    return f"{placed.id}/delay[{i}]"


def _types(diagram: Diagram) -> tuple[str, ...]:
    """The names of all types in the order in which they appear; open or folded, it is the same."""
    seen: dict[str, None] = {}
    for wire in diagram.dom:
        seen.setdefault(wire.name)
    for _, item in walk(diagram):
        for wire in (*item.ins, *item.outs, *(item.body.dom if item.body is not None else ())):
            seen.setdefault(wire.name)
    seen.pop("", None)
    return tuple(seen)


def _words_width(types: tuple[WireType, ...]) -> float:
    """The width of the objects left or right of the picture, with a little air."""
    wide = (
        max(text_width(shown(t.name), LABEL, bold=True), text_width(shown(t.size), NOTE))
        for t in types
    )
    return max(wide, default=-6.0) + 6


def _r(value: float) -> float:
    return round(value, 2) + 0.0
