"""Pilot runs that find the coordinates of a run: how far each effect is centred.

A first short run goes in the coordinates as written; its draws choose a centering for each element
of each site with a latent location or scale (`quivers_nb.inference.centering`). Draws of a funnel
are poor, so a second short run, in those coordinates, chooses again. The run itself starts where
the pilot ended, with the spread of its draws as its first metric. Whatever a pilot finds, the run
has the same density over the sites: a poor choice costs time, not correctness.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.centering import (
    Centering,
    Centerings,
    Located,
    Place,
    Recenterable,
    suited,
)
from quivers_nb.inference.mcmc.engine import Attentive, Progress, Watch
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.mcmc.starts import RADIUS, Start
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.target import Target, flat

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.run import Part

WARMUP, DRAWS, ROUNDS = 100, 100, 2  # transitions of a pilot run, and how many there are
LENGTH = ROUNDS * (WARMUP + DRAWS)  # of all of them, per chain
_BLOCK_BYTES = 64 << 20  # of positions whose sites are located at once
_POSITIONS = "positions"

Draw = Callable[["Piloted", int], "Sequence[Part]"]  # of a seed


@runtime_checkable
class Follower(Protocol):
    """A watch that is told, before the first transition, which target the positions are of."""

    def moves_on(self, target: Target) -> None: ...


@runtime_checkable
class Scout(Protocol):
    """A watch that is told of a pilot's transitions, which are none of its run."""

    def scouts(self, transition: Progress) -> None: ...


@dataclass(frozen=True, slots=True)
class Positions(Selection):
    """Keeps the positions of draws, and no site."""

    def values(self, target: Target, q: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """The positions themselves, ``(*s, dim)``."""
        return {_POSITIONS: q}


@dataclass(frozen=True, slots=True)
class Piloted:
    """Where a run goes on after its pilot. ``parts``: those of a pilot that was stopped."""

    start: Start
    scales: Vector | None = None  # (dim,)
    centerings: Centerings = field(default_factory=dict)
    gradients: int = 0
    stopped: "Sequence[Part]" = ()

    @property
    def target(self) -> Target:
        return self.start.target

    @property
    def shares(self) -> dict[str, Tensor]:
        """How far the scale of each element is centred, from 0 to 1, ``(*shape)`` by site."""
        return {name: centering.scale for name, centering in self.centerings.items()}


def pilot(begun: Piloted, seed: int, draw: Draw) -> Piloted:
    """Choose coordinates by `ROUNDS` runs that ``draw`` makes.

    Raises `UserError` if the density is written by hand: it has no sites with a location and scale.
    """
    target, source = begun.target, begun.target.source
    if not isinstance(source, Recenterable):
        raise UserError(
            "recenter=True needs a model whose sites have locations and scales; this density is "
            "written by hand, and its coordinates are what it says"
        )
    centerings: dict[str, Centering] = _movable(source, target)
    found = begun
    for number in range(ROUNDS if centerings else 0):
        found = _again(found, target, centerings)
        parts = draw(found, _seed(seed, number))
        gradients = found.gradients + sum(part.outcome.gradients for part in parts)
        found = replace(found, gradients=gradients)
        if any(part.outcome.stopped for part in parts):
            return replace(found, stopped=parts)
        q = torch.cat([part.sites[_POSITIONS].flatten(0, 1) for part in parts])
        ends = torch.from_numpy(np.stack([end for part in parts for end in part.outcome.ends]))
        centerings, moved = _chosen(found.target, q, ends.to(q.dtype))
        first, last = moved.split([len(q), len(ends)])
        known = tuple(last.numpy())
        scales = first.double().std(0).numpy()
        usable = np.isfinite(scales) & (scales > 0.0)
        found = replace(
            found,
            start=replace(found.start, known=known),
            scales=np.where(usable, scales, 1.0),
        )
    return _again(found, target, {} if _untouched(centerings) else centerings)


def _again(found: Piloted, target: Target, centerings: Centerings) -> Piloted:
    """The same, on the target in these coordinates."""
    source = cast("Recenterable", target.source)
    moved = flat(source.recentred(centerings), target.row_weight) if centerings else target
    return replace(found, start=replace(found.start, target=moved), centerings=centerings)


def _movable(source: Recenterable, target: Target) -> dict[str, Centering]:
    """Sites whose location or scale is not the same at two points, centred as they are written."""
    generator = torch.Generator().manual_seed(0)
    q = RADIUS * (2.0 * torch.rand(2, target.dim, dtype=target.dtype, generator=generator) - 1.0)
    shapes = {coordinate.name: coordinate.shape for coordinate in target.layout}
    return {
        name: Centering.whole(shapes[name], target.dtype, q.device)
        for name, at in source.located(q).items()
        if at.place.varies(at.value.shape)
    }


def _untouched(centerings: Centerings) -> bool:
    """Whether every coordinate is the value itself."""
    each = [x for centering in centerings.values() for x in (centering.loc, centering.scale)]
    return all(bool((x == 1.0).all()) for x in each)


def _chosen(target: Target, q: Tensor, ends: Tensor) -> tuple[dict[str, Centering], Tensor]:
    """The centerings that suit draws at ``q`` ``(n, dim)``, and where draws and then ``ends``
    ``(chains, dim)`` are in these coordinates.
    """
    both = torch.cat([q, ends])
    located = _located(target, both)
    chosen = {name: suited(_rows(at, len(q))) for name, at in located.items()}
    moved = both.clone()
    for coordinate in target.layout:
        if coordinate.name in chosen:
            at = located[coordinate.name]
            u = chosen[coordinate.name].coordinate(at.value, at.place)
            moved[:, coordinate.start : coordinate.stop] = u.reshape(len(both), -1)
    return chosen, moved


def _located(target: Target, q: Tensor) -> dict[str, Located]:  # (n, dim)
    """The sites that move, at every draw: each part ``(n, *shape)``."""
    source: Any = target.source
    block = max(1, _BLOCK_BYTES // (8 * max(target.dim, 1)))
    found = [source.located(part) for part in q.split(block)]
    whole = {}
    for name in source.centerings:
        parts = [each[name] for each in found]
        places = [part.place.over(part.value.shape) for part in parts]
        loc, scale = (torch.cat([getattr(p, x) for p in places]) for x in ("loc", "scale"))
        value = torch.cat([part.value for part in parts])
        whole[name] = Located(value, Place(loc, scale, places[0].vector))
    return whole


def _rows(at: Located, count: int) -> Located:
    place = at.place
    first = Place(place.loc[:count], place.scale[:count], place.vector)
    return Located(at.value[:count], first)


def _seed(seed: int, number: int) -> int:
    """A seed of its own for each pilot run, a function of that of the run."""
    state = np.random.SeedSequence(seed, spawn_key=(number, 1)).generate_state(1, np.uint64)
    return int(state[0] >> 2)


@dataclass(frozen=True, slots=True)
class _Patient:
    """Lets a run be paused and stopped during its pilot; who is no `Scout` sees none of it."""

    watch: Attentive

    def __call__(self, transition: Progress) -> bool | None:
        if isinstance(self.watch, Scout):
            self.watch.scouts(transition)
        return self.hold() if self.asked() else None

    def asked(self) -> bool:
        return self.watch.asked()

    def hold(self) -> bool:
        return self.watch.hold()


def follow(watch: object, target: Target) -> None:
    """Tell a `Follower` what the positions to come are of."""
    if isinstance(watch, Follower):
        watch.moves_on(target)


def unseen(watch: object) -> Watch | None:
    """What of ``watch`` a pilot run needs."""
    return _Patient(watch) if isinstance(watch, Attentive) else None
