"""Layouts: a flat unconstrained vector and the named sites that live in it.

Inference sees one vector ``q`` of shape ``(*stack, dim)``: stack is chains, particles or nothing.
A `Coordinate` says which slice of it belongs to which site. Sites of one row each (``batch_rank``
> 0) carry the batch axes in front of their own shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from quivers_nb.spaces.support import Support


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One site's place in the flat vector.

    ``shape`` is the unconstrained shape, batch axes first; ``value_shape`` the constrained one.
    ``standard_normal`` marks noise coordinates, whose density N(0, 1) is part of the target.
    ``internal`` sites (middles, R3) are left out of results unless asked for.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    value_shape: tuple[int, ...]
    batch_rank: int = 0
    internal: bool = False
    standard_normal: bool = False
    support: Support | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def stop(self) -> int:
        return self.start + self.size

    def slice(self, q: Tensor) -> Tensor:  # (*stack, dim) -> (*stack, *shape)
        """This site's part of ``q``."""
        return q[..., self.start : self.stop].reshape((*q.shape[:-1], *self.shape))


@dataclass(frozen=True, slots=True)
class Layout:
    """The coordinates of a target in program order, without gaps."""

    coordinates: tuple[Coordinate, ...]

    @property
    def dim(self) -> int:
        """Length of the flat vector."""
        return self.coordinates[-1].stop if self.coordinates else 0

    def split(self, q: Tensor) -> dict[str, Tensor]:  # (*stack, dim) -> (*stack, *shape) each
        """Every site's part at once. Its gradient is one concatenation, however many the sites."""
        parts = q.split([coordinate.size for coordinate in self.coordinates], -1)
        return {
            coordinate.name: part.reshape((*q.shape[:-1], *coordinate.shape))
            for coordinate, part in zip(self.coordinates, parts, strict=True)
        }

    def write(self, q: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Put sites' parts, broadcast to ``(*stack, *shape)``, into ``q`` ``(*stack, dim)``."""
        stack = q.shape[:-1]
        for name, part in parts.items():
            c = self[name]
            q[..., c.start : c.stop] = part.expand((*stack, *c.shape)).reshape((*stack, c.size))

    def __iter__(self) -> Iterator[Coordinate]:
        return iter(self.coordinates)

    def __getitem__(self, name: str) -> Coordinate:
        for coordinate in self.coordinates:
            if coordinate.name == name:
                return coordinate
        raise KeyError(name)
