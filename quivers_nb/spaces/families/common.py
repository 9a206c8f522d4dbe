"""Parameters and raw blocks that many rows share."""

from quivers_nb.spaces.family import Clamp, Parameter, RawBlock
from quivers_nb.spaces.support import POSITIVE, REAL, UNIT_INTERVAL


def real(name: str, rank: int = 0) -> Parameter:
    """A parameter that may be any number."""
    return Parameter(name, REAL, rank)


def positive(name: str, rank: int = 0) -> Parameter:
    """A positive parameter, kept above EPS."""
    return Parameter(name, POSITIVE, rank, Clamp.POSITIVE)


def shape(name: str) -> Parameter:
    """A shape-like positive parameter, kept above 0.1 (section 7.3)."""
    return Parameter(name, POSITIVE, 0, Clamp.SHAPE)


def probability(name: str) -> Parameter:
    """A probability, kept inside the unit interval by EPS."""
    return Parameter(name, UNIT_INTERVAL, 0, Clamp.PROBABILITY)


def blocks(*specs: str) -> tuple[RawBlock, ...]:
    """Raw blocks of width d from ``"parameter transform"``."""
    return tuple(RawBlock(*_split(spec)) for spec in specs)


def _split(spec: str) -> tuple[str, str, str]:
    parameter, transform = spec.split()
    return parameter, "d", transform
