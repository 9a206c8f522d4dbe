"""Guides: families of densities over the declared latents of a model, to be fitted to a posterior.

A guide covers every declared stochastic site that is not observed; internal sites never (R3). It
works in unconstrained space, with the bijector of each site's support, and knows the model only by
its `DeclaredLatent`s. Its parameters exist before any input is seen; parameters of row-wise sites
are shared over rows unless the guide is made for a number of rows (``rows=n``) or reads its input
(`Guide.at`).

Shapes. A row-wise site has one value per row, ``(*s, *b, *value_shape)``; other sites
``(*s, *value_shape)``; a value of width 1 has no axis for it.

Laws, checked for every guide by ``tests/inference/vi/test_guide_laws.py``:
    density   `log_density` at a draw is what `draw` said, and `log_prob` of its constrained values
              is that less the log-Jacobian;
    mass      the density of a single coordinate integrates to one;
    entropy   `entropy` is minus the mean log density of draws.
"""

from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import DeclaredLatent, Model, Terms, Values, refuse_nothing
from quivers_nb.inference.origin import origin_of
from quivers_nb.kernels import Bijector, bijector_for

Shape = tuple[int, ...]


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
        self.latents = model.declared_latents(frozenset(observed_names))
        self.by_name = {latent.name: latent for latent in self.latents}

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


def front_of(layout: Layout) -> Shape:
    """The batch axes of a target: those of its row-wise coordinates, `()` if it has none."""
    return next((c.shape[: c.batch_rank] for c in layout if c.batch_rank), ())


def refuse_rows(latents: Iterable[DeclaredLatent], front: Shape) -> None:
    """Refuse rows where the sites of a program that never reads its input were taken for one."""
    names = [d.name for d in latents if d.row_wise and not d.rows_expected]
    if names and prod(front) > 1:
        raise UserError(
            f"the data have rows {front}, but {', '.join(names)} of a program that never reads its "
            "input were taken for one value each: run with x=None, or make the guide with rows="
            f"{front[0] if len(front) == 1 else front}"
        )


def as_rows(rows: int | Shape | None) -> Shape | None:
    """The option ``rows`` as a batch shape."""
    if rows is None:
        return None
    shape = (rows,) if isinstance(rows, int) else tuple(rows)
    if not shape or min(shape) < 1:
        raise UserError(f"rows={rows!r} must be a positive number of rows, or a batch shape")
    return shape


