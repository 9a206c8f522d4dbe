"""Let expressions: from arithmetic, calls and gathers to terms and what is known of them (7.7)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from quivers_nb.check.axes import shown
from quivers_nb.check.builtins import BUILTINS
from quivers_nb.check.calls import check_call
from quivers_nb.check.environment import Environment
from quivers_nb.check.factors import check_factor
from quivers_nb.check.higher_order import check_lambda
from quivers_nb.check.tensors import Typed, aligned, tensor, union
from quivers_nb.check.term import (
    Arithmetic,
    Gather,
    Items,
    LetTerm,
    Literal,
    Negate,
    Text,
    Variable,
)
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.check.values import UNKNOWN, Shape, Value, scalar
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import tree

NOTHING: LetTerm = Literal(0)


def check_let(expr: tree.LetExpr, env: Environment) -> Typed:
    """The term of an expression and what is known of its value; `UNKNOWN` after an error."""
    return LETS[type(expr)](expr, env)


def _number(expr: tree.Number, _env: Environment) -> Typed:
    return Literal(expr.value), scalar(discrete=isinstance(expr.value, int))


def _string(expr: tree.String, _env: Environment) -> Typed:
    return Text(expr.raw), Value(sort=Shape.TEXT)


def _bound(expr: tree.LetName, env: Environment) -> Typed:
    value = env.value(expr.name)
    return _variable(expr.name, env), value


def _negated(expr: tree.LetNegate, env: Environment) -> Typed:
    term, value = check_let(expr.operand, env)
    value = tensor(value, expr.operand.span, env)
    return Negate(term), replace(_plain(value), discrete=value.discrete)


def _function(expr: tree.LetLambda, env: Environment) -> Typed:
    term, body = check_lambda(expr, (UNKNOWN,), env, check_let)
    return term, Value(rows=body.rows, sort=Shape.FUNCTION)


def _call(expr: tree.LetCall, env: Environment) -> Typed:
    return check_call(expr, env, check_let)


def _factor(expr: tree.LetFactor, env: Environment) -> Typed:
    return check_factor(expr, env, check_let)


def _method(expr: tree.LetMethod, env: Environment) -> Typed:
    name = expr.method.text
    hint = f"functions stand alone: write `{name}(…)`" if name in BUILTINS else None
    not_lowered(f"the method `.{name}`", expr.method.span, env.scope.report, hint)
    return NOTHING, UNKNOWN


def _variable(name: tree.Name, env: Environment) -> Variable:
    env.value(name)
    return Variable(name.text, host=env.is_host(name.text), span=name.span)


def _plain(value: Value) -> Value:
    """The same axes as a value computed, not declared."""
    return Value(rows=value.rows, axes=value.own, sort=value.sort)


def _chain(expr: tree.LetBinary, env: Environment) -> Typed:
    """``a + b - c …``, without recursion along the left."""
    spine: list[tree.LetBinary] = []
    left: tree.LetExpr = expr
    while isinstance(left, tree.LetBinary):
        spine.append(left)
        left = left.left
    term, value = check_let(left, env)
    value = tensor(value, left.span, env)
    for node in reversed(spine):
        right, other = check_let(node.right, env)
        other = tensor(other, node.right.span, env)
        axes = aligned([(value, node.left.span), (other, node.right.span)], env)
        known = UNKNOWN if axes is None else Value(axes=axes)
        value = replace(known, rows=union(value, other), discrete=_whole(node.op, value, other))
        term = Arithmetic(node.op, term, right)
    return term, value


def _whole(op: str, left: Value, right: Value) -> bool | None:
    if op == "/" or left.discrete is False or right.discrete is False:
        return False
    return True if left.discrete and right.discrete else None


def _list(expr: tree.LetList, env: Environment) -> Typed:
    found = [check_let(item, env) for item in expr.items]
    values = [value for _, value in found]
    element = replace(UNKNOWN, rows=union(*values))
    if values and all(value.own == values[0].own for value in values):
        element = Value(rows=union(*values), axes=values[0].own)
    return Items(tuple(term for term, _ in found)), Value(
        rows=union(*values), sort=Shape.LIST, element=element
    )


def _gather(expr: tree.LetIndex, env: Environment) -> Typed:
    base = env.value(expr.name)
    indices = [check_let(index, env) for index in expr.indices]
    variable = _variable(expr.name, env)
    term = Gather(variable, tuple(t for t, _ in indices), span=expr.span)
    values = [
        (tensor(value, index.span, env), index.span)
        for (_, value), index in zip(indices, expr.indices, strict=True)
    ]
    if base.sort is Shape.LIST:
        element = base.element or UNKNOWN
        return term, replace(element, rows=union(base, *(v for v, _ in values)))
    base = tensor(base, expr.name.span, env)
    return term, gathered(base, expr.name, list(expr.indices), values, env)


def gathered(
    base: Value,
    name: tree.Name,
    written: list[tree.LetExpr],
    values: list[tuple[Value, Span]],
    env: Environment,
) -> Value:
    """``base`` indexed along its first own axes."""
    count = len(values)
    rows = union(base, *(value for value, _ in values))
    front = aligned(values, env)
    if base.own is None:
        return Value(rows=rows, sort=base.sort, simplex=base.simplex, discrete=base.discrete)
    if not _has_axes(base, name, count, env):
        return replace(UNKNOWN, rows=rows)
    _in_range(base, name, written, env)
    simplex = base.simplex and count < len(base.own)  # along another axis (R7)
    if front is None:
        return Value(rows=rows, sort=Shape.ANY, simplex=simplex, discrete=base.discrete)
    if count <= len(base.read_axes):
        left = front + base.read_axes[count:]
        return replace(base, rows=rows, axes=left, simplex=simplex, host=False, plate=False)
    return Value(rows=rows, axes=front + base.own[count:], simplex=simplex, discrete=base.discrete)


def _has_axes(base: Value, name: tree.Name, count: int, env: Environment) -> bool:
    have = len(base.own or ())
    if count <= have:
        return True
    axes = "no axis of its own" if have == 0 else f"{have} own axes" if have > 1 else "1 own axis"
    labels = [] if base.span is None else [Label(base.span, "bound here")]
    env.scope.report.error(
        "Q0708" if have else "Q0703",
        f"`{name.text}` has {axes}, and is indexed by {count}",
        name.span,
        labels=labels,
        because=[Because("an index picks along the first own axes; rows are not an own axis")],
    )
    return False


def _in_range(base: Value, name: tree.Name, written: list[tree.LetExpr], env: Environment) -> None:
    for index, axis in zip(written, base.own or (), strict=False):
        size = axis.obj.size
        if not isinstance(index, tree.Number):
            continue
        if int(index.value) != index.value:
            env.scope.report.error(
                "Q0708", f"index {index.value} is no whole number", index.span,
                hint=f"write `{name.text}[{int(index.value)}]` for one element",
            )  # fmt: skip
            continue
        if not isinstance(size, int):
            continue
        if not 0 <= int(index.value) < size:
            env.scope.report.error(
                "Q0708",
                f"index {index.value} is out of range: axis {shown(axis)} of `{name.text}` "
                f"has indices 0 to {size - 1}",
                index.span,
            )


LETS: dict[type, Callable[[Any, Environment], Typed]] = {
    tree.Number: _number,
    tree.String: _string,
    tree.LetName: _bound,
    tree.LetBinary: _chain,
    tree.LetNegate: _negated,
    tree.LetCall: _call,
    tree.LetIndex: _gather,
    tree.LetMethod: _method,
    tree.LetList: _list,
    tree.LetLambda: _function,
    tree.LetFactor: _factor,
}
