"""A geometry as TikZ, for papers: the same picture, with the text set by LaTeX.

The output is one ``tikzpicture`` that needs no library but ``tikz`` itself. Coordinates are points,
y grows upwards. Sizes of boxes are ours, so a document font much wider than Arial may stick out.
"""

from quivers_nb.diagrams.geometry import DASHED, End, Frame, Geometry, Label, Node, Path, Point
from quivers_nb.diagrams.shapes import arc_points, slanted, teeth, triangle
from quivers_nb.diagrams.sizes import RIM
from quivers_nb.diagrams.theme import LIGHT, WEIGHTS, WIRES_LIGHT, fill_of
from quivers_nb.display.text import visible

_SPECIAL = str.maketrans(
    {
        **{char: f"\\{char}" for char in "&%$#_{}"},
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "\\": "\\textbackslash{}",
        "<": "\\textless{}",
        ">": "\\textgreater{}",
        "|": "\\textbar{}",
        '"': "\\char34{}",
        "ℝ": "$\\mathbb{R}$",
        "ℤ": "$\\mathbb{Z}$",
        "·": "$\\cdot$",
        "×": "$\\times$",
        "†": "$\\dagger$",
        "→": "$\\to$",
        "…": "\\dots{}",
        "–": "--",
        "₊": "$_+$",
    }
)


def tikz(geometry: Geometry) -> str:
    """The picture as a ``tikzpicture``; ``\\mathbb`` needs the package amssymb."""
    return _Writer(geometry).whole()


