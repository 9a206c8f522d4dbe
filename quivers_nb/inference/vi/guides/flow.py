"""Normalizing-flow guides: normal noise through learned invertible maps.

Rezende & Mohamed (2015), "Variational inference with normalizing flows", equations 5-7; the maps
are in `quivers_nb.inference.vi.flows`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Annotated

import torch
from torch import Generator, Tensor

from quivers_nb.inference.model import Model
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive, Words
from quivers_nb.inference.vi.flows.autoregressive import (
    InverseAutoregressive,
    MaskedAutoregressive,
)
from quivers_nb.inference.vi.flows.bijector import Affine, Chain, Reversed, VectorBijector
from quivers_nb.inference.vi.flows.coupling import AffineCoupling, SplineCoupling
from quivers_nb.inference.vi.guides.joint import Block, JointGuide
from quivers_nb.inference.vi.guides.normal import HALF_LOG_TWO_PI
from quivers_nb.inference.vi.network import widths_of
from quivers_nb.inference.vi.rows import Shape

MakeLayer = Callable[[int, Sequence[int], torch.dtype, Generator | None], VectorBijector]

FLOWS: Mapping[str, MakeLayer] = {
    "coupling": AffineCoupling,
    "maf": MaskedAutoregressive,
    "iaf": InverseAutoregressive,
    "spline": SplineCoupling,
}


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What a flow is made of: the kind of its layers, how many, and their hidden widths."""

    kind: str
    num_layers: int
    hidden: tuple[int, ...]
    init_scale: float
    generator: Generator | None

    def build(self, dim: int, dtype: torch.dtype) -> VectorBijector:
        """Layers with the order reversed between them, then a scale and shift."""
        parts: list[VectorBijector] = []
        for layer in range(self.num_layers):
            if layer:
                parts.append(Reversed())
            parts.append(FLOWS[self.kind](dim, self.hidden, dtype, self.generator))
        log_scale = torch.full((dim,), log(self.init_scale), dtype=dtype)
        return Chain([*parts, Affine(torch.zeros(dim, dtype=dtype), log_scale)])


class FlowBlock(Block):
    """The density of standard normal noise after a bijector."""

    def __init__(self, bijector: VectorBijector, dim: int) -> None:
        super().__init__()
        self.bijector, self.dim = bijector, dim

    def sample(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Noise, mapped."""
        like = next(self.bijector.parameters())  # which may have moved since this was made
        shape = (*shape, self.dim)
        noise = torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
        u, log_det = self.bijector(noise)
        return u, self._standard(noise) - log_det

    def density(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n,)
        """The noise's density at the preimage."""
        noise, log_det = self.bijector.inverse(u)
        return self._standard(noise) + torch.as_tensor(log_det)

    def _standard(self, noise: Tensor) -> Tensor:
        return -0.5 * noise.square().sum(-1) - self.dim * HALF_LOG_TWO_PI


@known_options
class AutoNormalizingFlow(JointGuide):
    """A flow over all unconstrained coordinates; rows as in `AutoMultivariateNormal`.

    ``kind``: "iaf" (inverse autoregressive: fast draws, the default), "maf" (masked autoregressive:
    fast density), "coupling" (affine), "spline" (rational-quadratic, good at several modes and odd
    tails within ``4`` starting scales). ``hidden`` are the widths of every layer's network.
    The flow starts as the normal of `AutoNormalGuide`; ``generator`` draws the networks' weights.

    Raises `UserError` if nothing is left to guide or an option is out of its range.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        kind: Annotated[str, Words(tuple(FLOWS))] = "iaf",
        num_layers: Count = 2,
        hidden: Sequence[int] = (32,),
        init_scale: Positive = 0.1,
        rows: int | Shape | None = None,
        generator: Generator | None = None,
    ) -> None:
        options = FlowOptions(kind, num_layers, widths_of(hidden), init_scale, generator)
        super().__init__(
            model,
            observed_names,
            rows,
            lambda dim, dtype: FlowBlock(options.build(dim, dtype), dim),
        )
