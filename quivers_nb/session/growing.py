"""Draws so far as single numbers with names: what a live view looks at.

Only what is new is brought from unconstrained coordinates to site values, so a look costs as much
as what has happened since the last one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quivers_nb.inference.target import flat
from quivers_nb.session.jobs import NutsJob, SviJob

SHOWN = 64  # scalars that are looked at, in the order of the program
GUIDE_DRAWS = 400
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Look:
    """Numbers ``(chains, draws, len(names))``. Draws of a guide are one chain."""

    names: tuple[str, ...]
    values: Floats
    more: int = 0  # scalars that are not looked at

    def of(self, name: str) -> Floats:
        """The draws of one scalar, ``(chains, draws)``; of the first one if it is not known."""
        place = self.names.index(name) if name in self.names else 0
        return self.values[..., place]


class Growing:
    """The draws of a NUTS run that is under way."""

    def __init__(self, job: NutsJob) -> None:
        self._job, self._parts, self._seen = job, [np.empty((0, 0, 0))], 0
        self._names: tuple[str, ...] = ()
        self._more = 0

    def look(self) -> Look | None:
        """All draws that every chain has made by now; None before there are any."""
        log = self._job.log
        number = log.num_draws(log.counts)
        if not log.complete or not number:
            return None
        if number > self._seen:
            rows = [
                np.stack(log.positions_of(chain, self._seen, number))
                for chain in range(len(log.counts))
            ]
            values = self._values(np.stack(rows))
            self._parts = [values if not self._seen else np.concatenate([*self._parts, values], 1)]
            self._seen = number
        return Look(self._names, self._parts[0], self._more)

    def _values(self, positions: Floats) -> Floats:
        sites = self._job.selection.values(self._job.target, torch.from_numpy(positions))
        self._names, values, self._more = scalars(sites, 2)
        return values


def guide_look(job: SviJob, generator: Generator) -> Look:
    """Draws of the guide as it is now."""
    opened = job.model.target(job.x, job.data, latents="declared")
    with torch.no_grad():
        q, _ = job.guide.at(job.x, job.data).draw(opened.layout, (GUIDE_DRAWS,), generator)
        names, values, more = scalars(flat(opened).constrain(q), 1)
    return Look(names, values[None], more)


def scalars(sites: Mapping[str, Any], front: int) -> tuple[tuple[str, ...], Floats, int]:
    """The first `SHOWN` numbers of sites whose first ``front`` axes are draws, and how many more.

    Names are those of the sites, with an index where there is one: ``theta[3]``.
    """
    names: list[str] = []
    columns: list[Tensor] = []
    total = 0
    for site, value in sites.items():
        tensor = torch.as_tensor(value)
        shape = tensor.shape[front:]
        size = prod(shape)
        total += size
        room = min(size, SHOWN - len(names))
        if room > 0:
            names += _labels(site, shape, room)
            flat_value = tensor.reshape(*tensor.shape[:front], size)
            columns.append(flat_value[..., :room].double())
    joined = torch.cat(columns, -1).numpy() if columns else np.empty((0,) * (front + 1))
    return tuple(names), joined, total - len(names)


def _labels(site: str, shape: Sequence[int], count: int) -> list[str]:
    if not shape:
        return [site]
    places = (np.unravel_index(k, tuple(shape)) for k in range(count))
    return [f"{site}[{', '.join(str(int(i)) for i in place)}]" for place in places]
