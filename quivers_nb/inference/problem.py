"""What was fitted: a model at an input, with its data."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.inference.columns import by_name
from quivers_nb.inference.labels import labels_of
from quivers_nb.inference.model import Model, OpenTarget, Values
from quivers_nb.inference.origin import origin_of


@dataclass(frozen=True, slots=True)
class Problem:
    """The arguments of a run, kept with its result: what is not in the draws is computed from them.

    ``missing`` names observe sites that had no value.
    """

    model: Model
    x: Tensor | None
    obs: Values | None
    missing: Collection[str] = ()

    def target(self, *, dtype: torch.dtype | None = None, freeze_masks: bool = True) -> OpenTarget:
        """Its density over all latents, with the masks of dropout fixed unless a run refuses."""
        return self.model.target(
            self.x,
            self.obs,
            latents="all",
            dtype=dtype,
            missing=self.missing,
            freeze_masks=freeze_masks,
        )

    def facts(self, opened: OpenTarget) -> dict[str, Any]:
        """What a result says of it, by the names of the result's fields."""
        given = {**by_name(self.obs), **getattr(self.model, "data", {})}
        return {
            "origin": origin_of(self.model),
            "labels": labels_of(opened, given),
            "problem": replace(self, missing=tuple(self.missing)),
        }
