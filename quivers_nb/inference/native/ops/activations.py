"""The functions of neural networks and logistic models, and their backwards.

Logistic functions are written with one exponential, ``exp(-|a|)``, so that value and gradient in
the same loop share it.
"""

import math

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native.expression import Algebra, Expression
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.arithmetic import (
    at_least,
    at_most,
    elementwise,
    normal_below,
    pointwise,
)
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Value


def _small(x: Algebra, a: Expression) -> Expression:
    return x.call("exp", x.neg(x.call("fabs", a)))


def logistic(x: Algebra, a: Expression) -> Expression:
    """1 / (1 + exp(-a)), without overflow."""
    small, one = _small(x, a), x.number(1.0)
    top = x.where(x.compare("lt", a, x.number(0.0)), small, one)
    return x.div(top, x.add(one, small))


def log_one_plus_exp(x: Algebra, a: Expression) -> Expression:
    """log(1 + exp(a)), without overflow."""
    return x.add(at_least(x, a, x.number(0.0)), x.call("log1p", _small(x, a)))


pointwise(1, "sigmoid")(logistic)


@pointwise(2, "sigmoid_backward")
def _sigmoid_backward(x: Algebra, grad: Expression, y: Expression) -> Expression:
    return x.mul(grad, x.mul(x.sub(x.number(1.0), y), y))


@pointwise(2, "tanh_backward")
def _tanh_backward(x: Algebra, grad: Expression, y: Expression) -> Expression:
    return x.mul(grad, x.sub(x.number(1.0), x.mul(y, y)))


def _beta_and_threshold(node: Node, first: int) -> tuple[float, float]:
    given = [*node.args[first:], None, None]
    beta = 1.0 if given[0] is None else float(given[0])
    return beta, 20.0 if given[1] is None else float(given[1])


@rule("softplus")
def _softplus(work: Lowering, node: Node) -> Value:
    beta, threshold = _beta_and_threshold(node, 1)

    def body(x: Algebra, a: Expression, b: Expression, t: Expression) -> Expression:
        scaled = x.mul(a, b)
        return x.where(x.compare("gt", scaled, t), a, x.div(log_one_plus_exp(x, scaled), b))

    return elementwise(work, node, body, _kept(work, node.args[0]), beta, threshold)


@rule("softplus_backward")
def _softplus_backward(work: Lowering, node: Node) -> Value:
    beta, threshold = _beta_and_threshold(node, 2)

    def body(x: Algebra, g: Expression, a: Expression, b: Expression, t: Expression) -> Expression:
        scaled = x.mul(a, b)
        return x.where(x.compare("gt", scaled, t), g, x.mul(g, logistic(x, scaled)))

    return elementwise(work, node, body, *node.args[:2], beta, threshold)


def _kept(work: Lowering, argument: object) -> Dense:
    """An argument that is read more than once."""
    value = work.value(argument)
    return work.keep(value) if work.cost(value) > 1 else value


@rule("log_sigmoid_forward")
def _log_sigmoid(work: Lowering, node: Node) -> tuple[Value, ...]:
    value = elementwise(
        work, node, lambda x, a: x.neg(log_one_plus_exp(x, x.neg(a))), _kept(work, node.args[0])
    )
    # The second result is room for the backward of the CPU kernel; ours needs none.
    return value, Fill(node.metas[1].shape, "real", work.algebra.number(0.0))


@pointwise(2, "log_sigmoid_backward")
def _log_sigmoid_backward(x: Algebra, grad: Expression, a: Expression) -> Expression:
    return x.mul(grad, logistic(x, x.neg(a)))


@rule("logit")
def _logit(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, a: Expression) -> Expression:
        return x.call("log", x.div(a, x.sub(x.number(1.0), a)))

    value = work.value(node.args[0])
    eps = node.args[1] if len(node.args) > 1 else None
    if eps is not None:
        high = 1.0 - eps
        value = elementwise(
            work, node, lambda x, a, p, q: at_most(x, at_least(x, a, p), q), value, eps, high
        )
    return elementwise(work, node, body, value)


@rule("logit_backward")
def _logit_backward(work: Lowering, node: Node) -> Value:
    """Outside the interval NaN, or zero where ``eps`` clamps."""
    eps = node.args[2] if len(node.args) > 2 else None
    low = 0.0 if eps is None else float(eps)
    outside = math.nan if eps is None else 0.0

    def body(x: Algebra, g: Expression, a: Expression, p: Expression, q: Expression) -> Expression:
        inside = x.logic("and", x.compare("ge", a, p), x.compare("le", a, q))
        slope = x.div(g, x.mul(a, x.sub(x.number(1.0), a)))
        return x.where(inside, slope, x.number(outside))

    return elementwise(work, node, body, *node.args[:2], low, 1.0 - low)


