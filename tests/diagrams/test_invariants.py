"""What holds of every picture of every term: the laws that make it a picture *of the term*.

The terms are random and well typed, with swaps, copies, states, effects, cups and caps, scans and
groups. Sizes: 2,000 terms in the first test, in either orientation; a hundred or more for each
other law. The crossing detector is tested against terms that have a swap.
"""

from collections import Counter
from random import Random
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.geometry import Geometry
from quivers_nb.diagrams.graph import (
    IN,
    OUT,
    Diagram,
    Item,
    Kind,
    groups,
    problems,
    walk,
)
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.pieces import Wires, beside, box, chain, dagger
from quivers_nb.diagrams.sizes import Look
from quivers_nb.diagrams.svg import svg
from tests.support.pictures import backward, crossings, overlaps, wires_through_boxes
from tests.support.terms import (
    TYPES,
    Row,
    Tree,
    generators,
    put_together,
    random_tree,
    rebracketed,
)

DOWN, RIGHT = Look(down=True), Look(down=False)


def trees(depth: int = 5, *, planar: bool = False) -> st.SearchStrategy[Tree]:
    made = st.randoms(use_true_random=False)
    return made.map(lambda r: random_tree(r, depth, planar=planar))


def diagram_of(tree: Tree) -> Diagram:
    return assemble(put_together(tree), "t")


def picture(tree: Tree, look: Look = DOWN) -> str:
    return svg(layout(diagram_of(tree), look))


def places(geometry: Geometry) -> Counter[tuple[object, ...]]:
    """What is drawn where, without the names of occurrences."""
    drawn = Counter((n.label, n.shape, n.x, n.y, n.width, n.height) for n in geometry.nodes)
    return drawn + Counter((w.type, w.points) for w in geometry.wires)


def inversions(diagram: Diagram) -> int:
    """How often the swaps of a diagram let two wires change places."""
    orders = [item.order for _, item in walk(diagram) if item.kind is Kind.SWAP]
    return sum(a > b for order in orders for i, a in enumerate(order) for b in order[i + 1 :])


@settings(max_examples=2000)
@given(st.randoms(use_true_random=False), st.booleans())
def test_every_term_is_drawn_completely_and_nothing_touches(r: Random, down: bool) -> None:
    tree = random_tree(r, 5)
    diagram = diagram_of(tree)
    geometry = layout(diagram, Look(down=down))
    assert problems(diagram) == []
    assert_boundary_is_kept(diagram, geometry)
    assert_every_generator_is_drawn_once(tree, geometry)
    assert_true_wires_are_those_of_the_graph(diagram, geometry)
    assert len(crossings(geometry)) <= inversions(diagram)
    assert list(overlaps(geometry)) == []
    assert wires_through_boxes(geometry) == []
    assert all("delay[" in name for name in backward(geometry))


def assert_boundary_is_kept(diagram: Diagram, geometry: Geometry) -> None:
    """Wires leave and enter the boundary in the order of the factors of domain and codomain."""
    axis = 0 if geometry.orient == "tb" else 1
    for side, types in (("in", diagram.dom), ("out", diagram.cod)):
        ends = [end for end in geometry.ends if end.side == side]
        assert [end.label for end in ends] == [wire.name for wire in types]
        across = [(end.x, end.y)[axis] for end in ends]
        assert across == sorted(across)
        named = {w.source if side == "in" else w.target for w in geometry.wires}
        assert {end.id for end in ends} <= named


def assert_every_generator_is_drawn_once(tree: Tree, geometry: Geometry) -> None:
    """Boxes and signs in the picture are those that the expression names; a swap draws none."""
    named = Counter(i.label for i in generators(tree) if i.kind is not Kind.SWAP)
    assert Counter(n.label for n in geometry.nodes if n.kind != "delay") == named


def assert_true_wires_are_those_of_the_graph(diagram: Diagram, geometry: Geometry) -> None:
    """From leaf port to leaf port, through groups and swaps, nothing lost and nothing added."""
    drawn = Counter((w.source, w.out, w.target, w.into) for w in geometry.wires)
    assert drawn == Counter(true_wires(diagram))


Place = tuple[str, str, int]  # "out" or "in" of something drawn, "enter" or "exit" of a group


