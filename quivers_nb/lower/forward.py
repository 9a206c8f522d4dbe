"""Summing a finite chain: the forward recursion, step by step or by doubling.

The weight of a path is a product of one factor per step. With ``step[t, j, i]`` the log weight of
going from state i to state j at step t, the sum over all paths that end in j is

    forward[t, j] = log Σ_i exp(forward[t-1, i] + step[t, j, i])          O(T K²)

(Rabiner 1989, eq. 19). The steps are associative, so that neighbours can be joined pairwise,

    join(a, b)[j, i] = log Σ_k exp(b[j, k] + a[k, i])                     O(T K³), log₂ T rounds,

which costs K times the arithmetic but few operations: for long chains of few states that is faster
by far, and the graph of operations that samplers and gradients replay stays small.
"""

import torch
from torch import Tensor

NEVER = -1e30  # the log weight of what cannot be: finite, so that its gradient is 0 and not NaN
LONG = 16  # from this length on neighbours are joined, if their tables fit:
ROOM = 2**24  # numbers in the largest intermediate


def forward(tables: Tensor, start: Tensor) -> Tensor:  # (T, K, K, *n), (K, *n) -> (K, *n)
    """Log weight of all paths that end in each state; axis 1 of ``tables`` is the new state."""
    length, size = tables.shape[:2]
    if length >= LONG and tables.numel() * size // 2 <= ROOM:
        whole = joined(tables)
        return torch.logsumexp(whole + start.unsqueeze(0), 1)
    for table in tables.unbind(0):
        start = torch.logsumexp(table + start.unsqueeze(0), 1)
    return start


def joined(tables: Tensor) -> Tensor:  # (T, K, K, *n) -> (K, K, *n)
    """All steps as one, by joining neighbours in log₂ T rounds."""
    while tables.shape[0] > 1:
        pairs = tables.shape[0] // 2
        before, after = tables[0 : 2 * pairs : 2], tables[1 : 2 * pairs : 2]
        rest = tables[2 * pairs :]
        both = torch.logsumexp(after.unsqueeze(3) + before.unsqueeze(1), 2)
        tables = torch.cat([both, rest]) if rest.shape[0] else both
    return tables[0]


def standing(size: int, like: Tensor) -> Tensor:  # -> (K, K)
    """The step that changes nothing: padding."""
    return torch.full((size, size), NEVER, dtype=like.dtype, device=like.device).fill_diagonal_(0.0)


def at_state(state: Tensor, points: Tensor, like: Tensor) -> Tensor:  # (*n,), (K, *1) -> (K, *n)
    """Log weights of a state that is known."""
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(points == state, zero, NEVER)


def by_state(weights: Tensor, value: Tensor, points: Tensor) -> Tensor:
    """Log weights ``(R, *n)`` of branches that end at ``value`` ``(R, *n)``, by state: ``(K, *n)``.

    ``points`` are the states, ``(K, *1)``. Where the branches *are* the states, use the weights.
    """
    here = torch.where(points.unsqueeze(1) == value.unsqueeze(0), weights.unsqueeze(0), NEVER)
    return torch.logsumexp(here, 1)
