"""Loading and unloading, the line magics, and the rich display of objects."""

import subprocess
import sys

import pytest
from IPython.utils.capture import capture_output

from tests.magics.test_cells import MODEL, TWO
from tests.support.shells import Cells


def _magics(cells: Cells) -> tuple[set[str], set[str]]:
    tables = cells.shell.magics_manager.magics
    return set(tables["line"]), set(tables["cell"])


def _configurables(cells: Cells) -> list[str]:
    """Ours; the shell makes some of its own the first time they are needed."""
    names = [type(each).__name__ for each in cells.shell.configurables]
    return [name for name in names if name.startswith("Qvr")]


@pytest.mark.parametrize("name", ["quivers_nb", "quivers_magics"])
def test_unloading_takes_back_everything_that_loading_did(bare: Cells, name: str) -> None:
    formatter = bare.shell.display_formatter.mimebundle_formatter
    before = (_magics(bare), dict(formatter.type_printers), _configurables(bare))
    bare.run(f"%load_ext {name}")
    both = {"qvr", "qvr_check", "qvr_fmt"}
    alone = {
        "qvr_traceback",
        "qvr_ls",
        "qvr_type",
        "qvr_diagram",
        "qvr_doc",
        "qvr_load",
        "qvr_save",
        "qvr_reset",
    }
    alone |= {"qvr_fit", "qvr_diff"}
    assert _magics(bare)[1] - before[0][1] == both
    assert _magics(bare)[0] - before[0][0] == both | alone
    bare.run(f"%unload_ext {name}")
    assert (_magics(bare), dict(formatter.type_printers), _configurables(bare)) == before


def test_loading_again_by_either_name_changes_nothing(cells: Cells) -> None:
    first = cells.shell.magics_manager.registry["QvrMagics"]
    cells.run("%load_ext quivers_magics")
    assert cells.shell.magics_manager.registry["QvrMagics"] is first


def test_unloading_leaves_a_magic_of_the_users_that_took_our_name(cells: Cells) -> None:
    def mine(line: str) -> None: ...

    cells.shell.register_magic_function(mine, "line", "qvr")
    cells.run("%unload_ext quivers_nb")
    assert cells.shell.find_line_magic("qvr") is mine
    assert cells.shell.find_cell_magic("qvr") is None


def test_after_a_reload_our_objects_are_still_ours(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    first = cells.names["line"]
    cells.run("%reload_ext quivers_nb")
    cells.run("%%qvr\n" + MODEL.replace("1.0)", "2.0)"))
    assert cells.names["line"] is not first


def test_the_line_magic_lists_what_is_there(cells: Cells) -> None:
    assert "begin a cell with %%qvr" in cells.show("%qvr")["text/plain"]
    cells.run("%%qvr page\n" + MODEL)
    listed = cells.show("%qvr")["text/plain"]
    assert "2 objects made by QVR cells: page, line." in listed
    assert "module exporting line" in listed
    cells.run("line = 3; del page")
    assert "begin a cell with %%qvr" in cells.show("%qvr")["text/plain"]


def test_the_line_magic_shows_an_object_again(cells: Cells) -> None:
    cells.run("%%qvr page\n" + TWO)
    assert "f : A -> B" in cells.show("%qvr f")["text/plain"]
    assert "A module with 2 exports: f, f >> g." in cells.show("%qvr page")["text/plain"]


def test_an_unknown_object_gets_the_nearest_name(cells: Cells) -> None:
    cells.run("%%qvr\n" + MODEL)
    error, printed = cells.fail("%qvr lien")
    assert type(error).__name__ == "UsageError"
    assert "no QVR cell has made an object called lien; did you mean line?" in printed
    assert "%qvr lists what there is" in cells.fail("%qvr xyz")[1]


def test_objects_show_their_card_as_a_cell_result_while_loaded(cells: Cells) -> None:
    cells.run("%%qvr page\n" + TWO)
    for name in ("f", "page"):
        assert cells.value(name) == cells.show(f"%qvr {name}")
    cells.run("%unload_ext quivers_nb")
    assert set(cells.value("f")) == {"text/plain"}


def test_the_traceback_of_a_refused_cell_can_be_had(cells: Cells) -> None:
    cells.fail("%%qvr\nexport nothing")
    with capture_output() as captured:
        cells.shell.run_line_magic("qvr_traceback", "")
    text = captured.stdout + captured.stderr
    assert "Traceback" in text
    assert "session.py" in text
    assert "CompileError" in text


def test_before_any_error_there_is_no_traceback(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys, "last_value", raising=False)
    assert "no cell has failed yet" in cells.fail("%qvr_traceback")[1]


def test_it_works_in_terminal_ipython() -> None:
    lines = f"%load_ext quivers_nb\nget_ipython().run_cell_magic('qvr', '', {MODEL!r})"
    run = subprocess.run(
        [sys.executable, "-m", "IPython", "--quick", "--colors=nocolor", "-c", lines],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "line : Obs -> Obs" in run.stdout
    assert "slope" in run.stdout
    assert "<" not in run.stdout.replace("<-", "")