def true_wires(
    diagram: Diagram, folded: frozenset[str] = frozenset()
) -> list[tuple[str, int, str, int]]:
    """The wires between things that draw something, found by search in the flat graph."""
    flat = Flat(folded)
    flat.add(diagram, "")
    found = []
    for start in flat.starts:
        end = flat.forward[start]
        while end in flat.forward:
            end = flat.forward[end]
        found.append((start[1], start[2], end[1], end[2]))
    return found


class Flat:
    """All levels of a diagram as one graph of places."""

    def __init__(self, folded: frozenset[str]) -> None:
        self.folded = folded
        self.forward: dict[Place, Place] = {}
        self.starts: list[Place] = []

    def add(self, diagram: Diagram, group: str) -> None:
        for i in range(len(diagram.dom)):
            place = self.end(diagram, group, i, entering=True)
            if place[0] == "out":
                self.starts.append(place)
        for item in diagram.items:
            self.add_item(item)
        bodies = {item.id for item in diagram.items if self.is_open(item)}
        for wire in diagram.wires:
            source, target = wire.source, wire.target
            at_source = ("exit" if source.item in bodies else "out", source.item, source.at)
            at_target = ("enter" if target.item in bodies else "in", target.item, target.at)
            if source.item == IN:
                at_source = self.end(diagram, group, source.at, entering=True)
            if target.item == OUT:
                at_target = self.end(diagram, group, target.at, entering=False)
            self.forward[at_source] = at_target

    def is_open(self, item: Item) -> bool:
        return item.body is not None and item.id not in self.folded

    def add_item(self, item: Item) -> None:
        if self.is_open(item):
            assert item.body is not None
            self.add(item.body, item.id)
        elif item.kind is Kind.SWAP:
            for k, source in enumerate(item.order):
                self.forward["in", item.id, source] = ("out", item.id, k)
        else:
            self.starts.extend(("out", item.id, k) for k in range(len(item.outs)))

    def end(self, diagram: Diagram, group: str, at: int, *, entering: bool) -> Place:
        """A port of the boundary of a level, seen from inside."""
        own = len(diagram.dom if entering else diagram.cod) - diagram.feedback
        side = "out" if entering else "in"
        if at >= own:
            return side, f"{group}/delay[{at - own}]", 0
        if group:
            return "enter" if entering else "exit", group, at
        return side, f"{'in' if entering else 'out'}[{at}]", at


@settings(max_examples=300)
@given(trees(planar=True), st.booleans())
def test_a_term_without_swap_has_no_crossing(tree: Tree, down: bool) -> None:
    assert crossings(layout(diagram_of(tree), Look(down=down))) == []


def test_the_crossing_detector_sees_every_swap() -> None:
    """The detector has teeth: of the random terms with a swap, it reports each one."""
    seen = 0
    for seed in range(400):
        diagram = diagram_of(random_tree(Random(seed), 5))
        if inversions(diagram):
            seen += 1
            assert crossings(layout(diagram)), seed
    assert seen >= 20


@settings(max_examples=300)
@given(trees(), st.integers(0, 2**32))
def test_brackets_leave_no_trace(tree: Tree, seed: int) -> None:
    assert picture(rebracketed(tree, Random(seed))) == picture(tree)


@settings(max_examples=150)
@given(trees())
def test_identities_leave_no_trace(tree: Tree) -> None:
    piece = put_together(tree)
    padded = chain(Wires(piece.dom), beside(Wires(()), piece, Wires(())), Wires(piece.cod))
    assert svg(layout(assemble(padded, "t"))) == picture(tree)


@settings(max_examples=150)
@given(trees(3), trees(3), st.randoms(use_true_random=False))
def test_interchange_draws_the_same(first: Tree, second: Tree, r: Random) -> None:
    """``(f @ g) >> (h @ k)`` is drawn as ``(f >> h) @ (g >> k)``, where nothing starts anew."""
    f, g = put_together(first), put_together(second)
    h, k = put_together(_after(r, f.cod)), put_together(_after(r, g.cod))
    if any(not item.ins for p in (f, g, h, k) for item in generators(p)):
        return  # the column of a state remembers when it was created
    one = assemble(chain(beside(f, g), beside(h, k)))
    other = assemble(beside(chain(f, h), chain(g, k)))
    assert places(layout(one)) == places(layout(other))


