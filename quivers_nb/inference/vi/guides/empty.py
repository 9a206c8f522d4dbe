"""The guide of a model without latents of its own: a fit moves the weights alone."""

from collections.abc import Collection, Mapping

import torch
from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import Model, Terms, Values
from quivers_nb.inference.origin import origin_of
from quivers_nb.inference.vi.guide import Covered, Guide, default_dtype
from quivers_nb.inference.vi.rows import Shape


class EmptyGuide(nn.Module):
    """Covers nothing: every declared site is observed, and what is hidden is drawn or summed.

    A language model of `scan` is such a model: its states are middles, which no guide covers. The
    bound is then the log density itself, or, with continuous middles, its bound over their noise.

    Raises `UserError` if a latent is left that needs a guide.
    """

    def __init__(self, model: Model, observed_names: Collection[str] = ()) -> None:
        super().__init__()
        self.covered = Covered(model, observed_names)
        if self.covered.latents:
            names = ", ".join(f"`{latent.name}`" for latent in self.covered.latents)
            raise UserError(f"{names} need a guide: EmptyGuide is for models without latents")
        self.origin = origin_of(model)
        self._batch_shape = model.batch_shape
        self.register_buffer("_like", torch.empty(0, dtype=default_dtype(model)), persistent=False)
        self._like: Tensor

    def at(self, x: Tensor | None, obs: Values | None = None) -> Guide:  # noqa: ARG002
        return self

    def _nothing(self, stack: Shape) -> Terms:
        return Terms(None, self._like.new_zeros(stack))

    def draw(
        self,
        layout: Layout,
        stack: Shape,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Terms]:
        """Points without coordinates, ``(*s, 0)``, of log density 0."""
        self.covered.check_layout(layout)
        return self._like.new_zeros((*stack, 0)), self._nothing(stack)

    def log_density(self, layout: Layout, q: Tensor) -> Terms:
        """0 for every point."""
        self.covered.check_layout(layout)
        return self._nothing(tuple(q.shape[:-1]))

    def entropy(self, layout: Layout) -> Terms:
        """0."""
        self.covered.check_layout(layout)
        return self._nothing(())

    def rsample(
        self,
        x: Tensor | None,  # noqa: ARG002
        *,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """No site."""
        return {}

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        """0 for every row, ``(*b,)``."""
        return self._like.new_zeros(self._batch_shape(x))
