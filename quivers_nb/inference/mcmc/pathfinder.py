"""Pathfinder: starts of chains from normal approximations on the way to the mode.

Zhang, Carpenter, Gelman and Vehtari (2022), "Pathfinder: parallel quasi-Newton variational
inference", algorithms 1 to 4, single path: L-BFGS climbs the log density; at every point of its
way the inverse Hessian that it has learned makes a normal approximation, whose evidence lower
bound is estimated from a few draws; the start is a draw of the best one. Far from the mode, where
the mode itself is untypical, this is a typical point. One path for each chain, from its own start,
so that chains still start apart.

All paths move together, ``(C, D)``. A path that has ended draws no more numbers, so a chain's
start does not depend on the other chains.
"""

from collections.abc import Callable, Sequence
from math import log, pi
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[Any]
Evaluate = Callable[[Array], tuple[Array, Array]]  # (n, D) -> (n,), (n, D)

ITERATIONS = 200
HISTORY = 6  # pairs of steps and changes of gradient that are remembered
DRAWS = 8  # for each estimate of a bound
HALVINGS = 30  # of a step that does not climb
_CLIMB = 1e-4  # of what the slope promises, that a step must reach (Armijo)
_CURVED = 1e-12  # least curvature of a pair, relative to the change of gradient
_SETTLED = 1e-8  # relative rise of the log density below which a path has ended


class Pairs(NamedTuple):
    """What L-BFGS remembers: ``alpha`` (C, D), the diagonal it begins with, and pairs, old first.

    ``weight`` (C,) of a pair is 1 / s·y, and 0 where it is not used.
    """

    alpha: Array
    steps: tuple[Array, ...] = ()
    changes: tuple[Array, ...] = ()
    weights: tuple[Array, ...] = ()

    def learn(self, step: Array, change: Array) -> "Pairs":
        """With one more pair; the diagonal follows Zhang et al. (2022), algorithm 3."""
        product = _dot(step, change)
        used = product > _CURVED * _dot(change, change)
        weight = np.where(used, 1.0 / np.where(used, product, 1.0), 0.0)
        a, alpha = _dot(change**2, self.alpha), self.alpha
        c = _dot(step**2, 1.0 / alpha)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            b = product[:, None]
            inverse = a[:, None] / (b * alpha) + change**2 / b
            inverse -= a[:, None] * step**2 / (b * c[:, None] * alpha**2)
            alpha = np.where(used[:, None] & (inverse > 0.0), 1.0 / inverse, alpha)
        keep = slice(-HISTORY, None)
        return Pairs(
            np.where(np.isfinite(alpha), alpha, self.alpha),
            (*self.steps, step)[keep],
            (*self.changes, change)[keep],
            (*self.weights, weight)[keep],
        )

    def times(self, v: Array) -> Array:  # (C, D) -> (C, D)
        """The inverse Hessian times ``v``, by two loops (Nocedal 1980)."""
        parts, coefficients = list(zip(self.steps, self.changes, self.weights, strict=True)), []
        for step, change, weight in reversed(parts):
            coefficients.append(weight * _dot(step, v))
            v = v - coefficients[-1][:, None] * change
        v = self.alpha * v
        for (step, change, weight), c in zip(parts, reversed(coefficients), strict=True):
            v = v + (c - weight * _dot(change, v))[:, None] * step
        return v

    def draw(self, noise: Array, more: Array) -> Array:  # (C, K, D), (C, K, HISTORY) -> (C, K, D)
        """Draws with the inverse Hessian as covariance.

        An update H' = (1 - w s yᵀ) H (1 - w y sᵀ) + w s sᵀ is the covariance of
        (1 - w s yᵀ) x + √w s ε for x of covariance H and ε of its own.
        """
        x = np.sqrt(self.alpha)[:, None] * noise
        for j, (s, y, w) in enumerate(zip(self.steps, self.changes, self.weights, strict=True)):
            along = np.sqrt(w)[:, None] * more[..., j] - w[:, None] * _dot(y[:, None], x)
            x = x + along[..., None] * s[:, None]
        return x

    def log_density(self, x: Array) -> Array:  # (C, K, D) -> (C, K)
        """Of these draws, by the update of the Hessian itself and of its determinant."""
        square = _dot(x**2, 1.0 / self.alpha[:, None])
        log_det = -np.log(self.alpha).sum(-1)
        images: list[tuple[Array, Array]] = []  # of earlier steps, and their lengths
        for s, y, w in zip(self.steps, self.changes, self.weights, strict=True):
            image = s / self.alpha
            for j, (b, length) in enumerate(images):
                image = image - (_dot(b, s) / length)[:, None] * b
                image = (
                    image
                    + (self.weights[j] * _dot(self.changes[j], s))[:, None] * (self.changes[j])
                )
            length = np.where(w > 0.0, _dot(s, image), 1.0)
            image = np.where((w > 0.0)[:, None], image, 0.0)
            images.append((image, length))
            square = square + w[:, None] * _dot(y[:, None], x) ** 2
            square = square - _dot(image[:, None], x) ** 2 / length[:, None]
            log_det = log_det - np.where(w > 0.0, np.log(np.where(w > 0.0, w, 1.0) * length), 0.0)
        return np.asarray(0.5 * (log_det[:, None] - square - x.shape[-1] * log(2.0 * pi)))


