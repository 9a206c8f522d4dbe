"""The states of a run, and what a run and its job ask of each other."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from quivers_nb.session.log import Log


class State(StrEnum):
    """Where a run is."""

    CREATED = "created"
    WARMING = "warming"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (State.DONE, State.STOPPED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state, ``time`` seconds after the run was made; ``note`` says why."""

    time: float
    state: State
    note: str = ""


@dataclass(frozen=True, slots=True)
class Waited:
    """What a wait came to: true if the run is over, however it ended; as text, where it stands."""

    state: State

    def __bool__(self) -> bool:
        return self.state.over

    def __repr__(self) -> str:
        if self.state is State.FAILED:
            return "failed: .result raises what went wrong"
        return f"{self.state}" if self else f"{self.state}, not over yet"


class Control(Protocol):
    """What a job sees of its run."""

    def checkpoint(self) -> bool:
        """Called between iterations: waits while the run is paused; True if the job is to end."""
        ...

    def asked(self) -> bool:
        """Whether a pause or the end is wanted, so that a `checkpoint` should come soon."""
        ...

    def warmed_up(self) -> None:
        """The first iteration that counts is made."""
        ...

    def note(self, note: str) -> None:
        """Something worth telling happened, which does not end the run."""
        ...

    @property
    def cut_short(self) -> bool:
        """Whether the run was stopped from outside."""
        ...


R_co = TypeVar("R_co", covariant=True)


class Job(Protocol[R_co]):
    """What is to be done. ``partial`` may be called from any thread, while ``work`` is at it."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> object: ...  # one live run each
    @property
    def total(self) -> int | None: ...
    @property
    def log(self) -> Log: ...
    def work(self, control: Control) -> R_co: ...
    def partial(self) -> Any: ...
