"""`%%qvr` in a real shell: what it binds, what it refuses, what it shows."""

import re

import pytest
from IPython.utils.capture import capture_output

from quivers_nb.diagnostics.errors import CompileError, ParseError
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module
from tests.support.shells import Cells

MODEL = """object Obs : FinSet 5
program line : Obs -> Obs
    sample slope <- Normal(0.0, 1.0)
    let mu = slope * age
    observe y : Obs <- Normal(mu, 1.0)
    return slope
export line
"""
TWO = """object A : FinSet 3
object B : Real 2
morphism f : A -> B [role=kernel] ~ Normal
morphism g : B -> B [role=kernel] ~ Normal
export f
export f >> g
"""


def test_exports_are_bound_under_their_names(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    assert isinstance(cells.names["line"], Model)
    cells.run("%%qvr\n" + TWO)
    assert isinstance(cells.names["f"], Kernel)


def test_a_name_on_the_magic_line_is_the_module(cells: Cells) -> None:
    cells.run("%%qvr page\n" + TWO)
    page = cells.names["page"]
    assert isinstance(page, Module)
    assert page.exports["f"] is cells.names["f"]


def test_an_export_comes_before_the_module_when_both_want_one_name(cells: Cells) -> None:
    card = cells.show("%%qvr line\n" + MODEL)["text/plain"]
    assert isinstance(cells.names["line"], Model)
    assert "`line` is also an export" in card


def test_who_knows_the_names_so_they_went_through_the_shell(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    assert "line" not in cells.shell.user_ns_hidden
    assert "line" in cells.shell.run_line_magic("who_ls", "")


def test_the_users_variables_are_left_alone_and_the_card_says_so(cells: Cells) -> None:
    cells.run("line = 'mine'")
    card = cells.show("%%qvr m\n" + MODEL)["text/plain"]
    assert cells.names["line"] == "mine"
    assert "`line` is a variable of yours and was left alone: it is m.exports['line']" in card
    again = cells.show("%%qvr\n" + MODEL + "\n")["text/plain"]
    way = "rename it here, or begin with `%%qvr NAME` and take NAME.exports['line']"
    assert f"`line` is a variable of yours and was left alone: {way}." in again
    assert "nothing was put into your variables." in again
    assert "line : Obs -> Obs" in cells.show("%qvr line")["text/plain"]  # still to be looked at


def test_builtins_and_unnamed_exports_are_left_alone_and_the_card_says_so(cells: Cells) -> None:
    text = TWO.replace("morphism f ", "morphism sum ").replace("export f\n", "export sum\n")
    card = cells.show("%%qvr m\n" + text.replace("export f >> g", "export sum >> g"))["text/plain"]
    assert "`sum` is a builtin of Python and was left alone: it is m.exports['sum']" in card
    assert "`sum >> g` is not a Python name" in card
    assert "sum" not in cells.names


def test_a_cell_may_be_edited_and_replaces_what_it_bound(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    first = cells.names["line"]
    cells.run("%%qvr\n" + MODEL.replace("1.0)", "2.0)"))
    assert cells.names["line"] is not first


def test_an_unchanged_cell_says_so_and_keeps_its_objects(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    first = cells.names["line"]
    card = cells.show("%%qvr\n" + MODEL)["text/plain"]
    assert card.startswith("Unchanged since cell [2], the same objects as before: line.")
    assert cells.names["line"] is first


def test_fresh_makes_new_objects_of_an_unchanged_cell(cells: Cells) -> None:
    cells.run("%%qvr\n" + TWO)
    first = cells.names["f"]
    assert cells.show("%%qvr --fresh\n" + TWO)["text/plain"].startswith("Compiled in ")
    assert cells.names["f"] is not first


def test_a_card_is_a_sentence_then_the_facts_in_text_and_in_html(cells: Cells) -> None:
    bundle = cells.show("%%qvr\n" + MODEL)
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    lines = bundle["text/plain"].splitlines()
    assert re.fullmatch(r"Compiled in \d+(\.\d+)? (ms|s): line\.", lines[0])
    text = bundle["text/plain"]
    for fact in ("line : Obs -> Obs", "slope", "Normal(0.0, 1.0)", "shared", "needs data: age"):
        assert fact in text
    assert "0 parameters" in text
    assert "outline" in text
    for fact in ("slope", "shared", "<details>", "<table"):
        assert fact in bundle["text/html"]


def test_warnings_are_on_the_card_with_their_line(cells: Cells) -> None:
    text = """object A : FinSet 3
object B : Real 2
morphism f : A -> B [role=kernel] ~ Normal
program p : A -> B
    sample loc <- Normal(0.0, 1.0)
    sample b <- f
    return b
export p
"""
    card = cells.show("%%qvr\n" + text)["text/plain"]
    assert "warning[" in card
    assert "line 5" in card
    assert "one per row" in card


def test_a_cell_without_exports_says_what_to_add(cells: Cells) -> None:
    assert "add a line `export NAME`" in cells.show("%%qvr\nobject A : FinSet 3")["text/plain"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("object A FinSet 3", ParseError), ("object A : FinSet 3\nexport B", CompileError)],
)
def test_a_refused_cell_fails_with_our_lines_and_no_python_frame(
    cells: Cells, text: str, kind: type[Exception]
) -> None:
    error, printed = cells.fail("%%qvr\n" + text)
    assert type(error) is kind
    assert printed.strip() == str(error).strip()
    assert "cell [2]" in printed
    assert "Traceback" not in printed
    assert ".py" not in printed


def test_types_that_do_not_meet_are_drawn_above_the_error(cells: Cells) -> None:
    with capture_output() as captured:
        result = cells.shell.run_cell("%%qvr\n" + TWO.replace("f >> g", "f >> f"))
    assert isinstance(result.error_in_exec, CompileError)
    (drawn,) = captured.outputs
    assert "does not meet" in drawn.data["text/plain"]
    assert "<svg" in drawn.data["text/html"]
    assert "error[Q0402]" in captured.stdout + captured.stderr


def test_line_one_is_the_line_after_the_magic(cells: Cells) -> None:
    error, _ = cells.fail("%%qvr\nexport nothing")
    assert error.line == 1
    error, _ = cells.fail("%%time\n%%qvr\nobject A : FinSet 3\nexport nothing")
    assert error.line == 2


def test_a_refused_cell_binds_nothing_and_keeps_what_was_there(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    before = cells.names["line"]
    cells.fail("%%qvr other\n" + MODEL.replace("age", "age +"))
    assert cells.names["line"] is before
    assert "other" not in cells.names


def test_time_and_capture_work_around_a_cell(cells: Cells) -> None:
    card = cells.show("%%time\n%%qvr\n" + MODEL)
    assert "line : Obs -> Obs" in card["text/plain"]
    assert cells.run("%%capture kept\n%%qvr\n" + MODEL.replace("line", "other")) == []
    assert isinstance(cells.names["other"], Model)
    assert "other : Obs -> Obs" in cells.names["kept"].outputs[0].data["text/plain"]


def test_python_braces_and_dollars_are_not_expanded(cells: Cells) -> None:
    cells.run("name = 'page'")
    cells.run("%%qvr $name\nobject A : FinSet 3")
    assert "page" not in cells.names


def test_a_wrong_option_or_an_open_quote_is_a_usage_error(cells: Cells) -> None:
    for line, words in (("--frsh", "unrecognized arguments: --frsh"), ('"x', "cannot be read")):
        error, printed = cells.fail(f"%%qvr {line}\nobject A : FinSet 3")
        assert type(error).__name__ == "UsageError"
        assert words in printed


def test_help_tells_the_options(cells: Cells) -> None:
    text = cells.shell.find_cell_magic("qvr").__doc__
    assert "--fresh" in text
    assert "%%qvr [NAME]" in text


def test_an_error_of_a_call_shows_the_users_line_and_none_of_ours(cells: Cells) -> None:
    cells.run("%load_ext quivers_nb")
    cells.run("%%qvr\nprogram p : 1 -> 1\n    sample w <- Normal(0.0, 1.0)\n    return w\nexport p")
    _, printed = cells.fail(
        "def score(**values):\n    return p.log_joint(None, values)\nscore(v=1.0)"
    )
    assert printed.splitlines() == [
        "UserError: `v` is used by no site, let, score or index of the program; it knows `w`",
        "  line 3: score(v=1.0)",
        "  line 2, in score: return p.log_joint(None, values)",
    ]
    with capture_output() as captured:
        cells.shell.run_line_magic("qvr_traceback", "")
    assert "log_joint" in captured.stdout + captured.stderr
