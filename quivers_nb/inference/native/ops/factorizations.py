"""Small dense factorizations: Cholesky and triangular systems, one matrix of a batch at a time."""

from math import prod

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.lowering import Lowering, rule
from quivers_nb.inference.native.ops.views import argument
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Strided, Value

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


def _solved(work: Lowering, a: Dense, b: Dense, *, upper: bool, unit: bool) -> Strided:
    """``x`` with ``a x = b``, ``a`` triangular; batch axes broadcast."""
    batch = tuple(max(p, q) for p, q in zip(a.shape[:-2], b.shape[:-2], strict=True))
    a, b = work.broadcast(a, batch + a.shape[-2:]), work.broadcast(b, batch + b.shape[-2:])
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