class _Writer:
    """Writes commands in the order of painting."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.down = geometry.orient == "tb"

    def whole(self) -> str:
        g = self.geometry
        colors = [*LIGHT.items(), *((f"w{i}", color) for i, color in enumerate(WIRES_LIGHT))]
        lines = [
            f"% {_comment(g.title)}",
            *(f"\\definecolor{{qd{name}}}{{HTML}}{{{hue[1:].upper()}}}" for name, hue in colors),
            "\\begin{tikzpicture}[x=1pt,y=1pt,font=\\sffamily,line join=round]",
            *map(self.frame, g.frames),
            *map(self.wire, g.wires),
            *map(self.label, g.labels),
            *(line for node in g.nodes for line in self.node(node)),
            *map(self.end, g.ends),
            "\\end{tikzpicture}",
            "",
        ]
        return "\n".join(lines)

    def frame(self, frame: Frame) -> str:
        dashed = ",dashed" if frame.kind in DASHED else ""
        paint = f"draw=qdframe,fill=qdtint,fill opacity=0.045,rounded corners=8pt{dashed}"
        if frame.kind == "plate":
            paint = "draw=qdline,rounded corners=8pt"
        anchor = "base east" if frame.title_end else "base west"
        title = self.text(frame.label, (frame.title_x, frame.title_y), 9, "qdquiet", anchor)
        return f"\\path[{paint}] {self.rectangle(frame)};\n{title}"

    def wire(self, wire: Path) -> str:
        head = "->," if wire.arrow else ""
        color = _color(wire.color)
        return (
            f"\\draw[{head}{color},line width={WEIGHTS[wire.weight]}pt] {self.path(wire.points)};"
        )

    def label(self, label: Label) -> str:
        anchor = "base east" if label.end else "base west"
        return self.text(label.text, (label.x, label.y), 8, _color(label.color), anchor)

    def end(self, end: End) -> str:
        x, y, anchor = end.x, end.y, "base"
        if self.down:
            places = [(x, y - 16), (x, y - 5)] if end.side == "in" else [(x, y + 13), (x, y + 24)]
        else:
            anchor = "base east" if end.side == "in" else "base west"
            x += -5 if end.side == "in" else 5
            places = [(x, y - 1), (x, y + 9)]
        name = self.text(end.label, places[0], 11, _color(end.color), anchor, bold=True)
        return f"{name}\n{self.text(end.size, places[1], 8, 'qdquiet', anchor)}"

    def node(self, node: Node) -> list[str]:
        lines = [self.shape(node)]
        x, y = node.center
        if node.shape == "junction":
            lines.append(self.text(node.label, (x, y - 11), 11, "qderror", "base", bold=True))
            lines.append(self.text(node.badge, (x, y + 19), 11, "qderror", "base", bold=True))
        elif node.shape not in {"dot", "bar", "cup", "cap", "delay"}:
            base = y - 1.5 if node.badge else y + 4
            lines.append(self.text(node.label, (x, base), 11, "qdink", "base", bold=True))
            lines.append(self.text(node.badge, (x, y + 9.5), 8, "qdquiet", "base"))
        return [line for line in lines if line]

    def shape(self, node: Node) -> str:
        paint = f"draw=qdline,fill=qd{fill_of(node.role)},line width=1.1pt"
        color = _color(node.color)
        match node.shape:
            case "dot":
                return f"\\fill[{color}] {self.xy(node.center)} circle[radius={node.width / 2:g}];"
            case "ellipse":
                heavy = "2.2pt" if node.role == "observe" else "1.1pt"
                dots = ",dotted" if node.role == "marginalize" else ""
                radii = f"x radius={node.width / 2:g},y radius={node.height / 2:g}"
                return (
                    f"\\path[{paint},line width={heavy}{dots}] "
                    f"{self.xy(node.center)} ellipse[{radii}];"
                )
            case "cup" | "cap":
                half_circle = self.path(arc_points(node, down=self.down))
                return f"\\draw[{color},line width=1.7pt] {half_circle};"
            case "delay" | "slant" | "junction":
                return self.polygon(node, paint)
            case _:
                return self.box(node, paint)

    def polygon(self, node: Node, paint: str) -> str:
        if node.shape == "junction":
            line = " -- ".join(map(self.xy, teeth(node, down=self.down)))
            return f"\\draw[qderror,line width=2pt] {line};"
        if node.shape == "delay":
            corners = triangle(node, down=self.down)
            paint = f"draw={_color(node.color)},fill=qdcard,line width=1.3pt"
        else:
            corners = slanted(node, down=self.down)
        return f"\\path[{paint}] {' -- '.join(map(self.xy, corners))} -- cycle;"

    def box(self, node: Node, paint: str) -> str:
        if node.shape == "bar":
            return f"\\fill[qdline] {self.rectangle(node)};"
        if node.shape == "word":
            return ""
        corner = {"square": 10, "dashed": 3}.get(node.shape, 6)
        dashed = ",dashed" if node.shape == "dashed" else ""
        if node.shape != "folded":
            return f"\\path[{paint},rounded corners={corner}pt{dashed}] {self.rectangle(node)};"
        rim = f"\\draw[qdline,rounded corners=8pt] {self.rectangle(node)};"
        return f"{rim}\n\\path[{paint},rounded corners=5.5pt] {self.rectangle(node, RIM)};"

    # --- coordinates and words ---

    def text(
        self, text: str, at: Point, size: float, color: str, anchor: str, *, bold: bool = False
    ) -> str:
        if not text:
            return ""
        weight = "\\bfseries" if bold else ""
        font = f"font=\\sffamily{weight}\\fontsize{{{size:g}}}{{{size + 2:g}}}\\selectfont"
        return (
            f"\\node[anchor={anchor},inner sep=0,{color},{font}] at {self.xy(at)} "
            f"{{{visible(text).translate(_SPECIAL)}}};"
        )

    def rectangle(self, thing: Frame | Node, inset: float = 0.0) -> str:
        low = (thing.x + inset, thing.y + inset)
        high = (thing.x + thing.width - inset, thing.y + thing.height - inset)
        return f"{self.xy(low)} rectangle {self.xy(high)}"

    def path(self, points: tuple[Point, ...]) -> str:
        text = self.xy(points[0])
        for i in range(1, len(points), 3):
            a, b, c = map(self.xy, points[i : i + 3])
            text += f" .. controls {a} and {b} .. {c}"
        return text

    def xy(self, point: Point) -> str:
        x, y = point[0], self.geometry.height - point[1]
        return f"({x:.2f},{y:.2f})"


def _color(index: int) -> str:
    return f"qdw{index % len(WIRES_LIGHT)}" if index >= 0 else "qdline"


def _comment(text: str) -> str:
    return " ".join(visible(text).split())
