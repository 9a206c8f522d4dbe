"""The evidence lower bound, estimated by reparameterised particles.

Counted as R4 says: row terms of model and guide are weighted by ``total_rows`` / rows, shared ones
count once, and the loss is the negative bound divided by ``total_rows`` (by 1 without rows).
"""

from dataclasses import dataclass
from math import prod

from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import OpenTarget
from quivers_nb.inference.vi.guide import Guide


@dataclass(frozen=True)
class ELBO:
    """``-mean over particles (log p - log q)``, per row; particles are one stacked evaluation."""

    num_particles: int = 1

    def __post_init__(self) -> None:
        if self.num_particles < 1:
            raise UserError(f"num_particles={self.num_particles} must be at least 1")

    def loss(
        self,
        target: OpenTarget,
        guide: Guide,
        *,
        total_rows: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:  # -> ()
        """A differentiable estimate of the loss at the current parameters."""
        stack = () if self.num_particles == 1 else (self.num_particles,)
        q, guide_terms = guide.draw(target.layout, stack, generator)
        terms = target.terms(q, generator=generator)
        rows = prod(target.batch_shape)
        total = total_rows if total_rows is not None and target.batch_shape else rows
        weight = total / rows
        bound = terms.total(weight) - guide_terms.total(weight)
        return -(bound.mean() if stack else bound) / total
