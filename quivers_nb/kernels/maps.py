"""Increasing maps of numbers by name, for `Pushforward` (section 8.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.kernels.families.numeric import INF, softplus
from quivers_nb.kernels.intervals import Bound, larger, smaller

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Map:
    """``y = forward(x)`` for x in ``domain``, with y in ``image``.

    ``log_slope(x)`` is log dy/dx; ``inner_point`` lies inside the image and stands in for values
    outside it. ``fixed``: the map has no parameters, so that it takes numbers to numbers.
    """

    forward: Function
    inverse: Function
    log_slope: Function
    domain: tuple[float, float] = (-INF, INF)
    image: tuple[float, float] = (-INF, INF)
    inner_point: float = 0.5
    fixed: bool = True

    def of_bound(self, bound: Bound) -> Bound:
        """Where an end of an interval goes; outside the domain its end is taken."""
        return self._end(self.forward, bound, self.domain, self.image)

    def inverse_of_bound(self, bound: Bound) -> Bound:
        """Where an end of an interval of values comes from."""
        return self._end(self.inverse, bound, self.image, self.domain)

    def _end(
        self,
        function: Function,
        bound: Bound,
        start: tuple[float, float],
        goal: tuple[float, float],
    ) -> Bound:
        low, high = start
        if isinstance(bound, Tensor):
            inside = (bound > low) & (bound < high)
            middle = function(torch.where(inside, bound, _between(low, high)))
            ends = torch.where(bound <= low, max(goal[0], -FAR), min(goal[1], FAR))
            return torch.where(inside, middle, ends)
        kept = smaller(larger(bound, low), high)
        assert isinstance(kept, float)
        if kept == low:
            return goal[0]
        if kept == high:
            return goal[1]
        image = function(torch.tensor(kept, dtype=torch.float64))
        return float(image) if self.fixed else image


FAR = 1e15  # stands for an infinite end where tensors must stay finite


def _between(low: float, high: float) -> float:
    return 0.5 if (low, high) != (-INF, INF) else 0.0


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))


def _logit(y: Tensor) -> Tensor:
    return y.log() - torch.log1p(-y)


UNIT = (0.0, 1.0)
HALF_LINE = (0.0, INF)
MAPS: Mapping[str, Map] = MappingProxyType(
    {
        "Identity": Map(lambda x: x, lambda y: y, torch.zeros_like),
        "Exp": Map(torch.exp, torch.log, lambda x: x, image=HALF_LINE),
        "Log": Map(torch.log, torch.exp, lambda x: -x.log(), domain=HALF_LINE),
        "Sigmoid": Map(torch.sigmoid, _logit, lambda x: logsigmoid(x) + logsigmoid(-x), image=UNIT),
        "Logit": Map(_logit, torch.sigmoid, lambda x: -x.log() - torch.log1p(-x), domain=UNIT),
        "Softplus": Map(softplus, _inverse_softplus, logsigmoid, image=HALF_LINE),
    }
)
