"""Element by element comparison of compiled operations with torch, in units in the last place.

`Both` compiles several functions of the same tensors into one program whose "gradient" is the list
of all their values and slopes, so that every number can be looked at, not only a sum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from quivers_nb.inference.graph import Graph, record
from quivers_nb.inference.native import compile_graph
from quivers_nb.inference.simplify import simplify

Function = Callable[..., Tensor]
SUBNORMAL = {torch.float64: 5e-324, torch.float32: 1e-45}


def spacing(x: Tensor) -> Tensor:
    """The distance from |x| to the next number of its dtype, at least that of normal numbers."""
    a = x.abs().clamp_min(torch.finfo(x.dtype).tiny)
    return torch.nextafter(a, torch.full_like(a, torch.inf)) - a


def ulps(ours: Tensor, theirs: Tensor) -> Tensor:
    """Distances in units in the last place of ``theirs``; infinite where NaN or infinity differ."""
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    finite = ours.isfinite() & theirs.isfinite()
    apart = (ours.double() - theirs.double()).abs() / spacing(theirs).double()
    return torch.where(same, 0.0, torch.where(finite, apart, torch.inf))


@dataclass
class Both:
    """``functions`` of tensors of ``shapes`` compiled together, and the same in torch."""

    functions: Sequence[Function]
    shapes: Sequence[tuple[int, ...]]
    slopes: bool = True
    pieces: list[tuple[str, int, int]] = field(default_factory=list)  # what, function, length

    @property
    def size(self) -> int:
        return sum(map(prod, self.shapes))

    def parts(self, q: Tensor) -> list[Tensor]:
        cut = q[: self.size].split([prod(shape) for shape in self.shapes])
        return [p.reshape(s) for p, s in zip(cut, self.shapes, strict=True)]

    def everything(self, q: Tensor) -> Tensor:
        """Values and slopes of all functions, one behind the other."""
        found, self.pieces = [], []
        for number, function in enumerate(self.functions):
            with torch.enable_grad():
                q = q.detach().requires_grad_(True)
                value = function(*self.parts(q))
                found.append(("value", number, value.detach().reshape(-1)))
                if self.slopes and value.requires_grad:
                    weights = 0.75 + torch.arange(value.numel(), dtype=q.dtype) % 5
                    loss = (value * weights.reshape(value.shape)).sum()
                    (slope,) = torch.autograd.grad(loss, q)
                    found.append(("slope", number, slope[: self.size]))
        self.pieces = [(what, number, part.numel()) for what, number, part in found]
        return torch.cat([part for _, _, part in found])

    def graph(self, q: Tensor) -> Graph:
        """``q`` made long enough to hold all results -> (a number, all results)."""
        length = max(self.everything(q).numel(), self.size)
        wide = torch.cat([q, q.new_zeros(length - q.numel())])

        def run(q: Tensor) -> tuple[Tensor, Tensor]:
            results = self.everything(q)
            return q[0] * 1.0, torch.cat([results, q.new_zeros(length - results.numel())])

        return simplify(record(run, wide))

    def compare(self, *arguments: Tensor) -> list[tuple[str, int, Tensor, Tensor, Tensor]]:
        """Per function value and slope: (what, number, ours, theirs, distance in ulps)."""
        q = torch.cat([a.reshape(-1) for a in arguments])
        graph = self.graph(q)
        native = compile_graph(graph)
        wide = torch.cat([q, q.new_zeros(native.dim - q.numel())])
        _, ours = native.value_and_grad(wide)
        theirs, found, start = self.everything(q), [], 0
        for what, number, length in self.pieces:
            a, b = (t[start : start + length] for t in (ours, theirs))
            found.append((what, number, a, b, ulps(a, b)))
            start += length
        return found


def edges(dtype: torch.dtype) -> Tensor:
    """Numbers at which functions go wrong, and enough ordinary ones to fill vector loops."""
    info = torch.finfo(dtype)
    small = [0.0, SUBNORMAL[dtype], 1e3 * SUBNORMAL[dtype], info.tiny, info.eps, 1e-12, 1e-5, 1e-3]
    plain = [0.1, 0.25, 0.5, 0.75, 1.0 - info.eps, 1.0, 1.0 + info.eps, 1.5, 2.0, 2.5, 3.0, 5.0]
    large = [6.0, 10.0, 20.0, 25.5, 30.0, 38.0, 50.0, 87.0, 89.0, 104.0, 150.0, 300.0, 700.0, 710.0]
    huge = [746.0, 1e4, 1e6, 1e9, 1e15, 1e30, info.max / 4, info.max, torch.inf]
    numbers = torch.tensor([*small, *plain, *large, *huge], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        s * torch.randn(40, generator=generator, dtype=torch.float64) for s in (1.0, 5.0, 60.0)
    ]
    whole = torch.cat([numbers, -numbers, torch.tensor([torch.nan]), *drawn])
    return whole.to(dtype)
