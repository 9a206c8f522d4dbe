"""A geometry as DOT that any Graphviz renders to the same picture, without flags.

``layout=nop2`` inside the graph makes Graphviz a painter: nodes, splines, clusters and labels stay
where ``pos`` and ``bb`` put them. Its y axis points up. Two invisible nodes in the corners keep
the page as large as ours.
"""

from html import escape

from quivers_nb.diagrams.geometry import DASHED, End, Frame, Geometry, Label, Node, Path, Point
from quivers_nb.diagrams.metrics import text_width
from quivers_nb.diagrams.shapes import arc_points
from quivers_nb.diagrams.sizes import LABEL, NOTE, TITLE, TYPE
from quivers_nb.diagrams.theme import LIGHT, WEIGHTS, fill_of, wire_color
from quivers_nb.display.text import visible

ARROW = 6.0  # its length; the line of the edge ends that much earlier
_UNWRITTEN = frozenset({"dot", "bar", "delay"})
_OUTSIDE = 4.0  # Graphviz draws the second border of a node outside of its size


def dot(geometry: Geometry) -> str:
    """The picture as DOT text."""
    return _Writer(geometry).whole()


class _Writer:
    """Writes statements; frames are nested clusters."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.down = geometry.orient == "tb"
        self.names: dict[str, str] = {}
        self.labels = {label.wire: label for label in geometry.labels}

    def whole(self) -> str:
        g = self.geometry
        width, height = _n(g.width), _n(g.height)
        lines = [
            "digraph {",
            f'graph [layout=nop2 bb="0,0,{width},{height}" outputorder=nodesfirst '
            f'forcelabels=false bgcolor=white fontname="Arial" tooltip={_q(g.title)}];',
            'node [fontname="Arial" fixedsize=true margin=0 penwidth=1.1];',
            'edge [fontname="Arial" arrowhead=none];',
            '"corner 0" [style=invis shape=point width=0 height=0 pos="0,0"];',
            f'"corner 1" [style=invis shape=point width=0 height=0 pos="{width},{height}"];',
            *self.inside(""),
            *map(self.end, g.ends),
            *(edge for wire in g.wires for edge in [self.wire(wire)]),
        ]
        if g.note:
            lines.append(f"label={_q(g.note)}; fontsize=8;")
        return "\n".join([*lines, "}", ""])

    def inside(self, parent: str) -> list[str]:
        """The statements of a frame: its nodes, and the frames in it as clusters."""
        lines = [line for n in self.geometry.nodes if n.parent == parent for line in self.node(n)]
        for frame in self.geometry.frames:
            if frame.parent == parent:
                number = len(self.names)
                self.names[frame.id] = f"cluster_{number}"
                lines += [f'subgraph "cluster_{number}" {{', self.frame(frame)]
                lines += [*self.inside(frame.id), "}"]
        return lines

    # --- parts ---

    def frame(self, frame: Frame) -> str:
        x0, y0 = self.xy((frame.x, frame.y + frame.height))
        x1, y1 = self.xy((frame.x + frame.width, frame.y))
        wide = text_width(frame.label, TITLE)
        middle = frame.title_x + (-wide / 2 if frame.title_end else wide / 2)
        lx, ly = self.xy((middle, frame.title_y - 3))
        plate = frame.kind == "plate"
        dashed = ",dashed" if frame.kind in DASHED else ""
        fill = "#ffffff" if plate else ("#f4f7fa", "#ecf1f5", "#e5ebf1")[frame.depth % 3]
        return (
            f'graph [bb="{x0},{y0},{x1},{y1}" label={_q(frame.label)} lp="{lx},{ly}" '
            f'lwidth={_inch(wide)} lheight=0.15 style="rounded,filled{dashed}" '
            f"fontsize={_n(TITLE)} "
            f'fontcolor="{LIGHT["quiet"]}" color="{LIGHT["line" if plate else "frame"]}" '
            f'fillcolor="{fill}" id={_q(frame.id)} class={_q("group " + frame.kind)} '
            f"tooltip={_q(f'{frame.kind} {frame.label} {frame.about}')}];"
        )

    def node(self, node: Node) -> list[str]:
        if node.shape in {"cup", "cap"}:
            return self.arc(node)
        x, y = self.xy(node.center)
        width, height = node.width, node.height
        if node.shape == "folded":
            width, height = width - 2 * _OUTSIDE, height - 2 * _OUTSIDE
        words = 'label=""' if node.shape in _UNWRITTEN else f"label=<{_label(node)}>"
        about = "\n".join(filter(None, [f"{node.label} : {node.about}", node.badge]))
        return [
            f'{_q(node.id)} [pos="{x},{y}" width={_inch(width)} height={_inch(height)} '
            f"{self.look(node)} {words} id={_q(node.id)} class={_q(node.role)} "
            f"tooltip={_q(about)}];"
        ]

    def look(self, node: Node) -> str:
        """Shape, ground and border of a node."""
        color = wire_color(node.color) if node.color >= 0 else LIGHT["line"]
        paint = f'fillcolor="{LIGHT[fill_of(node.role)]}" color="{LIGHT["line"]}"'
        turned = 0 if self.down else 90
        white = f'style=filled fillcolor=white color="{color}"'
        style = '"filled,dotted"' if node.role == "marginalize" else "filled"
        shapes = {
            "dot": f'shape=circle style=filled fillcolor="{color}" color="{color}"',
            "bar": f'shape=box style=filled fillcolor="{LIGHT["line"]}" color="{LIGHT["line"]}"',
            "delay": f"shape=triangle orientation={turned} {white}",
            "ellipse": f"shape=ellipse style={style} {paint}",
            "dashed": f'shape=box style="filled,dashed" {paint}',
            "word": 'shape=none style=""',
            "folded": f'shape=box style="filled,rounded" peripheries=2 {paint}',
            "slant": f"shape=polygon sides=4 style=filled {paint} {self.slant(node)}",
            "junction": f'shape=none style="" fontcolor="{LIGHT["error"]}"',
        }
        heavy = " penwidth=2.2" if node.shape == "ellipse" and node.role == "observe" else ""
        return shapes.get(node.shape, f'shape=box style="filled,rounded" {paint}') + heavy

    def slant(self, node: Node) -> str:
        sign = 1 if node.dagger else -1
        turned = 0 if self.down else 90
        return f"distortion={0.28 * -sign:g} orientation={turned}"

    def arc(self, node: Node) -> list[str]:
        """A cup or a cap: an invisible node and a loop in the form of a half circle."""
        x, y = self.xy(node.center)
        color = wire_color(node.color)
        name, half_circle = _q(node.id), self.spline(arc_points(node, down=self.down))
        return [
            f'{name} [pos="{x},{y}" width={_inch(node.width)} height={_inch(node.height)} '
            f'shape=box style=invis label="" id={name}];',
            f'{name} -> {name} [pos="{half_circle}" color="{color}" penwidth=1.7 '
            f"id={_q(node.id + '/arc')}];",
        ]

    def wire(self, wire: Path) -> str:
        color = wire_color(wire.color) if wire.color >= 0 else LIGHT["line"]
        pos = self.spline(wire.points)
        if wire.arrow:
            tip, points = _shortened(wire.points)
            pos = f"e,{','.join(self.xy(tip))} {self.spline(points)}"
        words = ""
        label = self.labels.get(f"{wire.source}.{wire.out}")
        if label is not None:
            words = self.label(label)
        return (
            f'{_q(wire.source)} -> {_q(wire.target)} [id={_q(wire.id)} pos="{pos}" '
            f'color="{color}" penwidth={WEIGHTS[wire.weight]}{words} class={_q("wire")} '
            f"tooltip={_q(f'{wire.type} {wire.size}'.strip() or 'edge')}"
            f"{' arrowhead=normal arrowsize=0.6' if wire.arrow else ''}];"
        )

    def label(self, label: Label) -> str:
        wide = text_width(label.text, TYPE)
        x, y = self.xy((label.x + (-wide / 2 if label.end else wide / 2), label.y - 3))
        return (
            f' label={_q(label.text)} lp="{x},{y}" fontsize={_n(TYPE)} '
            f'fontcolor="{wire_color(label.color)}"'
        )

    def end(self, end: End) -> str:
        wide = max(text_width(end.label, LABEL, bold=True), text_width(end.size, NOTE))
        x, y = end.x, end.y
        if self.down:
            y += -15 if end.side == "in" else 15
        else:
            x += (-5 - wide / 2) if end.side == "in" else (5 + wide / 2)
        px, py = self.xy((x, y))
        color = wire_color(end.color) if end.color >= 0 else LIGHT["ink"]
        words = f'<FONT COLOR="{color}"><B>{_h(end.label)}</B></FONT>'
        if end.size:
            words += f'<BR/><FONT POINT-SIZE="8" COLOR="{LIGHT["quiet"]}">{_h(end.size)}</FONT>'
        return (
            f'{_q(end.id)} [shape=none pos="{px},{py}" width={_inch(wide)} height=0.3 '
            f"fontsize={_n(LABEL)} label=<{words}> id={_q(end.id)}];"
        )

    # --- coordinates ---

    def xy(self, point: Point) -> tuple[str, str]:
        return _n(point[0]), _n(self.geometry.height - point[1])

    def spline(self, points: tuple[Point, ...]) -> str:
        return " ".join(",".join(self.xy(point)) for point in points)


def _shortened(points: tuple[Point, ...]) -> tuple[Point, tuple[Point, ...]]:
    """The tip of an arrow, and the line before it."""
    tip, (x, y) = points[-1], points[-2]
    length = ((tip[0] - x) ** 2 + (tip[1] - y) ** 2) ** 0.5 or 1.0
    back = min(ARROW, length) / length
    end = (tip[0] - (tip[0] - x) * back, tip[1] - (tip[1] - y) * back)
    return tip, (*points[:-1], end)


def _label(node: Node) -> str:
    name = f'<FONT POINT-SIZE="11"><B>{_h(node.label)}</B></FONT>'
    if node.shape == "junction":
        return f"{name}<BR/>≠<BR/><B>{_h(node.badge)}</B>"
    if not node.badge:
        return name
    return f'{name}<BR/><FONT POINT-SIZE="8" COLOR="{LIGHT["quiet"]}">{_h(node.badge)}</FONT>'


def _h(text: str) -> str:
    """A text inside an HTML-like label."""
    return escape(visible(text), quote=True)


def _q(text: str) -> str:
    """A text in quotes; Graphviz reads escapes in it."""
    safe = visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{safe}"'


def _inch(points: float) -> str:
    return f"{max(points, 0.5) / 72:.4f}"


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
