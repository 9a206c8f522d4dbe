"""The line magics: what they show, what they refuse, what they leave alone."""

from pathlib import Path

import pytest
from IPython.utils.capture import capture_output

from quivers_nb.diagnostics.errors import CompileError, ParseError
from quivers_nb.dsl import loads
from tests.magics.test_workspace import OBJECTS, F, P
from tests.support.shells import Cells

COMMANDS = ("ls", "type", "doc", "check", "fmt", "load", "save", "reset")


def _printed(cells: Cells, cell: str) -> str:
    with capture_output() as captured:
        result = cells.shell.run_cell(cell, store_history=True)
    result.raise_error()
    assert captured.outputs == []
    return str(captured.stdout)


@pytest.fixture
def full(cells: Cells) -> Cells:
    cells.run("%%qvr\n" + OBJECTS + "data d : A -> Real 1\n")
    cells.run(
        "%%qvr page\n" + F + "let h = f\nmorphism g : B -> B [role=kernel, replicate=2] ~ Normal\n"
    )
    cells.run("%%qvr\n" + P)
    return cells


def test_the_word_marginalize_tells_how_to_keep_classes_apart(cells: Cells) -> None:
    """And what it says compiles."""
    assert "`let mu = low + cumsum(gap)`" in cells.show("%qvr_doc marginalize")["text/plain"]
    cells.run(
        "%%qvr\nobject Obs : FinSet n\nobject K : FinSet 3\nprogram mixture : Obs -> Obs\n"
        "    sample w <- Dirichlet(1.0) [over=K]\n    sample low <- Normal(0.0, 5.0)\n"
        "    sample gap : K <- HalfNormal(5.0)\n    let mu = low + cumsum(gap)\n"
        "    marginalize z : Obs <- Categorical(w)\n        observe y : Obs <- Normal(mu[z], 1.0)\n"
        "    return mu\nexport mixture\n"
    )


def test_the_names_are_listed_with_kind_type_and_cell(full: Cells) -> None:
    lines = full.show("%qvr_ls")["text/plain"].splitlines()
    assert lines[0] == "7 names declared by QVR cells."
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[3:]}
    assert rows == {
        "A": "object FinSet 3 cell [2]",
        "B": "object Real 2 cell [2]",
        "d": "data A -> Real 1 cell [2]",
        "f": "morphism A -> B cell [3]",
        "h": "let A -> B cell [3]",
        "g": "2 morphisms B -> B cell [3]",
        "p": "program A -> B cell [4]",
    }


def test_an_empty_workspace_says_how_to_begin(cells: Cells) -> None:
    assert "begin a cell with %%qvr" in cells.show("%qvr_ls")["text/plain"]


def test_types_of_expressions_and_names(full: Cells) -> None:
    assert _printed(full, "%qvr_type f >> g_0") == "f >> g_0 : A -> B\n"
    assert _printed(full, "%qvr_type fan(g_0, g_1)").startswith("fan(g_0, g_1) : B -> ")
    assert _printed(full, "%qvr_type A") == "A : FinSet 3\n"
    assert _printed(full, "%qvr_type d") == "d : A -> Real 1\n"
    assert _printed(full, "%qvr_type p") == "p : A -> B\n"
    error, printed = full.fail("%qvr_type g_0 >> f")
    assert type(error) is CompileError
    assert "Q0402" in printed
    assert "\n  1 | g_0 >> f\n" in printed
    assert "line 1, column 5\n  1 | g_0 >\n" in full.fail("%qvr_type g_0 >")[1]
    assert "write an expression" in full.fail("%qvr_type")[1]


def test_words_of_every_sort_are_explained(full: Cells) -> None:
    facts = {
        "f": ("morphism f : A -> B", "declared in cell [3]"),
        "g": ("a group: g_0, g_1",),
        "A": ("object A : FinSet 3",),
        "p": ("program p : A -> B", "sample w ~ Normal(0.0, 1.0)"),
        "Uniform": ("Uniform(low, high)", "between low and high"),
        "Dirichlet": ("summing to one", "vector"),
        "sample": ("draws a value", "sample level : Site"),
        ">>": ("f >> g",),
        "Real": ("vectors of so many numbers", "Real 2 [low=0.0"),
        "FinSet": ("a finite set", "FinSet 3"),
        "kernel": ("conditional distribution with learned weights", "role=kernel"),
        "Mixture": ("one of several distributions", "Mixture([0.3"),
        "sigmoid": ("sigmoid takes 1 argument and acts on each number", "let v = sigmoid("),
        "pow": ("pow takes 2 arguments",),
        "Q0402": ("Q0402: ", "fails:", "works:"),
    }
    for word, wanted in facts.items():
        text = full.show(f"%qvr_doc {word}")["text/plain"]
        for fact in wanted:
            assert fact in text, (word, text)


