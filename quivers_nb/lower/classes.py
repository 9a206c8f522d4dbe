"""Posterior probabilities of the values that a marginalized site was summed over.

Adding e(k) to the log weight of value k moves the log density by the posterior probability of k:

    d log sum_k exp(w(k) + e(k) + terms(k)) / d e(k)  at e = 0   =   p(z = k | everything given)

Through blocks in blocks the chain rule sums over the classes around a site, so one backward pass
gives the exact marginal of every site, whatever the nesting (Darwiche 2003, "A differential
approach to inference in Bayesian networks", section 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quivers_nb.lower.activation import Activation, terms_of
from quivers_nb.lower.answers import FreshNoise, Given
from quivers_nb.lower.pointwise import NoMiddles
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute


@dataclass
class Tilts:
    """Zeros that are added to the log weights of summed sites, by path, and have a gradient.

    ``refused`` are sites that have no probabilities, with the reason.
    """

    stack: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    found: dict[str, Tensor] = field(default_factory=dict)  # (K, *s, *places)
    refused: dict[str, str] = field(default_factory=dict)

    def tilt(self, path: str, count: int, branches: int, places: tuple[int, ...]) -> Tensor:
        """Zeros ``(K, *1, *s, *places)`` for a site inside ``branches`` other summed sites."""
        made = torch.zeros(
            (count, *self.stack, *places), dtype=self.dtype, device=self.device, requires_grad=True
        )
        self.found[path] = made
        return made.reshape((count, *((1,) * branches), *made.shape[1:]))

    def refuse(self, path: str, reason: str) -> None:
        """There is nothing to infer for this site."""
        self.refused[path] = reason


def classes(
    act: Activation,
    weights: Mapping[str, Tensor],  # storage key -> (*s, *storage shape)
    values: Mapping[str, Tensor],  # site -> (*s, *value_shape)
    stack: tuple[int, ...],
    fresh: FreshNoise | None,
) -> tuple[dict[str, Tensor], dict[str, str]]:  # site -> (*s, *places, K)
    """Probabilities of each summed site given values of the others; sites that have none."""
    one_row = act.entry.one_row
    data = Given(act.prepared.sites, rows_reported=one_row)
    draws = Given({k: v.to(act.dtype) for k, v in values.items()}, len(stack), one_row)
    tilts = Tilts(stack, act.dtype, act.device)
    run = Run(
        (data, draws, fresh or NoMiddles()), weights, act.entry.batch_shape, act.dtype, act.device,
        stack, checked=False, tilts=tilts, summing=True,
    )  # fmt: skip
    with torch.enable_grad():
        execute(act.frame(run), act.inputs)
        row, shared = terms_of(run)
        total = shared.sum() if row is None else shared.sum() + row.sum()
        if not tilts.found:
            return {}, tilts.refused
        slopes = torch.autograd.grad(total, list(tilts.found.values()))
    found = {name: slope.movedim(0, -1) for name, slope in zip(tilts.found, slopes, strict=True)}
    return found, tilts.refused
