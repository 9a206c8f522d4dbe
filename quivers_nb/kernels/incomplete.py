"""Logarithms of the regularized incomplete beta and gamma functions, with all their gradients.

scipy gives the values in double precision (cephes and Boost). Gradients to the last argument are
closed forms; those to the shapes, which no library gives, are fourth-order central differences of
the logarithm, with relative errors around 1e-10. There are no second derivatives.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

STEP = 1e-3  # of the differences, relative to the shape
TINY = float(np.finfo(np.float64).tiny)


def log_beta_inc(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """log I_x(a, b) for x in [0, 1]: P(Beta(a, b) <= x)."""
    return _apply("betainc", x, a, b)


def log_beta_inc_upper(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """log(1 - I_x(a, b)), without cancellation."""
    return _apply("betaincc", x, a, b)


def log_gamma_inc(a: Tensor, x: Tensor) -> Tensor:
    """log P(a, x) for x >= 0: the Gamma(a, 1) distribution function."""
    return _apply("gammainc", x, a)


def log_gamma_inc_upper(a: Tensor, x: Tensor) -> Tensor:
    """log Q(a, x) = log(1 - P(a, x)), without cancellation."""
    return _apply("gammaincc", x, a)


def inverse(name: str, p: Tensor, *shapes: Tensor) -> Tensor:
    """A function of `scipy.special` such as ``betaincinv(*shapes, p)``; no gradients."""
    _read(*shapes, p)
    return _on_arrays(_special(name), *shapes, p)


def _read(*tensors: Tensor) -> None:
    """Say to whoever records operations that numbers leave the world of tensors here.

    scipy's results would otherwise be taken for constants, and replayed as such.
    """
    for tensor in tensors:
        tensor.detach().sum().item()


def _on_arrays(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
    like = tensors[-1]
    arrays = [tensor.detach().cpu().double().numpy() for tensor in tensors]
    return torch.as_tensor(function(*arrays), dtype=torch.float64).to(like.device)


def _log_value(name: str, x: np.ndarray, *shapes: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(_special(name)(*shapes, x))  # type: ignore[no-any-return]


def _special(name: str) -> Callable[..., Any]:
    """scipy is loaded when it is first needed: most programs restrict nothing."""
    return getattr(import_module("scipy.special"), name)  # type: ignore[no-any-return]


class _LogIncomplete(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, name: str, x: Tensor, *shapes: Tensor) -> Tensor:
        value = _on_arrays(lambda *arrays: _log_value(name, arrays[-1], *arrays[:-1]), *shapes, x)
        ctx.name = name
        ctx.save_for_backward(value, x, *shapes)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        value, x, *shapes = ctx.saved_tensors
        known = value > -torch.inf
        base = torch.where(known, value, 0.0)
        sign = -1.0 if ctx.name.endswith("cc") else 1.0
        slope = sign * (_log_density(ctx.name, x, *shapes) - base).exp()
        grads = [upstream * torch.where(known & slope.isfinite(), slope, 0.0)]
        for k in range(len(shapes)):
            slope = _difference(ctx.name, k, x, shapes)
            grads.append(upstream * torch.where(known & slope.isfinite(), slope, 0.0))
        return (None, *grads)


def _log_density(name: str, x: Tensor, *shapes: Tensor) -> Tensor:
    a = shapes[0]
    log_x = x.clamp(min=TINY).log()
    if name.startswith("beta"):
        b = shapes[1]
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        rest = torch.log1p(-x.clamp(max=1.0 - 1e-16))
        return (a - 1.0) * log_x + (b - 1.0) * rest - log_beta
    return (a - 1.0) * log_x - x - torch.lgamma(a)


def _difference(name: str, k: int, x: Tensor, shapes: list[Tensor]) -> Tensor:
    """The derivative to shape ``k``: (8 f(+h) - 8 f(-h) - f(+2h) + f(-2h)) / 12h."""

    def slope(*arrays: np.ndarray) -> np.ndarray:
        *fixed, point = arrays
        h = STEP * fixed[k]

        def at(steps: int) -> np.ndarray:
            moved = [s + steps * h if i == k else s for i, s in enumerate(fixed)]
            return _log_value(name, point, *moved)

        with np.errstate(invalid="ignore"):
            return (8.0 * (at(1) - at(-1)) - at(2) + at(-2)) / (12.0 * h)  # type: ignore[no-any-return]

    return _on_arrays(slope, *shapes, x)


def _apply(name: str, x: Tensor, *shapes: Tensor) -> Tensor:
    x, *shapes_ = torch.broadcast_tensors(x, *shapes)
    wide = [tensor.double() for tensor in (x, *shapes_)]
    _read(*wide)
    dtype = x.dtype
    for shape in shapes_:
        dtype = torch.promote_types(dtype, shape.dtype)
    return _LogIncomplete.apply(name, *wide).to(dtype)  # type: ignore[no-any-return,no-untyped-call]
