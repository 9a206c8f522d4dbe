"""`map`, `filter`, `fold`, `scanl`, …: over the items of a list, or along the first own axis."""

from dataclasses import replace

from quivers_nb.check.environment import Environment
from quivers_nb.check.tensors import Infer, Typed
from quivers_nb.check.term import Apply, Lambda, LetTerm
from quivers_nb.check.values import UNKNOWN, Shape, Value, scalar
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.syntax import tree

FORMS = {
    "map": "x -> …", "filter": "x -> …", "logsumexp_over": "x -> …",
    "fold": "acc -> x -> …", "scanl": "acc -> x -> …",
}  # fmt: skip


def check_list_call(expr: tree.LetCall, env: Environment, infer: Infer) -> Typed:
    """A call whose first argument is run over, and whose last is a function (but for `length`)."""
    name = expr.name.text
    first, items = infer(expr.args[0], env)
    items = _run_over(items, expr, env)
    if name == "length":
        return Apply(name, (first,), span=expr.span), scalar(discrete=True)
    element = _element(items)
    params: tuple[Value, ...] = (element,)
    between: tuple[LetTerm, ...] = ()
    start = Value()
    if len(expr.args) == 3:
        init, start = infer(expr.args[1], env)
        between = (init,)
        params = (replace(UNKNOWN, rows=start.rows | items.rows), element)
    function, body = _function(expr, params, env, infer)
    rows = items.rows | start.rows | body.rows
    term = Apply(name, (first, *between, function), span=expr.span)
    return term, replace(_result(name, items, body), rows=rows)


def check_lambda(
    expr: tree.LetLambda, params: tuple[Value, ...], env: Environment, infer: Infer
) -> tuple[Lambda, Value]:
    """A lambda whose first parameters have known values; the value is that of the inmost body."""
    with env.local({expr.param.text: params[0] if params else UNKNOWN}):
        if len(params) > 1 and isinstance(expr.body, tree.LetLambda):
            inner, value = check_lambda(expr.body, params[1:], env, infer)
            return Lambda(expr.param.text, inner), value
        term, value = infer(expr.body, env)
    return Lambda(expr.param.text, term), value


def _run_over(items: Value, expr: tree.LetCall, env: Environment) -> Value:
    arg = expr.args[0]
    if items.sort in {Shape.FUNCTION, Shape.TEXT}:
        env.scope.report.error(
            "Q0709", f"{items.sort.value} stands where a list or a tensor is needed", arg.span
        )
        return UNKNOWN
    if items.own == () and items.sort is Shape.TENSOR:
        labels = [] if items.span is None else [Label(items.span, "bound here")]
        env.scope.report.error(
            "Q0703",
            f"`{expr.name.text}` runs over the first own axis, and "
            f"`{env.scope.report.text(arg.span)}` has none",
            arg.span,
            labels=labels,
            because=[Because("own axes come from plates, `factor`, vectors and data")],
        )
        return replace(UNKNOWN, rows=items.rows)
    return items


def _element(items: Value) -> Value:
    if items.sort is Shape.LIST:
        return items.element or replace(UNKNOWN, rows=items.rows)
    if items.own is None:
        return replace(UNKNOWN, rows=items.rows)
    return Value(rows=items.rows, axes=items.own[1:], discrete=items.discrete)


def _function(
    expr: tree.LetCall, params: tuple[Value, ...], env: Environment, infer: Infer
) -> Typed:
    arg = expr.args[-1]
    curried = isinstance(arg, tree.LetLambda) and (
        len(params) == 1 or isinstance(arg.body, tree.LetLambda)
    )
    if isinstance(arg, tree.LetLambda) and curried:
        return check_lambda(arg, params, env, infer)
    term, value = infer(arg, env)
    if value.sort not in {Shape.FUNCTION, Shape.ANY} or isinstance(arg, tree.LetLambda):
        env.scope.report.error(
            "Q0709",
            f"`{expr.name.text}` needs a function `{FORMS[expr.name.text]}` as its last argument",
            arg.span,
        )
    return term, replace(UNKNOWN, rows=value.rows)


def _result(name: str, items: Value, body: Value) -> Value:
    if name == "map" and items.sort is Shape.LIST:
        return Value(sort=Shape.LIST, element=body)
    if name == "map" and items.own is not None and body.own is not None:
        return Value(axes=items.own[:1] + body.own)
    if name == "logsumexp_over" and body.own is not None:
        return Value(axes=body.own)
    if name == "filter":
        return Value(sort=items.sort, element=items.element)
    return UNKNOWN
