"""Linear Gaussian chains: their coefficients are read off the cell itself, at all steps at once.

The cell is run at the origin and at every unit vector of what it draws (a stack axis of n + 1
points, time as rows). A location that is affine gives its offset and its matrix there; the scales
do not depend on the point. `quivers_nb.lower.kalman` then integrates the states.
"""

from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from quivers_nb.check.affine import GaussianCell
from quivers_nb.lower.answers import Answer, Answerer, SiteKey
from quivers_nb.lower.branches import Flow
from quivers_nb.lower.dists import Dist, Simple
from quivers_nb.lower.kalman import Linear, log_evidence
from quivers_nb.lower.run import Run, unanswered
from quivers_nb.lower.scan import Scan


def integrated(scan: Scan, run: Run, cell: GaussianCell, prefix: str, count: int) -> Flow:
    """The chain as one branch, whose log weight is the density of its observations.

    ``run`` has the steps as rows.
    """
    lead, width = (*scan.lead, count), scan.start.value.shape[-1]
    size = width + cell.size
    points = _Points(cell, prefix, width, size, lead, run.answerers, len(run.stack), run.prior)
    inner = replace(run, stack=(size + 1, *run.stack), answerers=(points, *run.answerers))
    x = Flow(scan.inputs.value[..., :count, :])
    state = Flow(points.unit(0, (width,)))
    out = scan.walk.flow(scan.node.cell, inner, scan.cell_input(x, state), lead)
    shape = (*run.stack, *lead)
    returned = _linear(out.value, shape, width)
    mask = None if scan.line.mask is None else scan.line.mask[..., :count]
    start = scan.start.value.expand((*run.stack, *scan.lead, width))
    weight = log_evidence(points.found, returned, start, mask)
    for term in inner.row_terms:  # of observations that do not depend on the state
        counted = term if mask is None else torch.where(mask, term, 0.0)
        weight = weight + counted.sum(-1)
    for term in inner.shared_terms:
        weight = weight + count * term.reshape((*term.shape, *((1,) * len(scan.lead))))
    return Flow(scan.start.value.unsqueeze(0), weight.unsqueeze(0))


def _linear(values: Tensor, shape: tuple[int, ...], width: int) -> Linear:
    """Offset and matrix of what is affine: ``values`` is (n + 1, *s, *lead, T, d)."""
    full = values.expand((values.shape[0], *shape, width))
    origin = full[0]
    return Linear(origin, (full[1:] - origin).movedim(0, -1))


@dataclass
class _Points:
    """Answers for the sites of a cell with unit vectors, and notes their locations and scales."""

    cell: GaussianCell
    prefix: str
    width: int
    size: int
    lead: tuple[int, ...]
    others: tuple[Answerer, ...]
    stack_rank: int
    prior: bool = False  # observations are read and not scored
    found: list[Linear] = field(default_factory=list)

    def unit(self, offset: int, shape: tuple[int, ...]) -> Tensor:
        """A value at the origin and every unit vector: ``(n + 1, *1 stack, *1 lead, *shape)``."""
        count = prod(shape)
        table = torch.zeros(self.size + 1, count)
        table[torch.arange(count) + offset + 1, torch.arange(count)] = 1.0
        ones = (1,) * (self.stack_rank + len(self.lead))
        return table.reshape((self.size + 1, *ones, *shape))

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        name = site.path.removeprefix(self.prefix)
        offset = self.width
        for known, shape in self.cell.sites:
            if known == name:
                self.found.append(self._noisy(dist, stack))
                value = self.unit(offset, shape)
                return Answer(value.to(_params(dist)[0]), None)
            offset += prod(shape)
        if name not in self.cell.observed:
            return None
        found = (source.answer(site, dist, stack) for source in self.others)
        answer = next((each for each in found if each is not None), None)
        if answer is None:
            raise unanswered(site)
        if self.prior:
            return Answer(answer.value, None, given=True)
        linear = self._noisy(dist, stack)
        flat = answer.value.reshape(
            (*answer.value.shape[: answer.value.ndim - self._own(dist)], -1)
        )
        value = flat.expand((*stack[1:], *flat.shape[-1 - len(self.lead) :]))
        self.found.append(replace(linear, value=value))
        return Answer(answer.value, None, given=True)

    def _own(self, dist: Dist) -> int:
        return len(dist.lead) - len(self.lead) + len(dist.event)

    def _noisy(self, dist: Dist, stack: tuple[int, ...]) -> Linear:
        """Location at every point, and the covariance, which is the same at all."""
        loc, scale = _params(dist)
        own = (*dist.lead[len(self.lead) :], *dist.event)
        rows = (*stack[1:], *self.lead)
        flat = loc.expand((*stack, *self.lead, *own)).reshape((*stack, *self.lead, prod(own)))
        linear = _linear(flat, rows, prod(own))
        event = own if dist.label == "Normal" else (*own, *own[-1:])
        wide = scale.expand((*stack, *self.lead, *event))[0]  # the same at every point
        if dist.label == "Normal":
            noise = torch.diag_embed(wide.reshape((*rows, prod(own))).square())
        else:
            noise = wide @ wide.mT
        return replace(linear, noise=noise)


def _params(dist: Dist) -> tuple[Tensor, ...]:
    assert isinstance(dist, Simple)
    return dist.params
