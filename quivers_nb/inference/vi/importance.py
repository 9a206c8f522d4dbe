"""Bounds from importance weights ``w = p / q`` of several particles: tighter than the ELBO.

Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", equation 8; Li & Turner
(2016), "Rényi divergence variational inference", equation 6; Daudel, Benton, Shi & Doucet (2023),
"Alpha-divergence variational inference meets importance weighted auto-encoders"; Tucker et al.
(2019), "Doubly reparameterized gradient estimators", equation 8. Counting is that of `ELBO`; with
minibatches the weighted row terms stand in for all rows inside the logarithm, as is usual.
"""

from dataclasses import dataclass, field
from math import inf, log
from typing import Annotated

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import OpenTarget, Terms
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Particles, Range
from quivers_nb.inference.vi.estimators import Problem, Reparameterized, without_score
from quivers_nb.inference.vi.guide import Guide, GuideModule


@dataclass(frozen=True)
class DoublyReparameterized:
    """Gradients of `IWAE` and `VRIWAE` without the guide's score, reparameterised a second time.

    Its signal does not drown as particles are added: a particle's path counts ``alpha v + (1 -
    alpha) v**2`` times, with v its share of the powered weights (Tucker et al. 2019, equation 8,
    where alpha is 0; Daudel et al. 2023). Leaving the score out as `StickingTheLanding` does would
    be biased here.
    """


PathEstimator = Reparameterized | DoublyReparameterized