def test_an_unknown_word_gets_the_nearest_one(full: Cells) -> None:
    assert "did you mean Normal?" in full.fail("%qvr_doc Normall")[1]
    assert "did you mean sample?" in full.fail("%qvr_doc smaple")[1]
    assert "did you mean softmax?" in full.fail("%qvr_doc softmaxx")[1]
    assert "%qvr_ls lists" in full.fail("%qvr_doc xxxxxxxxxx")[1]
    assert "write a name" in full.fail("%qvr_doc")[1]


def test_checking_a_cell_binds_and_declares_nothing(full: Cells, tmp_path: Path) -> None:
    listed = full.show("%qvr_ls")
    text = P.replace("program p", "program q").replace("export p", "export q")
    assert _printed(full, "%%qvr_check\n" + text) == "No errors. It would export: q.\n"
    assert "q" not in full.names
    assert full.show("%qvr_ls") == listed
    error, printed = full.fail("%%qvr_check\nexport nothing")
    assert type(error) is CompileError
    assert "cell [" in printed
    file = tmp_path / "bad.qvr"
    file.write_text("object", encoding="utf-8")
    error, printed = full.fail(f"%qvr_check {file}")
    assert type(error) is ParseError
    assert "bad.qvr, line 1" in printed


def test_formatting_prints_the_canonical_form(cells: Cells) -> None:
    text = "object  A:FinSet   3  # three\nlet h=f>>g\n"
    once = _printed(cells, "%%qvr_fmt\n" + text)
    assert once == "object A : FinSet 3  # three\nlet h = f >> g\n"
    assert _printed(cells, "%%qvr_fmt\n" + once) == once
    assert type(cells.fail("%%qvr_fmt\nobject")[0]) is ParseError


def test_what_is_saved_is_loaded_again(full: Cells, tmp_path: Path) -> None:
    file = tmp_path / "all.qvr"
    assert _printed(full, f"%qvr_save {file}") == f"{file}: 3 cells written.\n"
    assert set(loads(file.read_text(encoding="utf-8")).exports) == {"f", "p"}
    assert "is there already: add --force" in full.fail(f"%qvr_save {file}")[1]
    _printed(full, f"%qvr_save --force {file}")
    full.run("%qvr_reset")
    card = full.show(f"%qvr_load {file} again")["text/plain"]
    assert "again, f, p" in card.splitlines()[0]
    assert len(full.show("%qvr_ls")["text/plain"].splitlines()) == 10


def test_a_file_that_cannot_be_read_or_written_is_a_usage_error(
    cells: Cells, tmp_path: Path
) -> None:
    binary = tmp_path / "x.qvr"
    binary.write_bytes(b"\xff\xfe\x00")
    for line, words in (
        (f"%qvr_load {tmp_path / 'none.qvr'}", "cannot be read: No such file"),
        (f"%qvr_load {binary}", "is not a text in UTF-8"),
        (f"%qvr_save {tmp_path / 'no' / 'x.qvr'}", "cannot be written: No such file"),
        ("%qvr_check", "write a file, or begin a cell with %%qvr_check"),
    ):
        error, printed = cells.fail(line)
        assert type(error).__name__ == "UsageError"
        assert words in printed


def test_resetting_forgets_declarations_and_leaves_variables(full: Cells) -> None:
    before = full.names["p"]
    assert "did you mean page?" in full.fail("%qvr_reset pagee")[1]
    assert _printed(full, "%qvr_reset p") == "Forgotten: cell [4].\n"
    assert _printed(full, "%qvr_reset page") == "Forgotten: cell [3].\n"
    assert full.names["p"] is before
    assert _printed(full, "%qvr_reset") == "Forgotten: cell [2].\n"
    assert _printed(full, "%qvr_reset") == "Forgotten: nothing was there.\n"
    assert type(full.fail("%%qvr\n" + P)[0]) is CompileError


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cells: Cells, command: str) -> None:
    doc = cells.shell.find_line_magic(f"qvr_{command}").__doc__
    assert doc is not None
    assert len(doc.split()) > 8
    if command not in ("type", "doc"):
        assert f"%qvr_{command}" in doc
        assert "unrecognized" in cells.fail(f"%qvr_{command} --nonsense x")[1]
