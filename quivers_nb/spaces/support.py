"""Supports: where a value may lie, said without tensors.

A bound is a number or the *name of a parameter* of the family (``Uniform(low, high)``), so a
support may depend on earlier sites (R12). `quivers_nb.kernels.bijectors` maps each support to its
unconstraining bijector; the guides and MCMC ask for nothing else.
"""

from dataclasses import dataclass

Bound = float | str


@dataclass(frozen=True, slots=True)
class RealLine:
    """Every real number."""


@dataclass(frozen=True, slots=True)
class Above:
    """Numbers above ``low`` (``Above(0.0)`` is the positive half line)."""

    low: Bound = 0.0


@dataclass(frozen=True, slots=True)
class Below:
    """Numbers below ``high``."""

    high: Bound


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers between ``low`` and ``high``."""

    low: Bound = 0.0
    high: Bound = 1.0


@dataclass(frozen=True, slots=True)
class SimplexSupport:
    """Vectors of non-negative numbers that sum to one; event rank 1."""


@dataclass(frozen=True, slots=True)
class CorrelationCholesky:
    """Cholesky factors of correlation matrices; event rank 2."""


@dataclass(frozen=True, slots=True)
class PositiveDefinite:
    """Symmetric positive definite matrices; event rank 2."""


@dataclass(frozen=True, slots=True)
class LowerCholesky:
    """Lower triangular matrices with positive diagonal; event rank 2."""


@dataclass(frozen=True, slots=True)
class Increasing:
    """Strictly increasing vectors; event rank 1."""


@dataclass(frozen=True, slots=True)
class OneHot:
    """One-hot vectors; event rank 1."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Integers ``low … high``; ``high`` None is no upper end. ``labels``: indices of a codomain."""

    low: int = 0
    high: Bound | None = None
    labels: bool = False


Support = (
    RealLine | Above | Below | Between | SimplexSupport | CorrelationCholesky | PositiveDefinite
    | LowerCholesky | Increasing | OneHot | Counts
)  # fmt: skip

REAL = RealLine()
POSITIVE = Above(0.0)
UNIT_INTERVAL = Between(0.0, 1.0)


def is_discrete(support: Support) -> bool:
    """Whether values are isolated points: no bijector, no gradient."""
    return isinstance(support, Counts | OneHot)
