"""The mean-field normal guide: every unconstrained coordinate normal, independent of the others.

Kucukelbir et al. (2017), "Automatic differentiation variational inference", section 2.4.
"""

from collections.abc import Collection, Mapping, Sequence
from math import log, pi, prod

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.model import DeclaredLatent, Model, Terms
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Positive
from quivers_nb.inference.vi.guide import (
    GuideModule,
    default_dtype,
    parameter_name,
)
from quivers_nb.inference.vi.rows import Shape
from quivers_nb.inference.vi.sums import Sums, own_axes

HALF_LOG_TWO_PI = 0.5 * log(2.0 * pi)


@known_options
class AutoNormalGuide(GuideModule):
    """Normal in unconstrained space, with parameters ``loc_<site>`` and ``log_scale_<site>``.

    Locations start at 0, scales at ``init_scale``. The parameters of a site have shape ``(d,)``,
    shared over rows, or ``(*plate, d)``, and the dtype of the model's weights. ``rows=n`` (or a
    batch shape) gives every row of a row-wise site parameters of its own, ``(n, d)``; such a guide
    fits data with exactly these rows.

    Raises `UserError` if nothing is left to guide or ``init_scale`` is not positive.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        init_scale: Positive = 0.1,
        rows: int | Shape | None = None,
    ) -> None:
        super().__init__(model, observed_names, rows)
        self._order: Sequence[DeclaredLatent] = self.covered.latents  # in which sites are drawn
        dtype = default_dtype(model)
        for latent in self.covered.latents:
            if self._has_own_parameters(latent):
                shape = (*self._rows_of(latent), *self.covered.parameter_shape(latent))
                loc, log_scale = torch.zeros(shape, dtype=dtype), log(init_scale)
                self.register_parameter(parameter_name("loc", latent.name), Parameter(loc))
                scale = Parameter(torch.full(shape, log_scale, dtype=dtype))
                self.register_parameter(parameter_name("log_scale", latent.name), scale)

    def _has_own_parameters(self, latent: DeclaredLatent) -> bool:  # noqa: ARG002
        return True

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Location and log scale of a site, in its own unconstrained shape, rows in front."""
        latent = self.covered.by_name[name]
        shape = (*self._rows_of(latent), *latent.unconstrained_shape)
        loc: Tensor = getattr(self, parameter_name("loc", name))
        log_scale: Tensor = getattr(self, parameter_name("log_scale", name))
        return loc.reshape(shape), log_scale.reshape(shape)

    def _centre(
        self,
        latent: DeclaredLatent,  # noqa: ARG002
        loc: Tensor,
        front: Shape,  # noqa: ARG002
        values: Mapping[str, Tensor],  # noqa: ARG002
    ) -> Tensor:
        """Where a site is centred, given the values of the sites before it: at its location."""
        return loc

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """Centre plus scaled noise, site by site."""
        values: dict[str, Tensor] = {}
        sums = Sums(front, next(self.parameters()))
        for latent in self._order:
            loc, log_scale = self.moments(latent.name)
            own = latent.unconstrained_shape
            shape = (*stack, *(front if latent.row_wise else ()), *own)
            noise = torch.randn(shape, dtype=loc.dtype, device=loc.device, generator=generator)
            centre = self._centre(latent, loc, front, values)
            values[latent.name] = torch.addcmul(centre, log_scale.exp(), noise)
            sums.add(latent, standard(noise, len(own)) - own_axes(log_scale, len(own)))
        return values, sums.terms()

    def density(
        self,
        front: Shape,
        stack: Shape,  # noqa: ARG002
        values: Mapping[str, Tensor],
    ) -> Terms:
        """Normal densities about the centres."""
        sums = Sums(front, next(self.parameters()))
        for latent in self._order:
            loc, log_scale = self.moments(latent.name)
            own = len(latent.unconstrained_shape)
            centre = self._centre(latent, loc, front, values)
            noise = (values[latent.name] - centre) * torch.exp(-log_scale)
            sums.add(latent, standard(noise, own) - own_axes(log_scale, own))
        return sums.terms()

    def entropy_of(self, front: Shape) -> Terms:
        """Per coordinate ``log_scale + (1 + log 2 pi) / 2``."""
        sums = Sums(front, next(self.parameters()))
        for latent in self.covered.latents:
            _, log_scale = self.moments(latent.name)
            own = latent.unconstrained_shape
            total = own_axes(log_scale, len(own)) + prod(own) * (0.5 + HALF_LOG_TWO_PI)
            sums.add(latent, total.expand(front) if latent.row_wise else total)
        return sums.terms()


def standard(noise: Tensor, own_rank: int) -> Tensor:
    """Log density of N(0, 1) noise, summed over own axes."""
    width = prod(noise.shape[noise.ndim - own_rank :])
    return -0.5 * own_axes(noise.square(), own_rank) - width * HALF_LOG_TWO_PI
