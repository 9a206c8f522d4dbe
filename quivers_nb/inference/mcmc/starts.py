"""Where chains start (R14): uniform in unconstrained space, from the prior, or at given values.

Each chain draws its own start from its own generator, so a start does not depend on how many
chains there are. A start must have a finite log density and a finite gradient.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.gradient import ValueAndGrad
from quivers_nb.inference.layout import Coordinate
from quivers_nb.inference.mcmc.fault import short
from quivers_nb.inference.mcmc.integrator import Point
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.ranges import Words
from quivers_nb.inference.target import Target

TRIES = 100
RADIUS = 2.0
Strategy = Annotated[str, Words(("uniform", "prior", "value", "pathfinder"))]

SiteValues = Mapping[str, Any]
DrawValues = Callable[[torch.Generator], SiteValues]  # one draw of (some) site values


@runtime_checkable
class Anchored(Protocol):
    """An open target whose first coordinates start near given values (lifted weights)."""

    def anchor(self) -> Tensor: ...  # (k,), the first k coordinates
    @property
    def anchor_spread(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Start:
    """A strategy. ``values`` gives site values to start from; other sites start uniformly."""

    target: Target
    values: DrawValues | None = None
    exact: bool = False  # no noise around an anchor
    jitter: float = 0.0  # half the width of uniform noise on every coordinate
    known: tuple[Vector, ...] = ()  # a first candidate (dim,) of every chain

    def draw(self, rng: Generator) -> Vector:  # -> (dim,)
        """A candidate."""
        q = self._uniform(rng)
        if self.values is not None:
            torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
            q = self._with_values(q, self.values(torch_rng))
        source = self.target.source
        if isinstance(source, Anchored):
            anchor = source.anchor().detach().cpu().numpy()
            noise = rng.standard_normal(anchor.size)
            spread = 0.0 if self.exact else source.anchor_spread
            q[: anchor.size] = anchor + spread * noise
        if self.jitter:
            q += rng.uniform(-self.jitter, self.jitter, q.size).astype(q.dtype, copy=False)
        return q

    def _uniform(self, rng: Generator) -> Vector:
        q = rng.uniform(-RADIUS, RADIUS, self.target.dim)
        for coordinate in self.target.layout:
            if coordinate.standard_normal:
                place = slice(coordinate.start, coordinate.stop)
                q[place] = rng.standard_normal(coordinate.size)
        return q.astype(_numpy_dtype(self.target.dtype), copy=False)

    def _with_values(self, q: Vector, given: SiteValues) -> Vector:
        unknown = set(given) - {coordinate.name for coordinate in self.target.layout}
        if unknown:
            names = ", ".join(coordinate.name for coordinate in self.target.layout)
            raise UserError(f"start values for {sorted(unknown)}: the latent sites are {names}")
        flat = torch.from_numpy(q)
        sites = {
            coordinate.name: coordinate
            for coordinate in self.target.layout
            if coordinate.name in given
        }
        values = self.target.constrain(flat, internal=True)
        for name, coordinate in sites.items():
            values[name] = _start_value(given[name], coordinate, flat)
        moved = self.target.unconstrain(values)
        if self.exact:
            _refuse_outside(values, moved, sites.values())
        for coordinate in sites.values():
            flat[coordinate.start : coordinate.stop] = moved[coordinate.start : coordinate.stop]
        return np.asarray(flat.numpy())


def _start_value(given: Any, coordinate: Coordinate, like: Tensor) -> Tensor:
    """A given value in the shape of its site."""
    shape = coordinate.value_shape
    try:
        value = torch.as_tensor(given).to(like.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the start value of `{coordinate.name}` is {given!r:.60}: numbers are wanted"
        ) from error
    if value.numel() != prod(shape):
        raise UserError(
            f"the start value of `{coordinate.name}` has shape {tuple(value.shape)}, but shape "
            f"{shape} is wanted"
        )
    return value.reshape(shape)


def _refuse_outside(
    values: Mapping[str, Tensor], moved: Tensor, sites: Iterable[Coordinate]
) -> None:
    """Values on the boundary of a support, or outside it, have no place among all reals."""
    for coordinate in sites:
        if not bool(torch.isfinite(coordinate.slice(moved)).all()):
            shown = short(values[coordinate.name])
            raise UserError(
                f"the start value `{coordinate.name}` = {shown} is not inside the support of its "
                "site: no chain can start there. Give values between its bounds, not on them"
            )


def find_start(start: Start, evaluate: ValueAndGrad, rng: Generator, chain: int) -> Point:
    """The first candidate of up to `TRIES` with a finite density and gradient.

    Raises `UserError` naming the sites that are not finite at the last candidate.
    """
    q = start.known[chain] if start.known else start.draw(rng)
    for attempt in range(TRIES):
        value, grad = evaluate(torch.from_numpy(q)[None])
        if bool(torch.isfinite(value).all()) and bool(torch.isfinite(grad).all()):
            return Point(q, float(value[0]), grad[0].cpu().numpy())
        if attempt + 1 < TRIES:
            q = start.draw(rng)
    raise UserError(
        f"chain {chain} found no start in {TRIES} tries: the log density or its gradient is not "
        f"finite. At the last try: {start.target.names_of(torch.from_numpy(q))}. "
        'Start at values that you know are possible: MCMC(..., init_strategy="value", '
        "init_values={...})."
    )


def _numpy_dtype(dtype: torch.dtype) -> Any:
    return torch.empty(0, dtype=dtype).numpy().dtype
