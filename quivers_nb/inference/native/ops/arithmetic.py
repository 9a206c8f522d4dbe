"""Elementwise arithmetic, comparisons and the functions of the C library."""

import math
from collections.abc import Callable
from typing import Any

import torch

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native.expression import CALL_COST, Algebra, Expression
from quivers_nb.inference.native.lowering import RULES, Lowering, kind_of, rule
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Padded, Piece, Value

Body = Callable[..., Expression]  # (algebra, *elements) -> element


def elementwise(work: Lowering, node: Node, body: Body, *arguments: Any) -> Dense:
    """``body`` of the elements of ``arguments``, with the node's shape and dtype."""
    parts = [a if isinstance(a, Dense) else work.value(a) for a in arguments]
    meta = node.meta
    if meta.dtype.is_floating_point and meta.dtype is not work.dtype and meta.shape:
        raise Refusal(f"{node.op} mixes {meta.dtype} into {work.dtype}")
    algebra = work.algebra
    return work.pointwise(
        meta.shape, kind_of(meta.dtype), lambda *elements: body(algebra, *elements), *parts
    )


def pointwise(arity: int, *names: str) -> Callable[[Body], Body]:
    """Register a body whose operation takes ``arity`` tensors or numbers and nothing else."""

    def register(body: Body) -> Body:
        @rule(*names)
        def lowered(work: Lowering, node: Node) -> Value:
            return elementwise(work, node, body, *node.args[:arity])

        return body

    return register


# --- sums and products ---


@rule("add", "sub")
def _add(work: Lowering, node: Node) -> Value:
    a, b = node.args[:2]
    scale = node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1)
    if node.op._schema.name == "aten::sub":
        scale = -scale
    if scale == 1:
        joined = _joined(work.raw(a), work.raw(b))
        if joined is not None:
            return joined
    if scale in (1, -1):
        return elementwise(work, node, Algebra.add if scale == 1 else Algebra.sub, a, b)
    return elementwise(work, node, lambda x, p, q, s: x.add(p, x.mul(s, q)), a, b, scale)


def _joined(a: Value, b: Value) -> Padded | None:
    """The sum of two padded values, pieces side by side."""
    if not (isinstance(a, Padded) or isinstance(b, Padded)) or a.shape != b.shape:
        return None
    pieces: list[Piece] = []
    for value in (a, b):
        whole = (Piece(value, lambda index: index),) if not isinstance(value, Padded) else ()
        pieces.extend(value.pieces if isinstance(value, Padded) else whole)
    return Padded(a.shape, tuple(pieces))


@rule("rsub")
def _rsub(work: Lowering, node: Node) -> Value:
    a, b = node.args[:2]
    scale = node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1)
    return elementwise(work, node, lambda x, p, q, s: x.sub(q, x.mul(s, p)), a, b, scale)


pointwise(2, "mul")(Algebra.mul)
pointwise(1, "neg")(Algebra.neg)


@rule("div")
def _div(work: Lowering, node: Node) -> Value:
    match node.kwargs.get("rounding_mode"):
        case None:
            return elementwise(work, node, Algebra.div, *node.args[:2])
        case _ if not node.meta.dtype.is_floating_point:
            raise Refusal(f"{node.op} of whole numbers has no native form")
        case "floor":
            return elementwise(
                work, node, lambda x, a, b: x.call("q_floor_divide", a, b), *node.args[:2]
            )
        case _:
            return elementwise(
                work, node, lambda x, a, b: x.call("trunc", x.div(a, b)), *node.args[:2]
            )


@pointwise(1, "reciprocal")
def _reciprocal(x: Algebra, a: Expression) -> Expression:
    return x.div(x.number(1.0), a)


@pointwise(1, "rsqrt")
def _rsqrt(x: Algebra, a: Expression) -> Expression:
    return x.div(x.number(1.0), x.call("sqrt", a))


