"""The mean-field normal guide: every unconstrained coordinate normal, independent of the others.

Kucukelbir et al. (2017), "Automatic differentiation variational inference".
"""

from collections.abc import Collection, Mapping
from math import log, pi, prod

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Model, Terms
from quivers_nb.inference.vi.guide import (
    GuideModule,
    default_dtype,
    own_axes,
    parameter_name,
)

_HALF_LOG_TWO_PI = 0.5 * log(2.0 * pi)


class AutoNormalGuide(GuideModule):
    """Normal in unconstrained space, with parameters ``loc_<site>`` and ``log_scale_<site>``.

    Locations start at 0, scales at ``init_scale``. The parameters of a site have shape ``(d,)``,
    shared over rows, or ``(*plate, d)``, and the dtype of the model's weights.

    Raises `UserError` if nothing is left to guide or ``init_scale`` is not positive.
    """

    def __init__(
        self, model: Model, observed_names: Collection[str] = (), init_scale: float = 0.1
    ) -> None:
        super().__init__(model, observed_names)
        if not init_scale > 0.0:
            raise UserError(f"init_scale={init_scale!r} must be positive")
        dtype = default_dtype(model)
        for latent in self.covered.latents:
            shape = self.covered.parameter_shape(latent)
            loc = torch.zeros(shape, dtype=dtype)
            self.register_parameter(parameter_name("loc", latent.name), Parameter(loc))
            log_scale = torch.full(shape, log(init_scale), dtype=dtype)
            self.register_parameter(parameter_name("log_scale", latent.name), Parameter(log_scale))

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Location and log scale of a site, in its own unconstrained shape."""
        shape = self.covered.by_name[name].unconstrained_shape
        loc: Tensor = getattr(self, parameter_name("loc", name))
        log_scale: Tensor = getattr(self, parameter_name("log_scale", name))
        return loc.reshape(shape), log_scale.reshape(shape)

    def draw(
        self, layout: Layout, stack: tuple[int, ...], generator: Generator | None = None
    ) -> tuple[Tensor, Terms]:
        """Draws ``q`` ``(*s, dim)`` for a target with this layout, and their log density."""
        self.covered.check_layout(layout)
        pieces, row, shared, rank = [], None, None, 0
        for coordinate in layout:
            u, term = self._draw_site(coordinate, stack, generator)
            pieces.append(u.reshape((*stack, coordinate.size)))
            if coordinate.batch_rank:
                row, rank = term if row is None else row + term, coordinate.batch_rank
            else:
                shared = term if shared is None else shared + term
        if shared is None:
            shared = pieces[0].new_zeros(())
        q = pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)
        return q, Terms(row, shared, rank)

    def _draw_site(
        self, coordinate: Coordinate, stack: tuple[int, ...], generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Unconstrained draws ``(*s, *b, *shape)`` of a site and their log density ``(*s, *b)``."""
        loc, log_scale = self.moments(coordinate.name)
        shape = (*stack, *coordinate.shape)
        noise = torch.randn(shape, dtype=loc.dtype, device=loc.device, generator=generator)
        u = torch.addcmul(loc, log_scale.exp(), noise)
        return u, _standard(noise, loc.ndim) - log_scale.sum()

    def rsample(self, x: Tensor | None, *, generator: Generator | None = None) -> dict[str, Tensor]:
        """One reparameterised draw of every covered site."""
        values: dict[str, Tensor] = {}
        for latent in self.covered.latents:
            loc, log_scale = self.moments(latent.name)
            shape = (*self.front(latent, x), *loc.shape)
            noise = torch.randn(shape, dtype=loc.dtype, device=loc.device, generator=generator)
            u = torch.addcmul(loc, log_scale.exp(), noise)
            values[latent.name] = self.constrained(latent, u, values)
        return values

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor:  # -> (*b,)
        """Log density of constrained values per row; sites without rows count in every row."""
        batch = self._batch_shape(x)
        total = next(self.parameters()).new_zeros(batch)
        for latent in self.covered.latents:
            if latent.name not in sites:
                raise UserError(f"log_prob needs a value of `{latent.name}`")
            loc, log_scale = self.moments(latent.name)
            u, log_det = self.unconstrained(latent, sites, self.front(latent, x))
            noise = (u - loc) * torch.exp(-log_scale)
            total = total + (_standard(noise, loc.ndim) - log_scale.sum() - log_det)
        return total


def _standard(noise: Tensor, own_rank: int) -> Tensor:
    """Log density of N(0, 1) noise, summed over own axes."""
    width = prod(noise.shape[noise.ndim - own_rank :])
    return -0.5 * own_axes(noise.square(), own_rank) - width * _HALF_LOG_TWO_PI
