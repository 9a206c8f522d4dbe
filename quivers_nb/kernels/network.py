"""Parameter networks: what turns a kernel's input into its raw vector (section 4.5).

A network is data, the tensors it owns (`network_spec`), and one pure function of tensors and input
(`apply_network`), so that weights may be stacked, lifted or swapped without a module in the way.

Shapes. Weights are ``(*k, out, in)`` and biases ``(*k, out)``, where ``*k`` (chains, replicated
kernels) is usually empty. The input is ``(*k, *n, in)`` with as many axes in front as the weights
have, each of equal size or 1 (shared), and the result ``(*k, *n, P)``. A table is
``(*k, size, P)`` and takes indices ``(*k, *n)``.

Laws, checked for every kind of source by ``tests/laws/test_kernel_laws.py``:
    torch     a fresh network equals a `torch.nn` one made at the same state of the generator;
    stacking  stacked weights give the stack of the results.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import linear

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels.transforms import NO_SETTINGS, Settings, scale_start
from quivers_nb.spaces.family import Family

Kind = Literal["mlp", "linear", "lookup", "identity", "attention"]
Tensors = Mapping[str, Tensor]

TABLE_NOISE = 0.1
EXPLICIT_TABLE_NOISE = 0.01  # of a lookup that was asked for by an option
SCALE_DAMPING = 0.1  # of the weights, or the table's noise, of a block that starts at a scale (R5)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a network: its name, shape, and the spread of its first values."""

    name: str
    shape: tuple[int, ...]
    law: Literal["uniform", "normal", "zero"]  # U(-spread, spread), N(0, spread^2), 0
    spread: float = 0.0

    def draw(self, generator: Generator | None, dtype: torch.dtype) -> Tensor:
        """First values; ``generator`` None is torch's global one."""
        tensor = torch.empty(self.shape, dtype=dtype)
        if self.law == "uniform":
            return tensor.uniform_(-self.spread, self.spread, generator=generator)
        if self.law == "normal":
            return tensor.normal_(generator=generator).mul_(self.spread)
        return tensor.zero_()


def network_spec(
    kind: Kind,
    in_dim: int,
    raw: int,
    *,
    widths: tuple[int, ...] = (64, 64),
    heads: int = 4,
    table_size: int = 0,
    explicit: bool = False,
) -> tuple[TensorSpec, ...]:
    """The tensors of a network from ``in_dim`` (or indices below ``table_size``) to ``raw``.

    ``widths`` are the hidden widths of an mlp. ``explicit``: the source was asked for by an option
    (a lookup then starts smaller). Raises `UserError` where ``heads`` does not divide ``in_dim`` or
    an identity's widths differ.
    """
    match kind:
        case "mlp":
            return _layers(in_dim, widths, raw)
        case "linear":
            return _layers(in_dim, (), raw)
        case "lookup":
            noise = EXPLICIT_TABLE_NOISE if explicit else TABLE_NOISE
            return (TensorSpec("table", (table_size, raw), "normal", noise),)
        case "identity":
            return _nothing(in_dim, raw)
        case "attention":
            return (*_attention(in_dim, heads), *_layers(in_dim, (), raw))


def _nothing(in_dim: int, raw: int) -> tuple[TensorSpec, ...]:
    if in_dim != raw:
        raise UserError(
            f"param_source=identity reads the input as the {raw} raw parameters, but the input has "
            f"{in_dim} numbers; use param_source=linear"
        )
    return ()


def _layers(in_dim: int, widths: tuple[int, ...], raw: int) -> tuple[TensorSpec, ...]:
    specs: list[TensorSpec] = []
    for layer, out_dim in enumerate((*widths, raw)):
        specs.extend(_affine_specs(f"weight{layer}", f"bias{layer}", in_dim, out_dim))
        in_dim = out_dim
    return tuple(specs)


def _affine_specs(weight: str, bias: str, in_dim: int, out_dim: int) -> tuple[TensorSpec, ...]:
    """`torch.nn.Linear`'s start: Kaiming uniform with a = sqrt(5), bias within 1/sqrt(in)."""
    gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
    bound = math.sqrt(3.0) * (gain / math.sqrt(in_dim))  # in torch's order of rounding
    return (
        TensorSpec(weight, (out_dim, in_dim), "uniform", bound),
        TensorSpec(bias, (out_dim,), "uniform", 1 / math.sqrt(in_dim)),
    )


def _attention(dim: int, heads: int) -> tuple[TensorSpec, ...]:
    """`torch.nn.MultiheadAttention`'s start: Xavier for queries, keys and values, zero biases."""
    if dim % heads:
        raise UserError(
            f"attention with {heads} heads needs an input whose width {heads} divides, not {dim}; "
            "choose heads=1 or another divisor"
        )
    return (
        TensorSpec("out_weight", (dim, dim), "uniform", 1 / math.sqrt(dim)),
        TensorSpec("in_weight", (3 * dim, dim), "uniform", math.sqrt(6.0 / (4 * dim))),
        TensorSpec("in_bias", (3 * dim,), "zero"),
        TensorSpec("out_bias", (dim,), "zero"),
    )


