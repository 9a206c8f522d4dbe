"""Integrals of scalar and low-dimensional densities, by double exponential quadrature.

A support is unrolled by its bijector, and the line by u = sinh(pi/2 sinh t) (Takahasi and Mori
1974): the trapezoid rule in t then converges fast for heavy tails too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quivers_nb.kernels import Bijector


@dataclass(frozen=True)
class Grid:
    """Nodes ``u`` on the line and log weights for integrals over it."""

    t: Tensor
    u: Tensor
    log_weight: Tensor


def grid(points: int, reach: float = 4.2) -> Grid:
    t = torch.linspace(-reach, reach, points, dtype=torch.float64)
    inner = 0.5 * math.pi * torch.sinh(t)
    slope = 0.5 * math.pi * torch.cosh(t) * torch.cosh(inner)
    return Grid(t, torch.sinh(inner), (slope * (t[1] - t[0])).log())


def to_t(u: Tensor) -> Tensor:
    """The place of ``u`` on the grid's axis."""
    return torch.asinh(torch.asinh(u) * (2.0 / math.pi))


def scalar_masses(log_prob: Callable[[Tensor], Tensor], bijector: Bijector, nodes: Grid) -> Tensor:
    """The mass around each node; they sum to the total mass."""
    y, log_det = bijector.forward_and_log_det(nodes.u)
    return (log_prob(y) + log_det + nodes.log_weight).nan_to_num(nan=-torch.inf).exp()


def total_mass(
    log_prob: Callable[[Tensor], Tensor], bijector: Bijector, dim: int, points: int
) -> float:
    """The mass of a density whose unconstrained space has ``dim`` axes."""
    nodes = grid(points)
    u = torch.cartesian_prod(*[nodes.u] * dim).reshape(-1, dim)
    log_weight = torch.cartesian_prod(*[nodes.log_weight] * dim).reshape(-1, dim).sum(-1)
    y, log_det = bijector.forward_and_log_det(u)
    log_det = log_det.sum(-1) if bijector.event_rank == 0 else log_det
    return float((log_prob(y) + log_det + log_weight).nan_to_num(nan=-torch.inf).exp().sum())
