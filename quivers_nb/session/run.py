"""A run: the one long-running thing, with verbs that are legal from any thread at any time.

    created -> warming -> running <-> paused -> stopping -> done | stopped | failed

The work happens in a daemon thread that looks at one flag per iteration. Every verb sets what is
wanted, returns at once, and does nothing where there is nothing to do. Whether a run lives is this
state, never `Thread.is_alive` (which lies after an interrupted join).
"""

from asyncio import CancelledError, Future, get_running_loop
from collections.abc import Callable, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, RLock, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.session.live import claim, release
from quivers_nb.session.log import Progress
from quivers_nb.session.publisher import GREATEST_ROWS, Publisher, Subscriber
from quivers_nb.session.rules import StopRule, refuse_no_rule
from quivers_nb.session.state import Event, Job, State, Waited

SLICE = 0.1  # seconds that a wait lasts before it looks up, so that Ctrl-C is heard everywhere

R = TypeVar("R")


class Run(Generic[R]):
    """Work under way. ``until`` is a `StopRule` that ends it early.

    Awaiting a run gives its result; a cancelled (interrupted) await stops the run, which keeps what
    there is. ``abort`` ends the run at once, without waiting for the iteration under way and
    without a result; `partial` still has what there was.
    """

    def __init__(
        self,
        job: Job[R],
        *,
        until: StopRule | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if until is not None:
            refuse_no_rule(until)
        self._job, self._until, self._clock = job, until, clock
        # Verbs enter the lock itself and not the condition: a lock written in C cannot be left
        # locked by an interrupt that arrives while it is being entered.
        self._lock = RLock()
        self._changed = Condition(self._lock)
        self._state, self._before_pause = State.CREATED, State.WARMING
        self._asked = False  # the flag: a pause or the end is wanted
        self._cut_short = False
        self._enough = False  # the stop rule is met
        self._looked = 0
        self._reason = ""
        self._outcome: tuple[R] | None = None
        self._error: tuple[BaseException, TracebackType | None] | None = None
        self._heard = False  # somebody was told of the error
        self._made = clock()
        self._worked = 0.0
        self._since: float | None = None  # when work went on last
        self._events = [Event(0.0, State.CREATED)]
        self._at_end: list[Callable[[], None]] = []
        self._publisher: Publisher | None = None

    # --- verbs -------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin. Raises `UserError` if another run of the same model is live."""
        with self._lock:
            if self._state is State.CREATED:
                claim(self)
                self._since = self._clock()
                self._move(State.WARMING)
                self._launch()
        return self

    def pause(self) -> Self:
        """Wait after the iteration under way. Nothing before the start, nor while stopping."""
        with self._lock:
            if self._state in (State.WARMING, State.RUNNING):
                self._before_pause, self._asked = self._state, True
                self._rest()
                self._move(State.PAUSED)
        return self

    def resume(self) -> Self:
        """Go on after a pause."""
        with self._lock:
            if self._state is State.PAUSED:
                self._asked, self._since = False, self._clock()
                self._move(self._before_pause)
        return self

    def stop(self, reason: str = "stopped") -> Self:
        """End after the iteration under way and keep what there is."""
        with self._lock:
            if self._state is State.CREATED:
                self._move(State.STOPPED, f"{reason} before the start")
            elif not self._state.over and self._state is not State.STOPPING:
                if self._state is State.PAUSED:
                    self._since = self._clock()
                self._asked, self._reason = True, reason
                self._move(State.STOPPING, reason)
        self._tell_the_end()
        return self

    def abort(self) -> Self:
        """End at once; the iteration under way is forgotten, and there is no result."""
        with self._lock:
            self._asked = True
            if not self._state.over:
                self._rest()
                self._move(State.STOPPED, "aborted")
        self._tell_the_end()
        return self

    def refuse(self, error: Exception) -> Self:
        """Fail without having begun, because of what should have come before."""
        with self._lock:
            if self._state is State.CREATED:
                self._error = (error, error.__traceback__)
                self._move(State.FAILED, f"{type(error).__name__}: {error}")
        self._tell_the_end()
        return self

    # --- waiting -----------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Waited:
        """True if the run is over, after at most ``timeout`` seconds; says how. Never raises."""
        over: SimpleQueue[None] = SimpleQueue()
        wake = lambda: over.put(None)  # noqa: E731
        end = None if timeout is None else monotonic() + timeout
        self.call_at_end(wake)
        try:
            while True:
                left = SLICE if end is None else min(SLICE, max(end - monotonic(), 0.0))
                with suppress(Empty):
                    over.get(timeout=left)
                    return Waited(self._state)
                if end is not None and monotonic() >= end:
                    return Waited(self._state)
        finally:
            with suppress(ValueError):
                self._at_end.remove(wake)

    def finish(self, *, start: bool = True) -> Self:
        """Start, and wait to the end. The first Ctrl-C stops the run, which keeps what there is;
        the second raises `KeyboardInterrupt`. Raises what the work raised.
        """
        try:
            if start:
                self.start()
            self.wait()
        except KeyboardInterrupt:
            self.stop("interrupted").wait()
        self._raise_error()
        return self

    def __await__(self) -> Generator[Any, None, R]:
        loop = get_running_loop()
        future: Future[None] = loop.create_future()

        def settle() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(settle)

        self.call_at_end(wake)
        try:
            yield from future
        except (CancelledError, KeyboardInterrupt):
            self.stop("interrupted")
            raise
        return self.result

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call once when the run is over, from whatever thread ends it; now if it is."""
        with self._lock:
            if not self._state.over:
                self._at_end.append(callback)
                return
        callback()

    # --- what there is -----------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    @property
    def result(self) -> R:
        """What the work returned. Raises what the work raised; `UserError` if there is none."""
        with self._lock:
            state, outcome = self._state, self._outcome
        self._raise_error()
        if outcome is not None:
            return outcome[0]
        if state.over:
            raise UserError(
                f"the run has no result, it was {self.reason}: `.partial` has what there was"
            )
        raise UserError(
            f"the run is {state} and has no result yet: .wait() or `await` it, or take .partial"
        )

    @property
    def unheard(self) -> BaseException | None:
        """What the work raised, as long as nobody was told by `result`, `finish` or an await."""
        return None if self._error is None or self._heard else self._error[0]

    @property
    def partial(self) -> Any:
        """What there is so far, in any state: draws by site, or losses."""
        return self._job.partial()

    @property
    def reason(self) -> str:
        """Why the run ended; "" while it lives, and if it came to its end."""
        return next((e.note for e in self._events if e.state.over), "")

    @property
    def progress(self) -> Progress:
        """Where the run stands, as a snapshot."""
        with self._lock:
            state, elapsed = self._state, self._elapsed()
        log = self._job.log
        return Progress(state, self._job.total, elapsed, log, log.counts, log.pilot)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every change of state so far."""
        return tuple(self._events)

    @property
    def model(self) -> object:
        return self._job.model

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def job(self) -> Job[R]:
        """What the run does."""
        return self._job

    def subscribe(
        self, subscriber: Subscriber, *, first_rows: int = GREATEST_ROWS
    ) -> Callable[[], None]:
        """Have ``subscriber`` called with a `Message` at most ten times a second, and at the end.

        It is called from a thread of its own. The first message tells what there is already, in at
        most ``first_rows`` rows. Returns what ends the subscription.
        """
        with self._lock:
            if self._publisher is None:
                self._publisher = Publisher(lambda: self.progress, self.note)
                self.call_at_end(self._publisher.finish)
            return self._publisher.subscribe(subscriber, first_rows=first_rows)

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait until the subscribers of a finished run have had their last message."""
        return self._publisher is None or self._publisher.idle.wait(timeout)

    def __repr__(self) -> str:
        progress = self.progress
        total = "" if progress.total is None else f" of {progress.total}"
        note = f" ({self.reason})" if self.reason else ""
        return f"Run({self.name}: {self._state}{note}, {progress.iteration}{total} iterations)"

    # --- the worker --------------------------------------------------------------------------

    def checkpoint(self) -> bool:
        """For the job, see `Control`."""
        if self._until is not None and not self._reason:
            self._look(self._until)
        if not self._asked:
            return False
        with self._lock:
            while self._state is State.PAUSED:
                self._changed.wait()
            ends = self._state is State.STOPPING or self._state.over
            self._cut_short = ends and not self._enough
        return ends

    def asked(self) -> bool:
        """For the job, see `Control`."""
        return self._asked

    def warmed_up(self) -> None:
        """For the job, see `Control`."""
        with self._lock:
            if self._state is State.WARMING:
                self._move(State.RUNNING)
            elif self._state is State.PAUSED:
                self._before_pause = State.RUNNING

    @property
    def cut_short(self) -> bool:
        """For the job, see `Control`."""
        return self._cut_short

    def _look(self, until: StopRule) -> None:
        iteration = min(self._job.log.counts, default=0)
        if iteration == self._looked or iteration % until.every:
            return
        self._looked = iteration
        reason = until.met(self.progress)
        if reason is None:
            return
        with self._lock:
            self._enough = not self._reason
            self.stop(reason)

    def _launch(self) -> None:
        """The lock is held: the worker does nothing before the launch is known to have worked."""
        try:
            Thread(target=self._work, name=f"run {self._job.name}", daemon=True).start()
        except BaseException:  # an interrupt, or no thread to be had
            self._rest()
            self._move(State.STOPPED, "interrupted at the start")
            release(self)
            raise

    def _work(self) -> None:
        with self._lock:
            if self._state.over:
                release(self)
                return
        try:
            outcome = self._job.work(self)
        except BaseException as error:  # noqa: BLE001  (kept, shown, and raised by `result`)
            error.add_note(f"in run {self.name}, after {self.progress.iteration} iterations")
            self._end(State.FAILED, f"{type(error).__name__}: {error}", error=error)
        else:
            state = State.STOPPED if self._cut_short else State.DONE
            ended_early = self._cut_short or self._enough
            self._end(state, self._reason if ended_early else "", outcome=(outcome,))

    def _end(
        self,
        state: State,
        note: str,
        outcome: tuple[R] | None = None,
        error: BaseException | None = None,
    ) -> None:
        release(self)
        with self._lock:
            if not self._state.over:  # or else it was aborted
                self._outcome = outcome
                self._error = None if error is None else (error, error.__traceback__)
                self._rest()
                self._move(state, note)
        self._tell_the_end()

    def _tell_the_end(self) -> None:
        """Call back those who wait for the end, outside the lock: they may start other runs."""
        with self._lock:
            if not self._state.over:
                return
            callbacks, self._at_end = self._at_end, []
        for callback in callbacks:
            callback()

    # --- the state machine; the lock is held ---------------------------------------------------

    def _move(self, state: State, note: str = "") -> None:
        self._events.append(Event(self._clock() - self._made, state, note))
        self._state = state
        self._changed.notify_all()

    def note(self, note: str) -> None:
        """For the job, see `Control`."""
        with self._lock:
            self._events.append(Event(self._clock() - self._made, self._state, note))

    def _rest(self) -> None:
        self._worked, self._since = self._elapsed(), None

    def _elapsed(self) -> float:
        return self._worked + (0.0 if self._since is None else self._clock() - self._since)

    def _raise_error(self) -> None:
        if self._error is not None:
            self._heard = True
            error, traceback = self._error
            raise error.with_traceback(traceback)