def _after(r: Random, dom: tuple[object, ...]) -> Tree:
    from tests.support.terms import _leaf

    return _leaf(r, dom, planar=True)  # type: ignore[arg-type]


@settings(max_examples=250)
@given(trees(), st.randoms(use_true_random=False), st.booleans())
def test_folding_keeps_everything_outside(tree: Tree, r: Random, down: bool) -> None:
    """Any subset of groups folded: the boundary stays, no box is lost but those inside."""
    diagram = diagram_of(tree)
    ids = [item.id for _, item in groups(diagram)]
    folded = frozenset(ident for ident in ids if r.random() < 0.5)
    geometry = layout(diagram, Look(down=down, folded=folded))
    assert_boundary_is_kept(diagram, geometry)
    hidden = {item.id for ident in folded for item in _inside(diagram, ident)}
    shown = {item.id for _, item in walk(diagram)} - hidden
    assert {n.id for n in geometry.nodes if n.folded} == folded & shown
    assert {n.id for n in geometry.nodes if n.kind != "delay"} <= shown
    drawn = Counter((w.source, w.out, w.target, w.into) for w in geometry.wires)
    assert drawn == Counter(true_wires(diagram, folded))
    again = layout(diagram, Look(down=down, folded=folded - folded))
    assert again == layout(diagram, Look(down=down))
    assert list(overlaps(geometry)) == []


def _inside(diagram: Diagram, ident: str) -> list[Item]:
    group = next(item for _, item in groups(diagram) if item.id == ident)
    assert group.body is not None
    return [item for _, item in walk(group.body)]


@settings(max_examples=120)
@given(trees(4))
def test_equal_templates_are_drawn_equally(tree: Tree) -> None:
    """One is the other, moved."""
    twice = Row(False, (tree, tree))
    geometry = layout(diagram_of(twice), DOWN)
    diagram = diagram_of(twice)
    by_template: dict[str, list[Item]] = {}
    for _, item in groups(diagram):
        by_template.setdefault(item.template, []).append(item)
    frames = {frame.id: frame for frame in geometry.frames}
    for items in by_template.values():
        shapes = set()
        for item in items:
            frame = frames[item.id]
            assert item.body is not None
            inner = {i.id for _, i in walk(item.body)}
            drawn = [n for n in geometry.nodes if n.id in inner]
            shapes.add(
                tuple((n.label, round(n.x - frame.x, 1), round(n.y - frame.y, 1)) for n in drawn)
            )
        assert len({tuple(round(v) for _, x, y in s for v in (x, y)) for s in shapes}) <= 1 or (
            _nearly_equal(list(shapes))
        )


def _nearly_equal(shapes: list[tuple[tuple[str, float, float], ...]]) -> bool:
    first = shapes[0]
    return all(
        a[0] == b[0] and abs(a[1] - b[1]) < 0.2 and abs(a[2] - b[2]) < 0.2
        for other in shapes[1:]
        for a, b in zip(first, other, strict=True)
    )


@settings(max_examples=150)
@given(trees(4))
def test_a_dagger_twice_is_nothing(tree: Tree) -> None:
    piece = put_together(tree)
    assert dagger(dagger(piece)) == piece


@settings(max_examples=100)
@given(trees(4))
def test_a_dagger_is_drawn_upside_down(tree: Tree) -> None:
    """Every box is in the picture of the converse, its flag turned, inputs and outputs changed."""
    piece = put_together(tree)
    there = [i for _, i in walk(assemble(piece)) if i.kind in {Kind.BOX, Kind.CONTRACTION}]
    back = [i for _, i in walk(assemble(dagger(piece))) if i.kind in {Kind.BOX, Kind.CONTRACTION}]
    assert Counter((i.label, i.ins, i.outs, i.dagger) for i in there) == Counter(
        (i.label, i.outs, i.ins, not i.dagger) for i in back
    )
    assert problems(assemble(dagger(piece))) == []


def test_the_law_of_port_graphs_sees_a_wire_of_the_wrong_type() -> None:
    wrong = chain(box("f", [TYPES[0]], [TYPES[1]]), box("g", [TYPES[2]], [TYPES[0]]))
    assert problems(assemble(wrong)) == [
        f"Port(item='g', at=0) is not a free target of {TYPES[1].name}"
    ]


