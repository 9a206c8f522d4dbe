"""Estimators: how a bound's gradient is found from particles.

Every estimator of `ELBO` gives the same number in expectation, the evidence lower bound, and
gradients of the same expectation; they differ in variance, and in what they ask of guide and model.
"""

from dataclasses import dataclass, field
from math import log, prod
from typing import Protocol

from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import OpenTarget, Terms
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Share
from quivers_nb.inference.vi.guide import Guide, GuideModule
from quivers_nb.inference.vi.rows import Shape


@dataclass(frozen=True, slots=True)
class Problem:
    """A target and a guide for it. Row terms count ``weight`` times (R4), of ``total`` rows."""

    target: OpenTarget
    guide: Guide
    weight: float
    total: int
    generator: Generator | None

    @classmethod
    def of(
        cls,
        target: OpenTarget,
        guide: Guide,
        total_rows: int | None,
        generator: Generator | None,
    ) -> "Problem":
        rows = prod(target.batch_shape)
        if not rows:
            raise UserError(
                f"the data have no rows (batch shape {tuple(target.batch_shape)}), so there is no "
                "loss per row: give at least one, and leave empty minibatches out"
            )
        total = total_rows if total_rows is not None and target.batch_shape else rows
        reason = _needs_all_rows(guide) if total != rows else ""
        if reason:
            raise UserError(
                f"{rows} rows cannot stand for {total} (total_rows), since the guide {reason}, or "
                "fit all rows at once"
            )
        return cls(target, guide, total / rows, total, generator)

    @property
    def layout(self) -> Layout:
        return self.target.layout

    def draw(self, stack: Shape) -> tuple[Tensor, Terms]:
        """Particles ``(*s, dim)`` and what the guide says of their density."""
        return self.guide.draw(self.layout, stack, self.generator)

    def particles(self, stack: Shape) -> "Particles":
        """As `draw`; as many from every component if the guide is a mixture."""
        guide = self.guide
        if not isinstance(guide, GuideModule) or not guide.num_strata:
            return Particles(*self.draw(stack))
        return Particles(*guide.draw_strata(self.layout, stack, self.generator), guide.log_shares)

    def model(self, q: Tensor) -> Terms:
        """The log density of the model at particles."""
        return self.target.terms(q, generator=self.generator)


@dataclass(frozen=True, slots=True)
class Particles:
    """Draws of a guide, and what it says of their density.

    Those of a mixture have its strata as their first axis, of probabilities ``exp(log_shares)``.
    """

    q: Tensor  # (*s, dim)
    guide: Terms
    log_shares: Tensor | None = None  # (C,)

    def mean(self, values: Tensor) -> Tensor:  # (*s,) -> ()
        """The mean over the guide of a value per particle."""
        if self.log_shares is None:
            return _mean(values)
        within = values.reshape(len(self.log_shares), -1).mean(-1)
        return (self.log_shares.exp() * within).sum()

    @property
    def log_counts(self) -> Tensor:  # (*s,)
        """Log of the part of the guide that each particle stands for; they sum to one."""
        shape = self.q.shape[:-1]
        if self.log_shares is None:
            return self.q.new_full(shape, -log(prod(shape)))
        each = self.log_shares - log(prod(shape[1:]))
        return each.reshape((-1, *(1,) * (len(shape) - 1))).expand(shape)


def _needs_all_rows(guide: Guide) -> str:
    """Why rows cannot be weighted: what a part knows of single ones says nothing about others."""
    parts = guide.modules() if isinstance(guide, nn.Module) else ()
    reasons = (part.needs_all_rows() for part in parts if isinstance(part, GuideModule))
    return next(filter(None, reasons), "")


class Estimator(Protocol):
    """``eager_reason`` says why steps cannot be recorded, if they cannot."""

    @property
    def eager_reason(self) -> str: ...
    def bound(self, problem: Problem, stack: Shape) -> Tensor:
        """The bound ``()``, its mean over particles, with the gradient to follow."""
        ...


def _mean(bounds: Tensor) -> Tensor:
    return bounds.mean() if bounds.ndim else bounds


@dataclass(frozen=True)
class Reparameterized:
    """Gradients through the draws (Kingma & Welling 2014, section 2.4). The default."""

    eager_reason = ""

    def bound(self, problem: Problem, stack: Shape) -> Tensor:
        """``log p - log q`` at reparameterised draws."""
        drawn = problem.particles(stack)
        model = problem.model(drawn.q).total(problem.weight)
        return drawn.mean(model - drawn.guide.total(problem.weight))


