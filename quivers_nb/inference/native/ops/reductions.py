"""Sums, products, extremes, and what is made of them: means, norms, softmax, running sums."""

import math
from collections.abc import Sequence
from math import prod

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Algebra, Expression, Kind
from quivers_nb.inference.native.lowering import Lowering, kind_of, rule
from quivers_nb.inference.native.ops.views import argument, reshape
from quivers_nb.inference.native.program import Fold, Refusal
from quivers_nb.inference.native.value import (
    Dense,
    Fill,
    Index,
    Lazy,
    Shape,
    Strided,
    Value,
)


def axes_of(shape: Shape, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    """Axes counted from the front; none given means all."""
    if axes is None or (not isinstance(axes, int) and not axes):
        return tuple(range(len(shape)))
    given = [axes] if isinstance(axes, int) else axes
    return tuple(sorted(d % max(len(shape), 1) for d in given)) if shape else ()


def without(shape: Shape, axes: Sequence[int], *, keep: bool) -> Shape:
    """``shape`` after a reduction."""
    if keep:
        return tuple(1 if d in axes else n for d, n in enumerate(shape))
    return tuple(n for d, n in enumerate(shape) if d not in axes)


def reduce(
    work: Lowering, value: Dense, axes: Sequence[int], fold: Fold, *, kind: Kind = "real"
) -> Strided:
    """``value`` folded over ``axes``, which go away."""
    target = work.memory(without(value.shape, axes, keep=False), kind)
    if fold in ("max", "min") and 0 in value.shape and 0 not in target.shape:
        raise Refusal(f"the {fold} of nothing is not defined")
    extent, index = v.iteration(work.algebra, value.shape)
    place = tuple(i for d, i in enumerate(index) if d not in axes)
    work.emit(extent, target, place, value.at(work.algebra, index), fold)
    return target


def total(work: Lowering, value: Dense, axes: Sequence[int], kind: Kind = "real") -> Dense:
    """The sum over ``axes``, which go away. Repeated elements are multiplied, not added up."""
    repeated = [d for d in axes if isinstance(value, Strided) and value.strides[d] == 0]
    if isinstance(value, Fill):
        repeated = list(axes)
    times = prod(value.shape[d] for d in repeated)
    for axis in sorted(repeated, reverse=True):
        value = work.seen(value, v.selected(value.shape, axis, 0)) if value.shape[axis] else value
    if times == 0:
        return Fill(without(value.shape, axes, keep=False), kind, work.algebra.number(0, kind))
    rest = [d - sum(r < d for r in repeated) for d in axes if d not in repeated]
    summed = reduce(work, value, rest, "add", kind=kind) if rest else value
    if times == 1:
        return work.pointwise(summed.shape, kind, lambda a: a, summed)
    factor = work.number(float(times)) if kind == "real" else work.algebra.integer(times)
    return work.pointwise(summed.shape, kind, lambda a: work.algebra.mul(a, factor), summed)


def _shaped(work: Lowering, value: Dense, node: Node) -> Value:
    return reshape(work, value, node.meta.shape)


@rule("sum")
def _sum(work: Lowering, node: Node) -> Value:
    value = work.value(node.args[0])
    axes = axes_of(value.shape, argument(node, 1, "dim"))
    return _shaped(work, total(work, value, axes, kind_of(node.meta.dtype)), node)


def _over(work: Lowering, summed: Dense, count: Expression) -> Dense:
    return work.pointwise(summed.shape, "real", lambda a: work.algebra.div(a, count), summed)


@rule("mean")
def _mean(work: Lowering, node: Node) -> Value:
    value = work.value(node.args[0])
    axes = axes_of(value.shape, argument(node, 1, "dim"))
    count = work.number(float(prod(value.shape[d] for d in axes)))
    summed = total(work, value, axes)
    return _shaped(work, _over(work, summed, count), node)


_FOLDS: dict[str, Fold] = {
    "aten::amax": "max", "aten::amin": "min", "aten::prod": "mul",
    "aten::max": "max", "aten::min": "min",
}  # fmt: skip


@rule("amax", "amin", "prod", "max.default", "min.default")
def _extreme(work: Lowering, node: Node) -> Value:
    value = work.value(node.args[0])
    axes = axes_of(value.shape, argument(node, 1, "dim"))
    fold = _FOLDS[node.op._schema.name]
    return _shaped(work, reduce(work, value, axes, fold, kind=kind_of(node.meta.dtype)), node)


def _top_and_place(
    work: Lowering, value: Dense, axes: Sequence[int], fold: Fold
) -> tuple[Dense, Dense]:
    """The extreme over one axis (or none), which goes away, and its first place."""
    value, x = work.cheap(value), work.algebra
    top = reduce(work, value, axes, fold, kind=value.kind)
    wide, last = _spread(work, top, value.shape, axes), prod(value.shape[d] for d in axes) - 1

    def place(index: Index) -> Expression:
        here = index[axes[0]] if axes else x.integer(0)
        a = value.at(x, index)
        same = x.compare("eq", a, wide.at(x, index))
        found = x.logic("or", same, x.compare("ne", a, a))  # the extreme of a row with NaN is NaN
        return x.where(found, here, x.integer(last))

    return top, reduce(work, Lazy(value.shape, "int", place), axes, "min", kind="int")


@rule("max.dim", "min.dim")
def _extreme_and_place(work: Lowering, node: Node) -> tuple[Value, ...]:
    value = work.value(node.args[0])
    fold = _FOLDS[node.op._schema.name]
    found = _top_and_place(work, value, axes_of(value.shape, node.args[1]), fold)
    return tuple(
        reshape(work, result, meta.shape) for result, meta in zip(found, node.metas, strict=True)
    )


@rule("argmax", "argmin")
def _place_of_extreme(work: Lowering, node: Node) -> Value:
    value, axis = work.value(node.args[0]), argument(node, 1, "dim")
    if axis is None:
        value, axis = reshape(work, value, (prod(value.shape),)), 0
    fold: Fold = "max" if node.op._schema.name == "aten::argmax" else "min"
    return _shaped(work, _top_and_place(work, value, axes_of(value.shape, axis), fold)[1], node)


@rule("any", "all", "count_nonzero")
def _count(work: Lowering, node: Node) -> Value:
    """How many are not zero: more than none, or none less than all of them."""
    value, x, name = work.value(node.args[0]), work.algebra, node.op._schema.name
    axes = axes_of(value.shape, argument(node, 1, "dim"))
    missed = name == "aten::all"

    def counted(a: Expression) -> Expression:
        there = x.cast(a, "bool")
        return x.cast(x.logic("not", there) if missed else there, "int")

    count = total(work, work.pointwise(value.shape, "int", counted, value), axes, "int")
    if name == "aten::count_nonzero":
        return _shaped(work, count, node)
    op = "eq" if missed else "ne"
    flag = work.pointwise(count.shape, "bool", lambda n: x.compare(op, n, x.integer(0)), count)
    return _shaped(work, flag, node)


def _spread(work: Lowering, reduced: Dense, shape: Shape, axes: Sequence[int]) -> Dense:
    """A reduction broadcast back over the axes it lost."""
    tall = reshape(work, reduced, without(shape, axes, keep=True))
    return work.broadcast(tall, shape)


def _shift_and_mass(work: Lowering, value: Dense, axes: Sequence[int]) -> tuple[Dense, Dense]:
    """The greatest element over ``axes`` (0 if it is infinite), and the sum of exp(value - it)."""
    x = work.algebra
    top: Dense = Fill(without(value.shape, axes, keep=False), "real", x.number(0.0))
    if 0 not in value.shape:
        top = reduce(work, value, axes, "max")

    def finite(a: Expression) -> Expression:
        endless = x.compare("eq", x.call("fabs", a), x.number(float("inf")))
        return x.where(endless, x.number(0.0), a)

    shift = work.keep(work.pointwise(top.shape, "real", finite, top))
    wide = _spread(work, shift, value.shape, axes)
    shifted = work.pointwise(
        value.shape, "real", lambda a, b: x.call("exp", x.sub(a, b)), value, wide
    )
    return shift, reduce(work, shifted, axes, "add")


@rule("logsumexp")
def _logsumexp(work: Lowering, node: Node) -> Value:
    """Of nothing but -inf it is -inf."""
    value, x = work.cheap(work.value(node.args[0])), work.algebra
    shift, mass = _shift_and_mass(work, value, axes_of(value.shape, node.args[1]))
    result = work.pointwise(
        mass.shape, "real", lambda a, b: x.add(x.call("log", a), b), mass, shift
    )
    return _shaped(work, result, node)


@rule("_log_softmax", "_softmax", "_safe_softmax")
def _softmax(work: Lowering, node: Node) -> Value:
    """exp(a - top) / sum: a - logsumexp would lose the digits that top has before the point.

    A row that holds inf, or nothing but -inf, is NaN; the safe one gives zeros for the latter
    (masked attention).
    """
    value = work.cheap(work.value(node.args[0]))
    x, axes = work.algebra, axes_of(value.shape, node.args[1])
    shift, mass = _shift_and_mass(work, value, axes)
    safe, logs = (node.op._schema.name == f"aten::{n}" for n in ("_safe_softmax", "_log_softmax"))

    def scale(m: Expression) -> Expression:
        endless = x.compare("eq", m, x.number(math.inf))
        m = x.where(endless, x.number(math.nan), m)
        if logs:
            m = x.call("log", m)
        nothing = x.compare("eq", m, x.number(-math.inf if logs else 0.0))
        return x.where(nothing, x.number(math.inf if safe else math.nan), m)

    def body(a: Expression, t: Expression, m: Expression) -> Expression:
        return x.sub(x.apart(a, t), m) if logs else x.div(x.call("exp", x.sub(a, t)), m)

    scaled = work.keep(work.pointwise(mass.shape, "real", scale, mass))
    wide = [_spread(work, part, value.shape, axes) for part in (shift, scaled)]
    return work.pointwise(value.shape, "real", body, value, *wide)


@rule("_log_softmax_backward_data", "_softmax_backward_data")
def _softmax_backward(work: Lowering, node: Node) -> Value:
    x: Algebra = work.algebra
    grad, result = (work.cheap(work.value(a)) for a in node.args[:2])
    axes = axes_of(result.shape, node.args[2])
    logs = node.op._schema.name == "aten::_log_softmax_backward_data"
    weighted = work.pointwise(result.shape, "real", x.mul, grad, result)
    summed = work.cheap(total(work, grad if logs else weighted, axes))
    wide = _spread(work, summed, result.shape, axes)

    def body(g: Expression, y: Expression, s: Expression) -> Expression:
        if logs:
            return x.sub(g, x.mul(x.call("exp", y), s))
        return x.mul(y, x.sub(g, s))

    return work.pointwise(result.shape, "real", body, grad, result, wide)


def _first(work: Lowering, value: Dense, axes: Sequence[int]) -> Dense:
    """The first number over ``axes``, everywhere: what is left of equal numbers is exactly zero."""
    if 0 in value.shape:
        return value
    first = value
    for axis in reversed(axes):
        first = work.seen(first, v.selected(first.shape, axis, 0))
    return _spread(work, first, value.shape, axes)


@rule("var", "std")
def _variance(work: Lowering, node: Node) -> Value:
    if node.op._schema.overload_name != "correction":
        raise Refusal(f"{node.op} has no native form")
    value = work.cheap(work.value(node.args[0]))
    x, axes = work.algebra, axes_of(value.shape, argument(node, 1, "dim"))
    count = prod(value.shape[d] for d in axes)
    correction = node.kwargs.get("correction")
    freedom = max(count - (1 if correction is None else correction), 0)
    n, m = work.number(float(count)), work.number(float(freedom))
    moved = work.pointwise(value.shape, "real", x.apart, value, _first(work, value, axes))
    mean = _over(work, total(work, moved, axes), n)
    wide = _spread(work, work.keep(mean), value.shape, axes)

    def square(a: Expression, b: Expression) -> Expression:
        return x.mul(x.sub(a, b), x.sub(a, b))

    spread = reduce(work, work.pointwise(value.shape, "real", square, moved, wide), axes, "add")
    root = node.op._schema.name == "aten::std"

    def finish(a: Expression) -> Expression:
        return x.call("sqrt", x.div(a, m)) if root else x.div(a, m)

    return _shaped(work, work.pointwise(spread.shape, "real", finish, spread), node)


@rule("linalg_vector_norm", "norm")
def _norm(work: Lowering, node: Node) -> Value:
    """(sum of |a|^p)^(1/p); of order 0 how many are not zero, of an infinite one an extreme."""
    order = float(argument(node, 1, "ord", 2))
    value = work.cheap(work.value(node.args[0]))
    x, axes = work.algebra, axes_of(value.shape, argument(node, 2, "dim"))
    power = work.number(order)

    def size(a: Expression) -> Expression:
        if order == 2:
            return x.mul(a, a)
        if order == 0:
            return x.cast(x.compare("ne", a, x.number(0.0)), "real")
        large = x.call("fabs", a)
        return large if order == 1 or math.isinf(order) else x.call("pow", large, power)

    sizes = work.pointwise(value.shape, "real", size, value)
    if math.isinf(order):
        return _shaped(work, reduce(work, sizes, axes, "max" if order > 0 else "min"), node)
    summed = total(work, sizes, axes)
    if order in (0, 1):
        return _shaped(work, summed, node)
    over = work.number(1.0 / order)

    def root(a: Expression) -> Expression:
        return x.call("sqrt", a) if order == 2 else x.call("pow", a, over)

    return _shaped(work, work.pointwise(summed.shape, "real", root, summed), node)


# --- running folds: a routine, since each element needs the one before ---


@rule("cumsum", "cumprod", "logcumsumexp")
def _running(work: Lowering, node: Node) -> Value:
    value = work.value(node.args[0])
    if value.kind != "real":
        value = work.pointwise(value.shape, "real", lambda a: work.algebra.cast(a, "real"), value)
    if not value.shape:
        return value
    axis = node.args[1] % len(value.shape)
    rows = work.rows(value)
    target = work.row_memory(value.shape)
    outer, inner = prod(value.shape[:axis]), prod(value.shape[axis + 1 :])
    routine = f"q_{node.op._schema.name.removeprefix('aten::')}"
    work.call(routine, target.buffer, target, rows, outer, value.shape[axis], inner)
    return target
