"""From a run to a view in the browser: few messages, each small, and only what the view shows.

Curves go as deltas, ten times a second at most. What takes computing (diagnostics, ranks,
densities, predictions) goes once a second at most, and takes at most a thirtieth of the time: after
a look that took long the next one waits longer. A view that does not acknowledge what it was sent
is sent less, twice a second.
"""

from collections.abc import Callable, Mapping
from time import monotonic, perf_counter
from typing import Any

import numpy as np
from torch import Generator

from quivers_nb.panels import looks
from quivers_nb.session.growing import Growing, Look, guide_look
from quivers_nb.session.jobs import NutsJob, SviJob
from quivers_nb.session.publisher import GREATEST_ROWS, Message
from quivers_nb.session.run import Run
from quivers_nb.session.state import State

PATIENCE = 0.5  # seconds without an acknowledgement after which a view is sent something anyway
UNSEEN = 2  # messages that may be under way
HISTORY = 4000  # rows for a view that is new or has missed something, once
LOOK_PERIOD, LOOK_SHARE = 1.0, 30.0
TABS = ("curves", "trace", "rank", "density", "predictive")

Send = Callable[[Mapping[str, Any], list[bytes]], object]


class Feed:
    """A subscriber that sends what one panel shows. ``wanted`` gives its tab and its parameter."""

    def __init__(
        self, run: Run[Any], number: int, send: Send, wanted: Callable[[], tuple[str, str]]
    ) -> None:
        self._run, self._number, self._send, self._wanted = run, number, send, wanted
        self._sent = self._seen = 0
        self._told: tuple[str, object] = ("", None)  # state and pilot
        self._last = self._next_look = 0.0
        self._unsubscribe: Callable[[], None] = lambda: None
        self._generator = Generator().manual_seed(0)
        self._growing = Growing(run.job) if isinstance(run.job, NutsJob) else None

    def begin(self, rows: int = GREATEST_ROWS) -> None:
        """Tell the view everything from the beginning; the first message has so many ``rows``."""
        self.leave()
        self._sent = self._seen = 0
        self._next_look = 0.0
        self._unsubscribe = self._run.subscribe(self, first_rows=rows)

    def leave(self) -> None:
        """Send no more."""
        self._unsubscribe()

    def seen(self, number: int) -> None:
        """The view has drawn this many messages."""
        self._seen = max(self._seen, number)

    def ready(self) -> bool:
        """See `Patient`."""
        return self._sent - self._seen < UNSEEN or monotonic() - self._last > PATIENCE

    def __call__(self, message: Message) -> None:
        told = (str(message.progress.state), message.progress.pilot)
        if not message.data and told == self._told and self._sent and not message.last:
            return  # a run that rests has no news
        header, buffers = packed(message)
        self._send({**header, "sequence": self._sent, "run": self._number}, buffers)
        self._sent, self._told, self._last = self._sent + 1, told, monotonic()
        if message.last or self._last >= self._next_look:
            self.look()

    def look_soon(self) -> None:
        """The view shows something else: look with the next message, now if there will be none."""
        self._next_look = 0.0
        if self._run.state.over or self._run.state is State.PAUSED:
            self.look()

    def look(self) -> None:
        """Send what the open tab shows beyond curves, and how the parameters stand."""
        start = perf_counter()
        found = self._found()
        if found is None:
            return
        tab, parameter = self._wanted()
        header: dict[str, Any] = {"kind": "look", "tab": tab, **looks.standing(self._run, found)}
        arrays: list[Any] = []
        if tab == "predictive":
            shown, arrays = looks.predictive(self._run, found, self._generator)
            header |= shown
        elif tab in TABS[1:]:
            shown, arrays = looks.LOOKS[tab](found, parameter)
            header |= shown
        self._send(header, [np.asarray(array, dtype=np.float32).tobytes() for array in arrays])
        took = perf_counter() - start
        self._next_look = monotonic() + max(LOOK_PERIOD, LOOK_SHARE * took)

    def _found(self) -> Look | None:
        job = self._run.job
        if self._growing is not None:
            return self._growing.look()
        if isinstance(job, SviJob) and self._run.progress.iteration:
            look = guide_look(job, self._generator)
            return look if look.names else None  # a guide of nothing has nothing to show
        return None


def packed(message: Message) -> tuple[dict[str, Any], list[bytes]]:
    """A message as JSON and one buffer: the columns after one another, places before values."""
    header = {"kind": "curves", **message.header()}
    parts = [np.ascontiguousarray(pairs.T).tobytes() for pairs in message.data.values()]
    return header, [b"".join(parts)]
