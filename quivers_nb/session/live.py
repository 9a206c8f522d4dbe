"""The runs under way. They are held here, so that a run outlives the variable that named it."""

import atexit
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from quivers_nb.diagnostics.errors import UserError

if TYPE_CHECKING:
    from quivers_nb.session.run import Run

FAREWELL = 2.0  # seconds given to each live run when the interpreter ends

_live: list["Run[Any]"] = []
_listeners: list[Callable[["Run[Any]"], None]] = []
_lock = Lock()


def live_runs() -> "tuple[Run[Any], ...]":
    """The runs whose work is under way, also those whose variable is gone."""
    with _lock:
        return tuple(_live)


def listen(listener: Callable[["Run[Any]"], None]) -> Callable[[], None]:
    """Have it called with every run that begins, in the thread that begins it. Returns what ends
    that.
    """
    with _lock:
        _listeners.append(listener)

    def leave() -> None:
        with _lock:
            if listener in _listeners:
                _listeners.remove(listener)

    return leave


def claim(run: "Run[Any]") -> None:
    """Enter a run. Raises `UserError` if another one works on the same model."""
    with _lock:
        other = next((r for r in _live if r.model is run.model and run.model is not None), None)
        if other is None:
            _live.append(run)
        listeners = tuple(_listeners)
    if other is not None:
        raise UserError(
            f"the model is at work in another run, which is {other.state} ({other.name}); two runs "
            "would write to the same weights. Stop that one first, run.stop().wait(); "
            "quivers_nb.session.live.live_runs() finds a run whose variable is gone"
        )
    for listener in listeners:
        listener(run)


def release(run: "Run[Any]") -> None:
    """The work of a run is over."""
    with _lock:
        if run in _live:
            _live.remove(run)


@atexit.register
def _farewell() -> None:
    """Let what is under way stop between two iterations."""
    for run in live_runs():
        run.stop("the interpreter ended")
    for run in live_runs():
        run.wait(FAREWELL)
