"""Guides: families of densities over the declared latents of a model, to be fitted to a posterior.

A guide covers every declared stochastic site that is not observed; internal sites never (R3). It
works in unconstrained space, with the bijector of each site's support, and knows the model only by
its `DeclaredLatent`s. Its parameters exist before any input is seen; parameters of row-wise sites
are shared over rows.

Shapes. A row-wise site has one value per row, ``(*s, *b, *value_shape)``; other sites
``(*s, *value_shape)``; a value of width 1 has no axis for it.
"""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import DeclaredLatent, Model, Terms
from quivers_nb.kernels import Bijector, bijector_for


class Guide(Protocol):
    """What objectives, `SVI`, `Predictive` and `MCMC` ask of a guide."""

    def draw(
        self, layout: Layout, stack: tuple[int, ...], generator: Generator | None = None
    ) -> tuple[Tensor, Terms]:
        """Reparameterised draws ``q`` ``(*s, dim)`` in a target's layout, and their log density."""
        ...

    def rsample(
        self, x: Tensor | None, *, generator: Generator | None = None
    ) -> Mapping[str, Tensor]: ...

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor: ...  # -> (*b,)


class Covered:
    """The latents that a guide covers, with what each needs."""

    def __init__(self, model: Model, observed_names: Collection[str]) -> None:
        self.latents = model.declared_latents(frozenset(observed_names))
        self.by_name = {latent.name: latent for latent in self.latents}

    def parameter_shape(self, latent: DeclaredLatent) -> tuple[int, ...]:
        """``(d,)``, or ``(*plate, d)``: a scalar has d = 1."""
        plate = latent.unconstrained_shape[: latent.plate_rank]
        width = 1
        for size in latent.unconstrained_shape[latent.plate_rank :]:
            width *= size
        return (*plate, width)

    def check_layout(self, layout: Layout) -> None:
        """Refuse a target with other latents: the guide was made for other observations."""
        wanted = [coordinate.name for coordinate in layout]
        if wanted == [latent.name for latent in self.latents]:
            return
        missing = sorted(set(wanted) - set(self.by_name))
        extra = sorted(set(self.by_name) - set(wanted))
        raise UserError(
            "the guide and the observations do not fit: "
            + (f"{missing} need a value or a guide; " if missing else "")
            + (f"{extra} are observed, but the guide covers them; " if extra else "")
            + "observed_names of the guide must be the observed sites"
        )


def bijector_of(latent: DeclaredLatent, values: Mapping[str, Tensor]) -> Bijector:
    """The bijector onto a site's support, whose bounds may be ``values`` of earlier sites."""
    try:
        return bijector_for(latent.support, values)
    except KeyError as error:
        raise UserError(
            f"`{latent.name}` is bounded by `{error.args[0]}`, which is not a site that this guide "
            "covers: fits work, but values cannot be had from the guide alone"
        ) from None


def own_axes(value: Tensor, rank: int) -> Tensor:
    """Sum over the last ``rank`` axes."""
    return value.sum(tuple(range(-rank, 0))) if rank else value


def parameter_name(kind: str, site: str) -> str:
    """``loc_h``; a dot, which torch forbids in names, becomes an underscore."""
    return f"{kind}_{site.replace('.', '_')}"


def default_dtype(model: Model) -> torch.dtype:
    """That of the model's weights, else torch's default."""
    for parameter in model.parameters():
        return parameter.dtype
    return torch.get_default_dtype()


class GuideModule(nn.Module):
    """A guide with torch parameters."""

    def __init__(self, model: Model, observed_names: Collection[str]) -> None:
        super().__init__()
        self.covered = Covered(model, observed_names)
        self._batch_shape = model.batch_shape
        if not self.covered.latents:
            names = ", ".join(sorted(observed_names)) or "nothing"
            raise UserError(
                f"nothing is left to guide: {names} observed, and no other stochastic site"
            )

    def front(self, latent: DeclaredLatent, x: Tensor | None) -> tuple[int, ...]:
        """The batch axes of a site's value."""
        return self._batch_shape(x) if latent.row_wise else ()

    def constrained(
        self, latent: DeclaredLatent, u: Tensor, values: Mapping[str, Tensor]
    ) -> Tensor:
        """``(*n, *unconstrained_shape) -> (*n, *value_shape)``, a width of 1 dropped."""
        value = bijector_of(latent, values).forward(u)
        return value.squeeze(-1) if latent.value_shape[latent.plate_rank :] == (1,) else value

    def unconstrained(
        self, latent: DeclaredLatent, values: Mapping[str, Any], front: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """The inverse, with the log-Jacobian ``(*front,)`` of the forward map."""
        value = torch.as_tensor(values[latent.name])
        shaped = value.reshape((*front, *latent.value_shape))
        bijector = bijector_of(latent, values)
        u = bijector.inverse(shaped)
        log_det = bijector.forward_and_log_det(u)[1]
        return u, own_axes(log_det, log_det.ndim - len(front))
