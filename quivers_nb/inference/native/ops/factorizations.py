"""Small dense factorizations and the systems that they solve, one matrix of a batch at a time."""

from math import prod

import torch

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Expression
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.reductions import reduce
from quivers_nb.inference.native.ops.views import argument, reshape
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Index, Lazy, Shape, Strided, Value

GREATEST_ORDER = 128  # beyond, LAPACK is faster


def _turned(work: Lowering, value: Dense) -> Dense:
    rank = len(value.shape)
    order = (*range(rank - 2), rank - 1, rank - 2)
    return work.seen(value, v.permuted(value.shape, order))


def _checked(node: Node, order: int) -> None:
    if order > GREATEST_ORDER:
        raise Refusal(f"{node.op} of order {order} is faster in a tuned library")


@rule("linalg_cholesky_ex")
def _cholesky(work: Lowering, node: Node) -> tuple[Value, ...]:
    """Lower factors; a matrix that is not positive definite gives NaN."""
    source = work.value(node.args[0])
    _checked(node, source.shape[-1])
    rows = work.rows(source)
    factor = work.row_memory(source.shape)
    batch, n = prod(source.shape[:-2]), source.shape[-1]
    work.call("q_cholesky", factor.buffer, factor, rows, batch, n)
    upper = argument(node, 1, "upper", False)
    info = Fill(node.metas[1].shape, "int", work.algebra.integer(0))
    return (_turned(work, factor) if upper else factor), info


@rule("_linalg_check_errors")
def _check_errors(_work: Lowering, _node: Node) -> tuple[Value, ...]:
    """Nothing to do: what failed is NaN already, which ends the trajectory there."""
    return ()


