"""The notebooks as files: in form, complete, and saying nothing of the machine that ran them.

That their outputs are what their cells give is checked by nbval, cell by cell.
"""

import re
from pathlib import Path

import nbformat
import pytest

from notebooks.normalise import hidden, keep_saved, normalise, text_of

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def _read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01-first-model", "02-seq2seq", "03-first-hour"]


def test_the_file_is_in_form(path: Path) -> None:
    assert text_of(normalise(_read(path))) == path.read_text(encoding="utf-8")


def test_the_file_is_a_valid_notebook(path: Path) -> None:
    nbformat.validate(_read(path))


def test_every_cell_was_run_once_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in _code(_read(path))]
    assert counts == list(range(1, len(counts) + 1))


def test_only_cells_that_announce_it_have_failed_and_nothing_went_to_stderr(path: Path) -> None:
    for cell in _code(_read(path)):
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in cell.metadata.get("tags", [])), cell.source
        assert all(output.get("name") != "stderr" for output in cell.outputs), cell.source


def test_a_cell_whose_numbers_are_not_compared_is_followed_by_facts_that_are(path: Path) -> None:
    cells = _code(_read(path))
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            assert following is not None
            later = cells[cells.index(cell) + 1 : cells.index(cell) + 3]
            assert any(
                each.outputs and "nbval-ignore-output" not in each.metadata.get("tags", [])
                for each in later
            ), cell.source


def test_outputs_name_no_address_and_no_place_of_this_machine(path: Path) -> None:
    for cell in _code(_read(path)):
        text = "".join(
            output.get("text", "") + "".join(map(str, output.get("data", {}).values()))
            for output in cell.outputs
        )
        assert not re.search(r"0x[0-9a-f]{6,}|/home/|/root/|/tmp/|/work/", text), cell.source


def test_links_between_the_notebooks_lead_somewhere(path: Path) -> None:
    prose = "\n".join(cell.source for cell in _read(path).cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (FOLDER / target).exists(), target


def test_normalising_removes_timing_widgets_and_random_ids_and_nothing_else() -> None:
    notebook = nbformat.v4.new_notebook(metadata={"widgets": {"state": 1}})
    cell = nbformat.v4.new_code_cell(
        "print(1)", metadata={"execution": {"iopub.status.busy": "now"}, "tags": ["t"]}
    )
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    notebook.cells = [nbformat.v4.new_markdown_cell("# hi"), cell]
    form = normalise(notebook)
    assert "widgets" not in form.metadata
    assert [each.id for each in form.cells] == ["cell-01", "cell-02"]
    assert form.cells[1].metadata == {"tags": ["t"]}
    assert form.cells[1].outputs == cell.outputs
    assert text_of(normalise(form)) == text_of(form)
    assert notebook.metadata.widgets == {"state": 1}  # the argument is left alone


@pytest.mark.parametrize(("new", "kept"), [("in 12 ms: a.", True), ("in 12 ms: b.", False)])
def test_an_output_keeps_its_saved_text_if_only_a_time_changed(new: str, kept: bool) -> None:
    def with_output(text: str) -> nbformat.NotebookNode:
        cell = nbformat.v4.new_code_cell("x", id="cell-01")
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"Compiled {text}")]
        return nbformat.v4.new_notebook(cells=[cell])

    fresh = with_output(new)
    keep_saved(fresh, with_output("in 3.4 s: a."), hidden())
    assert (fresh.cells[0].outputs[0].text == "Compiled in 3.4 s: a.") == kept
