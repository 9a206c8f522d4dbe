"""Matrix products: routines over memory, one for each of the axes that can be contiguous.

Data are stored with a long axis contiguous (`value.loop_order`), which is what a product and its
transpose both want.
"""

from math import prod

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Algebra, Expression
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.reductions import total
from quivers_nb.inference.native.ops.views import reshape
from quivers_nb.inference.native.program import LIBRARY_CALL, Refusal
from quivers_nb.inference.native.value import Dense, Fill, Strided, Value

# Beyond this many multiplications a tuned library wins over plain loops by far; where it may be
# called, it is from fewer on.
GREATEST_PRODUCT = 4_000_000
LEAST_FOR_LIBRARY = 50_000
SHORT = 16


def _with_contiguous_axis(work: Lowering, matrix: Dense) -> Strided:
    kept = work.keep(matrix)
    return kept if 1 in kept.strides else work.rows(kept)


def matrix_vector(work: Lowering, matrix: Dense, vector: Dense) -> Strided:
    """``matrix @ vector``."""
    a, x = _with_contiguous_axis(work, matrix), work.rows(vector)
    m, k = a.shape
    target = work.row_memory((m,))
    if a.strides[0] == 1 and k > 1:
        work.call("q_mv_columns", target.buffer, target, a, x, m, k, a.strides[1])
    else:
        work.call("q_mv_rows", target.buffer, target, a, x, m, k, a.strides[0])
    return target


def matrix_matrix(work: Lowering, left: Dense, right: Dense) -> Strided:
    """``left @ right`` over a leading batch axis: (b, m, k), (b, k, n) -> (b, m, n)."""
    (batch, m, k), n = left.shape, right.shape[2]
    if work.library and m * n * k >= LEAST_FOR_LIBRARY:
        return _by_library(work, left, right)
    if m * n * k > GREATEST_PRODUCT:
        raise Refusal(f"a matrix product of {m} x {k} by {k} x {n} is faster in a tuned library")
    a, b = work.keep(left), work.keep(right)
    if b.strides[2] != 1 and n > 1 and a.strides[1] == 1:
        turned = matrix_matrix_rows(work, _transposed(b), _transposed(a))
        return turned.seen(v.permuted(turned.shape, (0, 2, 1)))
    if b.strides[1] == 1 and a.strides[2] == 1 and k >= SHORT:
        target = work.row_memory((batch, m, n))
        work.call(
            "q_mm_dots", target.buffer, target, a, b, batch, m, n, k,
            a.strides[0], a.strides[1], b.strides[0], b.strides[2],
        )  # fmt: skip
        return target
    return matrix_matrix_rows(work, a, b)


def _by_library(work: Lowering, left: Dense, right: Dense) -> Strided:
    """The product by the library that torch links (`native.library`)."""
    a, b = _library_operand(work, left), _library_operand(work, right)
    (batch, m, k), n = a.shape, b.shape[2]
    target = work.row_memory((batch, m, n))
    work.call(LIBRARY_CALL, target.buffer, target, a, b, batch, m, n, k, *a.strides, *b.strides)
    return target


def _library_operand(work: Lowering, matrix: Dense) -> Strided:
    """With one of the two axes contiguous, and lines along it that do not overlap."""
    kept = work.keep(matrix)
    _, rows, columns = kept.shape
    _, down, right = kept.strides
    by_rows, by_columns = right == 1 and down >= columns, down == 1 and right >= rows
    return kept if by_rows or by_columns else work.rows(kept)


def _transposed(value: Strided) -> Strided:
    return value.seen(v.permuted(value.shape, (0, 2, 1)))


def matrix_matrix_rows(work: Lowering, a: Strided, b: Strided) -> Strided:
    """The product as sums of rows of ``b``, which are made contiguous if they are not."""
    (batch, m, k), n = a.shape, b.shape[2]
    b = b if b.strides[2] == 1 or n == 1 else work.rows(b)
    target = work.row_memory((batch, m, n))
    work.call(
        "q_mm_rows", target.buffer, target, a, b, batch, m, n, k,
        *a.strides, b.strides[0], b.strides[1],
    )  # fmt: skip
    return target


def _batched(work: Lowering, value: Dense) -> Dense:
    return reshape(work, value, (1, *value.shape))


def product(work: Lowering, left: Dense, right: Dense) -> Dense:
    """The product that ``mm``, ``mv``, ``dot`` and ``bmm`` compute, by rank."""
    if prod(left.shape) == 0 or prod(right.shape) == 0:  # sums of nothing
        columns = right.shape[-1:] if len(right.shape) > 1 else ()
        return Fill((*left.shape[:-1], *columns), "real", work.algebra.number(0.0))
    return _product_of_some(work, left, right)


def _product_of_some(work: Lowering, left: Dense, right: Dense) -> Dense:
    if len(left.shape) == 3:
        return matrix_matrix(work, left, right)
    if len(left.shape) == 1:
        times = work.pointwise(left.shape, "real", work.algebra.mul, left, right)
        return total(work, times, (0,))
    if len(right.shape) == 1:
        return matrix_vector(work, left, right)
    if right.shape[1] == 1:
        vector = reshape(work, right, right.shape[:1])
        return reshape(work, matrix_vector(work, left, vector), (left.shape[0], 1))
    if left.shape[0] == 1:
        vector = reshape(work, left, left.shape[1:])
        over = work.seen(right, v.permuted(right.shape, (1, 0)))
        return reshape(work, matrix_vector(work, over, vector), (1, right.shape[1]))
    whole = matrix_matrix(work, _batched(work, left), _batched(work, right))
    return whole.seen(v.selected(whole.shape, 0, 0))


@rule("mm", "mv", "dot", "vdot", "bmm")
def _product(work: Lowering, node: Node) -> Value:
    left, right = (work.value(a) for a in node.args[:2])
    return product(work, left, right)


@rule("addmm", "addmv", "baddbmm")
def _add_product(work: Lowering, node: Node) -> Value:
    base, left, right = (work.value(a) for a in node.args[:3])
    times = product(work, left, right)
    beta, alpha = (node.kwargs.get(name, 1) for name in ("beta", "alpha"))
    x: Algebra = work.algebra

    def add(c: Expression, t: Expression, p: Expression, s: Expression) -> Expression:
        scaled = x.mul(t, c)
        if beta == 0:  # whatever the base holds, NaN included, counts for nothing
            return scaled
        return x.add(x.mul(s, p), scaled)

    parts = (times, work.value(alpha), base, work.value(beta))
    return work.pointwise(node.meta.shape, "real", add, *parts)
