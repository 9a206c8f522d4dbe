"""What a chain asks of a kernel: trajectories that grow by one leapfrog at a time."""

from typing import Annotated, NamedTuple, Protocol

from numpy.random import Generator

from quivers_nb.inference.mcmc.adaptation import NAMES, SOURCES
from quivers_nb.inference.mcmc.integrator import Phase
from quivers_nb.inference.ranges import Range, Words


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


# What the kernels have in common, as options.
MassMatrix = Annotated[str, Words(NAMES)]
AdaptFrom = Annotated[str, Words(SOURCES)]
EnergyError = Annotated[float, Range(above=0.0)]
