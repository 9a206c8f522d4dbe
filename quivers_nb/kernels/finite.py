"""Finite kernels given by weights: a row, divided by its sum, is a distribution (5.10).

    log_prob(x, y) = log max(t[x, y] / Σ_y t[x, y], 1e-7)

The bound is for values that are given. Where a kernel is summed over its outcomes, what has no
weight has next to none (1e-30, not 0, so that no sum of logarithms loses its gradient), and it is
never drawn.
"""

from dataclasses import dataclass, field
from math import log

import torch
from torch import Tensor

from quivers_nb.kernels.families.discrete import table_log_prob

EPS = 1e-7  # the least probability of a value that is given (5.10)
LEAST = 1e-30  # of an outcome in a sum
LOG_EPS, LOG_LEAST = log(EPS), log(LEAST)


def log_rows(weights: Tensor) -> Tensor:  # (*s, n, m) -> (*s, n, m)
    """Log probabilities of the rows of a table of weights that are not negative."""
    return (weights / weights.sum(-1, keepdim=True)).clamp_min(LEAST).log()


def given_log_prob(y: Tensor, logs: Tensor) -> Tensor:  # (*n,), (*n, m) -> (*n,)
    """The log probability of a value that is given: bounded below."""
    return table_log_prob(y, logs.clamp_min(LOG_EPS))


def drawable(logs: Tensor) -> Tensor:
    """Minus infinity where `log_rows` bounds: what has no weight is never drawn."""
    return logs.masked_fill(logs <= LOG_LEAST, -torch.inf)


@dataclass(frozen=True, eq=False)
class KnownTable:
    """A constant table of weights ``(n, m)``, held in double precision."""

    weights: Tensor
    _made: dict[tuple[torch.dtype, torch.device], Tensor] = field(default_factory=dict)

    def log_rows(self, dtype: torch.dtype, device: torch.device) -> Tensor:  # -> (n, m)
        """`log_rows` in a dtype, on a device; the same tensor each time."""
        key = (dtype, device)
        if key not in self._made:
            logs = log_rows(self.weights).to(dtype=dtype, device=device)
            self._made[key] = logs.clamp_min(LOG_LEAST)
        return self._made[key]
