"""Lifting: the weights of a model become sites with a normal prior (R14).

`bayesian_lift_parameters` gives one site ``theta__<path>`` per parameter path. The flat vector
begins with the storage tensors in order, each one contiguous slice, so that a weight reaches the
model as a view: nothing is copied and the module is never touched. The coordinates of the model's
own target (declared latents not observed, internal noise) follow.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log, pi, prod
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import InternalError, UserError
from quivers_nb.inference.centering import Centerings, Located
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.lifted_supports import LiftedSupports
from quivers_nb.inference.model import (
    DeclaredLatent,
    Latents,
    Model,
    OpenTarget,
    ParameterSite,
    Terms,
    Values,
)
from quivers_nb.inference.origin import Origin, origin_of
from quivers_nb.inference.trace import Trace
from quivers_nb.spaces.support import REAL

PREFIX = "theta__"
START_SPREAD = 0.01


def site_names(sites: tuple[ParameterSite, ...]) -> tuple[str, ...]:
    """``theta__`` and the path with dots as underscores; colliding names get ``__2``, ``__3``."""
    names: list[str] = []
    taken: set[str] = set()
    for site in sites:
        plain = name = PREFIX + site.path.replace(".", "_")
        count = 1
        while name in taken:
            count += 1
            name = f"{plain}__{count}"
        taken.add(name)
        names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class Slot:
    """A storage tensor's place in the flat vector."""

    key: str
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)


