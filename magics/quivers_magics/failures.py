"""A run that fails says so, once, without being asked for its result.

In a notebook that rests, the message appears below the cell that began the run. While a cell is at
work it may wait for the run itself, so the message comes when that cell has ended, and only if
nobody has heard of the error by then. A terminal is told after its next cell: a text that comes
from another thread would run through what is being typed.
"""

from collections.abc import Mapping
from functools import partial
from threading import RLock, Timer
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from quivers_nb.display.parts import Row, Stack, Text, Tone
from quivers_nb.session.card import Card
from quivers_nb.session.live import listen
from quivers_nb.session.run import Run
from quivers_nb.session.state import State

PATIENCE = 0.5  # seconds for who waits for the run, or shows it, to hear of the error


class Failures:
    """Listens to the runs that are begun while the extension of ``shell`` is loaded."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._lock = RLock()
        self._begun_in: list[tuple[Run[Any], Mapping[str, Any]]] = []  # and not told of
        self._busy = False
        self._stop = listen(self._begun)
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def leave(self) -> None:
        """Say nothing more."""
        self._stop()
        self._shell.events.unregister("pre_run_cell", self._before)
        self._shell.events.unregister("post_run_cell", self._after)

    def _begun(self, run: Run[Any]) -> None:
        cell = getattr(self._shell.display_pub, "parent_header", None) or {}
        with self._lock:
            self._begun_in.append((run, cell))
        run.call_at_end(partial(self._ended, run))

    def _ended(self, run: Run[Any]) -> None:
        if run.state is State.FAILED:
            later = Timer(PATIENCE, self._at_rest)
            later.daemon = True
            later.start()

    def _before(self, _info: object) -> None:
        with self._lock:
            self._busy = True

    def _after(self, _result: object) -> None:
        with self._lock:
            self._busy = False
        for run, _ in self._taken():
            display(notice(run))

    def _at_rest(self) -> None:
        """No cell is at work: tell below the cells that began the runs, if there are such."""
        with self._lock:
            runs = [] if self._busy or not hasattr(self._shell, "kernel") else self._taken()
        for run, cell in runs:
            _show(self._shell, notice(run), cell)

    def _taken(self) -> list[tuple[Run[Any], Mapping[str, Any]]]:
        """The runs to tell of; nobody else will. Those that are over are not looked at again.

        It is their state that counts: a cell that waits may go on before `_ended` is called.
        """
        with self._lock:
            over = [each for each in self._begun_in if each[0].state.over]
            self._begun_in = [each for each in self._begun_in if each not in over]
        return [(run, cell) for run, cell in over if run.unheard is not None]


def notice(run: Run[Any]) -> Card:
    """What happened to a run that failed, and where more is."""
    about = getattr(run.model, "name", None)
    of = f" of {about}" if isinstance(about, str) else ""
    sentence = f"{run.name}{of} failed after {run.progress.iteration} iterations: {run.reason}"
    more = "its .result raises this with the traceback; its .partial has what there was"
    rows = (Row((Text(sentence, Tone.ERROR),)), Row((Text(more, Tone.QUIET),)))
    return Card(sentence, lambda: Stack(rows))


def _show(shell: InteractiveShell, card: Card, cell: Mapping[str, Any]) -> None:
    """Below a cell that has ended: what a thread displays would go below the last one."""
    publisher: Any = shell.display_pub
    content = {"data": card._repr_mimebundle_(), "metadata": {}, "transient": {}}
    publisher.session.send(
        publisher.pub_socket, "display_data", content, parent=cell, ident=publisher.topic
    )
