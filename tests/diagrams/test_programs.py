"""The picture of a program: sites, edges from the checked program, plates as sets of axes."""

from pathlib import Path

import pytest

from quivers_nb.check import check_source
from quivers_nb.diagrams import diagram
from quivers_nb.diagrams.graph import Diagram, GroupKind, Item, Kind, groups, problems, walk
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.sheet import ITEMS, SCHOOLS, TOWERS
from tests.support.pictures import overlaps, wires_through_boxes

LOOP = """\
object G : FinSet 4
object H : FinSet 5
program p : G -> G
    sample a : G <- Normal(0.0, 1.0)
    let total = sum(a)
    sample b : G <- Normal(total, 1.0)
    observe y : G <- Normal(b, 1.0)
    return b
export p
"""
MIXTURE = """\
object N : FinSet 40
program mix : N -> N
    sample a <- Normal(0.0, 1.0)
    marginalize z : N <- Bernoulli(0.5)
        let mu = a + z
        observe y : N <- Normal(mu, 1.0)
    return a
export mix
"""

HIDDEN = """\
object U : Real 1
object K : FinSet 3
object Y : Real 2
morphism trans : K -> K [role=kernel]
morphism emit : K -> Y [role=kernel] ~ Normal
program step(u, z) : U * K -> K
    sample s <- trans(z)
    observe y <- emit(s)
    return s
let chain = scan(step)
program hmm : U -> K
    sample last <- chain
    return last
export hmm
"""


def picture(text: str) -> Diagram:
    return diagram(check_source(text)).diagram


def site(program: Diagram, label: str) -> Item:
    return next(item for _, item in walk(program) if item.label == label and item.body is None)


def parents(program: Diagram, label: str) -> set[str]:
    """The sites with an edge to a site, found in the flat geometry."""
    geometry = layout(program)
    names = {node.id: node.label for node in geometry.nodes}
    return {names[w.source] for w in geometry.wires if names.get(w.target) == label}


def plates(program: Diagram) -> dict[str, set[str]]:
    return {
        item.label: {inner.label for inner in item.body.items}
        for _, item in groups(program)
        if item.group is GroupKind.PLATE and item.body is not None
    }


def test_eight_schools_is_as_in_the_book() -> None:
    program = picture(SCHOOLS)
    assert problems(program) == []
    assert parents(program, "theta") == {"mu", "tau"}
    assert parents(program, "y") == {"theta", "sigma"}
    assert parents(program, "return") == {"theta"}
    assert plates(program) == {"School · 8": {"theta", "sigma", "y"}}  # data stand in their plate
    assert site(program, "y").role == "observe"
    assert "Normal(theta, sigma)" in site(program, "y").note


def test_a_deterministic_step_cuts_no_edge() -> None:
    program = picture(LOOP)
    assert parents(program, "total") == {"a"}
    assert parents(program, "b") == {"total"}


def test_overlapping_plates_are_regions_of_their_own() -> None:
    assert plates(picture(ITEMS)) == {
        "Subject · 30": {"theta"},
        "Item · 20": {"beta"},
        "Item · 20 × Subject · 30": {"eta", "y"},
    }


def test_a_region_never_encloses_its_own_consequence() -> None:
    """`a` and `b` have the same plate, but `b` follows from a sum over it: two regions."""
    program = picture(LOOP)
    labels = [item.label for _, item in groups(program) if item.group is GroupKind.PLATE]
    assert labels == ["G · 4", "G · 4"]
    order = [item.id for item in program.items]
    for wire in program.wires:
        assert order.index(wire.source.item) < order.index(wire.target.item)


def test_what_is_summed_out_is_a_site() -> None:
    program = picture(MIXTURE)
    assert site(program, "z").role == "marginalize"
    assert parents(program, "mu") == {"a", "z"}
    assert parents(program, "y") == {"mu"}


def test_an_applied_morphism_opens_into_its_string_diagram() -> None:
    drawing = diagram(check_source(TOWERS))
    (applied,) = [i for _, i in groups(drawing.diagram) if i.label == "backbone"]
    folded = {node.id for node in drawing.geometry.nodes if node.folded}
    assert applied.id in folded
    opened = drawing.unfold("backbone").geometry
    assert any(node.label == "src_embed" for node in opened.nodes)
    assert list(overlaps(opened)) == []


@pytest.mark.parametrize("text", [SCHOOLS, ITEMS, LOOP, MIXTURE, TOWERS, HIDDEN])
@pytest.mark.parametrize("orient", ["tb", "lr"])
def test_everything_open_has_an_id_of_its_own_and_a_frame_around_it(
    text: str, orient: str, tmp_path: Path
) -> None:
    drawing = diagram(check_source(text), orient=orient, depth=9)
    geometry = drawing.geometry
    ids = [part.id for part in (*geometry.nodes, *geometry.frames)]
    assert len(set(ids)) == len(ids)
    frames = {frame.id: frame.parent for frame in geometry.frames}
    for frame in frames:
        above = [frame]
        while frames[above[-1]]:
            above.append(frames[above[-1]])
            assert len(above) <= len(frames)
    for format in ("svg", "dot", "tex", "html", "txt", "json"):
        assert drawing.save(tmp_path / f"picture.{format}").stat().st_size > 100


@pytest.mark.parametrize("text", [SCHOOLS, ITEMS, LOOP, MIXTURE, TOWERS, HIDDEN])
@pytest.mark.parametrize("orient", ["tb", "lr"])
def test_no_edge_runs_through_a_site(text: str, orient: str) -> None:
    geometry = diagram(check_source(text), orient=orient).geometry
    assert list(overlaps(geometry)) == []
    assert wires_through_boxes(geometry) == []


def test_the_outline_of_a_program_names_every_site() -> None:
    program = picture(MIXTURE)
    text = outline(program)
    for _, item in walk(program):
        if item.kind is Kind.SITE:
            assert item.about in text
    assert "plate N · 40" in text
