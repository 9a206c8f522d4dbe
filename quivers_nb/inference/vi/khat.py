"""Whether a guide can be trusted: the tail of its importance weights.

Yao, Vehtari, Simpson & Gelman (2018), "Yes, but did it work?: evaluating variational inference",
section 3; Vehtari et al. (2024), "Pareto smoothed importance sampling".
"""

from typing import Annotated

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.inference_data import pareto_shape
from quivers_nb.inference.model import Model, Values, refuse_no_guide, refuse_nothing
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Range
from quivers_nb.inference.threads import spare_core
from quivers_nb.inference.vi.guide import Guide

BATCH = 256  # particles of one evaluation
FEWEST = 100  # draws below which a tail cannot be fitted
_ENOUGH = Range(low=FEWEST, below=2**63, why="a tail is fitted to the largest weights")


@known_options
def khat(
    model: Model,
    guide: Guide,
    x: Tensor | None,
    obs: Values | None = None,
    num_draws: Annotated[int, _ENOUGH] = 1000,
    *,
    generator: Generator | None = None,
) -> float:
    """The Pareto shape of the weights ``p / q`` of draws of ``guide``, by ArviZ's PSIS.

    Below 0.5 the guide is near the posterior; up to 0.7 importance sampling can mend it; above,
    it misses mass that matters. A point guide has no tail to fit: infinity. The number speaks of
    the whole joint density: a single site may be fine in a bad guide. Where composites draw middles
    of their own (R3), their noise is part of the weights, and of the number.

    Raises `UserError` for too few draws or weights that are not finite, `MissingExtra` without
    ArviZ.
    """
    weights = log_weights(model, guide, x, obs, num_draws, generator=generator)
    if not bool(torch.isfinite(weights).all()):
        count = int((~torch.isfinite(weights)).sum())
        raise UserError(
            f"{count} of {num_draws} draws of the guide have a log weight that is not finite: the "
            "guide reaches where the model has no density"
        )
    return pareto_shape(weights.double().numpy())


@torch.no_grad()
def log_weights(
    model: Model,
    guide: Guide,
    x: Tensor | None,
    obs: Values | None,
    num_draws: int,
    *,
    generator: Generator | None = None,
) -> Tensor:  # (num_draws,)
    """``log p - log q`` at draws of the guide, everything counted once (R4)."""
    refuse_nothing(model)
    refuse_no_guide(guide)
    target = model.target(x, obs, latents="declared")
    bound = guide.at(x, obs)
    parts = []
    with spare_core():
        for start in range(0, num_draws, BATCH):
            size = min(BATCH, num_draws - start)
            q, terms = bound.draw(target.layout, (size,), generator)
            weights = target.terms(q, generator=generator).total() - terms.total()
            parts.append(weights.expand(size).cpu())
    return torch.cat(parts)
