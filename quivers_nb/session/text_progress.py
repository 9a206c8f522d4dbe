"""Progress as text: one line that renews itself in a terminal, one line per 5 s in a log."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from quivers_nb.session.log import Progress
from quivers_nb.session.publisher import Message

LOG_PERIOD = 5.0  # seconds between two lines where lines cannot be renewed
WIDTH = 100


class Stream(Protocol):
    """What is written to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


class TextProgress:
    """A subscriber that writes to ``stream``."""

    def __init__(self, name: str, stream: Stream, clock: Callable[[], float] = monotonic) -> None:
        self._name, self._stream, self._clock = name, stream, clock
        self._renews = stream.isatty()
        self._next = clock() + LOG_PERIOD

    def __call__(self, message: Message) -> None:
        line = f"{self._name}: {sentence(message.progress)}"
        if self._renews:
            end = "\n" if message.last else ""
            self._stream.write(f"\r{line[:WIDTH]:<{WIDTH}}{end}")
        elif message.last or self._clock() >= self._next:
            self._next = self._clock() + LOG_PERIOD
            self._stream.write(f"{line}\n")
        else:
            return
        self._stream.flush()


def sentence(progress: Progress) -> str:
    """Where a run stands, in one line."""
    total = "" if progress.total is None else f"/{progress.total}"
    where = f"{progress.iteration}{total}"
    if progress.pilot is not None:
        where = "pilot {}/{}".format(*progress.pilot)
    parts = [f"{progress.state} {where}", f"{progress.elapsed:.1f} s"]
    if progress.eta:
        parts.append(f"{progress.eta:.1f} s to go")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4g}")
    chains = progress.chains
    if chains:
        parts.append(f"{sum(chain.divergences for chain in chains)} divergences")
        parts.append("step " + " ".join(f"{chain.step_size:.2g}" for chain in chains))
    return ", ".join(parts)
