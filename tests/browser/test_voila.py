"""A notebook as a page of Voila: cells run when it is opened, cards and panels are live."""

from pathlib import Path

import pytest

from tests.browser.panel_page import DATA, INK, MODEL, SOON, press, state
from tests.support.jupyterlab_driver import RUN, Watch, write_notebook
from tests.support.voila_driver import installed, voila

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# What the page of Voila itself asks for, with or without a panel.
THEIRS = "/npm/@fortawesome/"
# What Voila says of the extension of Notebook 7, which wants what only JupyterLab shares.
NOT_OURS = "labextensions/@jupyter-notebook/lab-extension"

PANEL = """from quivers_nb.panels import panel
panel(line, None, {'x': x, 'y': y}, steps=1_000_000, seed=1)"""


def test_a_panel_fits_and_draws_in_voila(tmp_path: Path, browser, shots: Path) -> None:
    site = installed(tmp_path / "site")
    (tmp_path / "pages").mkdir()
    notebook = tmp_path / "pages" / "panel.ipynb"
    write_notebook(notebook, ["%load_ext quivers_nb", MODEL, DATA, PANEL])
    with voila(site, notebook, tmp_path / "home") as address:
        context = browser.new_context(viewport={"width": 1300, "height": 1800})
        page, watch = context.new_page(), Watch()
        watch.attach(page)
        page.route(f"**{THEIRS}**", lambda route: route.abort())
        page.goto(address, wait_until="domcontentloaded", timeout=1000 * RUN)
        page.wait_for_selector(".qvr-run", timeout=1000 * RUN)
        assert "line : Obs -> Obs" in page.locator(".quivers").first.text_content()
        press(page, "start")
        state(page, ["running"])
        page.wait_for_function(f"() => ({INK})() > 1000", timeout=SOON)
        moved = "() => Number(document.querySelector('.qvr-run').dataset.messages)"
        before = page.evaluate(moved)
        page.wait_for_timeout(2000)
        assert page.evaluate(moved) > before + 4
        press(page, "stop")
        state(page, ["stopped"])
        page.screenshot(path=shots / "voila.png", full_page=True)
        context.close()
    assert [url for url in watch.foreign if THEIRS not in url] == []
    errors = [words for words in watch.errors if "Failed to load resource" not in words]
    assert [words for words in errors if NOT_OURS not in words] == [], errors
