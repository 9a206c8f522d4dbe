"""Calls of built-in functions: arity, what they need of own axes, what they give (7.7, R8)."""

from collections.abc import Callable
from dataclasses import replace

from quivers_nb.check.axes import Axes
from quivers_nb.check.builtins import BUILTINS, Action, Builtin
from quivers_nb.check.elsewhere import function_hint
from quivers_nb.check.environment import Environment
from quivers_nb.check.higher_order import check_list_call
from quivers_nb.check.tensors import Infer, Typed, aligned, tensor, union
from quivers_nb.check.term import Apply, Literal
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.check.values import UNKNOWN, Value
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.spaces.space import Object, Space
from quivers_nb.syntax import tree


def check_call(expr: tree.LetCall, env: Environment, infer: Infer) -> Typed:
    """A built-in applied to arguments."""
    row = BUILTINS.get(expr.name.text)
    if row is None:
        _unknown(expr, env)
        for arg in expr.args:
            infer(arg, env)
        return Literal(0), UNKNOWN
    if row.action is Action.DEDUCTION:
        not_lowered(f"`{row.name}`", expr.span, env.scope.report)
        return Literal(0), UNKNOWN
    if not row.least <= len(expr.args) <= row.most:
        _arity(expr, row, env)
        for arg in expr.args:
            infer(arg, env)
        return Literal(0), UNKNOWN
    if row.action is Action.LIST:
        return check_list_call(expr, env, infer)
    found = [infer(arg, env) for arg in expr.args]
    values = [
        tensor(value, arg.span, env) for (_, value), arg in zip(found, expr.args, strict=True)
    ]
    term = Apply(row.name, tuple(t for t, _ in found), span=expr.span)
    return term, RESULTS[row.action](row, expr, values, env)


def _point(row: Builtin, expr: tree.LetCall, values: list[Value], env: Environment) -> Value:
    spans = [arg.span for arg in expr.args]
    own = aligned(list(zip(values, spans, strict=True)), env)
    simplex = row.name == "where" and values[1].simplex and values[2].simplex
    known = UNKNOWN if own is None else Value(axes=own)
    return replace(known, rows=union(*values), simplex=simplex)


def _keep(row: Builtin, expr: tree.LetCall, values: list[Value], env: Environment) -> Value:
    first = values[0]
    if not _has_last_axis(row, expr, first, env):
        return replace(UNKNOWN, rows=first.rows)
    if row.name == "glu" or first.own is None:
        return replace(UNKNOWN, rows=first.rows, simplex=row.simplex)
    return Value(rows=first.rows, axes=first.own, simplex=row.simplex)


def _reduce(row: Builtin, expr: tree.LetCall, values: list[Value], env: Environment) -> Value:
    if len(values) > 1 and row.name == "logsumexp":
        return _point(row, expr, values, env)
    first = values[0]
    if not _has_last_axis(row, expr, first, env) or first.own is None:
        return replace(UNKNOWN, rows=first.rows)
    return Value(rows=first.rows, axes=first.own[:-1], discrete=row.discrete or None)


def _matrix(row: Builtin, expr: tree.LetCall, values: list[Value], env: Environment) -> Value:
    rows = union(*values)
    own: Axes | None = None
    if _has_last_axis(row, expr, values[0], env):
        own = MATRICES[row.name](expr, values, env)
    return replace(UNKNOWN, rows=rows) if own is None else Value(rows=rows, axes=own)


def _dot(expr: tree.LetCall, values: list[Value], env: Environment) -> Axes | None:
    own = aligned([(v, a.span) for v, a in zip(values, expr.args, strict=True)], env)
    return None if own is None else own[:-1]


def _factorized(expr: tree.LetCall, values: list[Value], env: Environment) -> Axes | None:
    """A Cholesky factor has the axes of its matrix: two of one length, or one flat vector (3.2)."""
    own = values[0].own
    obj = values[0].obj
    if own is None or (_is_flat(values[0], obj)):
        return None
    sizes = [axis.obj.size for axis in own[-2:]]
    known = all(isinstance(size, int) for size in sizes)
    if len(sizes) == 2 and (not known or sizes[0] == sizes[1]):
        return own
    shape = " by ".join(map(str, sizes)) if len(sizes) == 2 else "a vector"
    env.scope.report.error(
        "Q0709",
        f"`{expr.name.text}` takes a square matrix, and "
        f"`{env.scope.report.text(expr.args[0].span)}` is {shape}",
        expr.args[0].span,
        hint="a covariance is made by `cov_exp_quad`, `diag` or a product of matrices",
    )
    return None