@settings(max_examples=150)
@given(trees(4), st.booleans())
def test_the_wires_of_a_dagger_are_those_of_the_term_upside_down(tree: Tree, down: bool) -> None:
    """Read from the two pictures: every wire of one is a wire of the other, end for end."""
    piece = put_together(tree)
    there, back = (layout(assemble(p), Look(down=down)) for p in (piece, dagger(piece)))
    forward, backward_ = _wires_by_label(there), _wires_by_label(back)
    assert forward == Counter({(b, a, t): n for (a, b, t), n in backward_.items()})


def _wires_by_label(geometry: Geometry) -> Counter[tuple[tuple[str, int], tuple[str, int], str]]:
    """Wires as pairs of what they join: labels (without the sign of a converse) and ports."""
    names = {node.id: node.label.rstrip("†") or node.kind for node in geometry.nodes}
    signs = {"copy": "spider", "merge": "spider", "discard": "spider", "cup": "arc", "cap": "arc"}
    places = {
        **{ident: signs.get(name, name) for ident, name in names.items()},
        **{end.id: f"boundary {end.label}" for end in geometry.ends},
    }
    return Counter(
        ((places[w.source], w.out), (places[w.target], w.into), w.type) for w in geometry.wires
    )


@settings(max_examples=150)
@given(trees(4), st.booleans())
def test_svg_of_any_term_is_well_formed_and_every_stop_has_a_title(tree: Tree, down: bool) -> None:
    root = ElementTree.fromstring(picture(tree, Look(down=down)))
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "image", "a", "foreignObject"}
        if element.get("tabindex"):
            assert element.get("aria-label")
            assert element.find("{http://www.w3.org/2000/svg}title") is not None


@settings(max_examples=250)
@given(trees())
def test_feedback_stays_in_its_frame_and_has_one_sign_per_state(tree: Tree) -> None:
    diagram = diagram_of(tree)
    geometry = layout(diagram, RIGHT)
    states = {i.id: i.body.feedback for _, i in groups(diagram) if i.body is not None}
    signs = Counter(n.parent for n in geometry.nodes if n.kind == "delay")
    assert signs == Counter({ident: n for ident, n in states.items() if n})
    frames = {frame.id: frame for frame in geometry.frames}
    for wire in geometry.wires:
        for end in (wire.source, wire.target):
            if "/delay[" in end:
                frame = frames[end.rsplit("/delay[", 1)[0]]
                assert all(
                    frame.x - 0.1 <= x <= frame.x + frame.width + 0.1 for x, _ in wire.points
                )


@settings(max_examples=200)
@given(trees())
def test_the_outline_mentions_every_group_and_every_box(tree: Tree) -> None:
    diagram = diagram_of(tree)
    text = outline(diagram, lines=None)
    for _, item in walk(diagram):
        if item.is_box or item.body is not None:
            assert item.label in text


@settings(max_examples=100)
@given(trees(4))
def test_longer_names_change_places_but_no_order(tree: Tree) -> None:
    diagram = diagram_of(tree)
    longer = _renamed(diagram)
    short, long = layout(diagram, DOWN), layout(longer, DOWN)
    assert len(crossings(long)) <= inversions(diagram)
    assert list(overlaps(long)) == []
    assert [(n.id, n.parent) for n in short.nodes] == [(n.id, n.parent) for n in long.nodes]
    for one, other in zip(short.ends, long.ends, strict=True):
        assert one.id == other.id


def _renamed(diagram: Diagram) -> Diagram:
    from dataclasses import replace

    items = tuple(
        replace(
            item,
            label=item.label + "_with_a_much_longer_name",
            body=None if item.body is None else _renamed(item.body),
        )
        for item in diagram.items
    )
    return replace(diagram, items=items)


@pytest.mark.parametrize("look", [DOWN, RIGHT], ids=["down", "right"])
def test_a_long_identity_is_straight(look: Look) -> None:
    a, b, _ = TYPES
    busy = chain(*(box(f"f{i}", [a], [a]) for i in range(6)))
    geometry = layout(assemble(beside(busy, Wires((b,)))), look)
    wire = next(w for w in geometry.wires if w.source == "in[1]")
    axis = 0 if look.down else 1
    assert len({point[axis] for point in wire.points}) == 1
