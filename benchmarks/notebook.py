"""What the notebook surface costs: publishing, cells, completion, panels in saved notebooks.

    python -m benchmarks.notebook

Prints one JSON line per case, each with its target. Times are CPU seconds of the threads concerned
where a share is asked for, and medians of the wall clock elsewhere: on a busy machine the first are
the ones to read.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from threading import Event

import torch
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from quivers_nb.dsl import loads
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.panels import panel
from quivers_nb.panels.feed import packed
from quivers_nb.session.log import DrawLog, LossLog, Progress
from quivers_nb.session.publisher import Message, Publisher
from quivers_nb.session.run import Run

LOOP_HZ, SECONDS = 1000, 4.0
LINE = """object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 10.0)
    sample noise <- HalfNormal(5.0)
    let mu = slope * x
    observe y : Obs <- Normal(mu, noise)
    return mu
export line
"""


def report(**facts: object) -> None:
    """One line."""
    print(json.dumps(facts), flush=True)


class Loop:
    """A job of 1000 iterations a second, each of half a millisecond of computing."""

    name, model, total = "loop", None, None

    def __init__(self) -> None:
        self.log, self.cpu = LossLog(), 0.0

    def work(self, control) -> int:
        start, before = time.perf_counter(), time.thread_time()
        rest = Event()
        while (now := time.perf_counter() - start) < SECONDS:
            while self.log.counts[0] < LOOP_HZ * now:
                end = time.thread_time() + 0.0005
                while time.thread_time() < end:
                    pass
                self.log.add(1.0 / (1 + self.log.counts[0]))
                control.checkpoint()
            rest.wait(0.0005)
        self.cpu = time.thread_time() - before
        return self.log.counts[0]

    def partial(self) -> None:
        return None


def publishing() -> None:
    """CPU of the publisher's thread against that of the loop."""
    job = Loop()
    run = Run(job)
    spent: list[float] = []
    sizes: list[int] = []

    def subscriber(message: Message) -> None:
        header, buffers = packed(message)
        sizes.append(len(json.dumps(header)) + sum(map(len, buffers)))
        spent.append(time.thread_time())  # of the publisher's thread, since it began

    run.subscribe(subscriber)
    run.start().wait()
    run.flush()
    report(
        case="publisher",
        share_of_loop=round(spent[-1] / job.cpu, 4),
        target_share=0.03,
        iterations_per_s=round(run.result / SECONDS),
        messages_per_s=round(len(sizes) / SECONDS, 1),
        target_messages_per_s=12,
        largest_bytes=max(sizes),
        target_bytes=4096,
    )


def tick() -> None:
    """CPU of one tick with four chains and 100 new transitions each."""
    log = DrawLog(4, 1000, 1000)
    stats = Stats(0.8, 7, 3, False, -1.0, 0.0, 0.1)
    publisher = Publisher(lambda: Progress("running", 2000, 1.0, log, log.counts), print)
    publisher.subscribe(packed)
    times = []
    for number in range(40):
        for chain in range(4):
            for k in range(100):
                place = 100 * number + k
                log.add(Transition(chain, place, place < 1000, torch.zeros(5).numpy(), stats))
        start = time.thread_time()
        publisher.tick()
        times.append(time.thread_time() - start)
    publisher.finish()
    report(case="tick", cpu_ms=round(1000 * statistics.median(times), 3), target_ms=1.0)


def long_cell(lines: int, salt: int) -> str:
    """A program of so many lines."""
    head = [f"object A{salt} : FinSet 10", f"program p{salt} : 1 -> 1"]
    body = [f"    sample s{k} <- Normal({k}.0, 1.{salt})" for k in range(lines - 4)]
    return "\n".join([*head, *body, "    return s0", f"export p{salt}", ""])


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cells_and_completion() -> None:
    """A new cell of 50 lines, the same again, and a completion at its end."""
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    with capture_output():
        load = timed(lambda: shell.run_line_magic("load_ext", "quivers_nb"))
        shell.run_cell_magic("qvr", "", long_cell(50, 0))
        new = [
            timed(lambda s=s: shell.run_cell_magic("qvr", "", long_cell(50, s)))
            for s in range(1, 8)
        ]
        again = [timed(lambda: shell.run_cell_magic("qvr", "", long_cell(50, 7))) for _ in range(7)]
        cell = "%%qvr\n" + long_cell(50, 3).rpartition("    return")[0] + "    sample z <- Nor"
        with provisionalcompleter():
            complete = [timed(lambda: list(shell.Completer.completions(cell, len(cell))))
                        for _ in range(15)]  # fmt: skip
    milliseconds = {
        "load_ext_ms": load,
        "cell_of_50_lines_ms": statistics.median(new),
        "unchanged_cell_ms": statistics.median(again),
        "completion_ms": statistics.median(complete),
    }
    report(
        case="cells",
        **{name: round(1000 * value, 1) for name, value in milliseconds.items()},
        target_cell_ms=100,
        target_unchanged_ms=50,
        target_completion_ms=20,
    )


def saved() -> None:
    """Bytes that a finished panel adds to a notebook."""
    model = loads(LINE).morphism
    x = torch.linspace(0, 1, 40)
    made = panel(model, None, {"x": x, "y": 2 * x + 0.1 * torch.sin(37 * x)}, method="nuts", seed=1)
    made.start().wait()
    size = len(json.dumps(made._repr_mimebundle_()))
    report(case="saved panel", bytes=size, target_bytes=60_000)


def main() -> None:
    """Measure and print."""
    report(load_average=os.getloadavg()[0], cores=os.cpu_count())
    publishing()
    tick()
    cells_and_completion()
    saved()


if __name__ == "__main__":
    main()
