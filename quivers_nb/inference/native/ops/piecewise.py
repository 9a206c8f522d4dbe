"""Activations made of straight pieces, and their backwards."""

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Algebra, Expression
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.activations import logistic
from quivers_nb.inference.native.ops.arithmetic import at_least, at_most, elementwise, pointwise
from quivers_nb.inference.native.ops.views import argument
from quivers_nb.inference.native.value import Dense, Value


def _between(
    x: Algebra, a: Expression, low: Expression, high: Expression, *, ends: bool = False
) -> Expression:
    """Whether ``a`` lies between two numbers."""
    above, below = ("ge", "le") if ends else ("gt", "lt")
    return x.logic("and", x.compare(above, a, low), x.compare(below, a, high))


@rule("hardtanh")
def _hardtanh(work: Lowering, node: Node) -> Value:
    low, high = argument(node, 1, "min_val", -1.0), argument(node, 2, "max_val", 1.0)
    return elementwise(
        work, node, lambda x, a, p, q: at_most(x, at_least(x, a, p), q), node.args[0], low, high
    )


@rule("hardtanh_backward")
def _hardtanh_backward(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, g: Expression, a: Expression, *ends: Expression) -> Expression:
        return x.where(_between(x, a, *ends), g, x.number(0.0))

    return elementwise(work, node, body, *node.args[:4])


@rule("threshold")
def _threshold(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, a: Expression, t: Expression, value: Expression) -> Expression:
        return x.where(x.compare("le", a, t), value, a)

    return elementwise(work, node, body, *node.args[:3])


def _ramp(x: Algebra, a: Expression, six: Expression) -> Expression:
    """min(max(a + 3, 0), 6)."""
    three = x.mul(x.number(0.5), six)
    return at_most(x, at_least(x, x.add(a, three), x.number(0.0)), six)


@rule("hardsigmoid", "hardswish")
def _hard_logistic(work: Lowering, node: Node) -> Value:
    swish = node.op._schema.name == "aten::hardswish"

    def body(x: Algebra, a: Expression, six: Expression) -> Expression:
        slope = x.div(_ramp(x, a, six), six)
        return x.mul(a, slope) if swish else slope

    return elementwise(work, node, body, node.args[0], 6.0)


@rule("hardsigmoid_backward")
def _hardsigmoid_backward(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, g: Expression, a: Expression, six: Expression) -> Expression:
        three = x.mul(x.number(0.5), six)
        return x.where(_between(x, a, x.neg(three), three), x.div(g, six), x.number(0.0))

    return elementwise(work, node, body, *node.args[:2], 6.0)


@rule("hardswish_backward")
def _hardswish_backward(work: Lowering, node: Node) -> Value:
    def body(x: Algebra, g: Expression, a: Expression, three: Expression) -> Expression:
        slope = x.add(x.div(a, three), x.number(0.5))
        inside = x.where(x.compare("ge", a, three), g, x.mul(g, slope))
        return x.where(x.compare("le", a, x.neg(three)), x.number(0.0), inside)

    return elementwise(work, node, body, *node.args[:2], 3.0)


@rule("hardshrink", "softshrink")
def _shrink(work: Lowering, node: Node) -> Value:
    soft = node.op._schema.name == "aten::softshrink"

    def body(x: Algebra, a: Expression, by: Expression) -> Expression:
        down, up = (x.sub(a, by), x.add(a, by)) if soft else (a, a)
        outside = x.where(x.compare("gt", a, by), down, up)
        return x.where(_between(x, a, x.neg(by), by, ends=True), x.number(0.0), outside)

    return elementwise(work, node, body, node.args[0], argument(node, 1, "lambd", 0.5))


@pointwise(3, "hardshrink_backward", "softshrink_backward")
def _shrink_backward(x: Algebra, g: Expression, a: Expression, by: Expression) -> Expression:
    outside = x.logic("or", x.compare("gt", a, by), x.compare("lt", a, x.neg(by)))
    return x.where(outside, g, x.number(0.0))


def _halves(work: Lowering, value: Dense, axis: int) -> tuple[Dense, Dense]:
    n = value.shape[axis] // 2
    return (
        work.seen(value, v.sliced(value.shape, axis, 0, n)),
        work.seen(value, v.sliced(value.shape, axis, n, n)),
    )


@rule("glu")
def _glu(work: Lowering, node: Node) -> Value:
    value = work.cheap(work.value(node.args[0]))
    axis = argument(node, 1, "dim", -1) % len(value.shape)
    halves = _halves(work, value, axis)
    return elementwise(work, node, lambda x, a, b: x.mul(a, logistic(x, b)), *halves)


@rule("glu_backward")
def _glu_backward(work: Lowering, node: Node) -> Value:
    grad, value = (work.cheap(work.value(a)) for a in node.args[:2])
    axis, x = node.args[2] % len(value.shape), work.algebra
    first, second = _halves(work, value, axis)
    target = work.memory(value.shape)
    into = _halves(work, target, axis)

    def gate(g: Expression, b: Expression) -> Expression:
        return x.mul(g, logistic(x, b))

    def rest(g: Expression, a: Expression, b: Expression) -> Expression:
        s = logistic(x, b)
        return x.mul(x.mul(g, a), x.mul(s, x.sub(x.number(1.0), s)))

    parts = (
        work.pointwise(grad.shape, "real", gate, grad, second),
        work.pointwise(grad.shape, "real", rest, grad, first, second),
    )
    for place, part in zip(into, parts, strict=True):
        assert isinstance(place, v.Strided)
        work.store(place, part)
    return target
