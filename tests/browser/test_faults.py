"""What happens to a run whose view is closed, whose variable is deleted, or whose model fails."""

import pytest

from tests.browser.panel_page import FIRST, SOON, opened, output, press, quiet, run_first, state
from tests.support.jupyterlab_driver import execute, run_cell

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
