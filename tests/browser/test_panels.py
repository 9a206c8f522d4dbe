"""Panels in a real JupyterLab and Notebook 7: buttons, interrupts, reloads, keys, floods."""

import json
import re
from pathlib import Path

import pytest

from tests.browser.panel_page import (
    FIRST,
    INK,
    NAME,
    SOON,
    opened,
    output,
    press,
    quiet,
    run_first,
    state,
)
from tests.support.contrast import readable
from tests.support.jupyterlab_driver import execute, go, run_cell, saved_outputs
from tests.support.targets import SCHOOLS

pytestmark = pytest.mark.browser

SLOW = pytest.mark.slow
FRONTS = ["lab", pytest.param("notebook", marks=SLOW)]
AWAIT = "import asyncio\nfor k in range(60):\n    await asyncio.sleep(0.5)\nprint('waited')"


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_every_button_works_while_a_later_cell_awaits(empty, browser, front, shots: Path) -> None:
    cells = [
        "p = %qvr_fit line steps=1000000\np",
        AWAIT,
        "print('kept', len(p.result.losses) > 10)",
    ]
    with opened(empty, browser, cells, front=front) as (page, watch):
        run_first(page)
        run_cell(page, FIRST + 1, wait=False)
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
        page.locator(".qvr-canvas").hover()
        assert re.match(r"at \d+: loss.* \d", page.locator(".qvr-readout").text_content())
        page.locator(".qvr-panel").screenshot(path=shots / f"panel-{front}.png")
        execute(page, "notebook:interrupt-kernel")
        page.wait_for_timeout(1000)
        run_cell(page, FIRST + 2)
        assert output(page, FIRST + 2, "kept True").count() == 1
    # the interrupt of the awaiting cell is an error output, not an error of the page
    quiet(watch)


PILOT = """after => {
    const clock = document.querySelector('.qvr-clock');
    const told = /^pilot run: (\\d+) of 400 in /.exec(clock.textContent);
    return told !== null && Number(told[1]) > after;
}"""


def test_a_run_that_recentres_shows_its_pilot(empty, browser, shots: Path) -> None:
    cells = [
        f"%%qvr\n{SCHOOLS.rstrip()}",
        "from quivers_nb import panel\n"
        "rated = {'y': [28., 8, -3, 7, -1, 1, 18, 12], 'se': [15., 10, 16, 11, 9, 11, 10, 18]}\n"
        "p = panel(schools, None, rated, method='nuts', tier='eager', warmup=50, draws=50, "
        "chains=2, max_tree_depth=4)\np",
        "print('centred', float(p.result.centering['theta'].min()))",
    ]
    with opened(empty, browser, cells) as (page, watch):
        run_first(page, FIRST + 2)
        page.get_by_label("Recentre effects").select_option("yes")
        press(page, "start")
        clock = page.locator(".qvr-clock")
        page.wait_for_function(PILOT, arg=0, timeout=SOON)
        first = int(re.findall(r"pilot run: (\d+) of 400 in ", clock.text_content())[0])
        page.wait_for_function(PILOT, arg=first, timeout=SOON)  # it moves
        assert 0.0 < page.evaluate("document.querySelector('.qvr-head progress').value") <= 1.0
        page.locator(".qvr-panel").screenshot(path=shots / "panel-pilot.png")
        state(page, ["done"])
        page.locator(".qvr-clock", has_text="100 of 100 in ").wait_for(timeout=SOON)
        run_cell(page, FIRST + 2)
        assert output(page, FIRST + 2, "centred 0.").count() == 1
    quiet(watch)


@pytest.mark.parametrize("front", FRONTS)
def test_an_interrupt_of_a_blocking_fit_keeps_the_draws(empty, browser, front) -> None:
    cells = [
        "from quivers_nb import fit_nuts\n"
        "run = fit_nuts(line, None, {'x': x, 'y': y}, chains=1, warmup=10, draws=10**6, "
        "tier='eager', block=True)",
        "print('draws', run.result.num_samples, run.reason)",
    ]
    with opened(empty, browser, cells, front=front) as (page, watch):
        run_first(page, FIRST, panel=False)
        run_cell(page, FIRST, wait=False)
        told = output(page, FIRST, "NUTS: running")
        told.wait_for(timeout=2 * SOON)  # a line every five seconds
        made = int(re.findall(r"running (\d+)/", told.text_content())[-1])
        execute(page, "notebook:interrupt-kernel")
        run_cell(page, FIRST + 1)
        kept = output(page, FIRST + 1, "interrupted")
        assert int(re.findall(r"draws (\d+)", kept.text_content())[0]) >= made - 10 > 0
        assert output(page, FIRST, "KeyboardInterrupt").count() == 0
    quiet(watch)


