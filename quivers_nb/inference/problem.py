"""What was fitted: a model at an input, with its data."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from quivers_nb.inference.model import Model, OpenTarget, Values


@dataclass(frozen=True, slots=True)
class Problem:
    """The arguments of a run, kept with its result: what is not in the draws is computed from them.

    ``missing`` names observe sites that had no value.
    """

    model: Model
    x: Tensor | None
    obs: Values | None
    missing: Collection[str] = ()

    def target(self) -> OpenTarget:
        """Its density over all latents, with the masks of dropout fixed."""
        return self.model.target(
            self.x, self.obs, latents="all", missing=self.missing, freeze_masks=True
        )
