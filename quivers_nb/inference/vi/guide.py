"""Guides: families of densities over the declared latents of a model, to be fitted to a posterior.

A guide covers every declared stochastic site that is not observed; internal sites never (R3). It
works in unconstrained space, with the bijector of each site's support, and knows the model only by
its `DeclaredLatent`s and, where a support is made of other values, by `Supports`. Its parameters
exist before any input is seen; parameters of row-wise sites are shared over rows unless the guide
is made for a number of rows (``rows=n``) or reads its input (`Guide.at`).

Row-wise sites have ``(*s, *b, *value_shape)``, others ``(*s, *value_shape)``; width 1 has no axis.

Laws, checked for every guide by ``tests/inference/vi/test_guide_laws.py``:
    density   `log_density` at a draw is what `draw` said, and `log_prob` of its constrained values
              is that less the log-Jacobian;
    mass      the density of a single coordinate integrates to one;
    entropy   `entropy` is minus the mean log density of draws.
A guide whose draws come by paths says the density of the path instead, and keeps one law:
    weights   the mean of ``p / exp(said)`` over draws is the mass of ``p``, for every ``p``.
"""

import copy
from collections.abc import Collection, Mapping
from itertools import chain
from math import prod
from typing import Any, Protocol, Self

import torch
from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import (
    DeclaredLatent,
    Model,
    Placed,
    Supports,
    Terms,
    Values,
    refuse_nothing,
)
from quivers_nb.inference.options import names_in
from quivers_nb.inference.origin import origin_of
from quivers_nb.inference.vi.rows import Shape, as_rows, front_of, refuse_rows
from quivers_nb.inference.vi.sums import own_axes
from quivers_nb.kernels import bijector_for


class Guide(Protocol):
    """What objectives, `SVI`, `Predictive` and `MCMC` ask of a guide."""

    def draw(
        self, layout: Layout, stack: Shape, generator: Generator | None = None
    ) -> tuple[Tensor, Terms]:
        """Reparameterised draws ``q`` ``(*s, dim)`` in a target's layout, and their log density."""
        ...

    def log_density(self, layout: Layout, q: Tensor) -> Terms:
        """The log density of any ``q`` ``(*s, dim)``, in unconstrained space."""
        ...

    def entropy(self, layout: Layout) -> Terms:
        """In unconstrained space, counted like a density; `UserError` if it has no closed form."""
        ...

    def at(self, x: Tensor | None, obs: Values | None = None) -> "Guide":
        """The guide for this input, with the same parameters; itself if it reads no input."""
        ...

    def rsample(
        self, x: Tensor | None, *, generator: Generator | None = None
    ) -> Mapping[str, Tensor]: ...

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor: ...  # -> (*b,)


class Covered:
    """The latents that a guide covers, with what each needs."""

    def __init__(self, model: Model, observed_names: Collection[str]) -> None:
        refuse_nothing(model)
        self.latents = model.declared_latents(names_in("observed_names", observed_names))
        self.by_name = {latent.name: latent for latent in self.latents}
        # Sites whose supports are made of other values: only the model can say where they lie.
        self.moving = frozenset(latent.name for latent in self.latents if latent.support is None)

    def parameter_shape(self, latent: DeclaredLatent) -> Shape:
        """``(d,)``, or ``(*plate, d)``: a scalar has d = 1."""
        plate = latent.unconstrained_shape[: latent.plate_rank]
        return (*plate, prod(latent.unconstrained_shape[latent.plate_rank :]))

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


def placed(guide: Any, x: Tensor | None, obs: Values | None) -> Any:
    """``guide`` with what the supports of its sites are made of (`GuideModule.placed`)."""
    place = getattr(guide, "placed", None)
    return guide if place is None else place(x, obs)


def bound(guide: Any, x: Tensor | None, obs: Values | None) -> Any:
    """``guide`` at these data (`Guide.at`); one that has but `rsample` as it is."""
    at = getattr(guide, "at", None)
    return guide if at is None else at(x, obs)


def parameter_name(kind: str, site: str) -> str:
    """``loc_h``; a dot, which torch forbids in names, becomes an underscore."""
    return f"{kind}_{site.replace('.', '_')}"


def default_dtype(model: Model) -> torch.dtype:
    """That of the model's weights, else torch's default."""
    for parameter in model.parameters():
        return parameter.dtype
    return torch.get_default_dtype()


