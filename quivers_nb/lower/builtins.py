"""The let built-ins of section 7.7 and ruling R8, as tables of torch functions.

Names and arities are the checker's business (`quivers_nb.check`); here are the functions alone.
Three tables, by how own axes behave:

    POINTWISE    aligned from the right, applied element by element
    REDUCTIONS   the last own axis goes; own rank 0 is an error
    LAST_AXIS    the last own axis is read as a whole and kept
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Function = Callable[..., Tensor]


def _number(x: Any) -> float:
    return float(x)


def _mish(x: Tensor) -> Tensor:
    return x * torch.tanh(F.softplus(x))


def _prelu(x: Tensor, slope: Tensor | float) -> Tensor:
    return torch.where(x >= 0, x, slope * x)


def _softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    return F.softplus(x, beta=_number(beta))


def _clamp(x: Tensor, low: Any, high: Any) -> Tensor:
    return torch.minimum(
        torch.maximum(x, torch.as_tensor(low, dtype=x.dtype)), torch.as_tensor(high, dtype=x.dtype)
    )


def _compare(op: Callable[[Any, Any], Tensor]) -> Function:
    def compare(a: Any, b: Any) -> Tensor:
        dtype = next(v.dtype for v in (a, b) if isinstance(v, Tensor))
        return op(a, b).to(dtype)

    return compare


def _where(condition: Any, a: Any, b: Any) -> Tensor:
    return torch.where(torch.as_tensor(condition) != 0, a, b)


def _tensor_first(function: Function) -> Function:
    """Let a Python number stand in the first place of a torch function."""

    def apply(x: Any, *rest: Any) -> Tensor:
        if not isinstance(x, Tensor):
            like = next(r for r in rest if isinstance(r, Tensor))
            x = like.new_tensor(float(x))
        return function(x, *rest)

    return apply


_UNARY: Mapping[str, Function] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "selu": torch.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "swish": F.silu,
    "mish": _mish,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "square": torch.square,
    "abs": torch.abs,
    "neg": torch.neg,
    "sign": torch.sign,
    "reciprocal": torch.reciprocal,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "erfinv": torch.erfinv,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
}

_WITH_NUMBERS: Mapping[str, Function] = {
    "leaky_relu": lambda x, slope=0.01: F.leaky_relu(x, _number(slope)),
    "elu": lambda x, alpha=1.0: F.elu(x, _number(alpha)),
    "celu": lambda x, alpha=1.0: F.celu(x, _number(alpha)),
    "rrelu": lambda x, lower=0.125, upper=1 / 3: F.rrelu(x, _number(lower), _number(upper)),
    "hardtanh": lambda x, low=-1.0, high=1.0: F.hardtanh(x, _number(low), _number(high)),
    "hardshrink": lambda x, lambd=0.5: F.hardshrink(x, _number(lambd)),
    "softshrink": lambda x, lambd=0.5: F.softshrink(x, _number(lambd)),
    "softplus": _softplus,
    "threshold": lambda x, at, value: F.threshold(x, _number(at), _number(value)),
}

POINTWISE: Mapping[str, Function] = {
    **{name: _tensor_first(function) for name, function in _UNARY.items()},
    **{name: _tensor_first(function) for name, function in _WITH_NUMBERS.items()},
    "prelu": _tensor_first(_prelu),
    "clamp": _tensor_first(_clamp),
    "pow": _tensor_first(torch.pow),
    "lt": _tensor_first(_compare(torch.lt)),
    "gt": _tensor_first(_compare(torch.gt)),
    "le": _tensor_first(_compare(torch.le)),
    "ge": _tensor_first(_compare(torch.ge)),
    "eq": _tensor_first(_compare(torch.eq)),
    "where": _where,
}

REDUCTIONS: Mapping[str, Function] = {
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(-1),
    "var": lambda x: x.var(-1),
    "std": lambda x: x.std(-1),
    "min": lambda x: x.amin(-1),
    "max": lambda x: x.amax(-1),
    "amin": lambda x: x.amin(-1),
    "amax": lambda x: x.amax(-1),
    "argmin": lambda x: x.argmin(-1),
    "argmax": lambda x: x.argmax(-1),
    "prod": lambda x: x.prod(-1),
    "norm": lambda x, p=2.0: torch.linalg.vector_norm(x, ord=_number(p), dim=-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
}

LAST_AXIS: Mapping[str, Function] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "softmin": lambda x: torch.softmax(-x, -1),
    "normalize": lambda x, p=2.0: F.normalize(x, p=_number(p), dim=-1),
    "cumsum": lambda x: x.cumsum(-1),
    "cumprod": lambda x: x.cumprod(-1),
    "cummax": lambda x: x.cummax(-1).values,
    "cummin": lambda x: x.cummin(-1).values,
    "flip": lambda x: x.flip(-1),
    "sort": lambda x: x.sort(-1).values,
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "rms_norm": lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6),
    "glu": lambda x: F.glu(x, dim=-1),
}


def cholesky_quad_form(factor: Tensor, scale: Tensor) -> Tensor:
    """``diag(s) L Lᵀ diag(s)``, flat: ``(*n, K*K) or (*n, K, K), (*n, K) -> (*n, K*K)``."""
    size = scale.shape[-1]
    square = (
        factor.reshape((*factor.shape[:-1], size, size)) if factor.shape[-1] != size else factor
    )
    scaled = scale.unsqueeze(-1) * square.tril()
    return (scaled @ scaled.mT).flatten(-2)


def cov_exp_quad(x: Tensor, amplitude: Any, length_scale: Any) -> Tensor:
    """Squared-exponential covariance of the points ``x``: ``(*n, N) or (N,) -> (*n, N, N)``."""
    square = (x.unsqueeze(-1) - x.unsqueeze(-2)).square()
    spread = _matrixwise(length_scale)
    height = _matrixwise(amplitude)
    result: Tensor = height * height * torch.exp(-0.5 * square / (spread * spread))
    return result


def _matrixwise(scale: Any) -> Any:
    return scale[..., None, None] if isinstance(scale, Tensor) else scale
