"""A geometry as SVG: no script, no link, no font to fetch, the same bytes on every machine.

Colours are attributes for plain viewers and CSS variables for notebooks, light or dark. Every box,
frame and wire has a ``<title>`` and a stable id; ``data-id`` is the id of the diagram.
"""

from hashlib import blake2s
from html import escape

from quivers_nb.diagrams.geometry import DASHED, End, Frame, Geometry, Label, Node, Path, Point
from quivers_nb.diagrams.metrics import text_width
from quivers_nb.diagrams.shapes import arc_points, direction, slanted, teeth, triangle
from quivers_nb.diagrams.sizes import LABEL, NOTE, RIM, TITLE, TYPE
from quivers_nb.diagrams.theme import (
    DARK,
    FONT,
    FRAME_TINT,
    LIGHT,
    WEIGHTS,
    WIRES_DARK,
    WIRES_LIGHT,
    css,
    fill_of,
    wire_color,
)
from quivers_nb.display.text import visible

_CORNERS = {"square": 10, "dashed": 3}
_LONG = 12  # labels longer than this keep their width in any font


def svg(
    geometry: Geometry,
    outline: str = "",
    *,
    dark: bool = False,
    style: bool = True,
    mark: str = "",
) -> str:
    """The picture as one ``<svg>`` element.

    A light picture follows the theme of a notebook, a dark one is dark everywhere. ``style`` false
    leaves the style sheet to the page. ``mark`` tells the ids of several pictures on a page apart.
    """
    return _Painter(geometry, dark=dark, mark=mark).whole(outline, style=style)


