"""Several sites answered for at once.

Members of a group, or equal layers side by side, are one batched product: their kernels are asked
for one value together. Each member is still a site of its own, with its own path, its own stream of
fixed noise and its own entry in a trace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quivers_nb.lower.flat import columns_of, index_of


@dataclass(frozen=True, slots=True)
class Parts:
    """Which sites a joint value ``(*n, width)`` or, ``stacked``, ``(*n, members, width)`` holds.

    ``sizes``: the value is one row-major index ``(*n,)`` of finite sets, a site each. ``indices``:
    which sites of a vector are indices of a finite set, ``(*n,)`` without a column (3.6).
    """

    paths: tuple[str, ...]
    widths: tuple[int, ...]
    stacked: bool = False
    sizes: tuple[int, ...] | None = None
    indices: tuple[bool, ...] = ()

    def split(self, value: Tensor) -> list[tuple[str, Tensor]]:
        """Each site's piece, ``(*n, width)``, or ``(*n,)`` if it is an index."""
        if self.sizes is not None:
            apart = columns_of(value.long(), self.sizes).unbind(-1)
            return list(zip(self.paths, apart, strict=True))
        if self.stacked:
            return [(path, value.select(-2, i)) for i, path in enumerate(self.paths)]
        pieces = list(value.split(list(self.widths), dim=-1))
        for k, index in enumerate(self.indices):
            pieces[k] = pieces[k].squeeze(-1).long() if index else pieces[k]
        return list(zip(self.paths, pieces, strict=True))

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """The joint value of pieces."""
        if self.sizes is not None:
            return index_of(torch.stack(list(pieces), -1), self.sizes)
        return torch.stack(list(pieces), -2) if self.stacked else torch.cat(list(pieces), -1)

    def find(self, values: Mapping[str, Tensor], lead: int) -> Tensor | None:
        """The joint value, if every site has one; width-1 pieces may lack their axis."""
        if not all(path in values for path in self.paths):
            return None
        pieces = [values[path] for path in self.paths]
        if self.sizes is not None:
            return self.join(torch.broadcast_tensors(*pieces))
        return self.join([p.unsqueeze(-1) if p.ndim == lead else p for p in pieces])

    def at(self, paths: tuple[str, ...]) -> "Parts":
        """The same parts under other paths (one step of a scan)."""
        return replace(self, paths=paths)
