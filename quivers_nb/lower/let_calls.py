"""Let built-ins that are more than one torch function: matrices, masks, and loops over lists."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower import builtins
from quivers_nb.lower.scope import Scope, kind, readable
from quivers_nb.lower.values import Readable, Value, align, pointwise, to_front

Args = list[Any]  # evaluated arguments
RANDOM = frozenset({"dropout", "alpha_dropout"})  # built-ins that draw a mask


def literal(arg: Readable, function: str) -> float:
    """A second argument that must be one number."""
    if isinstance(arg, Value):
        if arg.tensor.numel() != 1:
            raise UserError(f"the second argument of `{function}` must be one number")
        return float(arg.tensor)
    return float(arg)


def logsumexp_of(function: str, args: Sequence[Any], scope: Scope) -> Readable:
    """Of listed values, own axes aligned; whole numbers and literals in the run's dtype (R12)."""
    values = [
        v if v.tensor.is_floating_point() else replace(v, tensor=v.tensor.to(scope.run.dtype))
        for v in _values(function, args, scope)
    ]
    return pointwise(_logsumexp, *values)


def _logsumexp(*tensors: Tensor) -> Tensor:
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(*tensors), -1), -1)


def _values(function: str, args: Sequence[Any], scope: Scope) -> list[Value]:
    run = scope.run
    out = []
    for arg in args:
        value = readable(arg, function)
        if not isinstance(value, Value):
            tensor = torch.as_tensor(value, dtype=run.dtype, device=run.device)
            value = Value(tensor, (), rows=False, batch_rank=run.batch_rank)
        out.append(value.read())
    return out


def _matmul_call(function: str, args: Args, scope: Scope) -> Value:
    a, b = _values(function, args, scope)
    if not 1 <= a.own_rank <= 2 or not 1 <= b.own_rank <= 2:
        raise UserError(
            f"`matmul` takes matrices or vectors, got own shapes {a.own_shape} and {b.own_shape}"
        )
    if a.own_shape[-1] != b.own_shape[0]:
        raise UserError(
            f"`matmul` of own shapes {a.own_shape} and {b.own_shape}: inner lengths differ"
        )
    rows, lead = a.rows or b.rows, max(a.lead, b.lead)
    left, right = to_front(a, rows, lead), to_front(b, rows, lead)
    left = left.unsqueeze(-2) if a.own_rank == 1 else left
    right = right.unsqueeze(-1) if b.own_rank == 1 else right
    left, right = _same_float(left, right, scope)
    result = left @ right
    result = result.squeeze(-1) if b.own_rank == 1 else result
    if a.own_rank == 1:
        result = result.squeeze(-1 if b.own_rank == 1 else -2)
    return Value(result, (*a.names[:-1], *b.names[1:]), rows, a.batch_rank)


def _same_float(a: Tensor, b: Tensor, scope: Scope) -> tuple[Tensor, Tensor]:
    floats = [t.dtype for t in (a, b) if t.is_floating_point()] or [scope.run.dtype]
    dtype = torch.promote_types(floats[0], floats[-1])
    return a.to(dtype), b.to(dtype)


def _dot_call(function: str, args: Args, scope: Scope) -> Readable:
    product = pointwise(operator.mul, *_values(function, args, scope))
    assert isinstance(product, Value)
    if not product.own_rank:
        raise UserError(f"`dot` needs own axes to sum over (in `{scope.path}`)")
    return Value(product.tensor.sum(-1), product.names[:-1], product.rows, product.batch_rank)


def _cholesky_call(function: str, args: Args, scope: Scope) -> Value:
    (k,) = _values(function, args, scope)
    matrix = k.tensor
    sides = k.own_shape[-2:]
    square = sides[0] == sides[1] if len(sides) == 2 else len(sides) == 1 and _is_square(sides[0])
    if not square:
        raise UserError(
            f"`cholesky` takes a square matrix, but got own shape {k.own_shape} (in `{scope.path}`)"
        )
    if k.own_rank == 1:
        size = round(matrix.shape[-1] ** 0.5)
        matrix = matrix.reshape((*matrix.shape[:-1], size, size))
    factor, info = torch.linalg.cholesky_ex(matrix)
    nan = torch.full((), float("nan"), dtype=factor.dtype, device=factor.device)
    factor = torch.where((info > 0)[..., None, None], nan, factor)
    names = k.names if k.own_rank == 2 else (None, None)
    return Value(factor, names, k.rows, k.batch_rank)


def _is_square(size: int) -> bool:
    return isqrt(size) ** 2 == size


def _diag_call(function: str, args: Args, scope: Scope) -> Value:
    (v,) = _values(function, args, scope)
    return Value(torch.diag_embed(v.tensor), (*v.names, v.names[-1]), v.rows, v.batch_rank)