class _Painter:
    """Writes elements in the order of painting: frames, wires, words, boxes."""

    def __init__(self, geometry: Geometry, *, dark: bool, mark: str) -> None:
        self.geometry = geometry
        self.colors = DARK if dark else LIGHT
        self.wires = WIRES_DARK if dark else WIRES_LIGHT
        self.dark = dark
        self.down = geometry.orient == "tb"
        self.prefix = "qd" + blake2s(geometry.title.encode(), digest_size=3).hexdigest() + mark

    def whole(self, outline: str, *, style: bool) -> str:
        g = self.geometry
        height = g.height + (16 if g.note else 0)
        kind = "qd qd-dark" if self.dark else "qd"
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" '
            f'role="graphics-document document" aria-roledescription="diagram" '
            f'aria-labelledby="{self.prefix}-t {self.prefix}-d" font-family="{FONT}" '
            f'width="{_n(g.width)}" height="{_n(height)}" '
            f'viewBox="0 0 {_n(g.width)} {_n(height)}">',
            f'<title id="{self.prefix}-t">{_x(g.title or "diagram")}</title>',
            f'<desc id="{self.prefix}-d">{_x(outline or g.title)}</desc>',
            *([f"<style>{css()}</style>"] if style else []),
            f'<rect class="card" width="{_n(g.width)}" height="{_n(height)}" '
            f'fill="{self.colors["card"]}"/>',
            *map(self.frame, g.frames),
            *map(self.wire, g.wires),
            *map(self.label, g.labels),
            *map(self.node, g.nodes),
            *map(self.end, g.ends),
        ]
        if g.note:
            text = self.text(g.note, 8, g.height + 8, NOTE, "note", self.colors["quiet"])
            lines.append(text)
        return "\n".join([*lines, "</svg>"])

    # --- parts ---

    def frame(self, frame: Frame) -> str:
        plate = frame.kind == "plate"
        dash = ' stroke-dasharray="4 3"' if frame.kind in DASHED else ""
        fill = 'fill="none"' if plate else f'fill="{self.colors["tint"]}"'
        line = self.colors["line" if plate else "frame"]
        rect = (
            f'<rect x="{_n(frame.x)}" y="{_n(frame.y)}" width="{_n(frame.width)}" '
            f'height="{_n(frame.height)}" rx="8" {fill} fill-opacity="{FRAME_TINT}" '
            f'stroke="{line}"{dash}/>'
        )
        words = f"{frame.kind} {frame.label}" + (f" : {frame.about}" if frame.about else "")
        anchor = "end" if frame.title_end else "start"
        title = self.text(
            frame.label, frame.title_x, frame.title_y, TITLE, "", self.colors["quiet"], anchor
        )
        return (
            f'<g class="f {frame.kind}" {self.ids(frame.id)} tabindex="0" role="group" '
            f'aria-label="{_x(words)}, unfolded"><title>{_x(words)}</title>{rect}{title}</g>'
        )

    def wire(self, path: Path) -> str:
        points = path.points
        about = f"{path.type} : {path.size}" if path.type and path.size else path.type or "edge"
        head = self._arrow(points) if path.arrow else ""
        cls = f"w c{path.color % len(self.wires)}" if path.color >= 0 else "w"
        line = (
            f'<path class="{cls}" {self.ids(path.id)} data-from="{_x(path.source)}" '
            f'data-to="{_x(path.target)}" fill="none" stroke="{self.color(path.color)}" '
            f'stroke-width="{WEIGHTS[path.weight]}" d="{_d(points)}">'
            f"<title>{_x(about)}</title></path>"
        )
        return line + head

    def _arrow(self, points: tuple[Point, ...]) -> str:
        (x, y), (dx, dy) = points[-1], direction(points)
        a = (x - 6 * dx - 2.6 * dy, y - 6 * dy + 2.6 * dx)
        b = (x - 6 * dx + 2.6 * dy, y - 6 * dy - 2.6 * dx)
        corners = " ".join(f"{_n(px)},{_n(py)}" for px, py in ((x, y), a, b))
        return f'<polygon class="arrow" fill="{self.colors["line"]}" points="{corners}"/>'

    def label(self, label: Label) -> str:
        color = self.color(label.color)
        cls = f"t c{label.color % len(self.wires)}"
        anchor = "end" if label.end else "start"
        return self.text(label.text, label.x, label.y, TYPE, cls, color, anchor)

    def end(self, end: End) -> str:
        cls = f"e c{end.color % len(self.wires)}" if end.color >= 0 else "e"
        x, y, anchor = end.x, end.y, "middle"
        if self.down:
            name, size = (y - 16, y - 5) if end.side == "in" else (y + 13, y + 24)
            if not end.size and end.side == "in":
                name = y - 5
        else:
            name, size = (y - 1, y + 9) if end.size else (y + 4, y)
            anchor = "end" if end.side == "in" else "start"
            x += -5 if end.side == "in" else 5
        color = self.color(end.color)
        words = self.text(end.label, x, name, LABEL, "", color, anchor, bold=True)
        if end.size:
            words += self.text(end.size, x, size, NOTE, "size", self.colors["quiet"], anchor)
        return f'<g class="{cls}" {self.ids(end.id)}>{words}</g>'

    def node(self, node: Node) -> str:
        classes = ["b", node.shape if node.shape != "box" else "", f"g-{fill_of(node.role)}"]
        if node.color >= 0:
            classes.append(f"c{node.color % len(self.wires)}")
        if node.shape in {"dot", "bar"}:
            classes.append("sign")
        if node.shape in {"cup", "cap"}:
            classes.append("arc")
        name = f"{node.label or node.kind} : {node.about}" if node.kind != "site" else node.about
        state = ", folded" if node.folded else ""
        role = "button" if node.folded else "img"
        tab = ' tabindex="0"' if node.label else ""
        about = name + (f"\n{node.badge}" if node.badge else "")
        return (
            f'<g class="{" ".join(filter(None, classes))}" {self.ids(node.id)}{tab} role="{role}" '
            f'aria-label="{_x(name)}{state}"><title>{_x(about)}</title>'
            f"{self.shape(node)}{self.words(node)}</g>"
        )

    def words(self, node: Node) -> str:
        """Label and badge of a box, one under the other."""
        if node.shape in {"dot", "bar", "cup", "cap", "delay"}:
            return ""
        if node.shape == "junction":
            return self.two_types(node)
        x, y = node.center
        ink = self.colors["ink"]
        base = y - 1.5 if node.badge else y + 4
        text = self.text(node.label, x, base, LABEL, "", ink, "middle", bold=True)
        if node.badge:
            text += self.text(node.badge, x, y + 9.5, NOTE, "badge", self.colors["quiet"], "middle")
        return text

    def shape(self, node: Node) -> str:
        fill, line = self.colors[fill_of(node.role)], self.colors["line"]
        x, y, w, h = node.x, node.y, node.width, node.height
        match node.shape:
            case "dot":
                radius = _n(min(w, h) / 2)
                cx, cy = node.center
                color = self.color(node.color)
                return (
                    f'<circle class="s" cx="{_n(cx)}" cy="{_n(cy)}" r="{radius}" fill="{color}"/>'
                )
            case "bar":
                return _rect(x, y, w, h, 1.5, f'fill="{line}"')
            case "delay":
                return self.delay(node)
            case "cup" | "cap":
                return self.arc(node)
            case "ellipse":
                heavy = 2.2 if node.role == "observe" else 1.1
                dots = ' stroke-dasharray="1.5 3"' if node.role == "marginalize" else ""
                cx, cy = node.center
                return (
                    f'<ellipse class="s" cx="{_n(cx)}" cy="{_n(cy)}" rx="{_n(w / 2)}" '
                    f'ry="{_n(h / 2)}" fill="{fill}" stroke="{line}" stroke-width="{heavy}"{dots}/>'
                )
            case _:
                return self.rectangle(node, fill, line)

    def rectangle(self, node: Node, fill: str, line: str) -> str:
        """Boxes with four sides."""
        x, y, w, h = node.x, node.y, node.width, node.height
        paint = f'fill="{fill}" stroke="{line}" stroke-width="1.1"'
        if node.shape == "junction":
            return self.junction(node)
        if node.shape == "slant":
            corners = " ".join(f"{_n(a)},{_n(b)}" for a, b in slanted(node, down=self.down))
            return f'<polygon class="s" points="{corners}" {paint} stroke-linejoin="round"/>'
        if node.shape == "folded":
            rim = _rect(x, y, w, h, 8, f'fill="none" stroke="{line}"', "rim")
            return rim + _rect(x + RIM, y + RIM, w - 2 * RIM, h - 2 * RIM, 5.5, paint)
        if node.shape == "word":
            return _rect(x, y, w, h, 3, 'fill="none" stroke="none"')
        dash = ' stroke-dasharray="4 3"' if node.shape == "dashed" else ""
        return _rect(x, y, w, h, _CORNERS.get(node.shape, 6), paint + dash)

    def delay(self, node: Node) -> str:
        corners = " ".join(f"{_n(a)},{_n(b)}" for a, b in triangle(node, down=self.down))
        return (
            f'<polygon class="s" points="{corners}" fill="{self.colors["card"]}" '
            f'stroke="{self.color(node.color)}" stroke-width="1.3" stroke-linejoin="round"/>'
        )

    def arc(self, node: Node) -> str:
        return (
            f'<path class="s" d="{_d(arc_points(node, down=self.down))}" fill="none" '
            f'stroke="{self.color(node.color)}" stroke-width="1.7"/>'
        )

    def junction(self, node: Node) -> str:
        """A broken line across the flow."""
        line = " ".join(f"{_n(a)},{_n(b)}" for a, b in teeth(node, down=self.down))
        return (
            f'<polyline class="z" points="{line}" fill="none" stroke="{self.colors["error"]}" '
            'stroke-width="2" stroke-linejoin="round"/>'
        )

    def two_types(self, node: Node) -> str:
        """What arrives at a broken junction, and what is wanted there."""
        x, y = node.center
        if self.down:
            places = ((x, node.y + 13), (x, node.y + node.height - 5))
        else:
            places = ((x - node.width / 4 - 3, y + 4), (x + node.width / 4 + 3, y + 4))
        return "".join(
            self.text(text, px, py, LABEL, "", self.colors["error"], "middle", bold=True)
            for text, (px, py) in zip((node.label, node.badge), places, strict=True)
        )

    # --- words ---

    def color(self, index: int) -> str:
        return wire_color(index, self.wires) if index >= 0 else self.colors["line"]

    def ids(self, ident: str) -> str:
        digest = blake2s(ident.encode(), digest_size=6).hexdigest()
        return f'id="{self.prefix}-{digest}" data-id="{_x(ident)}"'

    def text(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        cls: str,
        fill: str,
        anchor: str = "start",
        *,
        bold: bool = False,
    ) -> str:
        if not text:
            return ""
        attributes = f'x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{fill}"'
        if cls:
            attributes += f' class="{cls}"'
        if anchor != "start":
            attributes += f' text-anchor="{anchor}"'
        if bold:
            attributes += ' font-weight="700"'
        if len(text) > _LONG:
            attributes += f' textLength="{_n(text_width(text, size, bold=bold))}"'
            attributes += ' lengthAdjust="spacingAndGlyphs"'
        return f"<text {attributes}>{_x(text)}</text>"


def _rect(x: float, y: float, w: float, h: float, r: float, paint: str, cls: str = "s") -> str:
    return (
        f'<rect class="{cls}" x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" '
        f'rx="{_n(r)}" {paint}/>'
    )


def _d(points: tuple[Point, ...]) -> str:
    start = f"M{_n(points[0][0])},{_n(points[0][1])}"
    rest = (points[i : i + 3] for i in range(1, len(points), 3))
    return start + "".join("C" + " ".join(f"{_n(x)},{_n(y)}" for x, y in piece) for piece in rest)


def _n(value: float) -> str:
    """A number with at most two digits after the point."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _x(text: str) -> str:
    """A text for XML: escaped, invisible characters spelled out."""
    return escape(visible(text), quote=True)
