"""What happens to a run whose view is closed, whose variable is deleted, or whose model fails."""

import re
from pathlib import Path

import pytest

from tests.browser.panel_page import (
    FIRST,
    INK,
    SOON,
    opened,
    output,
    press,
    quiet,
    run_first,
    state,
)
from tests.support.jupyterlab_driver import READY, execute, run_cell

pytestmark = pytest.mark.browser

LIVE = "from quivers_nb.session.live import live_runs\nprint(len(live_runs()), 'live')"


def test_a_run_goes_on_without_its_view_and_its_variable_and_keeps_the_model(
    empty, browser
) -> None:
    cells = [
        "p = %qvr_fit line steps=100000000\np",
        LIVE,
        "import gc\ndel p; gc.collect()\nprint(len(live_runs()), 'left')",
        "q = %qvr_fit line steps=300\nq",
        "live_runs()[0].stop().wait(); print(len(live_runs()), 'at last')",
    ]
    with opened(empty, browser, cells) as (page, watch):
        run_first(page)
        press(page, "start")
        state(page, ["running"])
        page.evaluate(
            f"() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = {FIRST}"
        )
        execute(page, "notebook:clear-cell-output")
        page.wait_for_function("() => !document.querySelector('.qvr-run')", timeout=SOON)
        run_cell(page, FIRST + 1)
        output(page, FIRST + 1, "1 live").wait_for(timeout=SOON)
        run_cell(page, FIRST + 2)
        output(page, FIRST + 2, "1 left").wait_for(timeout=SOON)
        run_cell(page, FIRST + 3)
        press(page, "start")
        page.locator(".qvr-message", has_text="at work in another run").wait_for(timeout=SOON)
        run_cell(page, FIRST + 4)
        output(page, FIRST + 4, "0 at last").wait_for(timeout=SOON)
        press(page, "start")
        state(page, ["done"])
    quiet(watch)


def test_a_run_that_fails_says_so_below_its_cell_while_the_notebook_rests(empty, browser) -> None:
    cells = [
        "from tests.session.test_run import Stepped\nfrom quivers_nb.session.run import Run\n"
        "job = Stepped(fails_at=700, total=1000)\nrun = Run(job).start()",
        "import threading\nthreading.Timer(2.0, job.let, [701]).start()",
        "print('later')",
    ]
    with opened(empty, browser, cells) as (page, watch):
        run_first(page, FIRST + 2, panel=False)
        words = "failed after 700 iterations: ZeroDivisionError: the model divided by nothing"
        output(page, FIRST, words).wait_for(timeout=SOON)
        run_cell(page, FIRST + 2)
        assert page.locator(".jp-OutputArea-output", has_text=words).count() == 1
    quiet(watch)


END = {
    "restart": "() => window.jupyterapp.shell.currentWidget.context.sessionContext"
    ".session.kernel.restart()",
    "crash": "() => { window.jupyterapp.shell.currentWidget.context.sessionContext"
    ".session.kernel.requestExecute({ code: 'import os; os._exit(1)' }); }",
}


@pytest.mark.parametrize("front", ["lab", pytest.param("notebook", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", END)
def test_a_kernel_that_ends_in_the_middle_is_told_and_the_run_goes_on_from_its_file(
    empty, browser, front, how, shots: Path
) -> None:
    fit = (
        "from copy import deepcopy\nfrom quivers_nb import fit_svi\n"
        "run = fit_svi(deepcopy(line), None, {'x': x, 'y': y}, steps=10**8, seed=1, "
        "checkpoint='run.qvr', checkpoint_every=0.2)\n"
    )
    at = "print('at', run.progress.iteration)"
    cells = [
        "p = %qvr_fit line steps=100000000\np",
        f"{fit}while run.progress.iteration < 1000: run.wait(0.05)\n{at}",
        f"{fit}while run.progress.iteration == 0: run.wait(0.05)\n{at}",
    ]
    with opened(empty, browser, cells, front=front) as (page, watch):
        run_first(page, FIRST + 2)
        written = _number(output(page, FIRST + 1, "at "))
        press(page, "start")
        state(page, ["running"])
        page.wait_for_function(f"() => ({INK})() > 1000", timeout=SOON)
        page.evaluate(END[how])
        state(page, ["lost"])
        words = page.locator(".qvr-message", has_text="The kernel of this panel has ended")
        words.wait_for(timeout=SOON)
        assert "Run the cell of the panel again" in words.text_content()
        assert page.evaluate(INK) > 1000  # the curve is still there
        assert page.locator(".qvr-verbs button:not(.qvr-code):enabled").count() == 0
        page.locator(".qvr-panel").screenshot(path=shots / f"lost-{how}-{front}.png")
        if how == "crash":
            page.click(".jp-Dialog button.jp-mod-accept")  # it says that the kernel has died
        page.evaluate(READY)
        run_first(page)  # the way out that the words name
        press(page, "start")
        state(page, ["running"])
        press(page, "stop")
        state(page, ["stopped"])
        run_cell(page, FIRST + 2)
        assert _number(output(page, FIRST + 2, "at ")) >= written > 0
    assert watch.foreign == []


def _number(shown) -> int:
    return int(re.findall(r"at (\d+)", shown.text_content(timeout=SOON))[0])
