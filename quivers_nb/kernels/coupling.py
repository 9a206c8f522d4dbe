"""Affine coupling layers: the bijection of a ``~ Flow`` kernel between noise and value.

Dinh, Sohl-Dickstein, Bengio 2017, equations 4 to 8. Layer k keeps the entries of one parity (even
entries for even k) and moves the others,

    moved -> moved * exp(log_scale) + shift,   (shift, log_scale) = network_k(condition, kept),

so both directions cost one pass of each network. Networks are the caller's: a function of the
layer's number and its input, so that weights may be stacked.

Laws, checked by ``tests/kernels/test_coupling.py``: inverse undoes forward; the log determinant is
that of the Jacobian; the density of pushed noise integrates to one.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from quivers_nb.kernels.families.numeric import HALF_LOG_2PI
from quivers_nb.kernels.network import TensorSpec, network_spec

LOG_SCALE_BOUND = 5.0
LINEAR_MAPS = 3  # of a layer's network: two tanh layers and an output

Networks = Callable[[int, Tensor], Tensor]  # layer, (*n, condition + kept) -> (*n, 2 * moved)


def coupling_spec(condition: int, d: int, layers: int, hidden: int) -> tuple[TensorSpec, ...]:
    """The tensors of all layers' networks, numbered through: ``weight0, bias0, weight1, …``."""
    specs: list[TensorSpec] = []
    for layer in range(layers):
        kept = len(range(layer % 2, d, 2))
        own = network_spec("mlp", condition + kept, 2 * (d - kept), widths=(hidden, hidden))
        for place, spec in enumerate(own):
            kind, number = ("weight", "bias")[place % 2], place // 2
            specs.append(replace(spec, name=f"{kind}{LINEAR_MAPS * layer + number}"))
    return tuple(specs)


def layer_tensors(tensors: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """The tensors of one layer's network, under the names that a network has."""
    first = LINEAR_MAPS * layer
    return {
        f"{kind}{number}": tensors[f"{kind}{first + number}"]
        for number in range(LINEAR_MAPS)
        for kind in ("weight", "bias")
    }


def push(networks: Networks, layers: int, noise: Tensor) -> Tensor:  # (*n, d) -> (*n, d)
    """The value that standard normal noise stands for."""
    value = noise
    for layer in range(layers):
        kept, moved = _split(value, layer)
        shift, log_scale = _moves(networks, layer, kept)
        value = _join(kept, moved * log_scale.exp() + shift, layer)
    return value


def pull(networks: Networks, layers: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """The noise of a value, and the log determinant of the map to it: (*n, d) -> (*n, d), (*n,)."""
    log_det = value.new_zeros(())
    for layer in reversed(range(layers)):
        kept, moved = _split(value, layer)
        shift, log_scale = _moves(networks, layer, kept)
        value = _join(kept, (moved - shift) * (-log_scale).exp(), layer)
        log_det = log_det - log_scale.sum(-1)
    return value, log_det


def coupling_log_prob(networks: Networks, layers: int, value: Tensor) -> Tensor:
    """(*n, d) -> (*n,)"""
    noise, log_det = pull(networks, layers, value)
    return log_det - 0.5 * noise.square().sum(-1) - value.shape[-1] * HALF_LOG_2PI


def _split(value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    even, odd = value[..., 0::2], value[..., 1::2]
    return (even, odd) if layer % 2 == 0 else (odd, even)


def _join(kept: Tensor, moved: Tensor, layer: int) -> Tensor:
    """Entries in their places; a short list of odd ones leaves the last even one behind."""
    kept = kept.expand((*moved.shape[:-1], kept.shape[-1]))
    even, odd = (kept, moved) if layer % 2 == 0 else (moved, kept)
    pairs = odd.shape[-1]
    woven = torch.stack([even[..., :pairs], odd], -1).flatten(-2)
    return woven if even.shape[-1] == pairs else torch.cat([woven, even[..., pairs:]], -1)


def _moves(networks: Networks, layer: int, kept: Tensor) -> tuple[Tensor, Tensor]:
    raw = networks(layer, kept)
    shift, log_scale = raw.chunk(2, -1)
    return shift, log_scale.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND)
