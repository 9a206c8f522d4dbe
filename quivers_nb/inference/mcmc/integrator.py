"""The leapfrog integrator, cut where the gradient is needed.

One step of size ε from (q, p) is half a kick, a drift, a gradient, half a kick. `drift` does the
part before the gradient and `kick` the part after it, so that the gradients of many chains, each
at its own point of its own trajectory, are one evaluation. Chain by chain the arrays are (D,).
"""

from math import inf, isnan
from typing import NamedTuple

import numpy as np
import torch

from quivers_nb.inference.mcmc.metric import Metric, Vector

# From this length on, torch's fused kernels beat numpy's two passes; and numpy's products would
# start threads of their own, which no setting of ours reaches.
_LONG = 10_000


class Point(NamedTuple):
    """A position with what is known of the density there."""

    q: Vector
    log_density: float
    grad: Vector


class Phase(NamedTuple):
    """A point with a momentum; ``velocity`` is M⁻¹ p, ``energy`` is -log density + p·M⁻¹p / 2."""

    q: Vector
    p: Vector
    velocity: Vector
    grad: Vector
    log_density: float
    energy: float

    @property
    def point(self) -> Point:
        return Point(self.q, self.log_density, self.grad)


class Drift(NamedTuple):
    """A step under way: the gradient at ``q`` is what it waits for."""

    q: Vector
    half_momentum: Vector
    step: float


def phase(point: Point, p: Vector, metric: Metric) -> Phase:
    """``point`` with momentum ``p``. An energy that is not a number counts as infinite."""
    velocity = metric.velocity(p)
    energy = 0.5 * dot(p, velocity) - point.log_density
    if isnan(energy):
        energy = inf
    return Phase(point.q, p, velocity, point.grad, point.log_density, energy)


def drift(start: Phase, step: float, metric: Metric) -> Drift:
    """The first half of a step; ``step`` is negative for going back in time."""
    half = axpy(0.5 * step, start.grad, start.p)
    return Drift(axpy(step, metric.velocity(half), start.q), half, step)


def kick(under_way: Drift, log_density: float, grad: Vector, metric: Metric) -> Phase:
    """The second half, once value and gradient at the new position are known."""
    p = axpy(0.5 * under_way.step, grad, under_way.half_momentum)
    return phase(Point(under_way.q, log_density, grad), p, metric)


def dot(x: Vector, y: Vector) -> float:
    """The sum of ``x y``."""
    if x.size >= _LONG:
        return float(torch.dot(torch.from_numpy(x), torch.from_numpy(y)))
    return float(x @ y)


def axpy(a: float, x: Vector, y: Vector) -> Vector:
    """``a x + y`` as a new array."""
    if x.size >= _LONG:
        return torch.add(torch.from_numpy(y), torch.from_numpy(x), alpha=a).numpy()
    out = np.multiply(x, a)
    out += y
    return out
