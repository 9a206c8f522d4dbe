"""What a chain asks of a kernel: trajectories that grow by one leapfrog at a time."""

from typing import NamedTuple, Protocol

from numpy.random import Generator

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.adaptation import metric_kind
from quivers_nb.inference.mcmc.integrator import Phase


class Stats(NamedTuple):
    """What is known of one transition. ``acceptance`` is the mean over its states, in [0, 1]."""

    acceptance: float
    leapfrogs: int
    depth: int
    diverged: bool
    log_density: float
    energy: float
    step_size: float


class Trajectory(Protocol):
    """A transition under way; immutable."""

    @property
    def front(self) -> Phase: ...  # where the next leapfrog starts
    @property
    def forward(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def chosen(self) -> Phase: ...  # the next draw, once done
    def stats(self, step_size: float) -> Stats: ...


class Kernel(Protocol):
    """A transition kernel; immutable. ``begin`` and ``extend`` are pure but for ``rng``."""

    @property
    def step_size(self) -> float: ...
    @property
    def mass_matrix(self) -> str: ...
    @property
    def target_accept(self) -> float: ...
    @property
    def adapt_step_size(self) -> bool: ...
    @property
    def adapt_mass_matrix(self) -> bool: ...
    @property
    def adapt_from(self) -> str: ...
    def begin(self, start: Phase, rng: Generator) -> Trajectory: ...
    def extend(self, trajectory: Trajectory, state: Phase, rng: Generator) -> Trajectory: ...


def check_options(kernel: Kernel, whole: dict[str, int], positive: dict[str, float]) -> None:
    """Refuse options outside their range, naming the value."""
    metric_kind(kernel.mass_matrix, kernel.adapt_from)
    for name, number in {"step_size": kernel.step_size, **positive}.items():
        if not number > 0.0:
            raise UserError(f"{name}={number!r} must be positive")
    for name, count in whole.items():
        if count < 1 or int(count) != count:
            raise UserError(f"{name}={count!r} must be a whole number, at least 1")
    if not 0.0 < kernel.target_accept < 1.0:
        raise UserError(f"target_accept={kernel.target_accept!r} must lie between 0 and 1")
