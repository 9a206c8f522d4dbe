"""The workspace: who declares a name, what a cell needs of the others, where a place is."""

import pytest

from quivers_nb.check import check_source
from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.diagnostics.source import JoinedText
from quivers_nb.session.workspace import Cell, Workspace, names_of, read_cell


def _space(*texts: str) -> Workspace:
    space = Workspace()
    for number, text in enumerate(texts, start=1):
        space = space.add(read_cell(text, f"cell [{number}]"))
    return space


def _labels(space: Workspace) -> list[str]:
    return [cell.label for cell in space.cells]


def _text(space: Workspace, place: int) -> str:
    return space.source(space.cells[place]).text


def test_a_cell_knows_what_it_declares_by_word_and_namespace() -> None:
    cell = read_cell(
        "object A : FinSet 3\ndata d : A -> Real 1\nlet h = f >> g\n"
        "program p : A -> A\n    sample a <- h\n    return a\nexport p\nexport h >> p\n",
        "cell [1]",
    )
    assert [d.word for d in cell.declared] == ["object", "data", "let", "program"]
    assert cell.keys == {("object", "A"), ("data", "d"), ("morphism", "h"), ("morphism", "p")}
    assert cell.exports == {"p", "h >> p"}
    assert {"f", "g"} <= cell.uses


def test_a_cell_that_is_not_qvr_is_refused_with_its_own_place() -> None:
    with pytest.raises(ParseError, match=r"cell \[4\], line 2"):
        read_cell("object A : FinSet 3\nobject", "cell [4]")


def test_a_cell_without_needs_is_its_own_text() -> None:
    source = _space("object A : FinSet 3\n", "object B : FinSet 2\n").source(
        read_cell("object C : FinSet 4", "cell [3]")
    )
    assert source.text == "object C : FinSet 4"
    assert not isinstance(source, JoinedText)


def test_what_is_needed_comes_first_in_an_order_that_can_be_read() -> None:
    space = _space(
        "let h = f\nobject A : FinSet 3\n", "morphism f : A -> A [role=kernel]\n", "export h\n"
    )
    assert _text(space, 2) == (
        "object A : FinSet 3\nmorphism f : A -> A [role=kernel]\nlet h = f\nexport h\n"
    )
    check_source(space.source(space.cells[2]))


def test_a_member_needs_its_group() -> None:
    group = "morphism f : A -> A [role=kernel, replicate=2]\n"
    space = _space("object A : FinSet 3\n", group, "export f_1\n")
    assert group in _text(space, 2)
    check_source(space.source(space.cells[2]))


def test_a_name_is_taken_over_and_the_rest_keeps_its_places() -> None:
    space = _space("object A : FinSet 3\nobject B : FinSet 2\n", "object A : FinSet 4\n")
    first, second = space.cells
    assert names_of(first) == {"B"}
    assert names_of(second) == {"A"}
    assert first.live_text == " " * 19 + "\nobject B : FinSet 2\n"
    assert first.uses == set()
    assert space.holder("A") is second
    assert space.holder("nobody") is None


def test_an_object_and_a_morphism_may_have_one_name() -> None:
    space = _space("object A : FinSet 3\n", "morphism A : A -> A [role=kernel]\n")
    assert [names_of(cell) for cell in space.cells] == [{"A"}, {"A"}]


def test_a_cell_of_which_nothing_is_left_gives_its_place_to_the_new_one() -> None:
    space = _space("object A : FinSet 3\n", "object B : FinSet 2\n", "object A : FinSet 4\n")
    assert _labels(space) == ["cell [3]", "cell [2]"]


def test_adding_a_cell_again_changes_nothing() -> None:
    texts = ["object A : FinSet 3\n", "export f\n", "# nothing\n", "object B : A * A\nexport g\n"]
    space = _space(*texts)
    for cell in space.cells:
        assert space.add(cell) == space


def test_cells_that_only_export_are_replaced_by_those_that_export_the_same() -> None:
    space = _space("export f\n", "export g\n", "export f # again\n")
    assert _labels(space) == ["cell [3]", "cell [2]"]


def test_places_are_told_in_the_cell_that_was_written() -> None:
    space = _space("\n\nobject A : FinSet 3\n", "# one\nmorphism f : A -> A [role=kernel]\n")
    source = space.source(space.cells[1])
    assert source.place(source.text.index("A :")) == ("cell [1]", 3, 8)
    assert source.place(source.text.index("f :")) == ("cell [2]", 2, 10)
    assert source.place(len(source.text)) == ("cell [2]", 3, 1)


def test_names_that_go_round_in_a_circle_end() -> None:
    space = _space("let f = g\n", "let g = f\n")
    assert sorted(_text(space, 1).splitlines()) == ["let f = g", "let g = f"]


def test_dropping_cells_by_name_and_by_use() -> None:
    space = _space("object A : FinSet 3\n", "object B : A * A\n", "export f\n")
    assert _labels(space.without(frozenset({"B"}))) == ["cell [1]", "cell [3]"]
    assert _labels(space.without_users(frozenset({"A", "f"}))) == ["cell [1]"]
    named = Workspace((read_cell("object A : FinSet 3\n", "cell [1]", "page"),))
    assert named.without(frozenset({"page"})).cells == ()


def test_the_whole_text_is_all_that_is_left_in_order() -> None:
    space = _space("object A : FinSet 3", "\nobject B : FinSet 2\n\n")
    assert space.whole() == "object A : FinSet 3\n\nobject B : FinSet 2\n"


def test_a_label_is_no_part_of_a_cell() -> None:
    one, two = (read_cell("object A : FinSet 3\n", label) for label in ("cell [1]", "cell [2]"))
    assert isinstance(one, Cell)
    assert one == two


def test_a_cell_that_takes_over_what_an_earlier_one_needs_stands_before_it() -> None:
    space = _space("object A : FinSet 3\nobject B : A * A\n", "object A : FinSet 4\n")
    assert _labels(space) == ["cell [2]", "cell [1]"]
    check_source(space.whole())