@rule("remainder", "fmod")
def _remainder(work: Lowering, node: Node) -> Value:
    """With the sign of the divisor (remainder) or of the dividend (fmod).

    Torch's vectors give NaN where the quotient is beyond the range of numbers; this is exact there.
    """
    whole = not node.meta.dtype.is_floating_point
    if whole:
        low, high = work.bounds.of(node.args[1])
        if low <= 0 <= high or low <= -1 <= high:
            raise Refusal(f"{node.op} by a whole number that may be 0 or -1 has no native form")
    truncated = node.op._schema.name == "aten::fmod"

    def body(x: Algebra, a: Expression, b: Expression) -> Expression:
        rest = x.remainder(a, b) if whole else x.call("fmod", a, b)
        if truncated:
            return rest
        zero = x.number(0, rest.kind)
        apart = x.compare("ne", x.compare("lt", rest, zero), x.compare("lt", b, zero))
        return x.where(x.logic("and", x.compare("ne", rest, zero), apart), x.add(rest, b), rest)

    return elementwise(work, node, body, *node.args[:2])


@rule("addcmul", "addcdiv")
def _addc(work: Lowering, node: Node) -> Value:
    join = Algebra.mul if node.op._schema.name == "aten::addcmul" else Algebra.div

    def body(x: Algebra, a: Expression, b: Expression, c: Expression, s: Expression) -> Expression:
        return x.add(a, x.mul(s, join(x, b, c)))

    return elementwise(work, node, body, *node.args[:3], node.kwargs.get("value", 1))


@pointwise(3, "lerp")
def _lerp(x: Algebra, a: Expression, b: Expression, weight: Expression) -> Expression:
    """From the nearer end, so that both ends are reached."""
    gap, near = x.sub(b, a), x.compare("lt", x.call("fabs", weight), x.number(0.5))
    far = x.sub(b, x.mul(gap, x.sub(x.number(1.0), weight)))
    return x.where(near, x.add(a, x.mul(weight, gap)), far)


# --- powers ---

_POWERS: dict[float, Body] = {
    0.0: lambda x, _: x.number(1.0),
    1.0: lambda _, a: a,
    2.0: lambda x, a: x.mul(a, a),
    3.0: lambda x, a: x.mul(x.mul(a, a), a),
    4.0: lambda x, a: x.mul(x.mul(a, a), x.mul(a, a)),
    0.5: lambda x, a: x.call("sqrt", a),
    -0.5: _rsqrt,
    -1.0: _reciprocal,
    -2.0: lambda x, a: x.div(x.number(1.0), x.mul(a, a)),
}


@rule("pow")
def _pow(work: Lowering, node: Node) -> Value:
    base, exponent = node.args[:2]
    if not isinstance(exponent, int | float) or float(exponent) not in _POWERS:
        return elementwise(work, node, lambda x, a, b: x.call("pow", a, b), base, exponent)
    value = work.value(base)
    if work.cost(value) >= CALL_COST:
        value = work.keep(value)
    return elementwise(work, node, _POWERS[float(exponent)], value)


# --- choices ---

for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    pointwise(2, _name)(lambda x, a, b, op=_name: x.compare(op, a, b))
for _name, _op in (("and", "and"), ("or", "or")):
    pointwise(2, f"logical_{_name}")(lambda x, a, b, op=_op: x.logic(op, a, b))
pointwise(1, "logical_not")(lambda x, a: x.logic("not", a))
pointwise(2, "logical_xor")(lambda x, a, b: x.compare("ne", x.cast(a, "bool"), x.cast(b, "bool")))
pointwise(3, "where")(Algebra.where)


@rule("bitwise_and", "bitwise_or", "bitwise_not")
def _bitwise(work: Lowering, node: Node) -> Value:
    if node.meta.dtype is not torch.bool:
        raise Refusal(f"{node.op} on integers has no native form")
    op = node.op._schema.name.removeprefix("aten::bitwise_")
    arity = 1 if op == "not" else 2
    return elementwise(work, node, lambda x, *e: x.logic(op, *e), *node.args[:arity])


@pointwise(3, "masked_fill")
def _masked_fill(x: Algebra, a: Expression, mask: Expression, value: Expression) -> Expression:
    return x.where(mask, value, a)


