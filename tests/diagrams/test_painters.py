"""SVG, DOT and text: well-formed, self-contained, the same everywhere, and the same picture."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path as File
from random import Random
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.dot import dot
from quivers_nb.diagrams.drawing import Drawing
from quivers_nb.diagrams.equation import comparison, differences, equation
from quivers_nb.diagrams.geometry import Geometry
from quivers_nb.diagrams.graph import Diagram, WireType
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import LINES, outline
from quivers_nb.diagrams.pieces import Block, GroupKind, beside, box, chain
from quivers_nb.diagrams.raster import ENGINES, NoPainter, paint, program
from quivers_nb.diagrams.sheet import terms
from quivers_nb.diagrams.sizes import Look
from quivers_nb.diagrams.svg import svg
from quivers_nb.diagrams.theme import DARK, LIGHT, WIRES_DARK, WIRES_LIGHT
from quivers_nb.diagrams.tikz import tikz
from tests.support.terms import put_together, random_tree

SVG = "{http://www.w3.org/2000/svg}"
ZOO = dict(terms())
WIRE = WireType("A", "ℝ2", 2)
HOSTILE = (
    "<script>alert(1)</script>",
    '"&quot;\'onload="x"',
    "]]><!--",
    "\u202eevil\u2066",
    "a\\N\\G\\lb",
    "{|<port>|}",
    "\x00\x07\ttab\nline",
    "&amp;&#x3c;",
    "名前" * 30,
)


def engines() -> list[str]:
    found = []
    for name in ENGINES:
        try:
            program(name)
        except NoPainter:
            continue
        found.append(name)
    return found


def hostile(text: str) -> Diagram:
    wire = WireType(text, text, 2)
    inner = chain(box(text, [wire], [wire]), box(text, [wire], [wire]))
    group = Block(text, GroupKind.LET, text, inner)
    return assemble(chain(group, beside(box("plain", [wire], [wire, wire]))), text)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("down", [True, False], ids=["down", "right"])
def test_svg_is_well_formed_and_needs_nothing(name: str, down: bool) -> None:
    diagram = ZOO[name]
    text = svg(layout(diagram, Look(down=down)), outline(diagram))
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert_asks_for_nothing(root)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    for element in root.iter():
        if element.get("tabindex"):
            assert element.find(f"{SVG}title") is not None
            assert element.get("aria-label")


def assert_asks_for_nothing(root: ElementTree.Element) -> None:
    """No script, no handler, no link, no image, no font, nothing from elsewhere."""
    allowed = {
        *("svg", "title", "desc", "style", "rect", "g", "text", "path", "circle", "ellipse"),
        *("polygon", "polyline"),
    }
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in allowed
        for key, value in element.attrib.items():
            assert not key.startswith("on")
            assert "href" not in key
            assert "url(" not in value
    styles = "".join(element.text or "" for element in root.iter(f"{SVG}style"))
    assert not re.search(r"@import|@font-face|url\(|https?:", styles)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_users_stays_text(text: str) -> None:
    drawing = Drawing(hostile(text))
    root = ElementTree.fromstring(drawing.svg)
    assert_asks_for_nothing(root)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", drawing.svg + drawing.dot)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", drawing.outline + drawing.html)
    tags = _Tags()
    tags.feed(drawing.html)
    assert tags.seen <= _Tags.KNOWN
    assert json.loads(drawing.geometry.to_json())["orient"] == "tb"


class _Tags(HTMLParser):
    KNOWN: ClassVar[set[str]] = {
        *("div", "span", "style", "input", "label", "svg", "title", "desc", "rect", "g", "text"),
        *("path", "circle", "ellipse", "polygon", "polyline", "img"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "href"
            assert name != "src" or (value or "").startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", HOSTILE)
def test_graphviz_reads_hostile_text(engine: str, text: str) -> None:
    if engine not in engines():
        pytest.skip(f"{engine} is not installed")
    assert b"<svg" in paint(Drawing(hostile(text)).dot, "svg", engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("down", [True, False], ids=["down", "right"])
@pytest.mark.parametrize("name", ZOO)
def test_graphviz_puts_everything_where_we_put_it(engine: str, down: bool, name: str) -> None:
    if engine not in engines():
        pytest.skip(f"{engine} is not installed")
    geometry = layout(ZOO[name], Look(down=down))
    assert farthest(geometry, engine) < 1.0


def test_graphviz_puts_random_terms_where_we_put_them() -> None:
    for seed in range(12):
        diagram = assemble(put_together(random_tree(Random(seed), 5)), "t")
        geometry = layout(diagram, Look(down=seed % 2 == 0))
        for engine in engines():
            assert farthest(geometry, engine) < 1.0, (seed, engine)


def farthest(geometry: Geometry, engine: str) -> float:
    """The largest distance in points between our boxes and wire ends and those of Graphviz."""
    root = ElementTree.fromstring(paint(dot(geometry), "svg", engine=engine))
    page = next(g for g in root.iter(f"{SVG}g") if g.get("class") == "graph")
    found = {g.get("id"): g for g in page.iter(f"{SVG}g") if g.get("id")}
    off = [0.0]
    for node in geometry.nodes:
        if node.shape not in {"cup", "cap", "delay", "slant", "word"}:  # no middle to read
            x, y = _middle(found[node.id])
            cx, cy = node.center
            off.append(max(abs(x - cx), abs(y + geometry.height - cy)))
    for wire in geometry.wires:
        points = _numbers(next(found[wire.id].iter(f"{SVG}path")).get("d") or "")
        ends = (0,) if wire.arrow else (0, -1)
        for k in ends:
            (x, y), (px, py) = points[k], wire.points[k]
            off.append(max(abs(x - px), abs(y + geometry.height - py)))
    return max(off)


def _middle(group: ElementTree.Element) -> tuple[float, float]:
    for element in group.iter():
        if element.tag == f"{SVG}ellipse":
            return float(element.get("cx") or 0), float(element.get("cy") or 0)
        if element.tag in {f"{SVG}polygon", f"{SVG}path"}:
            points = _numbers(element.get("points") or element.get("d") or "")
            xs, ys = [x for x, _ in points], [y for _, y in points]
            return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    raise AssertionError(f"nothing is drawn in {group.get('id')}")


def _numbers(text: str) -> list[tuple[float, float]]:
    values = [float(v) for v in re.findall(r"-?\d+(?:\.\d+)?", text)]
    return list(zip(values[::2], values[1::2], strict=True))


@pytest.mark.parametrize(
    "palette", [(LIGHT, WIRES_LIGHT), (DARK, WIRES_DARK)], ids=["light", "dark"]
)
def test_colours_can_be_read(palette: tuple[dict[str, str], tuple[str, ...]]) -> None:
    """Contrast of 4.5 to 1 (WCAG 2.2, 1.4.3) for words on the card and on the grounds of boxes."""
    colors, wires = palette
    words = [colors[name] for name in ("ink", "quiet", "error")]
    for color in (*words, *wires):
        assert contrast(color, colors["card"]) >= 4.5
    for ground in ("warm", "cool", "rose", "grey", "differs"):
        assert contrast(colors["ink"], colors[ground]) >= 4.5
        assert contrast(colors["quiet"], colors[ground]) >= 4.5


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ZOO)
def test_tikz_draws_every_node_and_closes_every_brace(name: str) -> None:
    geometry = layout(ZOO[name])
    text = tikz(geometry)
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    assert text.count("\\begin{") == text.count("\\end{") == 1
    drawn = [line for line in text.splitlines() if line.startswith(("\\draw", "\\path", "\\fill"))]
    words = [n for n in geometry.nodes if n.shape == "word"]
    rims = [n for n in geometry.nodes if n.shape == "folded"]
    things = len(geometry.nodes) - len(words) + len(rims) + len(geometry.frames)
    assert len(drawn) == things + len(geometry.wires)


@pytest.mark.parametrize("name", ["two towers", "eight schools", "nested scan", "snake", "dagger"])
def test_latex_accepts_the_tikz(name: str, tmp_path: File) -> None:
    latex = shutil.which("pdflatex")
    if latex is None:
        pytest.skip("no LaTeX here")
    head = "\\documentclass{article}\\usepackage{tikz,amssymb}\\begin{document}"
    text = tikz(layout(ZOO[name])) + tikz(layout(hostile('a_b & c% <x> {y} ~^\\ "z" $1 #2')))
    (tmp_path / "t.tex").write_text(f"{head}{text}\\end{{document}}", encoding="utf-8")
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-800:]


def test_two_sides_of_an_equation_are_one_picture() -> None:
    left, right = layout(ZOO["swap"]), layout(ZOO["snake"])
    both = equation(left, right)
    assert len(both.nodes) == len(left.nodes) + len(right.nodes) + 1
    assert both.width > left.width + right.width
    ids = [*(n.id for n in both.nodes), *(w.id for w in both.wires)]
    assert len(ids) == len(set(ids))
    ElementTree.fromstring(svg(both))
    colors = {w.type: w.color for w in both.wires}
    assert all(colors[w.type] == w.color for w in both.wires)


def test_a_comparison_marks_what_differs_and_nothing_else() -> None:
    one = box("f", [WIRE], [WIRE])
    old = layout(assemble(chain(one, box("old", [WIRE], [WIRE])), "m"))
    new = layout(assemble(chain(one, box("new", [WIRE], [WIRE])), "m"))
    assert differences(old, new) == ({"old"}, {"new"})
    assert differences(old, old) == (frozenset(), frozenset())
    marked = {n.label for n in comparison(old, new).nodes if n.role == "differs"}
    assert marked == {"old", "new"}


def test_dot_says_nothing_about_this_machine() -> None:
    text = dot(layout(ZOO["two towers"]))
    assert "layout=nop2" in text
    assert str(File.home()) not in text


def test_the_same_bytes_in_another_process() -> None:
    """Other hash seeds, other orders of sets: the same pictures."""
    code = (
        "from hashlib import sha256;from quivers_nb.diagrams.sheet import page,terms;"
        "from quivers_nb.diagrams.drawing import Drawing;"
        "ds=[Drawing(d,o) for _,d in terms() for o in ('tb','lr')];"
        "text=page()+''.join(d.dot+d.html+repr(d) for d in ds);"
        "print(sha256(text.encode()).hexdigest())"
    )
    digests = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(File(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_an_outline_is_never_longer_than_a_screen() -> None:
    wire = WireType("A", "ℝ2", 2)
    many = chain(*(box(f"f{i}", [wire], [wire]) for i in range(300)))
    text = outline(assemble(many, "many"))
    assert len(text.splitlines()) <= LINES
    assert text.splitlines()[-1].startswith("… ")


def test_an_outline_merges_equal_neighbours_and_shows_states() -> None:
    assert "head × 4" in outline(ZOO["two towers"])
    assert "↺ state: S * C" in outline(ZOO["scan with two states"])
    assert "⊗ q : B → B" in outline(ZOO["contraction"])
