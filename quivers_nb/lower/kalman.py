"""Integrating a linear Gaussian chain: all steps at once, joined by doubling.

A stretch of the chain, seen from the state z before it, is a Gaussian of the state after it and a
likelihood of z, both given the observations of the stretch (Särkkä and García-Fernández 2021,
"Temporal parallelization of Bayesian smoothers", section IV):

    after | z, y  ~  N(A z + b, C)          log p(y | z)  =  κ + ηᵀ z - ½ zᵀ J z

One step is built from the draws and observations of the cell in their order, which are the
prediction and the update of Kalman (1960). Two stretches are joined by integrating the state
between them, so that T steps take log₂ T rounds of batched products and not T of them one by one.

Conditioning has the form of Joseph, ``(I - G B) C (I - G B)ᵀ + G R Gᵀ``: symmetric and positive
semidefinite in finite precision. Shapes: ``*n`` are stack, rows and steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log, pi

import torch
from torch import Tensor

LOG_TWO_PI = log(2.0 * pi)


@dataclass(frozen=True, slots=True)
class Linear:
    """``c + B w`` with Gaussian noise, w being what was drawn before it: (*n, d), (*n, d, w).

    ``noise`` is a covariance (*n, d, d), None for what is returned. ``value`` (*n, d) makes it an
    observation.
    """

    offset: Tensor
    matrix: Tensor
    noise: Tensor | None = None
    value: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some steps of a chain, as above: A (*n, w, d), b (*n, w), C (*n, w, w), J, η, κ."""

    turn: Tensor
    shift: Tensor
    spread: Tensor
    precision: Tensor
    pull: Tensor
    level: Tensor

    def at(self, start: Tensor) -> Tensor:  # (*n, d) -> (*n,)
        """log p(y | z)."""
        quadratic = (start * _times(self.precision, start)).sum(-1)
        return self.level + (self.pull * start).sum(-1) - 0.5 * quadratic


def log_evidence(
    sites: Sequence[Linear], returned: Linear, start: Tensor, mask: Tensor | None
) -> Tensor:  # -> (*n,)
    """log density of all observations with the states integrated; ``start`` is (*n, d).

    ``sites`` are draws and observations in the order of the cell, with time as the last of their
    leading axes; ``mask`` (*n, T) says which steps are real.
    """
    steps = one_step(sites, returned, start.unsqueeze(-2))
    if mask is not None:
        steps = _where(mask, steps, standing(steps))
    return joined(steps).at(start)


def one_step(sites: Sequence[Linear], returned: Linear, start: Tensor) -> Stretch:
    """Every step by itself."""
    width = start.shape[-1]
    front = (*returned.offset.shape[:-1], width)
    eye = torch.eye(width, dtype=start.dtype, device=start.device).expand((*front, width))
    zero, flat = start.new_zeros(front), start.new_zeros((*front, width))
    step = Stretch(eye, zero, flat, flat, zero, start.new_zeros(front[:-1]))
    for site in sites:
        step = drawn(site, step) if site.value is None else observed(site, step)
    matrix = returned.matrix[..., : step.shift.shape[-1]]
    return Stretch(
        matrix @ step.turn,
        returned.offset + _times(matrix, step.shift),
        _symmetric(matrix @ step.spread @ matrix.mT),
        step.precision,
        step.pull,
        step.level,
    )


def drawn(site: Linear, step: Stretch) -> Stretch:
    """``(w, s)`` with s drawn."""
    assert site.noise is not None
    matrix = site.matrix[..., : step.shift.shape[-1]]
    cross = step.spread @ matrix.mT  # (*n, w, d)
    above = torch.cat([step.spread, cross], -1)
    below = torch.cat([cross.mT, matrix @ cross + site.noise], -1)
    return Stretch(
        torch.cat([step.turn, matrix @ step.turn], -2),
        torch.cat([step.shift, site.offset + _times(matrix, step.shift)], -1),
        torch.cat([above, below], -2),
        step.precision,
        step.pull,
        step.level,
    )


def observed(site: Linear, step: Stretch) -> Stretch:
    """w given an observation, which is a likelihood of z."""
    assert site.noise is not None
    assert site.value is not None
    matrix = site.matrix[..., : step.shift.shape[-1]]
    seen = matrix @ step.turn  # how the observation depends on z
    cross = step.spread @ matrix.mT
    inverse, log_det = inverted(matrix @ cross + site.noise)
    error = site.value - site.offset - _times(matrix, step.shift)
    gain = cross @ inverse
    kept = torch.eye(cross.shape[-2], dtype=cross.dtype, device=cross.device) - gain @ matrix
    weighted = _times(inverse, error)
    return Stretch(
        step.turn - gain @ seen,
        step.shift + _times(gain, error),
        _symmetric(kept @ step.spread @ kept.mT + gain @ site.noise @ gain.mT),
        step.precision + seen.mT @ inverse @ seen,
        step.pull + _times(seen.mT, weighted),
        step.level - 0.5 * ((error * weighted).sum(-1) + log_det + error.shape[-1] * LOG_TWO_PI),
    )


