"""Panels in a real JupyterLab: buttons while a cell runs, reload, reopening, keys, themes."""

import json
from pathlib import Path

import pytest

from tests.support.jupyterlab_driver import (
    execute,
    notebook_page,
    run_cell,
    saved_outputs,
    write_notebook,
)

pytestmark = pytest.mark.browser

NAME = "panel.ipynb"
MODEL = """%%qvr
object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 10.0)
    sample start <- Normal(0.0, 10.0)
    sample noise <- HalfNormal(5.0)
    let mu = start + slope * x
    observe y : Obs <- Normal(mu, noise)
    return mu
export line"""
DATA = "import torch\nx = torch.linspace(0, 1, 40); y = 1 + 2 * x + 0.3 * torch.sin(37 * x)"
AWAIT = "import asyncio\nfor k in range(60):\n    await asyncio.sleep(0.5)\nprint('waited')"
STATE = "() => document.querySelector('.qvr-run').dataset.state"
INK = """() => {
    const canvas = document.querySelector('.qvr-canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
    return inked;
}"""


SOON = 30_000  # milliseconds


def opened(lab, browser, cells, *, dark=False):
    address, root = lab
    write_notebook(root / NAME, ["%load_ext quivers_nb", MODEL, DATA, *cells])
    return notebook_page(browser, address, NAME, dark=dark)


def run_first(page, count):
    for number in range(count):
        run_cell(page, number)
    page.wait_for_selector(".qvr-run", timeout=SOON)


def state(page, wanted, seconds=60):
    page.wait_for_function(
        f"wanted => wanted.includes(({STATE})())", arg=wanted, timeout=1000 * seconds
    )


def press(page, verb):
    page.click(f".qvr-{verb}:enabled", timeout=SOON)


def quiet(watch):
    assert watch.errors == []
    assert watch.foreign == []


def test_every_button_works_while_a_later_cell_awaits(lab, browser, shots: Path) -> None:
    cells = [
        "p = %qvr_fit line steps=1000000\np",
        AWAIT,
        "print('kept', len(p.result.losses) > 10)",
    ]
    with opened(lab, browser, cells) as (page, watch):
        run_first(page, 4)
        run_cell(page, 4, wait=False)
        page.wait_for_timeout(500)
        press(page, "start")
        state(page, ["running"])
        press(page, "pause")
        state(page, ["paused"])
        press(page, "resume")
        state(page, ["running"])
        page.wait_for_timeout(1500)
        assert page.evaluate(INK) > 1000
        press(page, "stop")
        state(page, ["stopped"])
        # the later cell is still at it: nobody waited for it
        assert page.locator(".jp-OutputArea-output", has_text="waited").count() == 0
        page.locator(".qvr-panel").screenshot(path=shots / "panel-stopped.png")
        execute(page, "notebook:interrupt-kernel")
        page.wait_for_timeout(1000)
        run_cell(page, 5)
        assert page.locator(".jp-OutputArea-output", has_text="kept True").count() == 1
    # the interrupt of the awaiting cell is an error output, not an error of the page
    quiet(watch)


def test_an_interrupt_of_a_blocking_fit_keeps_the_draws(lab, browser) -> None:
    cells = [
        "from quivers_nb import fit_nuts\n"
        "run = fit_nuts(line, None, {'x': x, 'y': y}, draws=10**6, tier='eager', block=True)",
        "print('draws', run.result.num_samples, run.reason)",
    ]
    with opened(lab, browser, cells) as (page, watch):
        for number in range(3):
            run_cell(page, number)
        run_cell(page, 3, wait=False)
        page.wait_for_timeout(4000)
        execute(page, "notebook:interrupt-kernel")
        run_cell(page, 4)
        assert page.locator(".jp-OutputArea-output", has_text="interrupted").count() >= 1
    quiet(watch)


