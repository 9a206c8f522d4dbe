"""The first notebook in a real JupyterLab, driven in headless Chromium."""

from pathlib import Path

import pytest

from tests.support.jupyterlab_driver import (
    Watch,
    execute,
    notebook_page,
    run_all,
    saved_outputs,
)

NOTEBOOK = "01-first-model.ipynb"

pytestmark = pytest.mark.browser

# Every run of text in our cards and errors must stand out from what is painted behind it: the
# contrast ratio of WCAG 2, whose recommendation for text of normal size is 4.5.
CONTRAST = """() => {
    const parse = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = node => {
        for (let at = node; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour[3] > 0.99) return colour;
        }
        return [255, 255, 255, 1];
    };
    const seen = {};
    for (const card of document.querySelectorAll('.jp-OutputArea-output .quivers')) {
        for (const node of card.querySelectorAll('*')) {
            const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own) continue;
            const [a, b] = [parse(getComputedStyle(node).color), behind(node)].map(light);
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const words = node.textContent.trim().slice(0, 30);
            if (!(words in seen) || ratio < seen[words]) seen[words] = ratio;
        }
    }
    return seen;
}"""


# The words that our colours mark as keywords, cell by cell, with the colour they really have.
COLOURED = """() => [...document.querySelectorAll('.jp-CodeCell')].map(cell => ({
    ours: /^%%qvr/.test(cell.querySelector('.cm-content').textContent),
    words: [...cell.querySelectorAll('.qvr-keyword')].map(node => node.textContent),
    colours: [...new Set([...cell.querySelectorAll('.qvr-keyword')]
        .flatMap(node => [node, ...node.querySelectorAll('*')])
        .map(node => getComputedStyle(node).color))],
}))"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_first_notebook_runs_shows_its_cards_and_asks_nobody(
    lab: tuple[str, Path], browser: object, dark: bool, shots: Path
) -> None:
    address, root = lab
    with notebook_page(browser, address, NOTEBOOK, dark=dark) as (page, watch):
        run_all(page)
        _shoot(page, shots, "dark" if dark else "light")
        cards = page.locator(".jp-OutputArea-output .quivers")
        assert cards.count() >= 2
        assert "scores : Child -> Child" in cards.first.text_content()
        contrast = page.evaluate(CONTRAST)
        coloured = page.evaluate(COLOURED)
        execute(page, "docmanager:save")
    _assert_quiet(watch)
    assert len(contrast) > 10
    assert {words: ratio for words, ratio in contrast.items() if ratio < 4.5} == {}
    _assert_only_qvr_cells_are_coloured(coloured)
    _assert_only_the_deliberate_error(saved_outputs(root / NOTEBOOK))


def test_a_saved_notebook_reads_well_before_anybody_trusts_or_runs_it(
    lab: tuple[str, Path], browser: object
) -> None:
    address, _ = lab
    with notebook_page(browser, address, NOTEBOOK) as (page, watch):
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
