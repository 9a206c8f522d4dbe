"""From a run's log to its subscribers: a fixed clock of 10 Hz, and the latest wins.

The loop of a run only appends to its log; a thread of the publisher looks at the log ten times a
second and tells each subscriber what is new since that subscriber's last message. A message has a
limited number of rows, whatever happened in between: more than that is thinned to the smallest and
the largest value of each stretch, so that no spike is lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quivers_nb.session.log import Progress

PERIOD = 0.1  # seconds
GREATEST_ROWS = 250  # of a message, over all columns: two float32 each
Pairs = NDArray[np.float32]


@dataclass(frozen=True)
class Message:
    """What is new. ``data``: per column ``(n, 2)`` float32, row less ``first``, and value."""

    sequence: int  # from 0; per subscriber
    progress: Progress
    first: Mapping[str, int]
    data: Mapping[str, Pairs]
    last: bool  # there is no more to come

    @property
    def nbytes(self) -> int:
        return sum(pairs.nbytes for pairs in self.data.values())

    def header(self) -> dict[str, Any]:
        """All but the data, as JSON has it."""
        p = self.progress
        return {
            "sequence": self.sequence,
            "state": str(p.state),
            "iteration": p.iteration,
            "total": p.total,
            "elapsed": round(p.elapsed, 3),
            "pilot": p.pilot,
            "eta": None if p.eta is None else round(p.eta, 3),
            "chains": [
                [c.iteration, int(c.warming), c.divergences, float(f"{c.step_size:.4g}"), c.depth]
                for c in p.chains
            ],
            "columns": {name: [self.first[name], len(pairs)] for name, pairs in self.data.items()},
            "last": self.last,
        }


Subscriber = Callable[[Message], object]


@runtime_checkable
class Patient(Protocol):
    """A subscriber that says when it is ready for the next message; the last one comes anyway."""

    def ready(self) -> bool: ...
    def __call__(self, message: Message, /) -> object: ...


@dataclass
class _Subscription:
    subscriber: Subscriber
    first_rows: int = GREATEST_ROWS
    sequence: int = 0
    told: dict[str, int] = field(default_factory=dict)  # rows of each column

    @property
    def waits(self) -> bool:
        return isinstance(self.subscriber, Patient) and not self.subscriber.ready()

    @property
    def rows(self) -> int:
        return GREATEST_ROWS if self.sequence else self.first_rows


class Publisher:
    """Tells subscribers about a run. ``progress`` takes a snapshot, ``note`` reports a fault.

    A subscriber that raises is told no more, and the fault is noted: it must not end the run, nor
    cost the others their messages.
    """

    def __init__(self, progress: Callable[[], Progress], note: Callable[[str], None]) -> None:
        self._progress, self._note = progress, note
        self._subscriptions: list[_Subscription] = []
        self._lock = Lock()
        self._over = Event()
        self.idle = Event()  # nobody is to be told anything any more
        self._thread: Thread | None = None

    def subscribe(
        self, subscriber: Subscriber, *, first_rows: int = GREATEST_ROWS
    ) -> Callable[[], None]:
        """Have it called from the publisher's thread. Returns what ends the subscription."""
        subscription = _Subscription(subscriber, first_rows)
        with self._lock:
            self._subscriptions.append(subscription)
            if self._thread is None:
                self.idle.clear()
                self._thread = Thread(target=self._loop, name="publisher", daemon=True)
                self._thread.start()
        return lambda: self._drop(subscription)

    def finish(self) -> None:
        """The run is over: one last message to everybody."""
        self._over.set()

    def tick(self, *, last: bool = False) -> None:
        """One message to each subscriber for whom there is news."""
        with self._lock:
            subscriptions = tuple(self._subscriptions)
        progress = self._progress()
        for subscription in subscriptions:
            if not last and subscription.waits:
                continue  # what it misses comes with a later message
            message = _message(subscription, progress, last=last)
            try:
                subscription.subscriber(message)
            except Exception as error:  # noqa: BLE001  (noted; it is the subscriber's own)
                self._drop(subscription)
                self._note(f"a subscriber raised {type(error).__name__}: {error}")
            if last:
                self._drop(subscription)

    def _drop(self, subscription: _Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def _loop(self) -> None:
        while not self._over.wait(PERIOD):
            self.tick()
        while True:
            with self._lock:
                if not self._subscriptions:
                    self._thread = None
                    self.idle.set()
                    return
            self.tick(last=True)


def _message(subscription: _Subscription, progress: Progress, *, last: bool) -> Message:
    told = subscription.told
    columns = progress.log.columns
    lengths = {name: len(column) for name, column in columns.items()}
    news = [name for name, length in lengths.items() if length > told.get(name, 0)]
    # If there are more columns than rows, those with most to tell come first; the others wait.
    news.sort(key=lambda name: told.get(name, 0) - lengths[name])
    rows = subscription.rows
    news = news[: rows // 2]
    first, data = {}, {}
    for name in news:
        first[name] = told.get(name, 0)
        data[name] = thinned(columns[name][first[name] : lengths[name]], rows // len(news))
        told[name] = lengths[name]
    message = Message(subscription.sequence, progress, first, data, last)
    subscription.sequence += 1
    return message


def thinned(values: Sequence[float], rows: int) -> Pairs:
    """At most ``rows`` (two or more) pairs of place and value that keep every extreme: (n, 2)."""
    y = np.asarray(values, dtype=np.float64)
    places = np.arange(len(y))
    if len(y) > rows:
        width = -(-len(y) // (rows // 2))
        padded = np.append(y, np.full(-len(y) % width, y[-1])).reshape(-1, width)
        starts = width * np.arange(len(padded))
        extremes = np.stack([padded.argmin(1), padded.argmax(1)], -1) + starts[:, None]
        places = np.unique(np.minimum(extremes, len(y) - 1))
    with np.errstate(over="ignore"):  # beyond float32 is infinite on a screen
        return np.stack([places, y[places]], -1).astype(np.float32)