class _SumOfSquares(torch.autograd.Function):
    """Over the last axis; its gradient is one pass over the vector, not three."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # (*s, k) -> (*s,)
        ctx.save_for_backward(x)
        return x.square().sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        scaled: Tensor = (2.0 * grads[0]).unsqueeze(-1) * x
        return scaled


@dataclass(frozen=True)
class LiftedTarget:
    """An open target over weights and the inner target's coordinates.

    Weights have the density N(0, prior_scale²) and start at the module's values (``anchor``).
    """

    inner: OpenTarget
    slots: tuple[Slot, ...]
    layout: Layout
    weights: Tensor  # (k,), the module's values when the target was opened
    prior_scale: float
    anchor_spread: float = START_SPREAD

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.inner.batch_shape

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    def anchor(self) -> Tensor:  # (k,)
        """Where the first k coordinates start (R14)."""
        return self.weights

    def terms(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
    ) -> Terms:
        """The model's own terms with these weights, and the weights' prior as a shared term."""
        _refuse_parameters(parameters)
        weights, rest = q.split([self.weights.numel(), self._inner_dim], -1)
        pieces = weights.split([slot.size for slot in self.slots], -1)
        given = {
            slot.key: piece.reshape((*q.shape[:-1], *slot.shape))
            for slot, piece in zip(self.slots, pieces, strict=True)
        }
        terms = self.inner.terms(rest, parameters=given, generator=generator)
        return replace(terms, shared=terms.shared + self._prior(weights))

    def prior_terms(self, q: Tensor) -> Terms:  # (*s, dim)
        """The prior of the weights and what the model draws given them (`Drawable`)."""
        inner: Any = self.inner
        rest = q[..., self.weights.numel() :]
        terms: Terms = inner.prior_terms(rest, parameters=self._given(q))
        weights = q[..., : self.weights.numel()]
        return replace(terms, shared=terms.shared + self._prior(weights))

    def draw_prior(self, count: int, generator: Generator) -> Tensor:  # -> (count, dim)
        """Weights from their prior, then the model's own sites given them."""
        inner: Any = self.inner
        shape = (count, self.weights.numel())
        weights = self.prior_scale * torch.randn(shape, generator=generator, dtype=self.dtype)
        rest = inner.draw_prior(count, generator, parameters=self._given(weights))
        return torch.cat([weights, rest], -1)

    def _prior(self, weights: Tensor) -> Tensor:  # (*s, k) -> (*s,)
        squares: Tensor = _SumOfSquares.apply(weights)  # type: ignore[no-untyped-call]
        constant = weights.shape[-1] * (log(self.prior_scale) + 0.5 * log(2.0 * pi))
        return squares * (-0.5 / self.prior_scale**2) - constant

    @property
    def _inner_dim(self) -> int:
        return self.inner.layout.dim

    def constrain(
        self,
        q: Tensor,  # (*s, dim)
        *,
        internal: bool = False,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Weights by path, each ``(*s, numel)``, and the inner target's sites."""
        _refuse_parameters(parameters)
        values = {c.name: c.slice(q) for c in self.layout if c.stop <= self.weights.numel()}
        if self._inner_dim:
            rest = q[..., self.weights.numel() :]
            values.update(self._inner_values(q, rest, internal=internal))
        return values

    def _inner_values(self, q: Tensor, rest: Tensor, *, internal: bool) -> dict[str, Tensor]:
        shown = [c for c in self.inner.layout if internal or not c.internal]
        if not shown:
            return {}
        return self.inner.constrain(rest, internal=internal, parameters=self._given(q))

    @property
    def centerings(self) -> Centerings:
        inner: Any = self.inner
        found: Centerings = inner.centerings
        return found

    def located(self, q: Tensor) -> dict[str, Located]:  # (*s, dim)
        """The inner target's sites that can be recentred; weights have no latent scale."""
        inner: Any = self.inner
        rest = q[..., self.weights.numel() :]
        found: dict[str, Located] = inner.located(rest, parameters=self._given(q))
        return found

    def recentred(self, centerings: Centerings) -> "LiftedTarget":
        """The same density over other coordinates of these sites of the inner target."""
        inner: Any = self.inner
        return replace(self, inner=inner.recentred(centerings))

    def pointwise(
        self,
        values: Mapping[str, Tensor],  # weights and latent sites, each (*s, *value_shape)
        stack: tuple[int, ...],
        *,
        fresh: bool = False,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """The inner target's, with the weights of each draw."""
        given, rest = self._weights_of(values, stack)
        inner: Any = self.inner
        found: dict[str, Tensor] = inner.pointwise(
            rest, stack, parameters=given, fresh=fresh, generator=generator
        )
        return found

    def classes(
        self,
        values: Mapping[str, Tensor],  # weights and latent sites, each (*s, *value_shape)
        stack: tuple[int, ...],
        *,
        fresh: bool = False,
        generator: Generator | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The inner target's, with the weights of each draw."""
        given, rest = self._weights_of(values, stack)
        inner: Any = self.inner
        found: tuple[dict[str, Tensor], dict[str, str]] = inner.classes(
            rest, stack, parameters=given, fresh=fresh, generator=generator
        )
        return found

    def _given(self, q: Tensor) -> dict[str, Tensor]:  # (*s, at least the weights)
        """The weights in ``q`` by storage key."""
        return {slot.key: _piece(q, slot) for slot in self.slots}

    def _weights_of(
        self, values: Mapping[str, Tensor], stack: tuple[int, ...]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights among ``values`` by storage key, and the rest by site."""
        own = [c for c in self.layout if c.stop <= self.weights.numel()]
        flat = torch.cat([values[c.name].reshape((*stack, c.size)) for c in own], -1)
        given = self._given(flat.to(self.dtype))
        names = {c.name for c in own}
        return given, {name: v for name, v in values.items() if name not in names}

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        """Weights not given are the module's; the others are the inner target's affair."""
        own = [c for c in self.layout if c.stop <= self.weights.numel()]
        inner = {k: v for k, v in values.items() if k not in {c.name for c in own}}
        parts = [
            values[c.name] if c.name in values else self.weights[c.start : c.stop] for c in own
        ]
        rest = self.inner.unconstrain(inner)
        # numpy's: torch's own imports sympy
        front = np.broadcast_shapes(*(part.shape[:-1] for part in (*parts, rest)))
        return torch.cat([part.expand((*front, -1)) for part in (*parts, rest)], -1)

    def names_of(self, q: Tensor) -> str:
        """The weights that are not finite, else what the inner target says."""
        bad = [c.name for c in self.layout if not bool(torch.isfinite(c.slice(q)).all())]
        return ", ".join(bad) or self.inner.names_of(q[..., self.weights.numel() :])


def _refuse_parameters(parameters: Mapping[str, Tensor] | None) -> None:
    if parameters is not None:
        raise InternalError("the parameters of a lifted model are coordinates already")


def _piece(q: Tensor, slot: Slot) -> Tensor:
    return q[..., slot.start : slot.start + slot.size].reshape((*q.shape[:-1], *slot.shape))


@dataclass(frozen=True)
class LiftedModel:
    """A model whose weights are latent sites. It has no parameters of its own left."""

    model: Model
    prior_scale: float

    @property
    def origin(self) -> Origin | None:
        return origin_of(self.model)

    @property
    def observed_names(self) -> frozenset[str]:
        return self.model.observed_names

    def target(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        latents: Latents = "all",
        dtype: torch.dtype | None = None,
        missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> LiftedTarget:
        """The model's target at ``x``, with the weights in front of its coordinates."""
        inner = self.model.target(
            x, observations, latents=latents, dtype=dtype, missing=missing,
            freeze_masks=freeze_masks,
        )  # fmt: skip
        storage = self.model.storage()
        sites, slots = self.model.parameter_sites(), self._slots()
        start = sum(slot.size for slot in slots)
        by_key = {slot.key: slot for slot in slots}
        coordinates = _weight_coordinates(sites, site_names(sites), by_key)
        moved = [replace(c, start=c.start + start) for c in inner.layout]
        flat = [storage[slot.key].detach().to(inner.dtype).flatten() for slot in slots]
        weights = torch.cat(flat) if flat else torch.empty(0, dtype=inner.dtype)
        layout = Layout((*coordinates, *moved))
        return LiftedTarget(inner, slots, layout, weights, self.prior_scale)

    def _slots(self) -> tuple[Slot, ...]:
        storage = self.model.storage()
        slots, start = [], 0
        for key in dict.fromkeys(site.key for site in self.model.parameter_sites()):
            slots.append(Slot(key, start, tuple(storage[key].shape)))
            start = slots[-1].start + slots[-1].size
        return tuple(slots)

    def supports(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> LiftedSupports:
        """The model's, its weights among the values."""
        names, slots = site_names(self.model.parameter_sites()), self._slots()

        def weights(values: Mapping[str, Tensor], stack: tuple[int, ...]) -> dict[str, Tensor]:
            flat = torch.cat([values[name].reshape((*stack, -1)) for name in names], -1)
            return {slot.key: _piece(flat, slot) for slot in slots}

        return LiftedSupports(self.model.supports(x, observations, dtype=dtype), weights)

    def trace(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        generator: Generator | None = None,
    ) -> Trace:
        """A run of the model with the weights that it has."""
        return self.model.trace(x, observations, generator=generator)

    def log_joint(self, x: Tensor | None, values: Values) -> Tensor:  # -> (*b,)
        """The model's, with the weights that it has."""
        return self.model.log_joint(x, values)

    def log_density(self, x: Tensor | None, values: Values) -> Tensor:  # -> ()
        """The model's, with the weights that it has."""
        return self.model.log_density(x, values)

    def declared_latents(self, observed_names: Collection[str]) -> tuple[DeclaredLatent, ...]:
        """Weights first, then the model's own."""
        sites = self.model.parameter_sites()
        weights = tuple(
            DeclaredLatent(name, (prod(site.shape),), (prod(site.shape),), REAL, row_wise=False)
            for name, site in zip(site_names(sites), sites, strict=True)
            if name not in observed_names
        )
        return (*weights, *self.model.declared_latents(observed_names))

    def batch_shape(self, x: Tensor | None) -> tuple[int, ...]:
        return self.model.batch_shape(x)

    def storage(self) -> dict[str, Parameter]:
        return {}

    def parameter_sites(self) -> tuple[ParameterSite, ...]:
        return ()

    def parameters(self) -> Iterator[Parameter]:
        return iter(())


def _weight_coordinates(
    sites: tuple[ParameterSite, ...], names: tuple[str, ...], slots: Mapping[str, Slot]
) -> list[Coordinate]:
    """One coordinate per parameter site, gapless: sites are ordered by storage key and index."""
    coordinates, stop = [], 0
    for site, name in zip(sites, names, strict=True):
        size = prod(site.shape)
        start = slots[site.key].start + (site.index or 0) * size
        if start != stop:
            raise InternalError(f"parameter site {site.path} is out of order in its storage")
        coordinates.append(Coordinate(name, start, (size,), (size,), support=REAL))
        stop = start + size
    return coordinates


def bayesian_lift_parameters(
    model: Model, x: Tensor | None, obs: Values | None = None, prior_scale: float = 1.0
) -> tuple[LiftedModel, Tensor | None, Values | None]:
    """The model with its weights as sites ``theta__<path>`` ~ N(0, ``prior_scale``²).

    Returns ``(lifted, x, obs)`` as `MCMC.run` takes them. The module itself is never changed.
    Raises `UserError` if ``prior_scale`` is not positive or the model has no parameters.
    """
    if not prior_scale > 0.0:
        raise UserError(f"prior_scale={prior_scale!r} must be positive")
    if not model.parameter_sites():
        raise UserError("this model has no parameters to lift: give it to MCMC.run as it is")
    return LiftedModel(model, float(prior_scale)), x, obs