def joined(steps: Stretch) -> Stretch:  # time is the last leading axis, and goes
    """All steps as one stretch, by joining neighbours in log₂ T rounds."""
    length = steps.level.shape[-1]
    while length > 1:
        pairs = length // 2
        both = join(_slice(steps, 0, 2 * pairs, 2), _slice(steps, 1, 2 * pairs, 2))
        steps = _cat(both, _slice(steps, 2 * pairs, length, 1)) if length % 2 else both
        length = pairs + length % 2
    return _slice(steps, 0, None, 1)


def join(first: Stretch, then: Stretch) -> Stretch:
    """Two stretches as one: the state between them is integrated.

    With M = (I + C₁ J₂)⁻¹ that state has covariance V = M C₁ given both sides.
    """
    eye = torch.eye(first.shift.shape[-1], dtype=first.level.dtype, device=first.level.device)
    inverse, log_det = inverted(eye + first.spread @ then.precision)
    between = inverse @ first.spread
    pulled = _times(between, then.pull)
    precision = then.precision - then.precision @ between @ then.precision
    pull = then.pull - _times(then.precision, pulled)
    here = pull - _times(precision, first.shift)  # the pull of the second on z
    middle = first.shift + _times(first.spread, then.pull)
    through = then.turn @ inverse
    return Stretch(
        through @ first.turn,
        _times(through, middle) + then.shift,
        _symmetric(through @ first.spread @ then.turn.mT) + then.spread,
        first.precision + first.turn.mT @ precision @ first.turn,
        first.pull + _times(first.turn.mT, here),
        first.level
        + then.level
        + 0.5 * ((then.pull * pulled).sum(-1) - log_det + ((pull + here) * first.shift).sum(-1)),
    )


def standing(like: Stretch) -> Stretch:
    """The step that changes nothing and sees nothing: padding."""
    width = like.shift.shape[-1]
    eye = torch.eye(width, dtype=like.level.dtype, device=like.level.device)
    zeros = [torch.zeros_like(getattr(like, f.name)) for f in fields(like)[1:]]
    return Stretch(eye.expand_as(like.turn), *zeros)


# --- small matrices -------------------------------------------------------------------------------


def inverted(matrix: Tensor) -> tuple[Tensor, Tensor]:  # (*n, d, d) -> (*n, d, d), (*n,)
    """Inverse and log determinant of a matrix whose determinant is positive."""
    width = matrix.shape[-1]
    if width == 1:
        return matrix.reciprocal(), matrix[..., 0, 0].log()
    if width == 2:
        a, b, c, d = matrix.flatten(-2).unbind(-1)
        det, eye = a * d - b * c, torch.eye(2, dtype=matrix.dtype, device=matrix.device)
        adjugate = (a + d)[..., None, None] * eye - matrix
        return adjugate / det[..., None, None], det.log()
    return torch.linalg.inv(matrix), torch.linalg.slogdet(matrix).logabsdet


def _times(matrix: Tensor, vector: Tensor) -> Tensor:  # (*n, r, c), (*n, c) -> (*n, r)
    return (matrix @ vector[..., None])[..., 0]


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.mT)


TRAILING = {"turn": 2, "shift": 1, "spread": 2, "precision": 2, "pull": 1, "level": 0}


def _slice(steps: Stretch, start: int, stop: int | None, by: int) -> Stretch:
    """Every ``by``-th step of a range; with no ``stop`` the one at ``start``."""
    cut = []
    for name, behind in TRAILING.items():
        tensor = getattr(steps, name)
        after = (slice(None),) * behind
        at = start if stop is None else slice(start, stop, by)
        cut.append(tensor[(..., at, *after)])
    return Stretch(*cut)


def _cat(one: Stretch, other: Stretch) -> Stretch:
    return Stretch(
        *(
            torch.cat([getattr(one, name), getattr(other, name)], -1 - behind)
            for name, behind in TRAILING.items()
        )
    )


def _where(mask: Tensor, one: Stretch, other: Stretch) -> Stretch:
    return Stretch(
        *(
            torch.where(mask[(..., *((None,) * behind))], getattr(one, name), getattr(other, name))
            for name, behind in TRAILING.items()
        )
    )
