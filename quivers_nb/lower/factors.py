"""Sums of products over several finite sites, term by term: variable elimination.

The log density of a nest of blocks is a sum of terms that each touch few of the summed sites. To
sum a site out, only the terms that touch it are added up:

    log sum_z exp(sum of the terms of z)  is one new term, of the sites that stood beside z

and the others wait (Zhang and Poole 1994, "A simple approach to Bayesian network computations";
Koller and Friedman 2009, algorithm 9.1). The next site is the one whose new term is smallest, so
that a chain of T sites of K values costs O(T K²) wherever its terms are written, and so does a
tree; in general the cost is exponential only in the width that this order finds (section 9.4.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.forward import NEVER

ROOM = 2**28  # numbers in one table: 2 GiB in float64


@dataclass(frozen=True, slots=True)
class Factor:
    """A term ``(*K, *n)``: one axis per site of ``scope``, inner sites first; ``*n`` broadcasts."""

    scope: tuple[int, ...]  # falling
    table: Tensor

    @classmethod
    def of(cls, term: Tensor, sites: Sequence[int], behind: int) -> "Factor":
        """A term whose axes before the last ``behind`` are ``sites``, outer sites last.

        Inner sites may be missing in front; an axis of length 1 means that it does not depend.
        """
        count = max(term.ndim - behind, 0)
        here = tuple(reversed(sites))[len(sites) - count :]
        scope = tuple(site for site, size in zip(here, term.shape, strict=False) if size > 1)
        if len(scope) == count:
            return cls(scope, term)
        kept = [size for size in term.shape[:count] if size > 1]
        return cls(scope, term.reshape((*kept, *term.shape[count:])))

    def over(self, scope: Sequence[int]) -> Tensor:
        """The table with an axis of length 1 for each site that it lacks."""
        if len(self.scope) in (0, len(scope)):
            return self.table
        behind = self.table.shape[len(self.scope) :]
        sizes = dict(zip(self.scope, self.table.shape, strict=False))
        return self.table.reshape((*(sizes.get(site, 1) for site in scope), *behind))


def sum_out(factors: Sequence[Factor], names: Mapping[int, str]) -> Tensor:  # -> (*n)
    """The log of the sum over all values of all sites; ``names`` are theirs, for messages."""
    pool = list(factors)
    sites = {site for factor in pool for site in factor.scope}
    inner = len(sites) > 1
    while sites:
        site = min(sites, key=lambda each: (_size(each, pool), -each))
        touching = [factor for factor in pool if site in factor.scope]
        rest = [factor for factor in pool if site not in factor.scope]
        pool = [*rest, _without(site, touching, names, inner=inner)]
        sites.remove(site)
    total = _added([factor.table for factor in pool])
    return torch.where(total < 0.5 * NEVER, -torch.inf, total) if inner else total


def _scope(factors: Sequence[Factor]) -> tuple[int, ...]:
    return tuple(sorted({site for factor in factors for site in factor.scope}, reverse=True))


def _size(site: int, pool: Sequence[Factor]) -> int:
    """How many values the sites beside ``site`` have together."""
    sizes: dict[int, int] = {}
    for factor in pool:
        if site in factor.scope:
            sizes.update(zip(factor.scope, factor.table.shape, strict=False))
    return prod(sizes.values()) // sizes[site]


def _without(
    site: int, touching: Sequence[Factor], names: Mapping[int, str], *, inner: bool
) -> Factor:
    scope = _scope(touching)
    tables = [factor.over(scope) for factor in touching]
    _refuse_too_large(scope, tables, names)
    total = _added(tables)
    if inner:  # what no value of this site allows has a gradient of 0, not NaN
        total = total.clamp_min(NEVER)
    rest = tuple(other for other in scope if other != site)
    return Factor(rest, torch.logsumexp(total, scope.index(site)))


def _refuse_too_large(
    scope: Sequence[int], tables: Sequence[Tensor], names: Mapping[int, str]
) -> None:
    rank = max(table.ndim for table in tables)
    shapes = [(1,) * (rank - table.ndim) + tuple(table.shape) for table in tables]
    size = prod(max(axis) for axis in zip(*shapes, strict=True))
    if size > ROOM:
        listed = ", ".join(f"`{names[site]}`" for site in reversed(scope))
        raise UserError(
            f"summing {listed} together needs a table of {size:,} numbers, more than {ROOM:,}: "
            "give the values of one of them, or let fewer of them meet in one term"
        )


def _added(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
