"""Small networks inside guides: tanh layers, optionally masked, the last one starting at zero.

A guide that starts with zero outputs starts as the simple density that it is built on.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import linear

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.options import whole_numbers


def widths_of(hidden: Any) -> tuple[int, ...]:
    """The widths of hidden layers. Raises `UserError` for what are none."""
    widths = whole_numbers(hidden)
    if widths is not None and min(widths, default=1) >= 1:
        return widths
    raise UserError(
        f"hidden={hidden!r:.60}: the widths of hidden layers are wanted, each a whole number of at "
        "least 1, such as (32,)"
    )


class Layer(nn.Module):
    """``W x + b``, with the entries of W outside ``mask`` held at zero.

    Starts uniform in ``1 / sqrt(width)`` like `torch.nn.Linear`, or at zero.
    """

    mask: Tensor | None

    def __init__(
        self,
        width: int,
        out: int,
        dtype: torch.dtype,
        *,
        mask: Tensor | None = None,
        zero: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        bound = 0.0 if zero or not width else 1.0 / sqrt(width)
        weight = torch.empty(out, width, dtype=dtype).uniform_(-bound, bound, generator=generator)
        bias = torch.empty(out, dtype=dtype).uniform_(-bound, bound, generator=generator)
        self.weight, self.bias = Parameter(weight), Parameter(bias)
        self.register_buffer("mask", None if mask is None else mask.to(dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # (*n, width) -> (*n, out)
        """The affine map."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        return linear(x, weight, self.bias)


class Network(nn.Module):
    """Layers of these widths with tanh between them; ``masks`` has one mask per layer.

    An input of width 0 is allowed: the result is then a learned constant.
    """

    def __init__(
        self,
        widths: Sequence[int],
        dtype: torch.dtype,
        *,
        masks: Sequence[Tensor] | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        self.layers = nn.ModuleList(
            Layer(
                width,
                out,
                dtype,
                mask=None if masks is None else masks[place],
                zero=place == len(steps) - 1,
                generator=generator,
            )
            for place, (width, out) in enumerate(steps)
        )

    def forward(self, x: Tensor) -> Tensor:  # (*n, widths[0]) -> (*n, widths[-1])
        """The network's output."""
        for place, layer in enumerate(self.layers):
            x = layer(torch.tanh(x) if place else x)
        return x