@known_options
@dataclass(frozen=True)
class IWAE:
    """``-log mean over particles w``, per row (Burda et al. 2016, equation 8).

    Between the ELBO and the log evidence, and tighter with every particle. ``per_row`` weights each
    row by itself, which is tighter still and what an autoencoder wants; it needs a model whose
    latents are all row-wise and whose shared terms do not depend on them.
    """

    num_particles: Particles
    per_row: bool = False
    estimator: PathEstimator = field(default_factory=Reparameterized)

    def __post_init__(self) -> None:
        _check_estimator(self.estimator, per_row=self.per_row)

    def loss(
        self,
        target: OpenTarget,
        guide: Guide,
        *,
        total_rows: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:  # -> ()
        """A differentiable estimate of the loss at the current parameters."""
        bound = VRIWAE(0.0, self.num_particles, self.per_row, self.estimator)
        return bound.loss(target, guide, total_rows=total_rows, generator=generator)


@known_options
@dataclass(frozen=True)
class VRIWAE:
    """The negative bound ``log mean over particles (w**(1 - alpha)) / (1 - alpha)``, per row.

    ``alpha`` from 0, where it is `IWAE`, to below 1, where it nears the ELBO: what is lost in
    tightness is won in the variance of gradients. For every number of particles it lies below the
    variational Rényi bound of its alpha, which it reaches in the limit, and so below the log
    evidence (Daudel et al. 2023). `Renyi` takes any alpha, and only plain gradients.
    ``per_row`` as in `IWAE`.
    """

    alpha: Annotated[
        float, Range(low=0.0, below=1.0, why="ELBO() is alpha 1, and Renyi takes any number")
    ]
    num_particles: Particles
    per_row: bool = False
    estimator: PathEstimator = field(default_factory=Reparameterized)

    def __post_init__(self) -> None:
        _check_estimator(self.estimator, per_row=self.per_row)

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
        if isinstance(self.estimator, DoublyReparameterized):
            return -_doubly(problem, self.num_particles, self.alpha) / problem.total
        return -_bound(problem, self.num_particles, self.alpha, self.per_row) / problem.total


def _check_estimator(estimator: object, *, per_row: bool) -> None:
    if not isinstance(estimator, Reparameterized | DoublyReparameterized):
        raise UserError(
            f"weights of several particles take Reparameterized() or DoublyReparameterized(), not "
            f"{estimator}: others are biased for them"
        )
    if per_row and isinstance(estimator, DoublyReparameterized):
        raise UserError("DoublyReparameterized() weights whole particles: use per_row=False")


@known_options
@dataclass(frozen=True)
class Renyi:
    """The negative variational Rényi bound ``log mean(w**(1 - alpha)) / (1 - alpha)``, per row.

    ``alpha`` 0 is `IWAE`, 1 the ELBO, larger ones seek modes; negative ones bound the log evidence
    from above in the limit of many particles, and cover mass. From 0 to 1 it is the bound of
    `VRIWAE`. ``per_row`` as in `IWAE`.
    """

    alpha: Annotated[float, Range(above=-inf, below=inf)]
    num_particles: Particles
    per_row: bool = False

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
        return -_bound(problem, self.num_particles, self.alpha, self.per_row) / problem.total


def power_mean(
    log_weights: Tensor, alpha: float, log_counts: Tensor
) -> Tensor:  # (K, *n), (K,) -> (*n,)
    """``log mean(w**(1 - alpha)) / (1 - alpha)`` over particles; at 1 its limit, the mean."""
    log_counts = log_counts.reshape((-1, *(1,) * (log_weights.ndim - 1)))
    if alpha == 1.0:
        return (log_counts.exp() * log_weights).sum(0)
    return torch.logsumexp((1.0 - alpha) * log_weights + log_counts, 0) / (1.0 - alpha)


def _bound(problem: Problem, particles: int, alpha: float, per_row: bool) -> Tensor:
    drawn = problem.particles((particles,))
    q, guide, counts = drawn.q, drawn.guide, drawn.log_counts.flatten()
    model = problem.model(q)
    if not per_row:
        log_weights = model.total(problem.weight) - guide.total(problem.weight)
        return power_mean(log_weights.expand(q.shape[:-1]).flatten(), alpha, counts)
    row = _rows_alone(problem, q, model, guide)
    rest = (model.shared - guide.shared).mean()
    return problem.weight * power_mean(row, alpha, counts).sum() + rest


def _rows_alone(problem: Problem, q: Tensor, model: Terms, guide: Terms) -> Tensor:  # (K, *b)
    """Log weights of rows, if rows have nothing random in common."""
    shared = [c.name for c in problem.layout if not c.batch_rank]
    if shared or model.row is None or guide.row is None:
        raise UserError(
            f"per_row=True needs every latent to be row-wise, but {shared or 'the guide'} is "
            "common to the rows: use per_row=False"
        )
    if guide.shared.ndim:  # by particle: a density of all rows together, as of a part with rows=n
        raise UserError(
            "per_row=True needs a guide whose rows are independent, and a part of this one has a "
            "single density for all rows together: make it without rows=, or use per_row=False"
        )
    if _depends(model.shared, q):
        raise UserError(
            "per_row=True needs shared terms that do not depend on the rows' latents, and this "
            "model has one (a grouped marginalize, or a score): use per_row=False"
        )
    return (model.row - guide.row).expand(q.shape[0], *problem.target.batch_shape)


def _depends(shared: Tensor, q: Tensor) -> bool:
    """By the autograd graph if there is one: steps stay recordable if no value is looked at."""
    if q.requires_grad:
        if not shared.requires_grad:
            return False
        (grad,) = torch.autograd.grad(shared.sum(), q, retain_graph=True, allow_unused=True)
        return grad is not None
    return bool((shared != shared.flatten()[0]).any())


def _doubly(problem: Problem, particles: int, alpha: float) -> Tensor:
    """The bound; towards the guide, paths count as `DoublyReparameterized` says."""
    guide = problem.guide
    if problem.weight != 1.0 and isinstance(guide, GuideModule) and guide.nested:
        raise UserError(
            "DoublyReparameterized() cannot weight the rows of a minibatch where the guide has "
            "them follow shared sites: use Reparameterized(), or all rows at once"
        )
    q, drawn = problem.draw((particles,))
    log_weights = problem.model(q).total(problem.weight) - without_score(problem, q)
    counts = torch.full_like(log_weights, -log(particles))
    value = power_mean(log_weights, alpha, counts).detach()
    normalised = torch.softmax((1.0 - alpha) * log_weights, 0).detach()
    if q.requires_grad:
        factor = _second_factor(problem, normalised, alpha, rows=drawn.row is not None)
        q.register_hook(lambda gradient: factor * gradient)
    surrogate = (normalised * log_weights).sum()
    return value + (surrogate - surrogate.detach())


def _second_factor(
    problem: Problem, normalised: Tensor, alpha: float, *, rows: bool
) -> Tensor:  # -> (K, dim)
    """What is left of a path's weight v once the score is reparameterised too.

    The score of a coordinate that counts c times, as those of rows in a minibatch do, takes
    ``c (1 - alpha) (1 - v)`` of every path: the derivative of v in its own log weight, over v.
    """
    counts = torch.cat(
        [
            normalised.new_full((c.size,), problem.weight if rows and c.batch_rank else 1.0)
            for c in problem.layout
        ]
    )
    return 1.0 - (1.0 - alpha) * counts * (1.0 - normalised.unsqueeze(-1))
