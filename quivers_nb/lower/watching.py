"""Answerers that stand before others: they pass every question on and remember what was said."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from quivers_nb.inference.centering import Centerings
from quivers_nb.inference.layout import Layout
from quivers_nb.lower.answers import Answer, Answerer, Given, SiteKey, first_answer
from quivers_nb.lower.centering import place_of
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.timeline import Gathered


@dataclass
class Watch:
    """Passes every question on and notes the answers."""

    sources: tuple[Answerer, ...] = ()
    values: Gathered = field(default_factory=Gathered)
    terms: dict[str, Tensor] = field(default_factory=dict)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        answer = first_answer(self.sources, site, dist, stack)
        if answer is not None:
            behind = len(dist.lead) + len(dist.event)
            self.values.add(site.path, site.steps, answer.value, behind)
        if answer is not None and answer.term is not None:
            known = self.terms.get(site.path)  # of a scan: the steps before
            self.terms[site.path] = answer.term if known is None else known + answer.term
        return answer


@dataclass
class Pinned:
    """Answers sites of the layout with given values, noting their unconstrained coordinates."""

    given: Given
    layout: Layout
    centerings: Centerings = field(default_factory=dict)
    sources: tuple[Answerer, ...] = ()
    found: Gathered = field(default_factory=Gathered)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        coordinate = next((c for c in self.layout if c.name == site.path), None)
        pinned = self.given.answer(site, dist, stack)
        if coordinate is not None and pinned is not None and not coordinate.standard_normal:
            u = self._coordinate(site, dist, pinned.value)
            self.found.add(
                site.path, site.steps, u, len(dist.lead) + len(dist.unconstrained_event())
            )
            return pinned
        return first_answer(self.sources, site, dist, stack)

    def _coordinate(self, site: SiteKey, dist: Dist, value: Tensor) -> Tensor:
        u = dist.unconstrain(value.to(dist_dtype(value)))
        centering = self.centerings.get(site.path)
        if centering is None:
            return u
        place = place_of(dist)
        assert place is not None, site.path  # only sites with a place are given a centering
        return centering.coordinate(u, place)


def dist_dtype(value: Tensor) -> torch.dtype:
    """The dtype unconstrained coordinates of a value have."""
    return value.dtype if value.is_floating_point() else torch.get_default_dtype()