def initial_tensors(
    specs: tuple[TensorSpec, ...],
    generator: Generator | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """First values of all tensors, drawn in order."""
    dtype = torch.get_default_dtype() if dtype is None else dtype
    return {spec.name: spec.draw(generator, dtype) for spec in specs}


# --- where the scale starts (R5) ---------------------------------------------------------------


def start_at_scale(
    row: Family,
    tensors: Tensors,
    scale: float,
    d: int,
    settings: Settings = NO_SETTINGS,
    m: int | None = None,
) -> dict[str, Tensor]:
    """The tensors changed so that the family's scale block starts at ``scale``.

    In a last layer the block's bias becomes the raw value of ``scale`` and its weights are damped;
    in a table its entries become that value plus damped noise.
    Raises `UserError` if the family has no scale, or the network nothing to set (identity).
    """
    where, level = scale_start(row, scale, d, settings, m)
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    if "table" in changed:
        table = changed["table"]
        table[:, where] = table.new_tensor(level) + SCALE_DAMPING * table[:, where]
        return changed
    last = sum(name.startswith("weight") for name in changed) - 1
    if last < 0:
        raise UserError("param_source=identity has no scale to start at; leave out scale")
    changed[f"weight{last}"][where] *= SCALE_DAMPING
    changed[f"bias{last}"][where] = changed[f"bias{last}"].new_tensor(level)
    return changed


# --- evaluation --------------------------------------------------------------------------------


def apply_network(kind: Kind, tensors: Tensors, x: Tensor, *, heads: int = 4) -> Tensor:
    """The raw vector at ``x``; shapes as in the module's docstring.

    Attention reads ``(*k, *n, L, in)`` and averages over L.
    """
    match kind:
        case "mlp" | "linear":
            return _chain(tensors, x)
        case "lookup":
            return _look_up(tensors["table"], x)
        case "identity":
            return x
        case "attention":
            return _chain(tensors, _attend(tensors, x, heads).mean(-2))


def _chain(tensors: Tensors, x: Tensor) -> Tensor:
    """Affine layers with tanh between; stacked weights share one batched product per layer."""
    stack = tensors["weight0"].shape[:-2]
    if stack:
        return _stacked_chain(tensors, x, stack)
    x = linear(x, tensors["weight0"], tensors["bias0"])
    layer = 1
    while f"weight{layer}" in tensors:
        x = linear(x.tanh(), tensors[f"weight{layer}"], tensors[f"bias{layer}"])
        layer += 1
    return x


def _stacked_chain(tensors: Tensors, x: Tensor, stack: torch.Size) -> Tensor:
    """The same with rows last, ``W x' + b``: gradients of weights come out in their own layout."""
    rows = x.shape[len(stack) : -1]
    x = _flat_rows(x, stack).mT
    x = _affine_columns(tensors["weight0"], tensors["bias0"], x)
    layer = 1
    while f"weight{layer}" in tensors:
        x = _affine_columns(tensors[f"weight{layer}"], tensors[f"bias{layer}"], x.tanh())
        layer += 1
    x = x.mT
    if len(stack) == len(rows) == 1:
        return x
    return x.reshape(*stack, *rows, x.shape[-1])


def _affine_columns(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """``(*k, out, in), (*k, out), (prod k, in, rows) -> (prod k, out, rows)``."""
    if weight.dim() > 3:
        weight, bias = weight.flatten(0, -3), bias.flatten(0, -2)
    return torch.baddbmm(bias.unsqueeze(-1), weight, x)


def _affine(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """``x W' + b``; with stacked weights ``(*k, out, in)``, x is ``(prod k, rows, in)``."""
    flat = weight.flatten(0, -3) if weight.dim() > 3 else weight
    return torch.baddbmm(bias.reshape(-1, 1, bias.shape[-1]), x, flat.mT)


def _look_up(table: Tensor, x: Tensor) -> Tensor:  # (*k, size, P), (*k, *n) -> (*k, *n, P)
    depth = table.dim() - 2
    rows = x.shape[depth:]
    if x.shape[:depth].numel() == 1:  # the same indices for every table
        picked = table.index_select(-2, x.reshape(-1))
        return picked.reshape(*table.shape[:-2], *rows, table.shape[-1])
    index = x.expand(*table.shape[:-2], *rows).reshape(*table.shape[:-2], -1, 1)
    picked = table.gather(-2, index.expand(*index.shape[:-1], table.shape[-1]))
    return picked.reshape(*table.shape[:-2], *rows, table.shape[-1])


def _attend(tensors: Tensors, x: Tensor, heads: int) -> Tensor:  # (*k, *n, L, d) -> the same
    """Self-attention (Vaswani et al. 2017), as in `torch.nn.MultiheadAttention`."""
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(-2, -3)
        for part in _affine_stack(tensors["in_weight"], tensors["in_bias"], x).chunk(3, -1)
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    joined = mixed.transpose(-2, -3).flatten(-2)
    return _affine_stack(tensors["out_weight"], tensors["out_bias"], joined)


def _affine_stack(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    stack = weight.shape[:-2]
    if not stack:
        return linear(x, weight, bias)
    rows = x.shape[len(stack) : -1]
    return _affine(weight, bias, _flat_rows(x, stack)).reshape(*stack, *rows, weight.shape[-2])


def _flat_rows(x: Tensor, stack: torch.Size) -> Tensor:  # (*k, *n, in) -> (prod k, prod n, in)
    if not stack or (len(stack) == 1 and x.dim() == 3 and x.shape[0] == stack[0]):
        return x
    return x.expand(*stack, *x.shape[len(stack) :]).reshape(stack.numel(), -1, x.shape[-1])
