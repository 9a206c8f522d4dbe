"""Cells that add to one workspace, in a real shell: what is bound, what the card says."""

import torch

from quivers_nb.diagnostics.errors import CompileError
from tests.support.shells import Cells

OBJECTS = "object A : FinSet 3\nobject B : Real 2\n"
F = "morphism f : A -> B [role=kernel] ~ Normal\nexport f\n"
P = """program p : A -> B
    sample w <- Normal(0.0, 1.0)
    sample b <- f
    return b
export p
"""


def test_a_later_cell_uses_an_earlier_one(cells: Cells) -> None:
    cells.run("%%qvr\n" + OBJECTS)
    cells.run("%%qvr\n" + F)
    text = cells.show("%%qvr\n" + P)["text/plain"]
    assert "p : A -> B" in text
    assert "weights kept: f.table" in text
    draws = cells.names["p"].rsample(torch.tensor([0, 1, 2]))
    assert draws.shape == (3, 2)


def test_a_changed_cell_rebinds_what_depends_on_it_and_says_so(cells: Cells) -> None:
    for text in (OBJECTS, F, P):
        cells.run("%%qvr\n" + text)
    before = cells.names["f"], cells.names["p"]
    text = cells.show("%%qvr\n" + OBJECTS.replace("FinSet 3", "FinSet 4"))["text/plain"]
    assert "cell [3] depends on it and was compiled anew: f" in text
    assert "cell [4] depends on it and was compiled anew: p" in text
    assert "weights reset, their shape has changed: f.table" in text
    assert cells.names["f"] is not before[0]
    assert cells.names["p"] is not before[1]
    assert cells.names["p"].rsample(torch.tensor([3])).shape == (1, 2)


def test_a_variable_that_the_user_took_is_left_alone_by_a_rebuild(cells: Cells) -> None:
    for text in (OBJECTS, F):
        cells.run("%%qvr\n" + text)
    cells.run("f = 'mine'")
    cells.run("%%qvr\n" + OBJECTS.replace("FinSet 3", "FinSet 4"))
    assert cells.names["f"] == "mine"


def test_a_name_that_data_of_another_cell_have_taken_can_be_had_back(cells: Cells) -> None:
    cells.run("%%qvr\nobject A : FinSet 3\ndata y : A -> Real 1\n")
    again = P.replace("sample b <- f", "observe y : A <- Normal(w, 1.0)").replace(
        "return b", "return w"
    )
    text = "%%qvr\nobject A : FinSet 3\nobject B : Real 2\n" + again
    _, printed = cells.fail(text)
    assert "bound here (cell [2])" in printed
    assert "if cell [2] is not needed any more, forget it: %qvr_reset y" in printed
    cells.run("%qvr_reset y")
    cells.run(text)
    _, printed = cells.fail("%%qvr\n" + again.replace("observe y", "observe w"))
    assert "%qvr_reset" not in printed  # a name bound twice in one cell


def test_a_cell_that_breaks_another_is_refused_with_the_way_out(cells: Cells) -> None:
    for text in (OBJECTS, F):
        cells.run("%%qvr\n" + text)
    before = cells.names["f"]
    error, printed = cells.fail("%%qvr\nobject B : FinSet 2\n")
    assert type(error) is CompileError
    assert "cell [3], line 1" in printed
    assert "cell [4] declares `B` anew" in printed
    assert "%qvr_reset f" in printed
    assert cells.names["f"] is before
    cells.run("%qvr_reset f")
    cells.run("%%qvr\nobject B : FinSet 2\n")


def test_fresh_sees_no_other_cell(cells: Cells) -> None:
    cells.run("%%qvr\n" + OBJECTS)
    error, _ = cells.fail("%%qvr --fresh\n" + F)
    assert type(error) is CompileError


def test_the_workspace_outlives_a_reload(cells: Cells) -> None:
    cells.run("%%qvr\n" + OBJECTS)
    cells.run("%reload_ext quivers_nb")
    cells.run("%%qvr\n" + F)
    assert "f : A -> B" in cells.show("%qvr f")["text/plain"]
