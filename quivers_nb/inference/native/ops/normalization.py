"""Layer normalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) and its backward."""

from math import prod

from quivers_nb.inference.graph import ABSENT, Node
from quivers_nb.inference.native.expression import Expression
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.reductions import total
from quivers_nb.inference.native.ops.views import reshape
from quivers_nb.inference.native.value import Dense, Fill, Value


def _mean(work: Lowering, value: Dense, axes: tuple[int, ...]) -> Dense:
    """The mean over trailing axes, which stay with length one."""
    x, count = work.algebra, work.number(float(prod(value.shape[d] for d in axes)))
    summed = total(work, value, axes)
    mean = work.pointwise(summed.shape, "real", lambda a: x.div(a, count), summed)
    kept = tuple(1 if d in axes else n for d, n in enumerate(value.shape))
    return work.keep(reshape(work, mean, kept))


def _trailing(value: Dense, shape: list[int]) -> tuple[int, ...]:
    rank = len(value.shape)
    return tuple(range(rank - len(shape), rank))


@rule("native_layer_norm")
def _layer_norm(work: Lowering, node: Node) -> tuple[Value, ...]:
    source, shape, weight, bias, eps = node.args
    value, x = work.cheap(work.value(source)), work.algebra
    axes = _trailing(value, shape)
    mean, small = _mean(work, value, axes), work.number(float(eps))

    def square(a: Expression, m: Expression) -> Expression:
        return x.mul(x.sub(a, m), x.sub(a, m))

    def root(a: Expression) -> Expression:
        return x.div(x.number(1.0), x.call("sqrt", x.add(a, small)))

    variance = _mean(work, work.pointwise(value.shape, "real", square, value, mean), axes)
    scale = work.keep(work.pointwise(variance.shape, "real", root, variance))
    one, zero = (Fill((), "real", x.number(number)) for number in (1.0, 0.0))

    def body(a: Expression, m: Expression, s: Expression, *line: Expression) -> Expression:
        return x.add(x.mul(x.mul(x.sub(a, m), s), line[0]), line[1])

    slope = one if weight is None else work.value(weight)
    shift = zero if bias is None else work.value(bias)
    result = work.pointwise(value.shape, "real", body, value, mean, scale, slope, shift)
    return result, mean, scale


@rule("native_layer_norm_backward")
def _layer_norm_backward(work: Lowering, node: Node) -> tuple[Value, ...]:
    source, shape = node.args[1:3]
    grad, value = (work.cheap(work.value(a)) for a in (node.args[0], source))
    mean, scale, x = work.value(node.args[3]), work.value(node.args[4]), work.algebra
    axes = _trailing(value, shape)
    lead = tuple(d for d in range(len(value.shape)) if d not in axes)

    def standardize(a: Expression, m: Expression, s: Expression) -> Expression:
        return x.mul(x.sub(a, m), s)

    def inner(g: Expression, h: Expression, s: Expression, *means: Expression) -> Expression:
        return x.mul(s, x.sub(x.sub(g, means[0]), x.mul(h, means[1])))

    standard = work.keep(work.pointwise(value.shape, "real", standardize, value, mean, scale))
    along = work.pointwise(value.shape, "real", x.mul, grad, standard)
    weighted = grad
    if node.args[5] is not None:
        weighted = work.keep(
            work.pointwise(value.shape, "real", x.mul, grad, work.value(node.args[5]))
        )
    product = work.pointwise(value.shape, "real", x.mul, weighted, standard)
    centre, slope = _mean(work, weighted, axes), _mean(work, product, axes)
    into = work.pointwise(value.shape, "real", inner, weighted, standard, scale, centre, slope)
    absent = Fill((), "real", x.number(0.0))
    results: list[Value] = [into]
    for meta, part in zip(node.metas[1:], (along, grad), strict=True):
        results.append(absent if meta == ABSENT else total(work, part, lead))
    return tuple(results)