def greater(x: Algebra, a: Expression, b: Expression) -> Expression:
    """The maximum; NaN if either is."""
    unordered = x.compare("ne", a, a)
    return x.where(x.logic("or", unordered, x.compare("gt", a, b)), a, b)


def lesser(x: Algebra, a: Expression, b: Expression) -> Expression:
    """The minimum; NaN if either is."""
    unordered = x.compare("ne", a, a)
    return x.where(x.logic("or", unordered, x.compare("lt", a, b)), a, b)


pointwise(2, "maximum", "max.other")(greater)
pointwise(2, "minimum", "min.other")(lesser)


def at_least(x: Algebra, a: Expression, low: Expression) -> Expression:
    """``a`` raised to ``low``; NaN stays."""
    return x.where(x.compare("lt", a, low), low, a)


def at_most(x: Algebra, a: Expression, high: Expression) -> Expression:
    """``a`` lowered to ``high``; NaN stays."""
    return x.where(x.compare("gt", a, high), high, a)


def _kept_apart(cut: Body, bound: Any) -> Body:
    """``cut`` at a bound that may be NaN, which then is the result."""
    if isinstance(bound, int | float) and not math.isnan(bound):
        return cut
    return lambda x, a, b: x.where(x.compare("ne", b, b), b, cut(x, a, b))


@rule("clamp", "clamp_min", "clamp_max")
def _clamp(work: Lowering, node: Node) -> Value:
    name = node.op._schema.name
    bounds = [*node.args[1:3], None, None]
    low, high = (None, bounds[0]) if name == "aten::clamp_max" else (bounds[0], bounds[1])
    given = ((node.kwargs.get("min", low), at_least), (node.kwargs.get("max", high), at_most))
    cuts = [(bound, _kept_apart(cut, bound)) for bound, cut in given if bound is not None]

    def body(x: Algebra, a: Expression, *ends: Expression) -> Expression:
        for (_, cut), end in zip(cuts, ends, strict=True):
            a = cut(x, a, end)
        return a

    return elementwise(work, node, body, node.args[0], *(bound for bound, _ in cuts))


@pointwise(1, "sign", "sgn")
def _sign(x: Algebra, a: Expression) -> Expression:
    a = x.cast(a, "real")
    zero, one = x.number(0.0), x.number(1.0)
    below = x.where(x.compare("lt", a, zero), x.number(-1.0), zero)
    return x.where(x.compare("gt", a, zero), one, below)


pointwise(1, "isnan")(lambda x, a: x.compare("ne", a, a))
pointwise(1, "isinf")(lambda x, a: x.compare("eq", x.call("fabs", a), x.number(math.inf)))


@rule("nan_to_num")
def _nan_to_num(work: Lowering, node: Node) -> Value:
    given = [*node.args[1:], None, None, None]
    greatest = torch.finfo(work.dtype).max
    nan, high, low = (
        default if value is None else float(value)
        for value, default in zip(given, (0.0, greatest, -greatest), strict=False)
    )

    def body(x: Algebra, a: Expression, n: Expression, h: Expression, b: Expression) -> Expression:
        inside = x.where(x.compare("eq", a, x.number(math.inf)), h, a)
        inside = x.where(x.compare("eq", a, x.number(-math.inf)), b, inside)
        return x.where(x.compare("ne", a, a), n, inside)

    return elementwise(work, node, body, node.args[0], nan, high, low)


# --- functions of one or two reals ---

_VECTOR = {
    "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log1p": "log1p",
    "log2": "log2", "log10": "log10", "sqrt": "sqrt", "abs": "fabs", "sin": "sin", "cos": "cos",
    "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "asinh": "asinh", "acosh": "acosh", "atanh": "atanh", "erf": "erf",
    "erfc": "erfc", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round.default": "rint",
}  # fmt: skip
_SCALAR = {
    "lgamma": "q_lgamma", "digamma": "q_digamma", "erfinv": "q_erfinv",
    "i0": "q_i0", "special_i0e": "q_i0e", "special_i1": "q_i1", "special_i1e": "q_i1e",
    "special_erfcx": "q_erfcx", "special_ndtri": "q_ndtri", "special_log_ndtr": "q_log_ndtr",
}  # fmt: skip

