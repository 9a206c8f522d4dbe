"""The point guide: all mass on one value of every site, so that a fit finds the posterior mode."""

from collections.abc import Collection, Mapping

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.model import Model, Terms
from quivers_nb.inference.vi.guide import (
    GuideModule,
    default_dtype,
    parameter_name,
)
from quivers_nb.inference.vi.rows import Shape
from quivers_nb.inference.vi.sums import Sums, own_axes


class AutoDelta(GuideModule):
    """A point in unconstrained space, with parameters ``loc_<site>`` that start at 0.

    The point has mass one in constrained space: `log_prob` there is 0 at the point and minus
    infinity elsewhere, and the density that `draw` reports is the log-Jacobian. So the bound is the
    log joint density of the site values themselves, and its maximum is the mode that "MAP" means.
    (`AutoLaplaceApproximation` expands around the mode of the density of unconstrained values,
    which differs for sites with a support.) Parameters and ``rows`` are as in `AutoNormalGuide`.

    Raises `UserError` if nothing is left to guide; when it draws, if supports are made of other
    values and it is not bound to its input (`at`), or they are made of middles.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        rows: int | Shape | None = None,
    ) -> None:
        super().__init__(model, observed_names, rows)
        dtype = default_dtype(model)
        for latent in self.covered.latents:
            shape = (*self._rows_of(latent), *self.covered.parameter_shape(latent))
            start = Parameter(torch.zeros(shape, dtype=dtype))
            self.register_parameter(parameter_name("loc", latent.name), start)

    def point(self, name: str) -> Tensor:
        """The unconstrained value of a site, in its own unconstrained shape, rows in front."""
        latent = self.covered.by_name[name]
        value: Tensor = getattr(self, parameter_name("loc", name))
        return value.reshape((*self._rows_of(latent), *latent.unconstrained_shape))

    def sample(
        self,
        front: Shape,
        stack: Shape,
        generator: Generator | None,  # noqa: ARG002
    ) -> tuple[dict[str, Tensor], Terms]:
        """The point, as often as asked for."""
        values = {}
        for latent in self.covered.latents:
            own = (*(front if latent.row_wise else ()), *latent.unconstrained_shape)
            values[latent.name] = self.point(latent.name).expand((*stack, *own)).clone()
        return values, self._jacobian(front)

    def density(
        self,
        front: Shape,
        stack: Shape,  # noqa: ARG002
        values: Mapping[str, Tensor],
    ) -> Terms:
        """The log-Jacobian at the point, minus infinity elsewhere (up to rounding)."""
        jacobian = self._jacobian(front)
        sums = Sums(front, next(self.parameters()))
        for latent in self.covered.latents:
            value, own = values[latent.name], len(latent.unconstrained_shape)
            point = self.point(latent.name).expand_as(value)
            close = torch.isclose(value, point, rtol=1e-4, atol=1e-5)
            sums.add(latent, own_axes(torch.where(close, 0.0, -torch.inf).to(value.dtype), own))
        at = sums.terms()
        row = None if jacobian.row is None or at.row is None else jacobian.row + at.row
        return Terms(row, jacobian.shared + at.shared, jacobian.batch_rank)

    def _jacobian(self, front: Shape) -> Terms:
        """At the point: every particle is there."""
        sums = Sums(front, next(self.parameters()))
        free = {}
        for latent in self.covered.latents:
            before = front if latent.row_wise else ()
            free[latent.name] = self.point(latent.name).expand(
                (*before, *latent.unconstrained_shape)
            )
        for name, (_, log_det) in self.constrained(free).items():
            latent = self.covered.by_name[name]
            own = log_det.ndim - len(front if latent.row_wise else ())
            sums.add(latent, own_axes(log_det, own))
        return sums.terms()
