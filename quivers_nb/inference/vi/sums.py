"""Log densities of a guide as they are put together: site by site, or part by part."""

from collections.abc import Sequence

from torch import Tensor

from quivers_nb.inference.model import DeclaredLatent, Terms
from quivers_nb.inference.vi.rows import Shape


def own_axes(value: Tensor, rank: int) -> Tensor:
    """Sum over the last ``rank`` axes."""
    return value.sum(tuple(range(-rank, 0))) if rank else value


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


def summed(parts: Sequence[Terms]) -> Terms:
    """The density of independent parts."""
    rows = [part.row for part in parts if part.row is not None]
    shared = sum((part.shared for part in parts[1:]), parts[0].shared)
    row = sum(rows[1:], rows[0]) if rows else None
    return Terms(row, shared, max(part.batch_rank for part in parts))
