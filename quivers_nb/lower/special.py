"""Kernels that no parameter network stands behind: GP and Horseshoe, Flow, discretize (4.8, 8).

GP, Horseshoe   one vector of raw parameters, the same at every input
Flow            coupling layers whose networks read the input and half of the value
discretize      no weights: the categories nearest to a number, softly
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from quivers_nb.check.term import Morphism
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels.coupling import (
    Networks,
    coupling_log_prob,
    coupling_spec,
    layer_tensors,
    push,
)
from quivers_nb.kernels.gaussian_process import process_factor
from quivers_nb.kernels.network import TensorSpec, apply_network
from quivers_nb.kernels.transforms import EPS, TRANSFORMS
from quivers_nb.lower.dists import Dist, Simple
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Space, is_finite, width
from quivers_nb.spaces.support import REAL, Support

BIN_WIDTH = 0.1  # of the squared distance to a center, in the softmax of discretize (4.8)


# --- one vector for every input -----------------------------------------------------------------


def has_one_vector(morphism: Morphism) -> bool:
    """Whether the kernel's parameters are the same at every input."""
    return morphism.family is not None and not FAMILIES[morphism.family].network


def global_tensors(morphism: Morphism) -> dict[str, Tensor]:
    """``raw`` (P,): at the scale or the settings that are given, else at zero."""
    row, settings = FAMILIES[morphism.family or ""], dict(morphism.settings)
    levels: list[float] = []
    for block in row.kernel or ():
        start = TRANSFORMS[block.transform].start
        given = settings.get(block.parameter)
        if block.parameter == row.scale_block and morphism.scale is not None:
            given = morphism.scale
        levels += [0.0] if given is None or start is None else start(float(given), 1)
    return {"raw": torch.tensor(levels)}


def global_dist(
    morphism: Morphism,
    raw: Tensor,  # (*s, P)
    cut: Callable[[Tensor], tuple[Tensor, ...]],
    x: Tensor,  # (*s, *lead, d); of a GP (*s, *lead, N, D)
    lead: tuple[int, ...],
) -> Dist:
    """The distribution of a family without a network."""
    if raw.ndim > 1:
        raw = raw.reshape((*raw.shape[:-1], *((1,) * len(lead)), raw.shape[-1]))
    params = cut(raw)
    size = width(morphism.cod)
    if morphism.family != "GP":
        return Simple(FAMILIES[morphism.family or ""], params, lead, family_event=(size,))
    if x.shape[-2] != size:
        raise UserError(
            f"`{morphism.name}` draws a function at {size} points (its codomain is "
            f"{morphism.cod_text or morphism.cod}), but reads {x.shape[-2]} points"
        )
    settings = dict(morphism.settings)
    length_scale, amplitude = params
    factor = process_factor(
        str(settings["kernel"]), x, length_scale, amplitude, float(settings["jitter"])
    )
    loc = torch.zeros(size, dtype=factor.dtype, device=factor.device)
    return Simple(FAMILIES["MultivariateNormal"], (loc, factor), lead, family_event=(size,))


# --- Flow ---------------------------------------------------------------------------------------


def flow_specs(morphism: Morphism) -> tuple[TensorSpec, ...]:
    """The tensors of a flow's networks. A finite domain is read as a one-hot vector."""
    assert morphism.source is not None
    condition = _elements(morphism) or width(morphism.dom)
    layers = int(dict(morphism.settings)["n_layers"])
    return coupling_spec(condition, width(morphism.cod), layers, morphism.source.widths[0])


def _elements(morphism: Morphism) -> int:
    return int(morphism.dom.size) if is_finite(morphism.dom) else 0  # type: ignore[union-attr,arg-type]


def flow_dist(
    morphism: Morphism,
    tensors: dict[str, Tensor],
    arrange: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
    x: Tensor,  # (*s, *lead, d), or indices (*s, *lead)
    lead: tuple[int, ...],
) -> Dist:
    """The distribution at ``x``; ``arrange`` applies a network to ``(*s, *lead, in)``."""
    layers = int(dict(morphism.settings)["n_layers"])
    weights = [layer_tensors(tensors, layer) for layer in range(layers)]
    count = _elements(morphism)
    condition = one_hot(x, count).to(weights[0]["bias0"].dtype) if count else x

    def network(layer: int, kept: Tensor) -> Tensor:
        front = np.broadcast_shapes(condition.shape[:-1], kept.shape[:-1])
        both = [part.expand((*front, part.shape[-1])) for part in (condition, kept)]
        own = weights[layer]
        return arrange(lambda v: apply_network("mlp", own, v), torch.cat(both, -1))

    return FlowDist(network, layers, lead, (width(morphism.cod),), condition)


@dataclass(frozen=True, slots=True)
class FlowDist:
    """Standard normal noise through coupling layers; a `quivers_nb.lower.dists.Dist`."""

    networks: Networks
    layers: int
    lead: tuple[int, ...]
    event: tuple[int, ...]
    like: Tensor

    @property
    def discrete(self) -> bool:
        return False

    @property
    def label(self) -> str:
        return "Flow"

    @property
    def support(self) -> Support:
        return REAL

    @property
    def noise_event(self) -> tuple[int, ...]:
        return self.event

    def log_prob(self, value: Tensor) -> Tensor:
        return coupling_log_prob(self.networks, self.layers, value)

    def sample(self, stack: tuple[int, ...], generator: Generator | None) -> Tensor:
        shape = (*stack, *self.lead, *self.event)
        noise = torch.randn(
            shape, generator=generator, dtype=self.like.dtype, device=self.like.device
        )
        return self.from_noise(noise)

    def from_noise(self, noise: Tensor) -> Tensor:
        return push(self.networks, self.layers, noise)

    def unconstrained_event(self) -> tuple[int, ...]:
        return self.event

    def constrain(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return u, u.new_zeros(u.shape[:-1])

    def unconstrain(self, value: Tensor) -> Tensor:
        return value


# --- discretize ---------------------------------------------------------------------------------


def discretize_dist(morphism: Morphism, x: Tensor, lead: tuple[int, ...]) -> Dist:
    """Categories weighted by the distance of their centers to ``x`` (*s, *lead, 1)."""
    space = morphism.dom
    assert isinstance(space, Space)
    bins = int(morphism.cod.size)  # type: ignore[union-attr,arg-type]
    centers = torch.linspace(
        float(space.low or 0.0), float(space.high or 0.0), bins, dtype=x.dtype, device=x.device
    )
    weights = torch.softmax(-(x - centers).square() / BIN_WIDTH, -1)
    return Simple(FAMILIES["CategoricalProbs"], (weights.clamp(min=EPS),), lead)
