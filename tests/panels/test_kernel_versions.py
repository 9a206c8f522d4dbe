"""Panels and runs in three generations of ipykernel, which hear a page at different moments.

Scenarios of a click while the kernel is at work:
    A  a cell computes in Python          B  a cell awaits
    C  the cell has returned, a run goes on
    D  a cell waits for a run             E  a cell awaits a run
C is heard at once everywhere. 7.3 hears all, because it takes comms in a thread of their own; 7.4
hears what the loop of the kernel hears; 6.31 hears nothing while a cell is at work. No click is
ever lost: what is not heard at once is heard when the cell has ended.
"""

import logging
import re
from time import monotonic, sleep

import pytest

from tests.browser.panel_page import DATA, MODEL
from tests.support.kernel import Page, kernel, of_version

pytestmark = [pytest.mark.slow, pytest.mark.notebooks]

log = logging.getLogger(__name__)
HEARD_AT_ONCE = {"6.31.0": "C", "7.3.0": "ABCDE", "7.4.0": "BCE"}
CELL = 5.0  # seconds of a cell that is at work
WARMUP = 10
CLICKED = 0.8  # seconds after its begin
CELLS = {  # the cell, the button, the states that answer it
    "A": (f"import time; time.sleep({CELL})", "start", {"warming"}),
    "B": (f"import asyncio; await asyncio.sleep({CELL})", "start", {"warming"}),
    "C": ("p.start()", "pause", {"paused"}),
    "D": (f"p.start(); p.run.wait({CELL})", "pause", {"paused"}),
    "E": (f"import threading; threading.Timer({CELL}, p.stop).start(); p.start(); await p.run",
          "pause", {"paused", "stopped"}),
}  # fmt: skip


def state_of(message, comm):
    if message["msg_type"] != "comm_msg" or message["content"]["comm_id"] != comm:
        return None
    return message["content"]["data"].get("state", {}).get("info", {}).get("state")


def clicked(page: Page, comm: str, scenario: str) -> tuple[float, float]:
    """Seconds from a click to its answer, and to the end of the cell."""
    code, verb, answers = CELLS[scenario]
    ident = page.begin(code)
    if scenario == "C":
        assert page.end(ident)["status"] == "ok"
    until = monotonic() + CLICKED
    while monotonic() < until:
        page.listen(0.05)
    page.heard.clear()
    start = page.click(comm, verb)
    log.info("%s: clicked", scenario)
    answered = page.wait(lambda message: state_of(message, comm) in answers) - start
    ended = 0.0
    if scenario != "C":
        page.end(ident)
        ended = monotonic() - start
    page.cell("p.stop()\np.run.wait()")  # an abort would not wait until the model is free
    return answered, ended


@pytest.mark.parametrize("version", HEARD_AT_ONCE)
def test_clicks_interrupts_awaits_and_failures(version, tmp_path) -> None:
    with kernel(of_version(version, tmp_path / "site"), tmp_path) as (page, manager):
        page.cell(f"%load_ext quivers_nb\nget_ipython().run_cell_magic('qvr', '', {MODEL[6:]!r})")
        page.cell(DATA + "\np = get_ipython().run_line_magic('qvr_fit', 'line steps=10000000')")
        assert page.cell("import ipykernel; print(ipykernel.__version__)").strip() == version
        comm = page.cell("display(p)\nprint(p._view.comm.comm_id)").strip()
        # the first fit imports what the others have
        page.cell("p.start()\nwhile p.run.progress.iteration < 50: p.run.wait(0.1)\np.abort()")
        page.cell("p.run.wait()")
        seconds = {name: clicked(page, comm, name) for name in CELLS}
        log.info("%s %s", version, {name: round(heard, 2) for name, (heard, _) in seconds.items()})
        at_once = "".join(name for name, (heard, _) in seconds.items() if heard < 0.6 * CELL)
        assert at_once == HEARD_AT_ONCE[version]
        _interrupt(page, manager)
        _await(page)
        _failure(page)


def _interrupt(page: Page, manager) -> None:
    """The first one ends a blocking fit, and the draws are kept."""
    ident = page.begin(
        "from quivers_nb import fit_nuts\n"
        "run = fit_nuts(line, None, {'x': x, 'y': y}, "
        f"warmup={WARMUP}, draws=10**6, tier='eager', block=True)"
    )
    page.heard.clear()
    page.wait(lambda message: _made(message) > WARMUP + 5)
    made = max(_made(message) for _, message in page.heard)
    manager.interrupt_kernel()
    assert page.end(ident)["status"] == "ok"
    reason, draws = page.cell("print(run.reason, run.result.num_samples)").split()
    assert reason == "interrupted"
    assert int(draws) >= made - WARMUP


def _made(message) -> int:
    """How many transitions a line of progress speaks of; a line comes every five seconds."""
    text = message["content"].get("text", "") if message["msg_type"] == "stream" else ""
    return max(map(int, re.findall(r"NUTS: \w+ (\d+)/", text)), default=0)


def _await(page: Page) -> None:
    code = "r = await fit_nuts(line, None, {'x': x, 'y': y}, chains=1, warmup=20, draws=30)"
    assert page.cell(f"{code}\nprint(r.num_samples)").strip() == "30"


def _failure(page: Page) -> None:
    """It is told once, below the cell that began the run, although another one has run since."""
    ident = page.begin(
        "from tests.session.test_run import Stepped\nfrom quivers_nb.session.run import Run\n"
        "job = Stepped(fails_at=700, total=1000); failing = Run(job).start()"
    )
    assert page.end(ident)["status"] == "ok"
    page.cell("import threading; threading.Timer(1.0, job.let, [701]).start()")
    sleep(3.0)

    def told(message):
        plain = message["content"].get("data", {}).get("text/plain", "")
        return "failed after 700 iterations: ZeroDivisionError" in plain

    page.wait(told)
    page.cell("pass")
    (message,) = [message for _, message in page.heard if told(message)]
    assert message["parent_header"]["msg_id"] == ident
