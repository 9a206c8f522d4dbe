"""Targets: a log density over a flat unconstrained vector, with the names of its parts.

This is all that samplers, guides and diagnostics know of a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, dtype

from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import OpenTarget


@dataclass(frozen=True, slots=True)
class Target:
    """The log density of an open target, ``row_weight`` times its row terms plus shared ones."""

    source: OpenTarget
    row_weight: float = 1.0

    @property
    def layout(self) -> Layout:
        return self.source.layout

    @property
    def dim(self) -> int:
        return self.source.layout.dim

    @property
    def dtype(self) -> dtype:
        return self.source.dtype

    @property
    def declared(self) -> frozenset[str]:
        """The sites that are neither internal nor noise."""
        return frozenset(c.name for c in self.layout if not (c.standard_normal or c.internal))

    def log_density(self, q: Tensor) -> Tensor:  # (*s, dim) -> (*s,)
        """Up to a constant, with the log-Jacobian of every coordinate that needs one."""
        return self.source.terms(q).total(self.row_weight)

    def constrain(self, q: Tensor, *, internal: bool = False) -> dict[str, Tensor]:
        """Site values at ``q`` ``(*s, dim)``, each ``(*s, *value_shape)``."""
        return self.source.constrain(q, internal=internal)

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:  # -> (*s, dim)
        """The ``q`` of given site values."""
        return self.source.unconstrain(values)

    def names_of(self, q: Tensor) -> str:  # (dim,)
        """The sites whose terms are not finite at ``q``, with their values, for messages."""
        return self.source.names_of(q)


def flat(source: OpenTarget, row_weight: float = 1.0) -> Target:
    """The flat log density of an open target (R4: everything counted once)."""
    return Target(source, row_weight)