for _name, _c in _VECTOR.items():
    pointwise(1, _name)(lambda x, a, c=_c: x.call(c, a))


@rule("round.decimals")
def _round_decimals(work: Lowering, node: Node) -> Value:
    decimals = node.kwargs.get("decimals", 0)
    before, after = (Algebra.mul, Algebra.div) if decimals >= 0 else (Algebra.div, Algebra.mul)

    def body(x: Algebra, a: Expression, ten: Expression) -> Expression:
        return after(x, x.call("rint", before(x, a, ten)), ten)

    return elementwise(work, node, body, node.args[0], 10.0 ** abs(decimals))


for _name in ("atan2", "hypot"):
    pointwise(2, _name)(lambda x, a, b, c=_name: x.call(c, a, b))


def one_by_one(work: Lowering, node: Node, function: str, argument: Any) -> Dense:
    """A function without a vector form, in a loop of its own."""
    value = argument if isinstance(argument, Dense) else work.value(argument)
    if work.cost(value) >= CALL_COST:
        value = work.keep(value)
    lazy = elementwise(work, node, lambda x, a: x.call(function, a), value)
    return work.keep(lazy, in_order=True) if not isinstance(lazy, Fill) else lazy


for _name, _c in _SCALAR.items():

    def _lower_scalar(work: Lowering, node: Node, c: str = _c) -> Value:
        return one_by_one(work, node, c, node.args[0])

    RULES[f"aten::{_name}"] = _lower_scalar


@rule("polygamma")
def _polygamma(work: Lowering, node: Node) -> Value:
    order, argument = node.args
    if order not in (0, 1):
        raise Refusal(f"polygamma of order {order} has no native form")
    return one_by_one(work, node, ("q_digamma", "q_trigamma")[order], argument)


@rule("mvlgamma")
def _mvlgamma(work: Lowering, node: Node) -> Value:
    argument, order = node.args
    value = work.value(argument)
    total = work.cheap(value)
    terms = [
        one_by_one(
            work, node, "q_lgamma",
            elementwise(work, node, Algebra.sub, total, 0.5 * k),
        )
        for k in range(order)
    ]  # fmt: skip
    constant = 0.25 * order * (order - 1) * math.log(math.pi)

    def add(x: Algebra, *parts: Expression) -> Expression:
        result = parts[0]
        for part in parts[1:]:
            result = x.add(result, part)
        return result

    return elementwise(work, node, add, *terms, constant)


@pointwise(1, "special_ndtr")
def normal_below(x: Algebra, a: Expression) -> Expression:
    """The normal distribution function, also far below, where 1 + erf has no digits left."""
    half = x.number(0.5)
    return x.mul(half, x.call("erfc", x.call("q_over_root_two", x.neg(a))))


@pointwise(2, "logaddexp")
def _logaddexp(x: Algebra, a: Expression, b: Expression) -> Expression:
    top, gap = greater(x, a, b), x.call("fabs", x.sub(a, b))
    apart = x.add(top, x.call("log1p", x.call("exp", x.neg(gap))))
    same = x.add(a, x.call("log", x.number(2.0)))
    return x.where(x.compare("eq", a, b), same, apart)


def _times_log(x: Algebra, a: Expression, b: Expression, function: str) -> Expression:
    product = x.mul(a, x.call(function, b))
    zero = x.where(x.compare("ne", b, b), b, x.number(0.0))
    return x.where(x.compare("eq", a, x.number(0.0)), zero, product)


pointwise(2, "xlogy")(lambda x, a, b: _times_log(x, a, b, "log"))
pointwise(2, "special_xlog1py")(lambda x, a, b: _times_log(x, a, b, "log1p"))


@pointwise(1, "special_entr")
def _entr(x: Algebra, a: Expression) -> Expression:
    below = x.compare("lt", a, x.number(0.0))
    return x.where(below, x.number(-math.inf), x.neg(_times_log(x, a, a, "log")))