def _aligned(work: Lowering, a: Dense, b: Dense) -> tuple[Dense, Dense, Shape]:
    """Two stacks of matrices with the same batch axes, and these."""
    batch = tuple(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    a, b = work.broadcast(a, batch + a.shape[-2:]), work.broadcast(b, batch + b.shape[-2:])
    return a, b, batch


def _solved(work: Lowering, a: Dense, b: Dense, *, upper: bool, unit: bool = False) -> Strided:
    """``x`` with ``a x = b``, ``a`` triangular; batch axes broadcast."""
    a, b, batch = _aligned(work, a, b)
    left, target = work.rows(a), work.row_memory(b.shape)
    work.store(target, b)
    n, m = b.shape[-2:]
    work.call(
        "q_solve_triangular", target.buffer, target, left, prod(batch), n, m, int(upper), int(unit)
    )
    return target


@rule("linalg_solve_triangular")
def _solve_triangular(work: Lowering, node: Node) -> Value:
    a, b = (work.value(x) for x in node.args[:2])
    _checked(node, a.shape[-1])
    upper, left = bool(node.kwargs["upper"]), bool(node.kwargs.get("left", True))
    unit = bool(node.kwargs.get("unitriangular", False))
    if left:
        return _solved(work, a, b, upper=upper, unit=unit)
    turned = _solved(work, _turned(work, a), _turned(work, b), upper=not upper, unit=unit)
    return _turned(work, turned)


def _one(work: Lowering, shape: Shape) -> Dense:
    """The identity, in every matrix of a stack."""
    x = work.algebra

    def at(index: Index) -> Expression:
        return x.where(x.compare("eq", index[-2], index[-1]), x.number(1.0), x.number(0.0))

    return Lazy(shape, "real", at)


def _by_factor(work: Lowering, factor: Dense, b: Dense, *, upper: bool) -> Strided:
    """``x`` with ``l l' x = b``, or ``u' u x = b``."""
    turned = _turned(work, factor)
    low, high = (turned, factor) if upper else (factor, turned)
    return _solved(work, high, _solved(work, low, b, upper=False), upper=True)


@rule("cholesky_solve")
def _cholesky_solve(work: Lowering, node: Node) -> Value:
    b, factor = (work.value(x) for x in node.args[:2])
    _checked(node, factor.shape[-1])
    return _by_factor(work, factor, b, upper=bool(argument(node, 2, "upper", False)))


@rule("cholesky_inverse")
def _cholesky_inverse(work: Lowering, node: Node) -> Value:
    factor = work.value(node.args[0])
    _checked(node, factor.shape[-1])
    upper = bool(argument(node, 1, "upper", False))
    return _by_factor(work, factor, _one(work, factor.shape), upper=upper)


# --- general matrices ---


def _factors(work: Lowering, node: Node, a: Dense) -> tuple[Strided, Dense]:
    """Both triangles of each matrix, and the rows that were exchanged, from 1 on as in LAPACK."""
    *batch, _, n = a.shape
    _checked(node, n)
    made = work.row_memory((*batch, n + 1, n))
    work.call("q_lu", made.buffer, made, work.rows(a), prod(batch), n)
    rank = len(a.shape)
    lu = made.seen(v.sliced(made.shape, rank - 2, 0, n))
    last = made.seen(v.selected(made.shape, rank - 2, n))
    x = work.algebra
    rows = work.pointwise(last.shape, "int", lambda r: x.add(x.cast(r, "int"), x.integer(1)), last)
    return lu, rows


def _by_triangles(
    work: Lowering, lu: Dense, rows: Dense, b: Dense, *, adjoint: bool = False
) -> Strided:
    """``x`` with ``a x = b`` (or ``a' x = b``), from what `_factors` gives."""
    x = work.algebra
    lu, b, batch = _aligned(work, lu, b)
    exchanged = work.pointwise(
        (*batch, rows.shape[-1]), "int", lambda r: x.sub(r, x.integer(1)), rows
    )
    triangles = work.rows(_turned(work, lu) if adjoint else lu)
    places, target = work.rows(exchanged), work.row_memory(b.shape)
    work.store(target, b)
    n, m = b.shape[-2:]
    work.call(
        "q_lu_solve", target.buffer, target, triangles, places, prod(batch), n, m, int(adjoint)
    )
    return target


@rule("linalg_lu_solve")
def _lu_solve(work: Lowering, node: Node) -> Value:
    lu, rows, b = (work.value(a) for a in node.args[:3])
    _checked(node, lu.shape[-1])
    adjoint = bool(node.kwargs.get("adjoint", False))
    if node.kwargs.get("left", True):
        return _by_triangles(work, lu, rows, b, adjoint=adjoint)
    return _turned(work, _by_triangles(work, lu, rows, _turned(work, b), adjoint=not adjoint))


@rule("_linalg_solve_ex")
def _solve(work: Lowering, node: Node) -> tuple[Value, ...]:
    """A singular matrix gives NaN."""
    a, b = (work.value(x) for x in node.args[:2])
    lu, rows = _factors(work, node, a)
    shape = node.metas[0].shape
    left = bool(node.kwargs.get("left", True))
    b = reshape(work, b, (*b.shape, 1)) if len(shape) < len(a.shape) else b
    found = _by_triangles(work, lu, rows, b if left else _turned(work, b), adjoint=not left)
    info = Fill(node.metas[3].shape, "int", work.algebra.integer(0))
    return reshape(work, found if left else _turned(work, found), shape), lu, rows, info


@rule("linalg_inv_ex")
def _inverse(work: Lowering, node: Node) -> tuple[Value, ...]:
    """A singular matrix gives NaN."""
    a = work.value(node.args[0])
    lu, rows = _factors(work, node, a)
    info = Fill(node.metas[1].shape, "int", work.algebra.integer(0))
    return _by_triangles(work, lu, rows, _one(work, a.shape)), info


@rule("_linalg_slogdet")
def _slogdet(work: Lowering, node: Node) -> tuple[Value, ...]:
    """Sign and logarithm of the size of determinants; of a singular matrix 0 and -inf.

    Slopes are systems of the same factors, which are of the transpose where torch finds rows.
    """
    a, x = work.value(node.args[0]), work.algebra
    steps = zip(a.shape, work.graph.meta(node.args[0]).strides, v.contiguous(a.shape), strict=True)
    by_rows = all(n == 1 or given == plain for n, given, plain in steps)
    lu, rows = _factors(work, node, _turned(work, a) if by_rows else a)
    rank, n = len(a.shape), a.shape[-1]
    pivots = work.seen(lu, v.diagonal(lu.shape, 0, rank - 2, rank - 1))

    def sign(index: Index) -> Expression:
        p, one = pivots.at(x, index), x.number(1.0)
        here = x.where(x.compare("lt", p, x.number(0.0)), x.neg(one), p)
        kept = x.compare("eq", rows.at(x, index), x.add(index[-1], x.integer(1)))
        there = x.where(x.compare("gt", p, x.number(0.0)), one, here)
        return x.where(kept, there, x.neg(there))

    size = work.pointwise(pivots.shape, "real", lambda p: x.call("log", x.call("fabs", p)), pivots)
    signs = reduce(work, Lazy((*a.shape[:-2], n), "real", sign), [rank - 2], "mul")
    return signs, reduce(work, size, [rank - 2], "add"), lu, rows