@pointwise(1, "relu")
def _relu(x: Algebra, a: Expression) -> Expression:
    return at_least(x, a, x.number(0.0))


@pointwise(3, "threshold_backward")
def _threshold_backward(x: Algebra, g: Expression, a: Expression, t: Expression) -> Expression:
    return x.where(x.compare("le", a, t), x.number(0.0), g)


@rule("leaky_relu")
def _leaky_relu(work: Lowering, node: Node) -> Value:
    slope = node.args[1] if len(node.args) > 1 else 0.01

    def body(x: Algebra, a: Expression, s: Expression) -> Expression:
        return x.where(x.compare("gt", a, x.number(0.0)), a, x.mul(a, s))

    return elementwise(work, node, body, node.args[0], slope)


@rule("leaky_relu_backward")
def _leaky_relu_backward(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, g: Expression, a: Expression, s: Expression) -> Expression:
        return x.where(x.compare("gt", a, x.number(0.0)), g, x.mul(g, s))

    return elementwise(work, node, body, *node.args[:3])


@pointwise(1, "silu")
def _silu(x: Algebra, a: Expression) -> Expression:
    return x.mul(a, logistic(x, a))


@pointwise(2, "silu_backward")
def _silu_backward(x: Algebra, g: Expression, a: Expression) -> Expression:
    s, one = logistic(x, a), x.number(1.0)
    return x.mul(x.mul(g, s), x.add(one, x.mul(a, x.sub(one, s))))


def _tanh_gelu(node: Node) -> bool:
    return bool(node.kwargs.get("approximate", "none") != "none")


@rule("gelu")
def _gelu(work: Lowering, node: Node) -> Value:
    if _tanh_gelu(node):
        raise Refusal("gelu with the tanh approximation has no native form")

    def body(x: Algebra, a: Expression) -> Expression:
        return x.mul(a, normal_below(x, a))

    return elementwise(work, node, body, node.args[0])


@rule("gelu_backward")
def _gelu_backward(work: Lowering, node: Node) -> Value:
    if _tanh_gelu(node):
        raise Refusal("gelu with the tanh approximation has no native form")

    def body(x: Algebra, g: Expression, a: Expression, density: Expression) -> Expression:
        below = normal_below(x, a)
        bell = x.mul(density, x.call("exp", x.mul(x.number(-0.5), x.mul(a, a))))
        return x.mul(g, x.add(below, x.mul(a, bell)))

    return elementwise(work, node, body, *node.args[:2], 0.3989422804014327)


@rule("elu")
def _elu(work: Lowering, node: Node) -> Value:
    alpha, scale, inner = ([float(a) for a in node.args[1:]] + [1.0] * 3)[:3]

    def body(x: Algebra, a: Expression, *c: Expression) -> Expression:
        below = x.mul(x.mul(c[0], c[1]), x.call("expm1", x.mul(a, c[2])))
        return x.where(x.compare("gt", a, x.number(0.0)), x.mul(a, c[1]), below)

    return elementwise(work, node, body, node.args[0], alpha, scale, inner)


@rule("celu")
def _celu(work: Lowering, node: Node) -> Value:
    alpha = float(node.args[1]) if len(node.args) > 1 else 1.0

    def body(x: Algebra, a: Expression, scale: Expression) -> Expression:
        below = x.mul(scale, x.call("expm1", x.div(a, scale)))
        return x.where(x.compare("gt", a, x.number(0.0)), a, below)

    return elementwise(work, node, body, node.args[0], alpha)


@rule("elu_backward")
def _elu_backward(work: Lowering, node: Node) -> Value:
    grad, alpha, scale, inner, is_result, a = node.args

    def body(x: Algebra, g: Expression, a: Expression, *c: Expression) -> Expression:
        slope = x.mul(c[0], x.mul(c[1], c[2]))
        deep = x.mul(c[2], x.add(a, x.mul(c[0], c[1])))
        below = deep if is_result else x.mul(slope, x.call("exp", x.mul(a, c[2])))
        above = x.compare("gt", a, x.number(0.0))
        return x.mul(g, x.where(above, c[1], below))

    return elementwise(work, node, body, grad, a, float(alpha), float(scale), float(inner))
