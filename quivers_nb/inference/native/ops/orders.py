"""Sorting, order statistics, running extremes and searches: which element comes at which place.

Each is a routine of ``order.h`` that gives places; values are read there, so they keep every bit.
Places are on their axis by construction. NaN is the greatest number, as in torch, and equal ones
keep their order: torch promises that of stable sorts alone. Where it leaves open which of several
equal elements it means (`topk`, `kthvalue`, `median` along an axis), it is the first here.
"""

from math import prod

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.lowering import Lowering, kind_of, rule
from quivers_nb.inference.native.ops.gathers import gathered
from quivers_nb.inference.native.ops.views import argument, reshape
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Index, Strided, Value

SORTING, PICKING = 3, 2  # rows of whole numbers that the routines work in


def _lasting(work: Lowering, value: Dense, axis: int) -> Strided:
    """``value`` in memory, whole or real, with ``axis`` last."""
    if not value.shape:
        value = reshape(work, value, (1,))
    order = [d for d in range(len(value.shape)) if d != axis] + [axis]
    return work.rows(_counted(work, work.seen(value, v.permuted(value.shape, order))))


def _rows_along(work: Lowering, node: Node, where: int) -> tuple[Strided, int]:
    """The rows of a node along the axis that argument number ``where`` names, and that axis."""
    value = work.value(node.args[0])
    axis = argument(node, where, "dim", -1) % max(len(value.shape), 1)
    return _lasting(work, value, axis), axis


def _counted(work: Lowering, value: Dense) -> Dense:
    """Truth values as whole numbers."""
    if value.kind != "bool":
        return value
    return work.pointwise(value.shape, "int", lambda a: work.algebra.cast(a, "int"), value)


def _routine(name: str, rows: Dense) -> str:
    return f"q_{name}_{'real' if rows.kind == 'real' else 'whole'}"


def _picked(work: Lowering, rows: Strided, places: Dense) -> Dense:
    """The elements of each row at some of its places: (*b, n), (*b, k) -> (*b, k)."""

    def place(at: Index) -> Index:
        return (*at[:-1], places.at(work.algebra, at))

    return gathered(work, rows, places.shape, place)


def _both(work: Lowering, node: Node, rows: Strided, places: Dense, axis: int) -> tuple[Value, ...]:
    """Values and places with the axis where it was."""
    order = list(range(len(places.shape) - 1))
    order.insert(axis, len(order))
    values, where = (
        reshape(work, work.seen(part, v.permuted(places.shape, order)), meta.shape)
        for part, meta in zip((_picked(work, rows, places), places), node.metas, strict=True)
    )
    if kind_of(node.metas[0].dtype) == "bool":
        values = work.pointwise(
            values.shape, "bool", lambda a: work.algebra.cast(a, "bool"), values
        )
    return values, where


def _sorted(work: Lowering, rows: Strided, *, descending: bool) -> Dense:
    """The places of each row in order: (*b, n) -> (*b, n)."""
    n = rows.shape[-1]
    if n < 2 or prod(rows.shape) == 0:
        return Fill(rows.shape, "int", work.algebra.integer(0))
    places = work.row_memory(rows.shape, "int")
    room = work.row_memory((SORTING * n,), "int")
    work.call(
        _routine("sort", rows), places.buffer, places, room, rows, prod(rows.shape[:-1]), n,
        int(descending),
    )  # fmt: skip
    return places


@rule("sort")
def _sort(work: Lowering, node: Node) -> tuple[Value, ...]:
    rows, axis = _rows_along(work, node, 1)
    places = _sorted(work, rows, descending=argument(node, 2, "descending", False))
    return _both(work, node, rows, places, axis)


@rule("topk")
def _topk(work: Lowering, node: Node) -> tuple[Value, ...]:
    rows, axis = _rows_along(work, node, 2)
    places = _sorted(work, rows, descending=argument(node, 3, "largest", True))
    first = v.sliced(places.shape, len(places.shape) - 1, 0, node.args[1])
    return _both(work, node, rows, work.seen(places, first), axis)


