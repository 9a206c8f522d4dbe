"""From the typed term to the port graph: ids, names of wires, bars, groups."""

import re
from collections import Counter
from pathlib import Path

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.paths import occurrences, term_occurrences
from quivers_nb.check.term import CheckedModule, Compose, Program
from quivers_nb.diagrams.build import build
from quivers_nb.diagrams.fold import elided
from quivers_nb.diagrams.graph import Diagram, GroupKind, Item, Kind, groups, problems, walk
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.sizes import Look
from quivers_nb.diagrams.svg import svg
from tests.support.pictures import crossings, overlaps

SEED = Path(__file__).parents[1] / "data" / "seed" / "seq2seq.qvr"
PRELUDE = """\
object X : FinSet 3
object R : Real 2
object S : Real 4
object U : FinSet 1
morphism f : X -> R [role=kernel] ~ Normal
morphism g : R -> R [role=kernel] ~ Normal
morphism h : S -> R [role=kernel] ~ Normal
morphism k : R -> S [role=kernel] ~ Normal
morphism cell : R * S -> S [role=kernel] ~ Normal
morphism heads : R -> R [role=kernel, replicate=2] ~ Normal
"""


def module(text: str, export: str) -> CheckedModule:
    return check_source(f"{PRELUDE}{text}\nexport {export}\n")


def built(text: str, name: str = "e") -> Diagram:
    return build(dict(module(f"let {name} = {text}", name).morphisms)[name], name)


def inner(diagram: Diagram) -> Diagram:
    """The body of the only item: what a let name stands for."""
    (item,) = diagram.items
    assert item.body is not None
    return item.body


def kinds(diagram: Diagram) -> list[str]:
    return [item.kind.value for item in diagram.items]


def test_ids_of_boxes_are_occurrence_paths() -> None:
    checked = check_source(SEED.read_text(encoding="utf-8"))
    program = checked.exports[0].value
    assert isinstance(program, Program)
    paths = {o.path for o in occurrences(program)}
    drawn = {item.id for _, item in walk(build(program)) if item.kind is Kind.BOX}
    assert drawn == paths


def test_ids_in_an_expression_are_occurrence_paths() -> None:
    checked = check_source(SEED.read_text(encoding="utf-8"))
    for name, value in checked.morphisms:
        if not isinstance(value, Program):
            drawn = [i.id for _, i in walk(build(value, name)) if i.kind is Kind.BOX]
            assert drawn == [o.path for o in term_occurrences(value, name)]


def test_wires_carry_the_names_of_the_declarations() -> None:
    diagram = built("(f @ f) >> (g @ g)")
    assert [wire.name for wire in diagram.dom] == ["X", "X"]
    assert [wire.size for wire in diagram.cod] == ["ℝ2", "ℝ2"]


def test_a_bar_stands_exactly_where_products_are_regrouped() -> None:
    assert kinds(inner(built("(f @ f) >> h"))) == ["box", "box", "regroup", "box"]
    assert kinds(inner(built("f >> g"))) == ["box", "box"]


def test_a_bar_spans_the_fewest_factors() -> None:
    body = inner(built("(f @ f @ f) >> (h @ g)"))
    (bar,) = [item for item in body.items if item.kind is Kind.REGROUP]
    assert (len(bar.ins), len(bar.outs)) == (2, 1)


def test_one_wire_that_is_read_as_something_else_gets_a_bar() -> None:
    text = "morphism number : Real 1 -> R [role=kernel] ~ Normal\n"
    text += "morphism cat : R -> X [role=kernel] ~ Categorical\nlet e = cat >> number"
    body = inner(build(dict(module(text, "e").morphisms)["e"], "e"))
    assert [item.label for item in body.items] == ["cat", "regroup", "number"]
    assert problems(body) == []


def test_a_fan_copies_its_input_once() -> None:
    (fan,) = inner(built("fan(g, g, g)")).items
    assert fan.group is GroupKind.FAN
    assert fan.body is not None
    assert kinds(fan.body) == ["copy", "box", "box", "box"]


def test_a_fan_of_a_product_copies_every_factor() -> None:
    (fan,) = inner(built("fan(g @ g, g @ g)")).items
    assert fan.body is not None
    assert Counter(kinds(fan.body)) == {"copy": 2, "swap": 1, "box": 4}


def test_copies_of_a_stack_share_a_template_and_no_id() -> None:
    diagram = built("stack(g >> g, 3)")
    layers = [item for _, item in groups(diagram) if item.group is GroupKind.LAYER]
    assert len({layer.template for layer in layers}) == 1
    assert len({layer.id for layer in layers}) == 3
    assert elided(diagram) == {layers[1].id, layers[2].id}


def test_a_scan_feeds_its_state_back() -> None:
    (scan,) = inner(built("scan(cell)")).items
    assert scan.body is not None
    assert scan.body.feedback == 1
    assert [wire.name for wire in scan.ins] == ["R"]
    assert kinds(scan.body) == ["box", "copy"]


