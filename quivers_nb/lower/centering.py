"""Where the distribution of a site lies, and how wide it is, in unconstrained space.

A family is in the table if its draws there are ``loc + scale · noise``, the noise being free of
both: what `quivers_nb.inference.centering` needs to change coordinates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quivers_nb.inference.centering import Centerings, Located, Place
from quivers_nb.inference.layout import Layout
from quivers_nb.lower.answers import Answer, Answerer, SiteKey, first_answer
from quivers_nb.lower.dists import Dist, Simple

# The parameters that are location and scale there; with None for the location, the scale of a
# positive value is the location of its logarithm.
LOCATED: Mapping[str, tuple[str | None, str]] = {
    "Normal": ("loc", "scale"),
    "Cauchy": ("loc", "scale"),
    "Laplace": ("loc", "scale"),
    "Gumbel": ("loc", "scale"),
    "StudentT": ("loc", "scale"),
    "LogNormal": ("loc", "scale"),
    "LogitNormal": ("mu", "sigma"),
    "HalfNormal": (None, "scale"),
    "HalfCauchy": (None, "scale"),
    "HalfStudentT": (None, "scale"),
    "HalfLaplace": (None, "scale"),
}


def place_of(dist: Dist) -> Place | None:
    """Location and scale, broadcasting to ``(*s, *lead, *own)``; None if ``dist`` has not got them.

    Those of a normal vector are rows of its mean and its factor ``(*s, *lead, k, k)``.
    """
    if type(dist) is Simple and dist.family.name == "MultivariateNormal" and not dist.own_event:
        loc, factor = dist.params
        return Place(loc, factor, vector=True)
    if type(dist) is not Simple or dist.family.name not in LOCATED:
        return None
    named = dict(zip((p.name for p in dist.family.parameters), dist.params, strict=False))
    where, width = LOCATED[dist.family.name]
    if where is None:
        return Place(named[width].log(), torch.ones_like(named[width]))
    return Place(named[where], named[width])


@dataclass(frozen=True)
class Recentred:
    """Coordinates of the sites in ``centerings``, whose pieces are theirs; others it leaves."""

    pieces: Mapping[str, Tensor]  # (*s, *shape)
    centerings: Centerings

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        centering = self.centerings.get(site.path)
        if centering is None:
            return None
        place = place_of(dist)
        assert place is not None, site.path  # `located` offered it
        u = centering.value(self.pieces[site.path], place)
        value, log_det = dist.constrain(u)
        own = tuple(range(-len(dist.event), 0))
        moved = centering.log_det(place)
        moved = moved.sum(own) if own else moved
        return Answer(value, dist.log_prob(value) + log_det + moved, free=True)


@dataclass
class Locating:
    """Passes every question on, and notes where the sites of ``layout`` are that can be recentred.

    Noise coordinates are non-centred for good (R3), and states of scans are left alone.
    """

    layout: Layout
    sources: tuple[Answerer, ...] = ()
    found: dict[str, Located] = field(default_factory=dict)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        answer = first_answer(self.sources, site, dist, stack)
        if answer is not None:
            self._note(site, dist, answer.value)
        return answer

    def _note(self, site: SiteKey, dist: Dist, value: Tensor) -> None:
        coordinate = next((c for c in self.layout if c.name == site.path), None)
        place = None if site.steps else place_of(dist)
        if coordinate is None or coordinate.standard_normal or place is None:
            return
        self.found[site.path] = Located(dist.unconstrain(value), place)
