"""The path from prior to posterior: densities of all particles, at every temperature at once.

    log p_b(q) = log prior(q) + b log likelihood(q),    b from 0 to 1

Prior and joint density are two targets, each with its own recorded gradient; what lies between is
a weighted mean of both, so that a temperature costs nothing new.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.gradient import Gradient, gradient_of
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.mcmc.engine import prepared_native
from quivers_nb.inference.model import Drawable, NoPrior, Terms
from quivers_nb.inference.native import Unavailable
from quivers_nb.inference.target import Target, flat

TRIES = 20  # of draws of the prior that no number can hold


class Particles(NamedTuple):
    """Positions of N particles with both densities there, and their gradients."""

    q: Tensor  # (N, dim)
    prior: Tensor  # (N,)
    joint: Tensor  # (N,)
    prior_grad: Tensor  # (N, dim)
    joint_grad: Tensor  # (N, dim)

    @property
    def log_likelihood(self) -> Tensor:  # (N,)
        """Minus infinity where the data are impossible, or the density is not a number."""
        found = self.joint - self.prior
        return torch.where(found.isnan(), -torch.inf, found)

    def tempered(self, beta: float) -> Tensor:  # -> (N,)
        """The log density at a temperature above 0; minus infinity where there is none."""
        found = self.prior + beta * self.log_likelihood
        return torch.where(found.isnan(), -torch.inf, found)

    def slope(self, beta: float) -> Tensor:  # -> (N, dim)
        """The gradient of `tempered`."""
        return torch.lerp(self.prior_grad, self.joint_grad, beta)

    def at(self, places: Tensor) -> "Particles":  # (N,) whole numbers
        """The particles at these places."""
        return Particles(*(each[places] for each in self))

    def where(self, moved: Tensor, other: "Particles") -> "Particles":  # (N,) bool
        """Those of ``other`` where ``moved``, else these."""
        pairs = zip(self, other, strict=True)
        return Particles(*(torch.where(_like(moved, a), b, a) for a, b in pairs))


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask if values.ndim == 1 else mask.unsqueeze(-1)


@dataclass(frozen=True)
class _PriorOf:
    """An open target of the draws alone."""

    source: Any  # an OpenTarget that is Drawable
    batch_shape: tuple[int, ...]
    layout: Layout
    dtype: torch.dtype

    def terms(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,  # noqa: ARG002
        generator: Generator | None = None,  # noqa: ARG002
    ) -> Terms:
        found: Terms = self.source.prior_terms(q)
        return found

    def constrain(
        self,
        q: Tensor,  # (*s, dim)
        *,
        internal: bool = False,
        parameters: Mapping[str, Tensor] | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.source.constrain(q, internal=internal)
        return found

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = self.source.unconstrain(values)
        return found

    def names_of(self, q: Tensor) -> str:
        return str(self.source.names_of(q))


@dataclass
class Path:
    """A target with its prior. ``undefined`` is the first position ``(dim,)`` without a density
    that a particle came to, ``met`` how many such there were and ``evaluated`` of how many.
    """

    target: Target
    tier: str
    joint: Gradient = field(init=False)
    prior: Gradient = field(init=False)
    undefined: Tensor | None = None
    met: int = 0
    evaluated: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.target.source, Drawable):
            raise NoPrior(
                f"a {type(self.target.source).__name__} has no `prior_terms(q)` and "
                "`draw_prior(count, generator)`, as quivers_nb.inference.model.Drawable says"
            )

    def begin(self, count: int, generator: Generator) -> Particles:
        """Particles from the prior; the tiers of both densities are chosen at them.

        Raises `NoPrior` if there is none, and `UserError` if draws have no position, or the
        likelihood is 0 at all of them.
        """
        source: Any = self.target.source
        reference = flat(_PriorOf(source, source.batch_shape, source.layout, source.dtype))
        q = self._drawn(count, reference, generator)
        if not hasattr(self, "joint"):
            self.joint = _gradient(self.target, self._example(q), self.tier)
            self.prior = _gradient(reference, q, self.tier)
        found = self.at(q)
        if not bool(found.log_likelihood.isfinite().any()):
            raise UserError(
                f"the data are impossible at each of {count} draws of the prior: "
                f"{self.target.names_of(q[0])}. Check the data for values outside their range, or "
                "give a prior that the data can come from"
            )
        return found

    def _example(self, q: Tensor) -> Tensor:
        """Draws at which the data are possible in front, if there are any."""
        finite = self.target.log_density(q).detach().isfinite()
        return q[torch.argsort(~finite, stable=True)]

    def _drawn(self, count: int, prior: Target, generator: Generator) -> Tensor:
        """Draws of the prior that have a position, those on a boundary drawn anew."""
        source: Any = self.target.source
        q: Tensor = source.draw_prior(count, generator)
        bad = _nowhere(q, prior)
        for _ in range(TRIES):
            if not bool(bad.any()):
                return q
            q = torch.where(bad.unsqueeze(-1), source.draw_prior(count, generator), q)
            bad = _nowhere(q, prior)
        raise UserError(
            f"{int(bad.sum())} of {count} draws of the prior lie on the boundary of their support "
            f"in {TRIES} tries: {prior.names_of(q[bad][0])}. Give these sites a prior with less "
            "mass at its ends"
        )

    def at(self, q: Tensor) -> Particles:  # (N, dim)
        """Both densities at ``q``."""
        joint, joint_grad = self.joint.evaluate(q)
        prior, prior_grad = self.prior.evaluate(q)
        self._note(q, joint)
        return Particles(q, prior, joint, prior_grad, joint_grad)

    def _note(self, q: Tensor, joint: Tensor) -> None:
        self.evaluated += len(q)
        bad = joint.isnan() & q.isfinite().all(-1)
        if bool(bad.any()):
            self.met += int(bad.sum())
            if self.undefined is None:
                self.undefined = q[bad][0].clone()


def _nowhere(q: Tensor, prior: Target) -> Tensor:  # (N, dim) -> (N,) bool
    """Draws that no finite position stands for."""
    return ~(q.isfinite().all(-1) & prior.log_density(q).detach().isfinite())


def _gradient(target: Target, example: Tensor, tier: str) -> Gradient:  # (N, dim)
    """The fastest tier that serves, or the one asked for (which may fall back, with reason)."""
    refusal = ""
    if tier in ("auto", "native"):
        native = prepared_native(target, example[0], forced=tier == "native")
        if not isinstance(native, Unavailable):
            return Gradient(native.evaluate, "native", "")
        refusal = f"not native: {native.reason}"
    found = gradient_of(target, example, tier)
    reasons = "; ".join(reason for reason in (refusal, found.reason) if reason)
    return Gradient(found.evaluate, found.tier, reasons)
