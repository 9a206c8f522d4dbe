"""What differs between ArviZ 0.2x and 1.x where tests look at what it gives."""

from typing import Any


def groups_of(data: Any) -> set[str]:
    """The names of the groups of an ``InferenceData``, or of a ``DataTree``."""
    return set(data.children) if hasattr(data, "children") else set(data.groups())


def elpd_of(loo: Any) -> float:
    """The expected log predictive density of a leave-one-out estimate."""
    return float(loo.elpd if hasattr(loo, "elpd") else loo.elpd_loo)