def test_a_reload_restores_the_curves_and_a_reopened_notebook_shows_the_final_picture(
    lab, browser, shots: Path
) -> None:
    address, root = lab
    cells = [
        "p = %qvr_fit line -m nuts chains=2 warmup=200 draws=200 seed=1\np",
        "p.start(); p.run.wait()",
    ]
    with opened(lab, browser, cells) as (page, watch):
        run_first(page, 4)
        run_cell(page, 4)
        state(page, ["done"])
        page.get_by_role("tab", name="Trace").click()
        page.wait_for_selector(".qvr-run[data-look=trace]", timeout=SOON)
        execute(page, "docmanager:save")
        before = page.evaluate(INK)
        page.goto(f"{address}/lab/tree/{NAME}", wait_until="domcontentloaded")
        page.wait_for_selector(".qvr-run[data-look=trace]", timeout=60_000)
        state(page, ["done"])
        page.wait_for_timeout(500)
        assert page.get_by_role("tab", name="Trace").get_attribute("aria-selected") == "true"
        assert page.evaluate(INK) > 0.5 * before
        assert page.locator(".qvr-chains tr").count() == 3
        page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"
        )
    quiet(watch)
    _assert_saved(root)
    with notebook_page(browser, address, NAME, ready=False) as (page, _):
        picture = page.locator(".jp-OutputArea-output img[alt*='2 chains of 200 draws']")
        picture.wait_for(timeout=SOON)
        assert picture.evaluate("node => node.naturalWidth") > 300
        assert page.locator(".qvr-run").count() == 0
        page.screenshot(path=shots / "reopened.png")


def _assert_saved(root: Path) -> None:
    outputs = saved_outputs(root / NAME)
    (shown,) = outputs[3]
    assert set(shown["data"]) >= {"text/plain", "text/html", "image/svg+xml"}
    assert "2 chains of 200 draws" in "".join(shown["data"]["text/plain"])
    assert len(json.dumps(shown)) < 60_000


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_keyboard_alone_is_enough_in_either_theme(lab, browser, shots: Path, dark) -> None:
    with opened(lab, browser, ["p = %qvr_fit line steps=300 seed=1\np"], dark=dark) as (
        page,
        watch,
    ):
        run_first(page, 4)
        page.locator(".qvr-form input").first.focus()
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.classList.contains('qvr-start')"):
                break
        page.keyboard.press("Enter")
        state(page, ["done"])
        page.get_by_role("tab", name="Loss").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".qvr-run[data-look=density]", timeout=SOON)
        assert page.get_by_role("tab", name="Densities").get_attribute("aria-selected") == "true"
        page.locator(".qvr-as-table").focus()
        page.keyboard.press("Space")
        assert page.locator(".qvr-table table tr").count() > 10
        page.locator(".qvr-code").focus()
        page.keyboard.press("Enter")
        assert "fit_svi(" in page.locator(".qvr-listing").text_content()
        ink, ground = page.locator(".qvr-run").evaluate(
            "node => [node, document.body].map(n => getComputedStyle(n)).map((s, i) => "
            "i ? s.backgroundColor : s.color)"
        )
        assert ink != ground
        page.locator(".qvr-panel").screenshot(
            path=shots / f"keys-{'dark' if dark else 'light'}.png"
        )
    quiet(watch)


def test_a_fast_run_sends_few_and_small_messages(lab, browser) -> None:
    frames: list[int] = []
    with opened(lab, browser, ["p = %qvr_fit line steps=1000000\np"]) as (page, watch):
        run_first(page, 4)
        press(page, "start")
        state(page, ["running"])
        page.wait_for_timeout(1000)
        count = "() => Number(document.querySelector('.qvr-run').dataset.messages)"
        before = page.evaluate(count)
        page.wait_for_timeout(4000)
        frames.append(page.evaluate(count) - before)
        press(page, "abort")
        state(page, ["stopped"])
    quiet(watch)
    assert 4 <= frames[0] <= 12 * 4 + 6


def test_a_form_is_checked_while_it_is_filled_in(lab, browser) -> None:
    with opened(lab, browser, ["p = %qvr_fit line\np"]) as (page, watch):
        run_first(page, 4)
        field = page.get_by_label("Learning rate")
        field.fill("-1")
        alert = page.locator(".qvr-form [role=alert]")
        alert.wait_for(timeout=SOON)
        assert "Learning rate -1 must be above 0" in alert.text_content()
        page.wait_for_selector(".qvr-start:disabled", timeout=SOON)
        field.fill("0.02")
        page.wait_for_selector(".qvr-start:enabled", timeout=SOON)
        assert alert.count() == 0
    quiet(watch)