def _quad_form_call(function: str, args: Args, scope: Scope) -> Value:
    factor, scale = _values(function, args, scope)
    rows, lead = factor.rows or scale.rows, max(factor.lead, scale.lead)
    result = builtins.cholesky_quad_form(to_front(factor, rows, lead), to_front(scale, rows, lead))
    return Value(result, (*scale.names[:-1], None), rows, scale.batch_rank)


def _exp_quad_call(function: str, args: Args, scope: Scope) -> Value:
    x, amplitude, length = _values(function, args, scope)
    for what, scale in (("amplitude", amplitude), ("length_scale", length)):
        if scale.own_rank:
            raise UserError(
                f"the {what} of `cov_exp_quad` is one number, but has own shape "
                f"{scale.own_shape} (in `{scope.path}`)"
            )
    rows = x.rows or amplitude.rows or length.rows
    lead = max(x.lead, amplitude.lead, length.lead)
    tensors = [to_front(v, rows, lead) for v in (x, amplitude, length)]
    result = builtins.cov_exp_quad(*tensors)
    return Value(result, (*x.names, x.names[-1]), rows, x.batch_rank)


def _dropout_call(function: str, args: Args, scope: Scope) -> Readable:
    value, *rest = [readable(arg, function) for arg in args]
    if not isinstance(value, Value):
        return value
    rate = literal(rest[0], function) if rest else 0.5
    mask = scope.run.mask(scope.path, tuple(value.tensor.shape), 1.0 - rate)
    if function == "dropout":
        return Value(value.tensor * mask / (1.0 - rate), value.names, value.rows, value.batch_rank)
    low = -1.7580993408473766  # the negative saturation of selu, -scale * alpha
    a = (1.0 / ((1.0 - rate) * (1.0 + rate * low * low))) ** 0.5
    b = -a * rate * low
    dropped = a * (value.tensor * mask + low * (1.0 - mask)) + b
    return Value(dropped, value.names, value.rows, value.batch_rank)


# --- lists --------------------------------------------------------------------------------------


def elements(xs: Any, what: str) -> list[Any]:
    """The items of a list, or slices along the first own axis of a tensor (R8)."""
    if isinstance(xs, list | tuple):
        return list(xs)
    if isinstance(xs, Value) and xs.own_rank:
        slices = xs.tensor.unbind(xs.front)
        return [Value(s, xs.names[1:], xs.rows, xs.batch_rank) for s in slices]
    raise UserError(f"`{what}` runs over a list or a first own axis, not over {kind(xs)}")


def _collect(results: list[Any], like: Any) -> Any:
    """Results of a loop over a tensor's first own axis, as a tensor again."""
    if isinstance(like, list | tuple) or any(isinstance(r, list) for r in results):
        return results
    values = [_as_value(readable(r, "map"), like) for r in results]
    tensors, names, rows, batch_rank = align(values)
    front = max(t.ndim for t in tensors if isinstance(t, Tensor)) - len(names)
    shaped = torch.broadcast_tensors(*tensors)
    return Value(torch.stack(list(shaped), front), (like.names[0], *names), rows, batch_rank)


def _as_value(result: Readable, like: Value) -> Value:
    if isinstance(result, Value):
        return result
    tensor = torch.as_tensor(result, dtype=like.tensor.dtype, device=like.tensor.device)
    return Value(tensor, (), rows=False, batch_rank=like.batch_rank)


def _fold_call(_function: str, args: Args, _scope: Scope) -> Any:
    xs, total, step = args
    for x in elements(xs, "fold"):
        total = step(total)(x)
    return total


def _scanl_call(_function: str, args: Args, _scope: Scope) -> Any:
    xs, total, step = args
    results = []
    for x in elements(xs, "scanl"):
        total = step(total)(x)
        results.append(total)
    return _collect(results, xs)


def _map_call(_function: str, args: Args, _scope: Scope) -> Any:
    xs, step = args
    return _collect([step(x) for x in elements(xs, "map")], xs)


def _filter_call(_function: str, args: Args, _scope: Scope) -> Any:
    xs, keep = args
    return [x for x in elements(xs, "filter") if bool(_truth(keep(x)))]


def _truth(value: Any) -> Any:
    return value.tensor if isinstance(value, Value) else value


def _logsumexp_over_call(function: str, args: Args, scope: Scope) -> Any:
    xs, step = args
    return logsumexp_of(function, [step(x) for x in elements(xs, function)], scope)


def _length_call(_function: str, args: Args, _scope: Scope) -> float:
    return float(len(elements(args[0], "length")))


SPECIAL: Mapping[str, Callable[[str, Args, Scope], Any]] = {
    "matmul": _matmul_call,
    "dot": _dot_call,
    "cholesky": _cholesky_call,
    "diag": _diag_call,
    "cholesky_quad_form": _quad_form_call,
    "cov_exp_quad": _exp_quad_call,
    "dropout": _dropout_call,
    "alpha_dropout": _dropout_call,
    "length": _length_call,
    "map": _map_call,
    "filter": _filter_call,
    "fold": _fold_call,
    "scanl": _scanl_call,
    "logsumexp_over": _logsumexp_over_call,
}
