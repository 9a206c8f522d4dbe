"""The evidence lower bound.

Counted as R4 says: row terms of model and guide are weighted by ``total_rows`` / rows, shared ones
count once, and the loss is the negative bound divided by ``total_rows`` (by 1 without rows).
"""

from dataclasses import dataclass, field

from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import OpenTarget
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Particles
from quivers_nb.inference.vi.estimators import Estimator, Problem, Reparameterized
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.rows import Shape


@known_options
@dataclass(frozen=True)
class ELBO:
    """``-mean over particles (log p - log q)``, per row; particles are one stacked evaluation.

    ``estimator`` says how gradients are found, see `quivers_nb.inference.vi.estimators`.
    """

    num_particles: Particles = 1
    estimator: Estimator = field(default_factory=Reparameterized)

    def __post_init__(self) -> None:
        if isinstance(self.estimator, type) or not hasattr(self.estimator, "bound"):
            raise UserError(
                f"estimator={self.estimator!r:.60}: an estimator is wanted, such as "
                "StickingTheLanding()"
            )

    @property
    def eager_reason(self) -> str:
        return self.estimator.eager_reason

    def loss(
        self,
        target: OpenTarget,
        guide: Guide,
        *,
        total_rows: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:  # -> ()
        """A differentiable estimate of the loss at the current parameters."""
        problem = Problem.of(target, guide, total_rows, generator)
        stack: Shape = () if self.num_particles == 1 else (self.num_particles,)
        return -self.estimator.bound(problem, stack) / problem.total