def test_a_scan_of_several_states_feeds_all_of_them_back() -> None:
    text = (
        "program step(u, one, two) : R * R * R -> R * R\n    let next = one + two + u\n"
        "    return (next, one)\nlet e = scan(step)"
    )
    diagram = build(dict(module(text, "e").morphisms)["e"], "e")
    (scan,) = inner(diagram).items
    assert scan.body is not None
    assert scan.body.feedback == 2
    assert len(scan.ins) == 1
    assert len(scan.outs) == 2
    assert problems(diagram) == []


def test_a_cell_with_two_states_feeds_both_back_in_order() -> None:
    text = "morphism lstm : R * S * R -> S * R [role=kernel] ~ Normal\nlet e = scan(lstm)"
    diagram = build(dict(module(text, "e").morphisms)["e"], "e")
    (scan,) = inner(diagram).items
    assert [wire.name for wire in scan.ins] == ["R"]
    assert [wire.name for wire in scan.outs] == ["S", "R"]
    assert problems(diagram) == []
    delays = [node for node in layout(diagram).nodes if node.kind == "delay"]
    assert [node.about for node in delays] == ["one step earlier: S", "one step earlier: R"]


def test_the_unit_is_no_wire() -> None:
    text = "morphism prior : U -> R [role=kernel] ~ Normal\nlet e = prior >> g"
    diagram = build(dict(module(text, "e").morphisms)["e"], "e")
    assert diagram.dom == ()
    assert problems(diagram) == []


def test_long_chains_are_cut_into_segments() -> None:
    diagram = built(" >> ".join(["f", *["g"] * 60]))
    segments = [item for _, item in groups(diagram) if item.group is GroupKind.SEGMENT]
    assert [item.label for item in segments][:2] == ["steps 1–12 of 61", "steps 13–24 of 61"]
    assert sum(i.kind is Kind.BOX for _, i in walk(diagram)) == 61
    assert elided(diagram) == {item.id for item in segments[1:]}


def test_many_passes_of_a_repeat_stay_one_picture() -> None:
    diagram = built("repeat(g, 1000)")
    assert sum(1 for _ in walk(diagram)) < 300
    assert "800 more" in [item.label for _, item in walk(diagram)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("(f >> g) >> k", "f >> (g >> k)"),
        ("((f >> g) >> k) >> h", "f >> (g >> (k >> h))"),
        ("(f @ g) @ k", "f @ (g @ k)"),
        ("f >> identity(R) >> g", "f >> g"),
        ("g << f", "f >> g"),
    ],
)
def test_written_otherwise_drawn_the_same(left: str, right: str) -> None:
    """Byte for byte, in both orientations, and in words."""
    one, other = built(left), built(right)
    for down in (True, False):
        assert svg(layout(one, Look(down=down))) == svg(layout(other, Look(down=down)))
    assert outline(one) == outline(other)


def test_brackets_that_the_checker_keeps_are_drawn() -> None:
    """A chain left inside a chain is there because composition is not associative."""
    known = dict(module("let e = f >> g >> k", "e").morphisms)
    f, g, k = (known[name] for name in "fgk")
    inside = Compose(dom=f.dom, cod=g.cod, parts=(f, g))  # type: ignore[union-attr, arg-type]
    whole = Compose(dom=f.dom, cod=k.cod, parts=(inside, k))  # type: ignore[union-attr, arg-type]
    diagram = build(whole, "e")
    assert problems(diagram) == []
    assert [item.group for _, item in groups(diagram)] == [GroupKind.BRACKET]


def test_every_valid_case_of_the_checker_is_drawn() -> None:
    """All modules of the checker's own cases: sound graphs, planar where they are terms."""
    drawn = 0
    for diagram in _cases():
        assert problems(diagram) == []
        geometry = layout(diagram, Look(folded=elided(diagram)))
        assert list(overlaps(geometry)) == []
        if diagram.planar and not _swaps(diagram):
            assert crossings(geometry) == []
        drawn += 1
    assert drawn > 60


def _cases() -> list[Diagram]:
    from quivers_nb.diagnostics.errors import LanguageError

    found: list[Diagram] = []
    for path in sorted((Path(__file__).parents[1] / "cases").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        prelude = "".join(re.findall(r"```qvr prelude\n(.*?)```", text, re.DOTALL))
        for block in re.findall(r"```qvr\n(.*?)```", text, re.DOTALL):
            try:
                checked = check_source(prelude + block)
            except LanguageError:
                continue  # a case of an error
            found.extend(build(value, name) for name, value in checked.morphisms)
    return found


def _swaps(diagram: Diagram) -> list[Item]:
    return [item for _, item in walk(diagram) if item.kind in {Kind.SWAP} or not diagram.planar]
