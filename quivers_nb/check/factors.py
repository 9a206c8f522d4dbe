"""`factor`: tensors built by index, from one body or from one case per label (7.7)."""

from quivers_nb.check.environment import Environment
from quivers_nb.check.objects import check_finite
from quivers_nb.check.tensors import Infer, Typed, aligned, tensor, union
from quivers_nb.check.term import Axis, Factor, LetTerm, Literal
from quivers_nb.check.values import UNKNOWN, Value, scalar
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import tree


def check_factor(expr: tree.LetFactor, env: Environment, infer: Infer) -> Typed:
    """Both forms. The binders are whole numbers, visible in the body only."""
    axes = _binders(expr, env)
    known = [axis for axis in axes.values() if axis is not None]
    whole = len(known) == len(expr.binders)
    with env.local({name: scalar(discrete=True) for name in axes}):
        if isinstance(expr.body, tuple):
            terms, body = _cases(expr, known[0] if whole else None, env, infer)
            single = None
        else:
            single, body = _let(expr.body, env, infer)
            terms = None
    if not whole:
        return Literal(0), UNKNOWN
    binders = tuple(zip(axes, known, strict=True))
    own = None if body.own is None else tuple(known) + body.own
    value = Value(rows=body.rows, axes=own, simplex=body.simplex, discrete=body.discrete)
    return Factor(binders, single, terms), value


def _let(expr: tree.LetExpr, env: Environment, infer: Infer) -> Typed:
    term, value = infer(expr, env)
    return term, tensor(value, expr.span, env)


def _binders(expr: tree.LetFactor, env: Environment) -> dict[str, Axis | None]:
    axes: dict[str, Axis | None] = {}
    first: dict[str, Span] = {}
    for name, obj in expr.binders:
        found = check_finite(obj, env.scope, code="Q0706", what="the index of a factor")
        text = obj.name.text if isinstance(obj, tree.ObjName) else None
        if name.text in axes:
            env.scope.report.error(
                "Q0707",
                f"binder `{name.text}` is repeated",
                name.span,
                labels=[Label(first[name.text], "first here")],
            )
            continue
        first[name.text] = name.span
        axes[name.text] = None if found is None else Axis(text, found)
    return axes


def _cases(
    expr: tree.LetFactor, axis: Axis | None, env: Environment, infer: Infer
) -> tuple[tuple[LetTerm, ...], Value]:
    assert isinstance(expr.body, tuple)
    found = [_let(case.body, env, infer) for case in expr.body]
    values = [value for _, value in found]
    spans = [case.body.span for case in expr.body]
    if axis is not None:
        _labels(expr, expr.body, axis, env)
    if len(expr.binders) > 1:
        env.scope.report.error(
            "Q0705",
            "cases are for one binder, got " + str(len(expr.binders)),
            expr.binders[1][0].span,
            hint="write one body: `factor i : A, j : B in …`",
        )
    own = aligned(list(zip(values, spans, strict=True)), env)
    rows = union(*values)
    simplex = bool(values) and all(value.simplex for value in values)
    by_label = {case.label.value: term for case, (term, _) in zip(expr.body, found, strict=True)}
    terms = tuple(by_label[label] for label in sorted(by_label))
    if own is None:
        return terms, Value(rows=rows, simplex=simplex, sort=UNKNOWN.sort)
    return terms, Value(rows=rows, axes=own, simplex=simplex)


def _labels(
    expr: tree.LetFactor, cases: tuple[tree.FactorCase, ...], axis: Axis, env: Environment
) -> None:
    """Labels are exactly 0 … size-1, each once."""
    report, size = env.scope.report, axis.obj.size
    index = report.text(expr.binders[0][1].span)
    if not isinstance(size, int):
        report.error(
            "Q0705",
            f"cases need a known size, and that of `{index}` is fixed later",
            expr.binders[0][1].span,
        )
        return
    because = [Because(f"the labels of `{index}` are 0 to {size - 1}", expr.binders[0][1].span)]
    first: dict[float | int, Span] = {}
    for case in cases:
        label = case.label.value
        if label in first:
            report.error(
                "Q0705", f"duplicate label {label}", case.label.span,
                labels=[Label(first[label], "first here")],
            )  # fmt: skip
        elif not (isinstance(label, int) and 0 <= label < size):
            report.error(
                "Q0705", f"label {label} is out of range", case.label.span, because=because
            )
        first.setdefault(label, case.label.span)
    missing = [str(i) for i in range(size) if i not in first]
    if missing:
        shown = ", ".join(missing[:6]) + (", …" if len(missing) > 6 else "")
        word = "label" if len(missing) == 1 else "labels"
        report.error("Q0705", f"missing {word} {shown}", expr.span, because=because)