def _is_flat(value: Value, obj: Object | None) -> bool:
    """A program input of a matrix space is carried as one vector (3.2)."""
    return isinstance(obj, Space) and obj.matrix_shape is not None and len(value.event) == 1


def _covariance(expr: tree.LetCall, values: list[Value], env: Environment) -> Axes | None:
    """A matrix over the first axis of the points; amplitude and length scale are numbers."""
    own = values[0].own
    for value, arg in zip(values[1:], expr.args[1:], strict=True):
        if value.own:
            text = env.scope.report.text(arg.span)
            env.scope.report.error(
                "Q0709",
                f"`{text}` has own axes, where `{expr.name.text}` takes one number",
                arg.span,
                labels=[] if value.span is None else [Label(value.span, "bound here")],
            )
            return None
    return None if own is None else (own[0], own[0])


def _diagonal(_expr: tree.LetCall, values: list[Value], _env: Environment) -> Axes | None:
    """A vector becomes a matrix."""
    own = values[0].own
    return None if own is None or len(own) != 1 else (own[0], own[0])


def _unknown_axes(_expr: tree.LetCall, _values: list[Value], _env: Environment) -> None:
    return None


def _product(expr: tree.LetCall, values: list[Value], env: Environment) -> Axes | None:
    left, right = values[0].own, values[1].own
    if left is None or right is None:
        return None
    if not right:
        _rank_zero("matmul", expr.args[1], env)
        return None
    inner, other = left[-1].obj.size, right[-min(2, len(right))].obj.size
    if isinstance(inner, int) and isinstance(other, int) and inner != other:
        env.scope.report.error(
            "Q0704",
            f"matmul contracts axes of lengths {inner} and {other}",
            expr.span,
            because=[Because("the last axis on the left meets the last but one on the right")],
        )
        return None
    if len(left) > 2 or len(right) > 2:
        return None
    return left[:-1] + (right[1:] if len(right) == 2 else ())


MATRICES: dict[str, Callable[[tree.LetCall, list[Value], Environment], Axes | None]] = {
    "dot": _dot, "matmul": _product, "diag": _diagonal, "cholesky": _factorized,
    "cov_exp_quad": _covariance, "cholesky_quad_form": _unknown_axes,
}  # fmt: skip
RESULTS: dict[Action, Callable[[Builtin, tree.LetCall, list[Value], Environment], Value]] = {
    Action.POINT: _point, Action.KEEP: _keep, Action.REDUCE: _reduce, Action.MATRIX: _matrix,
}  # fmt: skip


def _has_last_axis(row: Builtin, expr: tree.LetCall, value: Value, env: Environment) -> bool:
    if value.own != ():
        return True
    _rank_zero(row.name, expr.args[0], env, value)
    return False


def _rank_zero(
    function: str, arg: tree.LetExpr, env: Environment, value: Value | None = None
) -> None:
    report = env.scope.report
    labels = []
    if value is not None and value.span is not None:
        labels = [Label(value.span, "one number per row, bound here")]
    report.error(
        "Q0703",
        f"`{function}` acts on the last own axis, and `{report.text(arg.span)}` has none",
        arg.span,
        labels=labels,
        because=[
            Because("own axes come from plates, `factor`, vectors and data; rows are not one")
        ],
    )


def _unknown(expr: tree.LetCall, env: Environment) -> None:
    name = expr.name.text
    hint = function_hint(name)
    if name in env.bound:
        hint = "a function that is bound here is passed to `map`, `fold` or `filter`"
    elif name in env.scope.morphisms:
        hint = f"`{name}` is a {env.scope.morphisms[name].kind}: draw from it in a `sample` step"
    env.scope.report.error("Q0701", f"unknown function `{name}`", expr.name.span, hint=hint)


def _arity(expr: tree.LetCall, row: Builtin, env: Environment) -> None:
    env.scope.report.error(
        "Q0702", f"`{row.name}` takes {row.arity}, got {len(expr.args)}", expr.span
    )
