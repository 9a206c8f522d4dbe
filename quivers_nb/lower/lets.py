"""Let expressions in torch (section 7.7), evaluated on values with own axes (R11).

Numbers stay Python numbers until they meet a tensor. ``factor`` puts its binder on a new stack
axis in front, so that the body is evaluated once for all elements and never aligns with it; the
axis then moves in front of the body's own axes.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower import builtins
from quivers_nb.lower.let_calls import RANDOM, SPECIAL, literal, logsumexp_of
from quivers_nb.lower.scope import Scope, axis_size, check_range, kind, lookup, readable
from quivers_nb.lower.values import Readable, Value, align, gather, pointwise

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def evaluate(expr: ir.LetTerm, scope: Scope) -> Any:
    """The value of ``expr``: a `Readable`, a list, a string or a Python function."""
    return _EVALUATE[type(expr)](expr, scope)


def _arithmetic(expr: ir.Arithmetic, scope: Scope) -> Readable:
    left, right = _number(expr.left, scope, expr.op), _number(expr.right, scope, expr.op)
    if expr.op == "/" or isinstance(left, float) or isinstance(right, float):
        left, right = _in_run(left, scope), _in_run(right, scope)
    return pointwise(OPERATORS[expr.op], left, right)


def _in_run(value: Readable, scope: Scope) -> Readable:
    """Indices that meet a float are numbers of the run's dtype, not of torch's default (R12)."""
    if isinstance(value, Value) and not value.tensor.is_floating_point():
        return replace(value, tensor=value.tensor.to(scope.run.dtype))
    return value


def _negate(expr: ir.Negate, scope: Scope) -> Readable:
    return pointwise(operator.neg, _number(expr.operand, scope, "-"))


def _number(expr: ir.LetTerm, scope: Scope, reader: str) -> Readable:
    """An operand; a refusal names the variable it came from."""
    what = f"{reader}` with `{expr.name}" if isinstance(expr, ir.Variable) else reader
    return readable(evaluate(expr, scope), what)


def _lambda(expr: ir.Lambda, scope: Scope) -> Callable[[Any], Any]:
    return lambda value: evaluate(expr.body, scope.bind(expr.param, value))


def _gather(expr: ir.Gather, scope: Scope) -> Any:
    name = expr.base.name
    base, indices = lookup(name, scope.env), [evaluate(i, scope) for i in expr.indices]
    if isinstance(base, list):
        return base[int(indices[0])]
    if not isinstance(base, Value):
        raise UserError(f"`{name}` is {kind(base)} and cannot be indexed")
    picks = [readable(index, f"{name}[…]") for index in indices]
    if scope.run.checked:
        names = [i.name if isinstance(i, ir.Variable) else "" for i in expr.indices]
        check_range(name, base, picks, names)
    return gather(base, picks)


# --- built-ins ----------------------------------------------------------------------------------


def _apply(call: ir.Apply, scope: Scope) -> Any:
    function = call.function
    args = [evaluate(arg, scope) for arg in call.args]
    if function in SPECIAL:
        return SPECIAL[function](function, args, scope)
    numbers = [
        readable(
            arg, f"{function}` with `{expr.name}" if isinstance(expr, ir.Variable) else function
        )
        for arg, expr in zip(args, call.args, strict=True)
    ]
    if function == "logsumexp" and len(numbers) > 1:
        return logsumexp_of(function, numbers, scope)
    if function in builtins.POINTWISE:
        return pointwise(builtins.POINTWISE[function], *_with_tensor(numbers, scope))
    return _on_last_axis(call, numbers, scope)


def _with_tensor(args: list[Readable], scope: Scope) -> list[Readable]:
    """Arguments of a pointwise built-in in the dtype of the run; at least one is a tensor (R12)."""
    run = scope.run
    out = [_in_run(arg, scope) for arg in args]
    if any(isinstance(arg, Value) for arg in out):
        return out
    first = torch.as_tensor(out[0], dtype=run.dtype, device=run.device)
    return [Value(first, (), rows=False, batch_rank=run.batch_rank), *out[1:]]


def _on_last_axis(call: ir.Apply, args: list[Readable], scope: Scope) -> Value:
    value = args[0]
    if not isinstance(value, Value) or not (value := value.read()).own_rank:
        raise UserError(
            f"`{call.function}` works along the last own axis, but its argument is one number"
            f" (in `{scope.path}`)"
        )
    extra = [literal(arg, call.function) for arg in args[1:]]
    tensor = value.tensor
    if not tensor.is_floating_point() and call.function not in {"sum", "prod", "max", "min"}:
        tensor = tensor.to(scope.run.dtype)
    if call.function in builtins.REDUCTIONS:
        result = builtins.REDUCTIONS[call.function](tensor, *extra)
        return Value(result, value.names[:-1], value.rows, value.batch_rank)
    result = builtins.LAST_AXIS[call.function](tensor, *extra)
    return Value(result, value.names, value.rows, value.batch_rank)


# --- factor -------------------------------------------------------------------------------------


def _factor(expr: ir.Factor, scope: Scope) -> Value:
    if expr.cases is not None:
        return _cases(expr, scope)
    assert expr.body is not None
    sizes = [axis_size(axis, scope.sizes) for _, axis in expr.binders]
    run, inner = scope.run, scope
    rank = len(run.stack) + _outer_binders(scope)
    for k, (name, _) in enumerate(expr.binders):
        steps = torch.arange(sizes[k], device=run.device)
        behind = len(sizes) - k - 1 + rank
        shaped = steps.reshape((-1, *((1,) * behind)))
        index = Value(shaped, (), False, run.batch_rank, span=True)
        inner = inner.bind(name, index)
    inner = inner.bind(_DEPTH, _outer_binders(scope) + len(sizes))
    body = _as_value(evaluate(expr.body, inner), scope)
    return _binders_to_own(body, sizes, [axis.name for _, axis in expr.binders], rank)


_DEPTH = " factor axes"  # how many binder axes stand in front of the stack, for nested factors


def _outer_binders(scope: Scope) -> int:
    return int(scope.env.get(_DEPTH, 0))


def _as_value(value: Any, scope: Scope) -> Value:
    value = readable(value, "factor")
    if isinstance(value, Value):
        return value.read()
    run = scope.run
    dtype = run.dtype if isinstance(value, float) else torch.int64
    tensor = torch.as_tensor(value, dtype=dtype, device=run.device)
    return Value(tensor, (), rows=False, batch_rank=run.batch_rank)


def _binders_to_own(body: Value, sizes: list[int], names: list[str | None], rank: int) -> Value:
    """Move binder axes from the front of the stack to the front of the own axes.

    ``rank`` counts the stack axes behind the binders'; a body that does not read the binders has no
    more than those, and is repeated along the new own axes.
    """
    count, tensor, front = len(sizes), body.tensor, body.front
    own = tensor.shape[front:]
    if body.lead <= rank:
        spread = tensor.reshape((*tensor.shape[:front], *((1,) * count), *own))
        moved = spread.expand((*tensor.shape[:front], *sizes, *own))
    else:
        missing = count + rank - body.lead
        full = tensor.reshape((*((1,) * missing), *tensor.shape))
        full = full.expand((*sizes, *full.shape[count:]))
        last = full.ndim - len(own)
        moved = full.movedim(tuple(range(count)), tuple(range(last - count, last)))
        spare = 0  # stack axes that nothing in the body depends on
        while spare < rank and moved.shape[spare] == 1:
            spare += 1
        moved = moved.reshape(moved.shape[spare:])
    return Value(moved, (*names, *body.names), body.rows, body.batch_rank)


def _cases(expr: ir.Factor, scope: Scope) -> Value:
    assert expr.cases is not None
    values = [_as_value(evaluate(case, scope), scope) for case in expr.cases]
    tensors, names, rows, batch_rank = align(values)
    floats = [t.dtype for t in tensors if isinstance(t, Tensor) and t.is_floating_point()]
    dtype = floats[0] if floats else torch.int64
    shaped = torch.broadcast_tensors(*[t.to(dtype) for t in tensors])  # type: ignore[union-attr]
    front = shaped[0].ndim - len(names)
    (_, axis) = expr.binders[0]
    return Value(torch.stack(list(shaped), front), (axis.name, *names), rows, batch_rank)


_EVALUATE: Mapping[type, Callable[[Any, Scope], Any]] = {
    ir.Literal: lambda expr, _: expr.value,
    ir.Text: lambda expr, _: expr.value,
    ir.Variable: lambda expr, scope: lookup(expr.name, scope.env),
    ir.Items: lambda expr, scope: [evaluate(item, scope) for item in expr.items],
    ir.Arithmetic: _arithmetic,
    ir.Negate: _negate,
    ir.Apply: _apply,
    ir.Gather: _gather,
    ir.Lambda: _lambda,
    ir.Factor: _factor,
}


def draws_masks(expr: ir.LetTerm) -> bool:
    """Whether an expression contains a random built-in."""
    if isinstance(expr, ir.Apply) and expr.function in RANDOM:
        return True
    return any(draws_masks(part) for part in _parts(expr))


def names_in(expr: ir.LetTerm) -> list[str]:
    """The names an expression reads, each once, in the order they are written."""
    found: dict[str, None] = {}
    stack = [expr]
    while stack:
        item = stack.pop()
        if isinstance(item, ir.Variable):
            found[item.name] = None
        elif isinstance(item, ir.Gather):
            found[item.base.name] = None
        stack.extend(reversed(_parts(item)))
    return list(found)


def _parts(expr: ir.LetTerm) -> tuple[ir.LetTerm, ...]:
    match expr:
        case ir.Arithmetic(left=left, right=right):
            return left, right
        case ir.Negate(operand=body) | ir.Lambda(body=body):
            return (body,)
        case ir.Apply(args=parts) | ir.Items(items=parts) | ir.Gather(indices=parts):
            return parts
        case ir.Factor(body=body, cases=cases):
            return cases or ((body,) if body is not None else ())
        case _:
            return ()
