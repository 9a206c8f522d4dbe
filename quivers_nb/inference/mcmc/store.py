"""Draws as they come: positions in blocks, site values in their final place.

Positions are constrained block by block, so that sites that are not kept (internal ones, or all
but ``keep``) never take memory for the whole run.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.options import names_in
from quivers_nb.inference.target import Target

_BLOCK_BYTES = 32 << 20
_SHARE = 0.8  # of the available memory that draws may take


@dataclass(frozen=True, slots=True)
class Selection:
    """Which draws and sites are kept."""

    keep: Collection[str] | None = None
    keep_internal: bool = False
    thin: int = 1

    def __post_init__(self) -> None:
        if self.keep is not None:
            names_in("keep", self.keep)

    def values(self, target: Target, q: Tensor) -> dict[str, Tensor]:
        """The kept site values at ``q`` ``(*s, dim)``."""
        with torch.no_grad():
            values = target.constrain(q, internal=self.keep_internal)
        if self.keep is None:
            return values
        unknown = sorted(set(self.keep) - set(values))
        if unknown:
            raise UserError(f"keep={unknown}: the sites of this run are {', '.join(values)}")
        return {name: value for name, value in values.items() if name in self.keep}


@dataclass(slots=True)
class Store:
    """The draws after warm-up of some chains; positions wait in blocks of ``block`` draws."""

    target: Target
    selection: Selection
    chains: int
    draws: int  # kept ones
    sites: dict[str, Tensor] = field(init=False)
    stats: dict[str, NDArray[Any]] = field(init=False)
    counts: list[int] = field(init=False)
    _blocks: list[list[Vector]] = field(init=False)
    block: int = field(init=False)

    def __post_init__(self) -> None:
        dim = self.target.dim
        example = self.selection.values(self.target, torch.zeros(dim, dtype=self.target.dtype))
        _refuse_too_large(example, self.chains * self.draws)
        self.sites = {
            name: torch.empty((self.chains, self.draws, *value.shape), dtype=value.dtype)
            for name, value in example.items()
        }
        self.stats = {
            name: np.zeros((self.chains, self.draws), dtype=kind)
            for name, kind in Stats.__annotations__.items()
        }
        self.counts = [0] * self.chains
        self._blocks = [[] for _ in range(self.chains)]
        self.block = max(1, _BLOCK_BYTES // (8 * max(dim, 1)))

    def add(self, chain: int, draw: int, q: Vector, stats: Stats) -> None:
        """Draw number ``draw`` (from 0, after warm-up) of a chain; thinned ones are dropped."""
        place, rest = divmod(draw, self.selection.thin)
        if rest != self.selection.thin - 1 or place >= self.draws:
            return
        for name, value in zip(self.stats, stats, strict=True):
            self.stats[name][chain, place] = value
        self._blocks[chain].append(q)
        self.counts[chain] = place + 1
        if len(self._blocks[chain]) == self.block:
            self._flush(chain)

    def extend(self, chain: int, draw: int, q: Vector, stats: Mapping[str, NDArray[Any]]) -> None:
        """Draws from number ``draw`` on at once: positions ``(n, dim)``, statistics ``(n,)``."""
        thin = self.selection.thin
        chosen = slice((-draw - 1) % thin, None, thin)
        start = -(-(draw + 1) // thin) - 1
        rows = q[chosen][: max(self.draws - start, 0)]
        self._flush(chain)
        for block in range(0, len(rows), self.block):
            part = rows[block : block + self.block]
            place = slice(start + block, start + block + len(part))
            for name, values in self.selection.values(self.target, torch.from_numpy(part)).items():
                self.sites[name][chain, place] = values
        for name, column in stats.items():
            self.stats[name][chain, start : start + len(rows)] = column[chosen][: len(rows)]
        self.counts[chain] = max(self.counts[chain], start + len(rows))

    def finish(self) -> None:
        """Write what is pending."""
        for chain in range(self.chains):
            self._flush(chain)

    def _flush(self, chain: int) -> None:
        block = self._blocks[chain]
        if not block:
            return
        stop = self.counts[chain]
        start = stop - len(block)
        values = self.selection.values(self.target, torch.from_numpy(np.stack(block)))
        for name, value in values.items():
            self.sites[name][chain, start:stop] = value
        block.clear()


def _refuse_too_large(example: dict[str, Tensor], draws: int) -> None:
    wanted = draws * sum(value.numel() * value.element_size() for value in example.values())
    free = available_memory()
    if wanted > _SHARE * free:
        raise UserError(
            f"the draws would take {wanted / 2**30:.1f} GiB and {free / 2**30:.1f} GiB of memory "
            "are available. Keep fewer: keep={...} names the sites, thin=k keeps every k-th draw."
        )


def available_memory() -> int:
    """Bytes that can be taken without swapping: of this machine, or of its container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = meminfo.read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")]
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        limits.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        pass
    return max(0, min(limits))
