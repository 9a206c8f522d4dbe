"""Draws of a program around its given values, as positions in unconstrained space.

Sequential Monte Carlo begins with them. Given values stay, everything else is drawn in program
order, and each site of the layout notes the coordinate that gives its draw. What has no coordinate,
as a finite site that densities sum over, is drawn too and forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import NoPrior
from quivers_nb.lower.activation import Activation
from quivers_nb.lower.answers import Answer, Given, Prior, SiteKey
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute
from quivers_nb.lower.timeline import Gathered


def drawn_positions(
    act: Activation,
    layout: Layout,
    weights: Mapping[str, Tensor],  # storage key -> (*storage shape), or one for each draw
    count: int,
    generator: Generator,
) -> Tensor:  # -> (count, dim)
    """``count`` runs at once.

    Raises `NoPrior` naming the site that cannot be drawn.
    """
    drawing = _Drawing(layout, count, generator, act.dtype)
    given = Given(act.prepared.sites, 0, act.entry.one_row, act.entry.advice)
    sources = (given, drawing, Prior(generator))
    shape, stack = act.entry.batch_shape, (count,)
    run = Run(sources, weights, shape, act.dtype, act.device, stack, checked=False, prior=True)
    with torch.no_grad():
        execute(act.frame(run), act.inputs)
    return drawing.positions()


@dataclass
class _Drawing:
    """Answers for the sites of the layout with draws, and notes their coordinates."""

    layout: Layout
    count: int
    generator: Generator
    dtype: torch.dtype
    found: Gathered = field(default_factory=Gathered)
    known: dict[str, Tensor] = field(default_factory=dict)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        coordinate = next((c for c in self.layout if c.name == site.path), None)
        if coordinate is None:
            return None
        if site.place in self.known:  # of a block that is run again, to be scored at what it drew
            return Answer(self.known[site.place], None)
        if stack != (self.count,):
            raise NoPrior(
                f"`{site.path}` stands in a grouped `marginalize`, where each group would need a "
                "draw of its own class"
            )
        if coordinate.standard_normal:
            event = dist.noise_event or ()
            u = self._normals((*stack, *dist.lead, *event))
            value = dist.from_noise(u)
        else:
            event = dist.unconstrained_event()
            value = self._draw(site, dist, stack)
            u = dist.unconstrain(value)
        self.known[site.place] = value
        self.found.add(site.path, site.steps, u, len(dist.lead) + len(event))
        return Answer(value, None)

    def _draw(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Tensor:
        try:
            return dist.sample(stack, self.generator)
        except UserError as error:
            raise NoPrior(f"`{site.path}` is {dist.label}: {error}") from error

    def _normals(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=self.dtype)

    def positions(self) -> Tensor:  # -> (count, dim)
        q = torch.zeros(self.count, self.layout.dim, dtype=self.dtype)
        self.layout.write(q, self.found.whole())
        return q