# --- one element of each row ---


def _single(work: Lowering, routine: str, rows: Strided, number: int) -> Dense:
    """The place that a routine gives of each row: (*b, n) -> (*b, 1)."""
    shape, n = (*rows.shape[:-1], 1), rows.shape[-1]
    if n < 2 or prod(shape) == 0:
        return Fill(shape, "int", work.algebra.integer(0))
    places = work.row_memory(shape, "int")
    room = work.row_memory((PICKING * n,), "int")
    work.call(routine, places.buffer, places, room, rows, prod(shape), n, number)
    return places


def _middle(work: Lowering, node: Node, rows: Strided) -> Dense:
    """The place of the lower median of each row."""
    if rows.kind == "real":
        return _single(work, "q_median", rows, int("nan" in node.op._schema.name))
    return _single(work, "q_kth_whole", rows, (rows.shape[-1] - 1) // 2)


@rule("kthvalue")
def _kthvalue(work: Lowering, node: Node) -> tuple[Value, ...]:
    rows, axis = _rows_along(work, node, 2)
    return _both(
        work, node, rows, _single(work, _routine("kth", rows), rows, node.args[1] - 1), axis
    )


@rule("median.dim", "nanmedian.dim")
def _median_along(work: Lowering, node: Node) -> tuple[Value, ...]:
    rows, axis = _rows_along(work, node, 1)
    return _both(work, node, rows, _middle(work, node, rows), axis)


@rule("median.default", "nanmedian.default")
def _median(work: Lowering, node: Node) -> Value:
    value = work.value(node.args[0])
    if prod(value.shape) == 0:
        if value.kind != "real":
            raise Refusal(f"{node.op} of no whole numbers is not defined")
        return Fill((), "real", work.algebra.number(float("nan")))
    rows = _lasting(work, reshape(work, value, (prod(value.shape),)), 0)
    return reshape(work, _picked(work, rows, _middle(work, node, rows)), ())


# --- running extremes, searches ---


@rule("cummax", "cummin")
def _running_extreme(work: Lowering, node: Node) -> tuple[Value, ...]:
    value = work.value(node.args[0])
    axis = node.args[1] % max(len(value.shape), 1)
    rows = work.rows(_counted(work, reshape(work, value, value.shape or (1,))))
    outer, n, inner = prod(rows.shape[:axis]), rows.shape[axis], prod(rows.shape[axis + 1 :])
    places: Dense = Fill(rows.shape, "int", work.algebra.integer(0))
    if n > 1 and outer * inner:
        made = places = work.row_memory(rows.shape, "int")
        name = node.op._schema.name.removeprefix("aten::")
        work.call(_routine(name, rows), made.buffer, made, rows, outer, n, inner)

    def place(at: Index) -> Index:
        return (*at[:axis], places.at(work.algebra, at), *at[axis + 1 :])

    found = gathered(work, rows, rows.shape, place)
    return reshape(work, found, value.shape), reshape(work, places, value.shape)


@rule("searchsorted.Tensor", "bucketize.Tensor")
def _search(work: Lowering, node: Node) -> Value:
    among, asked = node.args[:2]
    if node.op._schema.name == "aten::bucketize":
        among, asked = asked, among
    if node.kwargs.get("sorter") is not None:
        raise Refusal(f"{node.op} with a sorter has no native form")
    right = bool(node.kwargs.get("right")) or node.kwargs.get("side") == "right"
    table, given = (work.rows(_counted(work, work.value(a))) for a in (among, asked))
    if table.kind != given.kind:
        raise Refusal(f"{node.op} of whole numbers among real ones has no native form")
    m, count = table.shape[-1], prod(given.shape)
    if count == 0 or m == 0:
        return Fill(given.shape, "int", work.algebra.integer(0))
    batch = prod(table.shape[:-1])
    places = work.row_memory(given.shape, "int")
    work.call(
        _routine("search", table), places.buffer, places, table, given, batch, m, count // batch,
        int(right),
    )  # fmt: skip
    return places
