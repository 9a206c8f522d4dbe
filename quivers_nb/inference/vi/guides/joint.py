"""Guides that treat all coordinates as one vector, so that dependence can be found.

Sites that are not row-wise form the shared block, row-wise ones the row block: every row draws from
the same density, independently of the others and of the shared block. A guide made for a number of
rows (``rows=n``) has one block of everything instead, rows included; so has the guide of a program
that never reads its input, whose runs have no rows.
"""

from collections.abc import Callable, Collection, Mapping
from math import prod

import torch
from torch import Generator, Tensor, nn

from quivers_nb.inference.model import DeclaredLatent, Model, Terms
from quivers_nb.inference.vi.guide import GuideModule, default_dtype
from quivers_nb.inference.vi.rows import Shape


class Block(nn.Module):
    """A density over vectors of length ``dim``, with torch parameters."""

    def sample(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Reparameterised draws ``(*n, dim)`` and their log density ``(*n,)``."""
        raise NotImplementedError

    def density(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n,)
        raise NotImplementedError

    def entropy(self) -> Tensor | None:  # -> ()
        """None where there is no closed form."""
        return None

    @property
    def num_strata(self) -> int:
        """How many strata the block is made of; 0 if it is not made of any."""
        return 0

    @property
    def log_shares(self) -> Tensor:  # (C,)
        """Log probabilities of the strata."""
        raise NotImplementedError

    def sample_strata(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Draws ``(C, *n, dim)``, as many of every stratum, and their log density ``(C, *n)``."""
        raise NotImplementedError


MakeBlock = Callable[[int, torch.dtype], Block]


class JointGuide(GuideModule):
    """A guide of one or two blocks, ``shared_block`` and ``row_block``, made by ``make``."""

    together = True

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str],
        rows: int | Shape | None,
        make: MakeBlock,
    ) -> None:
        super().__init__(model, observed_names, rows)
        latents = self.covered.latents
        self._row = tuple(filter(self._by_row, latents))
        self._shared = tuple(d for d in latents if d not in self._row)
        dtype = default_dtype(model)
        self.shared_block = self._made(self._shared, make, dtype)
        self.row_block = self._made(self._row, make, dtype)

    def _made(
        self, latents: tuple[DeclaredLatent, ...], make: MakeBlock, dtype: torch.dtype
    ) -> Block | None:
        return make(sum(map(self._size, latents)), dtype) if latents else None

    def _shape(self, latent: DeclaredLatent) -> Shape:
        """The part of a site's value that is inside its block."""
        return (*self._rows_of(latent), *latent.unconstrained_shape)

    def _size(self, latent: DeclaredLatent) -> int:
        return prod(self._shape(latent))

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """One vector per block, split into sites."""
        values: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        for key, block, latents, before in self._blocks(front, stack):
            u, terms[key] = block.sample(before, generator)
            values.update(self._sites(latents, u))
        return values, self._terms(front, terms)

    @property
    def num_strata(self) -> int:
        """Those of the shared block: rows draw their strata independently of each other."""
        return 0 if self.shared_block is None else self.shared_block.num_strata

    @property
    def log_shares(self) -> Tensor:  # (C,)
        """Those of the shared block."""
        assert self.shared_block is not None  # it has the strata
        return self.shared_block.log_shares

    def sample_strata(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """The shared block from every stratum, the row block as `sample` has it."""
        assert self.shared_block is not None  # it has the strata
        u, shared = self.shared_block.sample_strata(stack, generator)
        values, terms = self._sites(self._shared, u), {"shared": shared}
        if self.row_block is not None:
            u, terms["row"] = self.row_block.sample((*shared.shape, *front), generator)
            values.update(self._sites(self._row, u))
        return values, self._terms(front, terms)

    def _sites(self, latents: tuple[DeclaredLatent, ...], u: Tensor) -> dict[str, Tensor]:
        """A block's vectors ``(*n, dim)`` cut into sites, each ``(*n, *own)``."""
        pieces = u.split([self._size(latent) for latent in latents], -1)
        return {
            latent.name: piece.reshape((*u.shape[:-1], *self._shape(latent)))
            for latent, piece in zip(latents, pieces, strict=True)
        }

    def density(self, front: Shape, stack: Shape, values: Mapping[str, Tensor]) -> Terms:
        """The blocks' densities of the values put together."""
        terms: dict[str, Tensor] = {}
        for key, block, latents, before in self._blocks(front, stack):
            pieces = [values[d.name].reshape((*before, self._size(d))) for d in latents]
            terms[key] = block.density(pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1))
        return self._terms(front, terms)

    def entropy_of(self, front: Shape) -> Terms:
        """The blocks' entropies, the row block's once per row."""
        terms: dict[str, Tensor] = {}
        for key, block, _, before in self._blocks(front, ()):
            entropy = block.entropy()
            if entropy is None:
                return super().entropy_of(front)
            terms[key] = entropy.expand(before)
        return self._terms(front, terms)

    def _blocks(
        self, front: Shape, stack: Shape
    ) -> list[tuple[str, Block, tuple[DeclaredLatent, ...], Shape]]:
        """Key, block, sites, and the axes in front of the block's vectors."""
        found = []
        if self.shared_block is not None:
            found.append(("shared", self.shared_block, self._shared, stack))
        if self.row_block is not None:
            found.append(("row", self.row_block, self._row, (*stack, *front)))
        return found

    def _terms(self, front: Shape, terms: Mapping[str, Tensor]) -> Terms:
        row = terms.get("row")
        shared = terms.get("shared")
        if row is not None and not front:
            return Terms(None, row if shared is None else shared + row)
        if shared is None:
            assert row is not None  # there is at least one site
            shared = row.new_zeros(())
        return Terms(row, shared, len(front) if row is not None else 0)