@dataclass(frozen=True)
class ClosedFormEntropy:
    """``log p`` at reparameterised draws plus the guide's entropy.

    Kucukelbir et al. (2017), equation 5. For guides whose entropy is known.
    """

    eager_reason = ""

    def bound(self, problem: Problem, stack: Shape) -> Tensor:
        """No noise comes from the entropy."""
        q, _ = problem.draw(stack)
        entropy = problem.guide.entropy(problem.layout).total(problem.weight)
        return _mean(problem.model(q).total(problem.weight)) + entropy


@dataclass(frozen=True)
class StickingTheLanding:
    """Gradients through the draws only, without the guide's score, whose mean is zero.

    Roeder, Wu & Duvenaud (2017), "Sticking the landing", equation 8. The variance vanishes as the
    guide reaches the posterior.
    """

    eager_reason = ""

    def bound(self, problem: Problem, stack: Shape) -> Tensor:
        """As `Reparameterized`, the guide's parameters held fixed in its log density."""
        drawn = problem.particles(stack)
        guide = without_score(problem, drawn.q)
        return drawn.mean(problem.model(drawn.q).total(problem.weight) - guide)


def without_score(problem: Problem, q: Tensor) -> Tensor:  # (*s, dim) -> (*s,)
    """The guide's log density at ``q``, with its gradient through ``q`` alone.

    At a detached ``q`` the gradient is the score alone, so subtracting that one leaves the path.
    """
    density = problem.guide.log_density(problem.layout, q).total(problem.weight)
    score = problem.guide.log_density(problem.layout, q.detach()).total(problem.weight)
    return density - (score - score.detach())


class Baseline(Protocol):
    """A guess of a learning signal ``(*s, ...)`` that does not see the particle it is for."""

    @property
    def eager_reason(self) -> str: ...
    def guess(self, name: str, signal: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class NoBaseline:
    """Zero: for comparison; its variance is the largest."""

    eager_reason = ""

    def guess(self, name: str, signal: Tensor) -> Tensor:  # noqa: ARG002
        """Zeros."""
        return signal.new_zeros(())


@dataclass(frozen=True)
class LeaveOneOut:
    """The mean signal of the other particles (Mnih & Rezende 2016; Kool et al. 2019)."""

    eager_reason = ""

    def guess(self, name: str, signal: Tensor) -> Tensor:  # noqa: ARG002
        """``(sum - own) / (K - 1)`` along the particle axis."""
        return (signal.sum(0, keepdim=True) - signal) / (signal.shape[0] - 1)


@known_options
@dataclass
class RunningMean:
    """An exponential mean of earlier steps' signals (Ranganath et al. 2014, section 4).

    The one estimator with a memory: ``means`` holds it, by kind of signal.
    """

    decay: Share = 0.9
    means: dict[str, Tensor] = field(default_factory=dict)
    eager_reason = "the running mean of the baseline changes from step to step"

    def guess(self, name: str, signal: Tensor) -> Tensor:
        """The mean before this step, which is then updated; zero at the first step."""
        now = signal.mean()
        before = self.means.get(name)
        updated = now if before is None else self.decay * before + (1.0 - self.decay) * now
        self.means[name] = updated
        return now.new_zeros(()) if before is None else before


@dataclass(frozen=True)
class ScoreFunction:
    """Gradients by the score of the guide: nothing is differentiated through the draws.

    Ranganath, Gerrish & Blei (2014), "Black box variational inference", equations 2 and 7: a row's
    score is weighted by the terms that the row's draws can reach, its own and the shared ones.
    Works where the model's log density has no useful slope in the latents; far noisier elsewhere.
    """

    baseline: Baseline = field(default_factory=LeaveOneOut)

    @property
    def eager_reason(self) -> str:
        return self.baseline.eager_reason

    def bound(self, problem: Problem, stack: Shape) -> Tensor:
        """The value of the bound with the surrogate's gradient."""
        if isinstance(self.baseline, LeaveOneOut) and not stack:
            raise UserError(
                "LeaveOneOut needs other particles: set num_particles to at least 2, or use "
                "ScoreFunction(RunningMean())"
            )
        weight = problem.weight
        q = problem.draw(stack)[0].detach()
        model = problem.model(q)
        guide = problem.guide.log_density(problem.layout, q)
        value = (model.total(weight) - guide.total(weight)).detach()
        surrogate = model.total(weight) + self._scored(guide.shared, value, "shared")
        if guide.row is not None:
            shared = (model.shared - guide.shared).detach()
            signal = shared.reshape((*shared.shape, *(1,) * guide.batch_rank))
            if model.row is not None:
                signal = signal + weight * (model.row - guide.row).detach()
            scored = self._scored(guide.row, signal.expand_as(guide.row), "row")
            surrogate = surrogate + scored.sum(tuple(range(-guide.batch_rank, 0)))
        return _mean(value) + _mean(surrogate - surrogate.detach())

    def _scored(self, log_q: Tensor, signal: Tensor, name: str) -> Tensor:
        return log_q * (signal - self.baseline.guess(name, signal))
