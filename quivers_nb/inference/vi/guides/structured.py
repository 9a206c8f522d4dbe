"""The structured guide: normals in a chain, each with a location that is linear in earlier sites.

Hoffman & Blei (2015), "Stochastic structured variational inference"; Webb et al. (2018), "Faithful
inversion of generative models for effective amortized inference", for which sites depend on which.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import prod

import torch
from torch import Tensor
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import DeclaredLatent, Model
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Positive
from quivers_nb.inference.vi.guide import default_dtype
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.rows import Shape

LARGEST = 10_000_000  # numbers of one slope
Parents = Mapping[str, tuple[str, ...]]


def elimination_parents(order: Sequence[str], meets: Mapping[str, Collection[str]]) -> Parents:
    """For each site the earlier ones on which it depends in the posterior.

    From the last site to the first: a site depends on the earlier ones that it meets in a term, and
    once it is integrated out these meet each other. For linear normal models this is exact.
    """
    neighbours = {name: set(meets[name]) for name in order}
    found: dict[str, tuple[str, ...]] = {}
    for place in reversed(range(len(order))):
        earlier = [name for name in order[:place] if name in neighbours[order[place]]]
        found[order[place]] = tuple(earlier)
        for one, other in combinations(earlier, 2):
            neighbours[one].add(other)
            neighbours[other].add(one)
    return {name: found[name] for name in order}


@known_options
class AutoStructured(AutoNormalGuide):
    """Normal with locations that follow the values of other sites, as the program has them meet.

    A site is ``N(loc + sum over its parents of slope (u_parent - loc_parent), scale)``, all
    coordinates of it independent of each other given the parents: dependence between sites at the
    cost of their meetings, not of a full covariance. Sites in a plate of one object follow each
    other element by element, all others in full. Parameters are those of `AutoNormalGuide`, and
    ``slope_<site>|<parent>``, which start at 0; row-wise sites share theirs over rows, or have
    them for themselves with ``rows=n``.

    The parents are found from the terms of the model's density (`elimination_parents`); shared
    sites come before row-wise ones. ``dependencies``, from sites to parents, says them instead:
    ``{}`` is the mean field.

    Raises `UserError` if nothing is left to guide, ``init_scale`` is not positive, a dependency is
    not on an earlier site, or a slope is too large to be held.
    """

    together = True

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        init_scale: Positive = 0.1,
        dependencies: Mapping[str, Collection[str]] | None = None,
        rows: int | Shape | None = None,
    ) -> None:
        super().__init__(model, observed_names, init_scale, rows)
        latents = self.covered.latents
        self._order = sorted(latents, key=self._by_row)  # stable: program order within
        order = [latent.name for latent in self._order]
        self.parents: Parents = (
            elimination_parents(order, {latent.name: latent.meets for latent in latents})
            if dependencies is None
            else _said(order, dependencies)
        )
        dtype = default_dtype(model)
        for child, parents in self.parents.items():
            for parent in parents:
                shape = self._slope_shape(child, parent)
                slope = Parameter(torch.zeros(shape, dtype=dtype))
                self.register_parameter(_slope_name(child, parent), slope)

    @property
    def nested(self) -> bool:
        """Whether values of rows follow shared ones."""
        by_name = self.covered.by_name
        return any(
            self._by_row(by_name[child]) and not self._by_row(by_name[parent])
            for child, parents in self.parents.items()
            for parent in parents
        )

    def slope(self, child: str, parent: str) -> Tensor:  # (*common, d_child, d_parent)
        """How the location of ``child`` follows ``parent``."""
        found: Tensor = getattr(self, _slope_name(child, parent))
        return found

    def _own(self, latent: DeclaredLatent) -> Shape:
        return (*self._rows_of(latent), *latent.unconstrained_shape)

    def _common(self, child: str, parent: str) -> int:
        """How many leading own axes the two sites have in common."""
        one, other = (self._plate(self.covered.by_name[name]) for name in (child, parent))
        count = 0
        for a, b in zip(one, other, strict=False):
            if a != b or not a:
                break
            count += 1
        return count

    def _plate(self, latent: DeclaredLatent) -> tuple[str, ...]:
        return (*("(row)" for _ in self._rows_of(latent)), *latent.plate)

    def _slope_shape(self, child: str, parent: str) -> Shape:
        common = self._common(child, parent)
        one, other = (self._own(self.covered.by_name[name]) for name in (child, parent))
        shape = (*one[:common], prod(one[common:]), prod(other[common:]))
        if prod(shape) > LARGEST:
            raise UserError(
                f"{child} would follow {parent} by a slope of {shape} numbers: say with "
                "dependencies={site: [parents]} which sites depend on which"
            )
        return shape

    def _centre(
        self, latent: DeclaredLatent, loc: Tensor, front: Shape, values: Mapping[str, Tensor]
    ) -> Tensor:  # -> (*s, *b, *own)
        """The location, and what the parents' values add to it."""
        for name in self.parents[latent.name]:
            parent = self.covered.by_name[name]
            loc = loc + self._followed(latent, parent, front, values[name])
        return loc

    def _followed(
        self, child: DeclaredLatent, parent: DeclaredLatent, front: Shape, value: Tensor
    ) -> Tensor:
        """One parent's part; of a shared one the same in every row."""
        own, common = self._own(child), self._common(child.name, parent.name)
        loc, _ = self.moments(parent.name)
        before = tuple(value.shape[: value.ndim - loc.ndim])
        off = (value - loc).reshape((*before, *own[:common], -1))
        slope = self.slope(child.name, parent.name)
        moved = (slope * off.unsqueeze(-2)).sum(-1) if common else off @ slope.mT
        if self._by_row(child) and not self._by_row(parent):
            before = (*before, *(1,) * len(front))
        return moved.reshape((*before, *own))


def _slope_name(child: str, parent: str) -> str:
    return f"slope_{child}|{parent}".replace(".", "_")


def _said(order: Sequence[str], dependencies: Mapping[str, Collection[str]]) -> Parents:
    """The parents that somebody gave, if there are such sites, in this order."""
    for child, parents in dependencies.items():
        for name in (child, *parents):
            if name not in order:
                raise UserError(f"dependencies: {name!r} is not among the sites {list(order)}")
        late = [p for p in parents if order.index(p) >= order.index(child)]
        if late:
            raise UserError(
                f"dependencies: {child} cannot follow {late}, which are not drawn before it; the "
                f"order is {list(order)}"
            )
    return {name: tuple(p for p in order if p in dependencies.get(name, ())) for name in order}