class Path(NamedTuple):
    """Where the climbs are, and the best approximation that each has met."""

    q: Array  # (C, D)
    value: Array  # (C,)
    grad: Array  # (C, D)
    pairs: Pairs
    active: NDArray[np.bool_]  # (C,)
    best: Array  # (C,): the largest bound
    start: Array  # (C, D): a draw of the approximation that has it


def pathfinder(evaluate: Evaluate, q: Array, rngs: Sequence[Generator]) -> Array:
    """Starts ``(C, D)`` from points ``(C, D)`` of finite density.

    A path without any approximation of finite bound gives the last point that it reached.
    """
    value, grad = evaluate(q)
    none = np.full(len(q), -np.inf)
    path = Path(q, value, grad, Pairs(np.ones_like(q)), np.ones(len(q), bool), none, q)
    for _ in range(ITERATIONS):
        path = _climb(evaluate, path)
        path = _approximate(evaluate, path, rngs)
        if not path.active.any():
            break
    found = np.isfinite(path.best)
    return np.where(found[:, None], path.start, path.q)


def _climb(evaluate: Evaluate, path: Path) -> Path:
    """One step of L-BFGS; a path that can climb no further ends."""
    direction = path.pairs.times(path.grad)
    slope = _dot(direction, path.grad)
    length = np.ones(len(slope))
    if not path.pairs.steps:
        length = np.minimum(1.0, 1.0 / np.sqrt(_dot(path.grad, path.grad) + 1e-300))
    q, value, grad = path.q, path.value, path.grad
    waiting = path.active & (slope > 0.0)
    for _ in range(HALVINGS):
        if not waiting.any():
            break
        tried = path.q + length[:, None] * direction
        new, slopes = evaluate(np.where(waiting[:, None], tried, path.q))
        good = waiting & np.isfinite(slopes).all(-1) & (new >= path.value + _CLIMB * length * slope)
        q, grad = (np.where(good[:, None], a, b) for a, b in ((tried, q), (slopes, grad)))
        value = np.where(good, new, value)
        waiting &= ~good
        length = np.where(waiting, 0.5 * length, length)
    pairs = path.pairs.learn(q - path.q, path.grad - grad)
    rise = value - path.value
    active = path.active & (rise > _SETTLED * (1.0 + np.abs(value)))
    return path._replace(q=q, value=value, grad=grad, pairs=pairs, active=active)


def _approximate(evaluate: Evaluate, path: Path, rngs: Sequence[Generator]) -> Path:
    """The normal approximation where each path is, and its bound if it has moved there."""
    chains, dim = path.q.shape
    noise, more = np.zeros((chains, DRAWS, dim)), np.zeros((chains, DRAWS, HISTORY))
    for c in np.flatnonzero(path.active):
        noise[c] = rngs[int(c)].standard_normal((DRAWS, dim))
        more[c] = rngs[int(c)].standard_normal((DRAWS, HISTORY))
    centred = path.pairs.draw(noise, more)
    draws = path.q[:, None] + path.pairs.times(path.grad)[:, None] + centred
    values, _ = evaluate(draws.reshape(chains * DRAWS, dim))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        bound = (values.reshape(chains, DRAWS) - path.pairs.log_density(centred)).mean(-1)
    better = path.active & np.isfinite(bound) & (bound > path.best)
    return path._replace(
        best=np.where(better, bound, path.best),
        start=np.where(better[:, None], draws[:, 0], path.start),
    )


def _dot(a: Array, b: Array) -> Array:  # (..., D) -> (...)
    return np.asarray((a * b).sum(-1))
