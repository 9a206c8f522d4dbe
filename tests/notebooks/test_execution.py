"""Cells in a real kernel: what ends up in the saved file and in its conversions."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter, MarkdownExporter
from nbformat import NotebookNode

pytestmark = pytest.mark.notebooks

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = """%%qvr
object Obs : FinSet 5
program line : Obs -> Obs
    sample slope <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(slope, 1.0)
    return slope
export line
"""
PANEL = """import torch
y = torch.linspace(0, 1, 5)
p = %qvr_fit line -m nuts chains=2 warmup=100 draws=100 seed=1
p"""
DONE = "2 chains of 100 draws"
WRONG = MODEL.replace("Normal(slope, 1.0)", "Nornal(slop, 1.0)")


def _notebook(*sources: str, failing: tuple[int, ...] = ()) -> NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number in failing:
        cells[number].metadata["tags"] = ["raises-exception"]
    return nbformat.v4.new_notebook(cells=cells)


def _run(notebook: NotebookNode, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    path = [str(REPOSITORY), str(REPOSITORY / "magics"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    # as JupyterLab saves it, without the state of widgets
    NotebookClient(notebook, timeout=120, kernel_name="python3", store_widget_state=False).execute()
    return notebook


@pytest.fixture(scope="module")
def ran() -> NotebookNode:
    with pytest.MonkeyPatch.context() as patch:
        sources = ("%load_ext quivers_nb", MODEL, WRONG, "line.observed_names", "line")
        return _run(_notebook(*sources, failing=(2,)), patch)


def test_the_saved_card_is_text_and_self_contained_html(ran: NotebookNode) -> None:
    (output,) = ran.cells[1].outputs
    assert output.output_type == "display_data"
    assert set(output.data) == {"text/plain", "text/html", "image/svg+xml"}
    assert "line : Obs -> Obs" in output.data["text/plain"]
    assert "<script" not in output.data["text/html"]


def test_the_saved_error_is_complete_and_has_no_python_frame(ran: NotebookNode) -> None:
    (error,) = ran.cells[2].outputs
    assert error.ename == "CompileError"
    for text in (error.evalue, "\n".join(error.traceback)):
        assert "undefined morphism or family `Nornal`" in text
        assert "did you mean `Normal`?" in text
        assert "cell [3], line 4, column" in text
        assert "Traceback" not in text
        assert ".py" not in text


def test_what_was_bound_outlives_the_refused_cell(ran: NotebookNode) -> None:
    assert ran.cells[3].outputs[0].data["text/plain"] == "frozenset({'y'})"
    assert "text/html" in ran.cells[4].outputs[0].data


def test_a_refused_cell_stops_a_run_of_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = _notebook("%load_ext quivers_nb", WRONG, "reached = 1")
    with pytest.raises(CellExecutionError, match="undefined morphism or family"):
        _run(notebook, monkeypatch)
    assert notebook.cells[2].outputs == []
    assert notebook.cells[2].execution_count is None


def test_a_conversion_to_html_shows_the_card_and_the_whole_error(ran: NotebookNode) -> None:
    page, _ = HTMLExporter().from_notebook_node(ran)
    assert '<div class="quivers"' in page
    assert "did you mean `Normal`?" in page


def test_a_conversion_to_markdown_keeps_the_card_and_the_error(ran: NotebookNode) -> None:
    text, _ = MarkdownExporter().from_notebook_node(ran)
    assert "slope" in text
    assert "did you mean `Normal`?" in text


@pytest.fixture(scope="module")
def fitted() -> NotebookNode:
    with pytest.MonkeyPatch.context() as patch:
        run = "p.start().wait()\np.run.flush()"
        return _run(
            _notebook("%load_ext quivers_nb", MODEL, "%qvr_diagram line", PANEL, run), patch
        )


def test_a_panel_that_is_finished_after_its_cell_is_saved_with_its_end(
    fitted: NotebookNode,
) -> None:
    (shown,) = fitted.cells[3].outputs
    assert {"text/plain", "text/html", "image/svg+xml"} <= set(shown.data)
    assert all(DONE in shown.data[kind] for kind in ("text/plain", "text/html"))
    assert "widgets" not in fitted.metadata


def test_a_conversion_to_html_shows_card_diagram_and_finished_panel_without_a_widget(
    fitted: NotebookNode,
) -> None:
    page, _ = HTMLExporter().from_notebook_node(fitted)
    assert "widget-view+json" not in page
    saved = [cell.outputs[0].data["text/html"] for cell in fitted.cells[1:4]]
    for ours in ('class="quivers"', "<svg", "<th", "fit_nuts("):
        assert page.count(ours) == sum(text.count(ours) for text in saved) > 0
    assert len(re.findall(r'<img alt="diagram of line"', page)) == 2
    assert re.search(rf'<img alt="line: {DONE}[^"]*" src="data:image/svg', page)


def test_what_is_saved_is_static_for_viewers_that_run_and_load_nothing(
    fitted: NotebookNode,
) -> None:
    """GitHub and nbviewer show saved HTML or SVG, and drop scripts and what would be fetched."""
    for cell in fitted.cells[1:4]:
        (shown,) = cell.outputs
        for kind in ("text/html", "image/svg+xml"):
            text = shown.data[kind].replace("http://www.w3.org/", "")
            assert not re.search(r"<(script|link|iframe|object|embed)\b|\son\w+\s*=", text)
            assert not re.search(r"https?:|url\((?!#)|@import", text)
        ElementTree.fromstring(shown.data["image/svg+xml"])
