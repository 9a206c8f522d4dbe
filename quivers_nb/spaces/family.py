"""What the language knows of a distribution family: one row of data, no tensors.

The rows are in `quivers_nb.spaces.families`; `quivers_nb.kernels.families` holds, under the same
names, the numeric half (density, draw, noise map). A law test pairs the two tables.
"""

from dataclasses import dataclass
from enum import Enum

from quivers_nb.spaces.support import Support


class Clamp(Enum):
    """How an inline parameter is kept safe (section 7.3)."""

    NONE = "none"
    POSITIVE = "positive"  # max(·, EPS)
    SHAPE = "shape"  # max(·, 0.1)
    PROBABILITY = "probability"  # to [EPS, 1 - EPS]


class Codomain(Enum):
    """What a kernel of the family needs as its codomain."""

    CONTINUOUS = "continuous"
    BOUNDED = "bounded"
    FINITE = "finite"
    PAIR = "a two-element set"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: name, where it lies, event rank (a vector parameter has rank 1), clamp."""

    name: str
    support: Support
    rank: int = 0
    clamp: Clamp = Clamp.NONE


@dataclass(frozen=True, slots=True)
class RawBlock:
    """One block of a kernel's raw vector: the parameter it becomes, its width and transform.

    ``width`` is a key of `quivers_nb.kernels.transforms.WIDTHS`: a formula over ``d`` (dim or size
    of the codomain), ``m`` (matrix size), ``r`` (rank), ``k`` (components), ``rows`` and ``cols``.
    ``transform`` is a key of `quivers_nb.kernels.transforms.TRANSFORMS`: ``id exp softplus
    softplus+ sigmoid softmax tril ordered center width midpoint factor matrix df``.
    """

    parameter: str
    width: str = "d"
    transform: str = "id"


@dataclass(frozen=True, slots=True)
class Family:
    """One row.

    ``event_rank``: of a value. ``literal``, ``variable``: usable inline. ``kernel``: raw blocks, or
    None if no kernel form. ``scale_block``: the parameter whose initial value ``scale=`` sets (R5).
    ``noise``: a fixed-size standard normal noise map exists, so MCMC uses noise coordinates (R3).
    ``improper``: log density 0, cannot be sampled. ``settings``: options with defaults.
    ``simplex``: values are simplex-typed (R7). ``kernel_family``: the row whose parameters and
    density the raw blocks feed, where that is another one (Bernoulli kernels keep their logits).
    ``network`` False: the raw blocks are one vector, the same at every input (GP, Horseshoe).
    """

    name: str
    parameters: tuple[Parameter, ...]
    support: Support
    summary: str
    event_rank: int = 0
    literal: bool = True
    variable: bool = True
    kernel: tuple[RawBlock, ...] | None = None
    kernel_family: str | None = None
    codomain: Codomain = Codomain.CONTINUOUS
    scale_block: str | None = None
    noise: bool = False
    improper: bool = False
    settings: tuple[tuple[str, float | int | str], ...] = ()
    simplex: bool = False
    network: bool = True

    @property
    def inline(self) -> bool:
        """Whether steps may call the family; else it is a kernel's only (GP, Flow)."""
        return self.literal or self.variable
