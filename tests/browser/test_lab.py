"""The first notebook in a real JupyterLab and Notebook 7, driven in headless Chromium."""

from pathlib import Path

import pytest

from tests.support.contrast import readable
from tests.support.jupyterlab_driver import (
    Folder,
    Watch,
    execute,
    run_all,
    saved_outputs,
)

NOTEBOOK = "01-first-model.ipynb"

pytestmark = pytest.mark.browser

# The words that our colours mark as keywords, cell by cell, with the colour they really have.
COLOURED = """() => [...document.querySelectorAll('.jp-CodeCell')].map(cell => ({
    ours: /^%%qvr/.test(cell.querySelector('.cm-content').textContent),
    words: [...cell.querySelectorAll('.qvr-keyword')].map(node => node.textContent),
    colours: [...new Set([...cell.querySelectorAll('.qvr-keyword')]
        .flatMap(node => [node, ...node.querySelectorAll('*')])
        .map(node => getComputedStyle(node).color))],
}))"""


@pytest.mark.parametrize(
    ("front", "dark"),
    [
        ("lab", False),
        pytest.param("lab", True, marks=pytest.mark.slow),
        pytest.param("notebook", False, marks=pytest.mark.slow),
        ("notebook", True),
    ],
)
def test_the_first_notebook_runs_shows_its_cards_and_asks_nobody(
    lab: Folder, browser: object, front: str, dark: bool, shots: Path
) -> None:
    with lab.page(browser, NOTEBOOK, front=front, dark=dark) as (page, watch):
        run_all(page)
        _shoot(page, shots, f"{front}-{'dark' if dark else 'light'}")
        cards = page.locator(".jp-OutputArea-output .quivers")
        assert cards.count() >= 2
        assert "scores : Child -> Child" in cards.first.text_content()
        readable(page, ".jp-OutputArea-output .quivers", at_least=10)
        coloured = page.evaluate(COLOURED)
        execute(page, "docmanager:save")
    _assert_quiet(watch)
    _assert_only_qvr_cells_are_coloured(coloured)
    _assert_only_the_deliberate_error(saved_outputs(lab.root / NOTEBOOK))


def test_a_saved_notebook_reads_well_before_anybody_trusts_or_runs_it(
    lab: Folder, browser: object
) -> None:
    with lab.page(browser, NOTEBOOK) as (page, watch):
        card = page.locator(".jp-OutputArea-output .quivers").first
        assert "scores : Child -> Child" in card.text_content()
        style = "node => [getComputedStyle(node).fontFamily, getComputedStyle(node).color]"
        family, _ = card.locator("td", has_text="intercept").locator("..").evaluate(style)
        assert "monospace" in family
        _, colour = card.locator("td span", has_text="intercept").evaluate(style)
        assert colour == "rgb(26, 115, 199)"  # the plain one: variables were stripped
    _assert_quiet(watch)


def _assert_quiet(watch: Watch) -> None:
    assert watch.errors == []
    assert watch.foreign == []


def _assert_only_the_deliberate_error(outputs: list[list[dict[str, object]]]) -> None:
    errors = [o for cell in outputs for o in cell if o["output_type"] == "error"]
    assert [error["ename"] for error in errors] == ["CompileError"]
    traceback = "\n".join(errors[0]["traceback"])
    assert "hint:" in traceback
    assert "cell [" in traceback
    assert "Traceback" not in traceback
    assert "File " not in traceback


def _assert_only_qvr_cells_are_coloured(cells: list[dict[str, object]]) -> None:
    ours = [cell for cell in cells if cell["ours"]]
    assert ours
    for cell in ours:
        assert {"object", "program", "sample", "let", "observe", "return"} <= set(cell["words"])
        assert len(cell["colours"]) == 1  # nothing of the Python grammar shows through
    assert all(cell["words"] == [] for cell in cells if not cell["ours"])


def _shoot(page: object, folder: Path, theme: str) -> None:
    """Pictures of the whole notebook, one screen after the other, to look at."""
    area = page.locator(".jp-WindowedPanel-outer").first
    height = area.evaluate("node => node.clientHeight")
    total = area.evaluate("node => node.scrollHeight")
    for number in range(-(-total // height)):
        area.evaluate("(node, top) => node.scrollTo(0, top)", number * height)
        page.wait_for_timeout(300)
        page.screenshot(path=str(folder / f"{theme}-{number}.png"))