@pytest.mark.parametrize("front", FRONTS)
def test_a_reload_restores_the_curves_and_a_reopened_notebook_shows_the_final_picture(
    empty, browser, front, shots: Path
) -> None:
    cells = [
        "p = %qvr_fit line -m nuts chains=2 warmup=200 draws=200 seed=1\np",
        "p.start(); p.run.wait()",
    ]
    with opened(empty, browser, cells, front=front) as (page, watch):
        run_first(page)
        run_cell(page, FIRST + 1)
        state(page, ["done"])
        page.get_by_role("tab", name="Trace").click()
        page.wait_for_selector(".qvr-run[data-look=trace]", timeout=SOON)
        execute(page, "docmanager:save")
        before = page.evaluate(INK)
        go(page, empty.address, f"{empty.root.name}/{NAME}", front)
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
    _assert_saved(empty, "2 chains of 200 draws")
    with empty.page(browser, NAME, front=front, ready=False) as (page, _):
        picture = page.locator(".jp-OutputArea-output img[alt*='2 chains of 200 draws']")
        picture.wait_for(timeout=SOON)
        assert picture.evaluate("node => node.naturalWidth") > 300
        assert page.locator(".qvr-run").count() == 0
        page.screenshot(path=shots / f"reopened-{front}.png")


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("while_closed", [True, pytest.param(False, marks=SLOW)])
def test_a_page_that_is_opened_again_writes_the_end_of_a_run_into_the_notebook(
    empty, browser, front, while_closed
) -> None:
    """The update of the output reached nobody: it was sent to a page that is gone."""
    cells = [
        "p = %qvr_fit line steps=1000000\np",
        "import threading\np.start()\n"
        f"threading.Timer({3 if while_closed else 99}, p.stop).start()",
    ]
    with opened(empty, browser, cells, front=front) as (page, _):
        run_first(page)
        run_cell(page, FIRST + 1)
        execute(page, "docmanager:save")
    assert "not started" in _saved_text(empty)
    with empty.page(browser, NAME, front=front) as (page, watch):
        if while_closed:
            state(page, ["stopped"])
        else:
            state(page, ["running"])
            press(page, "stop")
        written = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
        page.wait_for_function(written, timeout=SOON)
        assert page.locator(".qvr-run").count() == 1  # the live view is still there
        execute(page, "docmanager:save")
        page.wait_for_timeout(1500)
        assert not page.evaluate(written)  # and does not write again what is written
    quiet(watch)
    _assert_saved(empty, "steps")


def _saved_text(empty) -> str:
    (shown,) = saved_outputs(empty.root / NAME)[FIRST]
    return "".join(shown["data"]["text/plain"])


def _assert_saved(empty, words: str) -> None:
    (shown,) = saved_outputs(empty.root / NAME)[FIRST]
    assert set(shown["data"]) >= {"text/plain", "text/html", "image/svg+xml"}
    assert words in _saved_text(empty)
    assert "not started" not in _saved_text(empty)
    assert len(json.dumps(shown)) < 60_000


@pytest.mark.parametrize(
    ("front", "dark"),
    [
        ("lab", True),
        pytest.param("lab", False, marks=SLOW),
        pytest.param("notebook", False, marks=SLOW),
        pytest.param("notebook", True, marks=SLOW),
    ],
)
def test_the_keyboard_alone_is_enough_in_either_theme(
    empty, browser, front, dark, shots: Path
) -> None:
    cells = ["p = %qvr_fit line steps=9000 seed=1\np"]
    with opened(empty, browser, cells, front=front, dark=dark) as (page, watch):
        run_first(page)
        page.locator(".qvr-form input").first.focus()
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.classList.contains('qvr-start')"):
                break
        page.keyboard.press("Enter")
        state(page, ["warming", "running"])
        page.get_by_role("tab", name="Loss").focus()
        state(page, ["done"])
        # the output is drawn anew with the final picture, and the focus stays where it was
        page.wait_for_timeout(2000)
        assert page.evaluate("() => document.activeElement.textContent") == "Loss"
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".qvr-run[data-look=density]", timeout=SOON)
        assert page.get_by_role("tab", name="Densities").get_attribute("aria-selected") == "true"
        name = f"keys-{front}-{'dark' if dark else 'light'}"
        page.locator(".qvr-panel").screenshot(path=shots / f"{name}-picture.png")
        page.locator(".qvr-as-table").focus()
        page.keyboard.press("Space")
        assert page.locator(".qvr-table table tr").count() > 10
        page.locator(".qvr-code").focus()
        page.keyboard.press("Enter")
        assert "fit_svi(" in page.locator(".qvr-listing").text_content()
        page.locator(".qvr-panel").screenshot(path=shots / f"{name}.png")
        readable(page, ".qvr-panel", at_least=30)
    quiet(watch)


FLOOD = """import sys, tests.support.flood as flood
sys.modules['quivers_nb.panels.panel'].FITS = {'svi': flood.started}"""
OURS = re.compile(rb'"kind":\s*"(curves|look)"')


@pytest.mark.parametrize("front", FRONTS)
def test_ten_thousand_events_a_second_are_few_and_small_messages(empty, browser, front) -> None:
    with opened(empty, browser, ["p = %qvr_fit line\np", FLOOD], front=front) as (page, watch):
        frames: list[bytes] = []
        listen = lambda socket: socket.on(  # noqa: E731
            "framereceived", lambda data: frames.append(data if isinstance(data, bytes) else b"")
        )
        page.on("websocket", listen)
        go(page, empty.address, f"{empty.root.name}/{NAME}", front)
        run_first(page, FIRST + 2)
        press(page, "start")
        state(page, ["running"])
        page.wait_for_timeout(1000)
        count = "() => Number(document.querySelector('.qvr-run').dataset.messages)"
        before = page.evaluate(count)
        start = page.evaluate("() => performance.now()")
        frames.clear()
        page.wait_for_timeout(5000)
        drawn = page.evaluate(count) - before
        seconds = (page.evaluate("() => performance.now()") - start) / 1000
        ours = [frame for frame in frames if OURS.search(frame)]
        events = page.evaluate("() => document.querySelector('.qvr-clock').textContent")
        press(page, "stop")
        state(page, ["stopped"])
    quiet(watch)
    assert int(re.match(r"\d+", events)[0]) > 5000 * seconds  # it was a flood
    assert 4 <= drawn <= 12 * seconds + 1
    assert 4 <= len(ours) <= 12 * seconds + 1
    assert max(map(len, ours)) <= 4096


def test_a_form_is_checked_while_it_is_filled_in(empty, browser) -> None:
    with opened(empty, browser, ["p = %qvr_fit line\np"]) as (page, watch):
        run_first(page)
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
