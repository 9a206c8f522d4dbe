"""A run that writes ten thousand events a second: what no view may pass on as it comes."""

from time import perf_counter, sleep
from types import SimpleNamespace

from quivers_nb.session.log import LossLog
from quivers_nb.session.run import Run

RATE = 10_000


class Flood:
    """A job that a page ends."""

    name, total = "flood", None

    def __init__(self) -> None:
        self.log, self.model = LossLog(), SimpleNamespace(name="flood")

    def work(self, control) -> int:
        start = perf_counter()
        while True:
            for k in range(int(RATE * (perf_counter() - start)) - self.log.counts[0]):
                self.log.add(1.0 / (1 + k))
                control.warmed_up()
                if control.checkpoint():
                    return self.log.counts[0]
            sleep(0.001)

    def partial(self) -> int:
        return self.log.counts[0]


def started(*_args, **_options) -> Run:
    """In the place of a fit."""
    return Run(Flood()).start()