class GuideModule(nn.Module):
    """A guide with torch parameters.

    Concrete guides give `sample` and `density` over unconstrained values by site, each ``(*s, *b,
    *own)``; layouts, supports and rows are dealt with here.

    Raises `UserError` if nothing is left to guide, or ``rows`` is not a number of rows.
    """

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
    def log_shares(self) -> Tensor | None:  # (C,)
        """Log probabilities of the strata of a guide that is a mixture, else None."""
        return None

    def sample_strata(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """As `sample`, as many draws of every stratum: a first axis C in front of ``*s``."""
        raise NotImplementedError

    @property
    def nested(self) -> bool:
        """Whether draws of rows depend on those of shared sites."""
        return False

    def at(self, x: Tensor | None, obs: Values | None = None) -> Guide:  # noqa: ARG002
        return self

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
        assert self.log_shares is not None
        self.covered.check_layout(layout)
        values, terms = self.sample_strata(self.check_rows(front_of(layout)), stack, generator)
        return _flat(layout, (len(self.log_shares), *stack), values), terms

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
        unconstrained, _ = self.sample(self.front(x), (), generator)
        values: dict[str, Tensor] = {}
        for latent in self.covered.latents:
            values[latent.name] = self.constrained(latent, unconstrained[latent.name], values)
        return values

    def draws(
        self, x: Tensor | None, count: int, *, generator: Generator | None = None
    ) -> dict[str, Tensor]:
        """As many draws of every covered site at once, each ``(count, *value_shape)``."""
        unconstrained, _ = self.sample(self.front(x), (count,), generator)
        values: dict[str, Tensor] = {}
        for latent in self.covered.latents:
            u = unconstrained[latent.name]
            bounds = {name: _widened(value, u.ndim) for name, value in values.items()}
            values[latent.name] = self.constrained(latent, u, bounds)
        return values

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor:  # -> (*b,)
        """Log density of constrained values per row; sites without rows count in every row."""
        front = self.front(x)
        like: Tensor = next(iter(self.state_dict().values()))
        unconstrained, jacobian = {}, like.new_zeros(front)
        for latent in self.covered.latents:
            if latent.name not in sites:
                raise UserError(f"log_prob needs a value of `{latent.name}`")
            own_front = front if latent.row_wise else ()
            value, log_det = self.unconstrained(latent, sites, own_front)
            unconstrained[latent.name] = value
            jacobian = jacobian + log_det
        terms = self.density(front, (), unconstrained)
        total = terms.shared if terms.row is None else terms.shared + terms.row
        return total - jacobian

    def front(self, x: Tensor | None) -> Shape:
        """The batch axes of row-wise values at this input."""
        return self.check_rows(self._batch_shape(x))

    def check_rows(self, front: Shape) -> Shape:
        """``front``, refused if the guide was made for another number of rows."""
        row_wise = any(latent.row_wise for latent in self.covered.latents)
        if self.rows is not None and row_wise and front != self.rows:
            raise UserError(
                f"the guide has parameters for rows {self.rows}, the data have rows {front}; make "
                "it with rows= that number, or without rows= to share the parameters over rows"
            )
        return front

    def constrained(
        self, latent: DeclaredLatent, u: Tensor, values: Mapping[str, Tensor]
    ) -> Tensor:
        """``(*n, *unconstrained_shape) -> (*n, *value_shape)``, a width of 1 dropped."""
        value = bijector_of(latent, values).forward(u)
        return value.squeeze(-1) if latent.value_shape[latent.plate_rank :] == (1,) else value

    def unconstrained(
        self, latent: DeclaredLatent, values: Mapping[str, Any], front: Shape
    ) -> tuple[Tensor, Tensor]:
        """The inverse, with the log-Jacobian ``(*front,)`` of the forward map."""
        value = torch.as_tensor(values[latent.name])
        shaped = value.reshape((*front, *latent.value_shape))
        bijector = bijector_of(latent, values)
        u = bijector.inverse(shaped)
        log_det = bijector.forward_and_log_det(u)[1]
        return u, own_axes(log_det, log_det.ndim - len(front))


def _flat(layout: Layout, stack: Shape, values: Mapping[str, Tensor]) -> Tensor:
    """Values of sites in their places: ``(*s, dim)``."""
    pieces = [values[c.name].reshape((*stack, c.size)) for c in layout]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)


def _widened(value: Tensor, rank: int) -> Tensor:  # (n, *own) -> (n, 1, ..., *own)
    """A draw's value with as many axes as ``rank``, so that own axes align from the right."""
    missing = max(0, rank - value.ndim)
    return value.reshape((value.shape[0], *(1,) * missing, *value.shape[1:]))


class Sums:
    """Terms as they are collected site by site: row-wise ones per row, the others shared."""

    def __init__(self, front: Shape, like: Tensor) -> None:
        self.front, self.like = front, like
        self.row: Tensor | None = None
        self.shared: Tensor | None = None

    def add(self, latent: DeclaredLatent, term: Tensor) -> None:
        """The term of a site, ``(*s, *b)`` if it is row-wise, else ``(*s,)``."""
        if latent.row_wise and self.front:
            self.row = term if self.row is None else self.row + term
        else:
            self.shared = term if self.shared is None else self.shared + term

    def terms(self) -> Terms:
        shared = self.like.new_zeros(()) if self.shared is None else self.shared
        return Terms(self.row, shared, len(self.front) if self.row is not None else 0)
