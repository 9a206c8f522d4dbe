"""`%qvr_diagram` in a real shell."""

from pathlib import Path

import pytest

from tests.support.shells import Cells

CELL = """%%qvr
object A : FinSet 3
object B : Real 2
morphism f : A -> B [role=kernel] ~ Normal
morphism g : B -> B [role=kernel] ~ Normal
let inner = g >> g
let h = f >> inner
program p : A -> B
    sample b <- h
    return b
export p
"""


@pytest.fixture
def made(cells: Cells) -> Cells:
    cells.run(CELL)
    return cells


def test_an_export_is_drawn_live_and_what_is_kept_is_the_picture(made: Cells) -> None:
    bundle = made.show("%qvr_diagram p")
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml"}
    assert "data-live=" in bundle["text/html"]
    assert bundle["text/plain"].startswith("Diagram of p")


def test_a_declared_name_that_is_not_exported_is_drawn(made: Cells) -> None:
    assert made.show("%qvr_diagram h")["text/plain"].startswith("Diagram of h")
    folded = made.show("%qvr_diagram h --static --fold inner")
    assert "data-live" not in folded["text/html"]
    assert 'class="b folded' in folded["image/svg+xml"]


def test_options_are_those_of_the_function(made: Cells) -> None:
    down = made.show("%qvr_diagram h --static")["image/svg+xml"]
    assert made.show("%qvr_diagram h --static --orient lr")["image/svg+xml"] != down
    types = made.show("%qvr_diagram h --static --badges types --depth 0")["image/svg+xml"]
    assert "A → B" in types
    assert "grad" not in types


def test_files_are_written(made: Cells, tmp_path: Path) -> None:
    made.run(f"%qvr_diagram h --save {tmp_path}/h.svg")
    assert (tmp_path / "h.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hh", "did you mean h"),
        ("zzzzzz", "%qvr_ls lists the names"),
        ("p --run nothing", "there is no variable nothing"),
        ("p --orient up", "invalid choice"),
        ("h --depth 1 --fold nobody", "no group 'nobody'"),
        ("p --badges KL", "fit_svi"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(made: Cells, line: str, words: str) -> None:
    _, printed = made.fail(f"%qvr_diagram {line}")
    assert words in printed


def test_a_fit_is_followed(made: Cells) -> None:
    made.run(
        "import torch\nfrom quivers_nb import fit_svi\n"
        "run = fit_svi(p, torch.tensor([0, 1, 2]), {}, steps=20, seed=1)"
    )
    text = made.show("%qvr_diagram p --run run --badges KL")["text/plain"]
    made.run("run.stop().wait()")
    assert "KL " in text