class GuideModule(nn.Module):
    """A guide with torch parameters.

    Concrete guides give `sample` and `density` over unconstrained values by site, each ``(*s, *b,
    *own)``; layouts, supports and rows are dealt with here.

    Raises `UserError` if nothing is left to guide, or ``rows`` is not a number of rows.
    """

    together = False  # whether sites may depend on each other, so that rows must be known of each

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str],
        rows: int | Shape | None = None,
    ) -> None:
        super().__init__()
        self.covered = Covered(model, observed_names)
        self.rows = as_rows(rows)
        self._batch_shape = model.batch_shape
        self._supports_at = model.supports if self.covered.moving else None
        self._data: Mapping[str, Any] = {}  # what supports may be made of, see `placed`
        self._supports: Supports | None = None  # at the input that this guide is bound to
        self.origin = origin_of(model)
        if not self.covered.latents:
            names = ", ".join(sorted(observed_names)) or "nothing"
            raise UserError(
                f"nothing is left to guide: {names} observed, and no other site but those that are "
                "summed over finitely many values; to fit the weights alone use EmptyGuide"
            )

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """Reparameterised unconstrained values of every site, and their log density."""
        raise NotImplementedError

    def density(self, front: Shape, stack: Shape, values: Mapping[str, Tensor]) -> Terms:
        """The log density of unconstrained values."""
        raise NotImplementedError

    def entropy_of(self, front: Shape) -> Terms:
        """The entropy in unconstrained space: row ``(*b,)``, shared ``()``."""
        raise UserError(
            f"the entropy of {type(self).__name__} ({len(front)} batch axes) has no closed form: "
            "use the default estimator"
        )

    @property
    def like(self) -> Tensor:
        """One of its tensors: of the dtype, and on the device, of all of them."""
        return next(chain(self.parameters(), self.buffers()))

    def needs_all_rows(self) -> str:
        """Why some of the rows cannot stand for all, as a clause; empty if they can."""
        if self.rows is None:
            return ""
        return "was made for the rows of its data: make the guide without rows="

    @property
    def num_strata(self) -> int:
        """How many strata a guide that is a mixture is made of, else 0."""
        return 0

    @property
    def log_shares(self) -> Tensor:  # (C,)
        """Log probabilities of the strata."""
        raise NotImplementedError

    def sample_strata(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """As `sample`, as many draws of every stratum: a first axis C in front of ``*s``."""
        raise NotImplementedError

    @property
    def nested(self) -> bool:
        """Whether draws of rows depend on those of shared sites."""
        return False

    def at(self, x: Tensor | None, obs: Values | None = None) -> Guide:
        return self.placed(x, obs)

    def placed(self, x: Tensor | None, obs: Values | None = None) -> Self:
        """This guide, with what its supports are made of; itself if they are made of nothing.

        ``obs`` are added to the data that it knows. A guide that reads its input is bound to that
        by `at`.
        """
        if self._supports_at is None:
            return self
        bound = copy.copy(self)
        bound._data = {**self._data, **by_name(obs)}
        bound._supports = self._supports_at(x, bound._data, dtype=self.like.dtype)
        return bound

    def draw(
        self, layout: Layout, stack: Shape, generator: Generator | None = None
    ) -> tuple[Tensor, Terms]:
        """Draws ``q`` ``(*s, dim)`` for a target with this layout, and their log density."""
        self.covered.check_layout(layout)
        values, terms = self.sample(self.check_rows(front_of(layout)), stack, generator)
        return _flat(layout, stack, values), terms

    def draw_strata(
        self, layout: Layout, stack: Shape, generator: Generator | None = None
    ) -> tuple[Tensor, Terms]:
        """Draws ``q`` ``(C, *s, dim)`` of every stratum, and their log density."""
        self.covered.check_layout(layout)
        values, terms = self.sample_strata(self.check_rows(front_of(layout)), stack, generator)
        return _flat(layout, (self.num_strata, *stack), values), terms

    def log_density(self, layout: Layout, q: Tensor) -> Terms:  # (*s, dim) -> (*s, *b), (*s,)
        """The log density of ``q`` in unconstrained space."""
        self.covered.check_layout(layout)
        front = self.check_rows(front_of(layout))
        return self.density(front, tuple(q.shape[:-1]), layout.split(q))

    def entropy(self, layout: Layout) -> Terms:
        """The entropy in unconstrained space, counted like a density."""
        self.covered.check_layout(layout)
        return self.entropy_of(self.check_rows(front_of(layout)))

    def rsample(self, x: Tensor | None, *, generator: Generator | None = None) -> dict[str, Tensor]:
        """One reparameterised draw of every covered site."""
        return self._drawn(x, (), generator)

    def draws(
        self, x: Tensor | None, count: int, *, generator: Generator | None = None
    ) -> dict[str, Tensor]:
        """As many draws of every covered site at once, each ``(count, *value_shape)``."""
        return self._drawn(x, (count,), generator)

    def _drawn(
        self, x: Tensor | None, stack: Shape, generator: Generator | None
    ) -> dict[str, Tensor]:
        here = self.placed(x)
        free, _ = here.sample(self.front(x), stack, generator)
        found = here.constrained(free, stack, generator=generator, fresh=True)
        return {name: self._shown(name, site.value) for name, site in found.items()}

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor:  # -> (*b,)
        """Log density of constrained values per row; sites without rows count in every row.

        Minus infinity outside the support.
        """
        front = self.front(x)
        here = self.placed(x)
        free, total = {}, self.like.new_zeros(front)
        for name, (u, log_det) in here.unconstrained(x, sites).items():
            rank = len(front if self.covered.by_name[name].row_wise else ())
            inside = ~torch.isnan(u)
            free[name] = torch.where(inside, u, 0.0)
            whole = inside.reshape((*inside.shape[:rank], prod(inside.shape[rank:]))).all(-1)
            jacobian = own_axes(log_det, log_det.ndim - rank)
            total = total - torch.where(whole, jacobian, torch.inf)
        terms = here.density(front, (), free)
        return total + (terms.shared if terms.row is None else terms.shared + terms.row)

    def front(self, x: Tensor | None) -> Shape:
        """The batch axes of row-wise values at this input."""
        return self.check_rows(self._batch_shape(x))

    def check_rows(self, front: Shape) -> Shape:
        """``front``, refused if the guide was made for another number of rows, or for none."""
        if self.together and self.rows is None:
            refuse_rows(self.covered.latents, front)
        row_wise = any(latent.row_wise for latent in self.covered.latents)
        if self.rows is not None and row_wise and front != self.rows:
            raise UserError(
                f"the guide has parameters for rows {self.rows}, the data have rows {front}; make "
                "it with rows= that number, or without rows= to share the parameters over rows"
            )
        return front

    def _by_row(self, latent: DeclaredLatent) -> bool:
        """Whether the site has values in every row, but parameters of one."""
        return latent.row_wise and latent.rows_expected and self.rows is None

    def _rows_of(self, latent: DeclaredLatent) -> Shape:
        """The rows that the site has parameters of."""
        return self.rows if self.rows is not None and latent.row_wise else ()

    def constrained(
        self,
        free: Mapping[str, Tensor],
        stack: Shape = (),
        *,
        generator: Generator | None = None,
        fresh: bool = False,
    ) -> dict[str, Placed]:
        """Values ``(*s, *b, *value_shape)`` of every site, from all unconstrained ones.

        ``fresh`` draws middles that supports are made of. Raises `UserError` if supports are made
        of an input or data that the guide was not bound to.
        """
        found = {}
        for latent in self.covered.latents:
            if latent.support is not None:
                bijector = bijector_for(latent.support)
                found[latent.name] = Placed(*bijector.forward_and_log_det(free[latent.name]))
        if self.covered.moving:
            found |= self._bound_supports().constrain(
                free, self.covered.moving, stack=stack, generator=generator, fresh=fresh
            )
        return {latent.name: found[latent.name] for latent in self.covered.latents}

    def unconstrained(self, x: Tensor | None, sites: Mapping[str, Any]) -> dict[str, Placed]:
        """The inverse, for values as `rsample` gives them; NaN outside a support."""
        front = self.front(x)
        device = self.like.device
        values, found = {}, {}
        for latent in self.covered.latents:
            if latent.name not in sites:
                raise UserError(f"log_prob needs a value of `{latent.name}`")
            shape = (*(front if latent.row_wise else ()), *latent.value_shape)
            value = torch.as_tensor(sites[latent.name]).to(device).reshape(shape)
            values[latent.name] = value
            if latent.support is not None:
                bijector = bijector_for(latent.support)
                u = bijector.inverse(value)
                found[latent.name] = Placed(u, bijector.forward_and_log_det(u)[1])
        if self.covered.moving:
            found |= self._bound_supports().unconstrain(values, self.covered.moving)
        return {latent.name: found[latent.name] for latent in self.covered.latents}

    def _bound_supports(self) -> Supports:
        if self._supports is None:
            names = ", ".join(f"`{name}`" for name in sorted(self.covered.moving))
            raise UserError(
                f"where {names} lies is made of other values: bind the guide to its input and data "
                "first, guide.at(x, obs)"
            )
        return self._supports

    def _shown(self, name: str, value: Tensor) -> Tensor:
        """As `rsample` gives it: a width of 1 has no axis."""
        latent = self.covered.by_name[name]
        return value.squeeze(-1) if latent.value_shape[latent.plate_rank :] == (1,) else value


def _flat(layout: Layout, stack: Shape, values: Mapping[str, Tensor]) -> Tensor:
    """Values of sites in their places: ``(*s, dim)``."""
    pieces = [values[c.name].reshape((*stack, c.size)) for c in layout]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)
