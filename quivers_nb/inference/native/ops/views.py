"""Views, copies, joins, and the backwards of views: index arithmetic, hardly ever a loop."""

from collections.abc import Sequence
from math import prod
from typing import Any

from quivers_nb.inference.graph import Node
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Algebra
from quivers_nb.inference.native.lowering import Lowering, kind_of, rule
from quivers_nb.inference.native.ops.arithmetic import elementwise
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import Dense, Fill, Index, Padded, Piece, Shape, Value, View


def argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    """An argument by place or by name."""
    found = node.args[place] if len(node.args) > place else node.kwargs.get(name)
    return default if found is None else found


def span(size: int, start: int | None, end: int | None, step: int) -> tuple[int, int]:
    """First place and number of places of a slice."""
    places = range(size)[slice(start, end, step)]
    return (places.start, len(places)) if len(places) else (0, 0)


def _slice_of(shape: Shape, axis: int, start: Any, end: Any, step: int) -> View:
    axis %= len(shape)
    first, length = span(shape[axis], start, end, step)
    return v.sliced(shape, axis, first, length, step)


# --- reading ---


@rule("slice")
def _slice(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    axis, start, end, step = (
        argument(node, k, name, default)
        for k, (name, default) in enumerate(
            (("dim", 0), ("start", None), ("end", None), ("step", 1)), start=1
        )
    )
    return work.seen(source, _slice_of(source.shape, axis, start, end, step))


@rule("select")
def _select(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    axis, index = node.args[1:3]
    return work.seen(source, v.selected(source.shape, axis % len(source.shape), index))


@rule("expand")
def _expand(work: Lowering, node: Node) -> Value:
    return work.broadcast(work.value(node.args[0]), node.meta.shape)


@rule("permute", "t", "transpose")
def _permute(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    rank = len(source.shape)
    name = node.op._schema.name
    order = list(range(rank))
    if name == "aten::permute":
        order = [d % rank for d in node.args[1]]
    elif name == "aten::transpose" and rank:
        a, b = node.args[1] % rank, node.args[2] % rank
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return work.seen(source, v.permuted(source.shape, order))


@rule("flip")
def _flip(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    axes = [d % len(source.shape) for d in node.args[1]]
    return work.seen(source, v.flipped(source.shape, axes))


@rule("diagonal")
def _diagonal(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    offset = argument(node, 1, "offset", 0)
    first, second = argument(node, 2, "dim1", 0), argument(node, 3, "dim2", 1)
    rank = len(source.shape)
    return work.seen(source, v.diagonal(source.shape, offset, first % rank, second % rank))


@rule("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze")
def _reshape(work: Lowering, node: Node) -> Value:
    return reshape(work, work.value(node.args[0]), node.meta.shape)


def reshape(work: Lowering, source: Dense, shape: Shape) -> Dense:
    """``source`` under another shape."""
    if source.shape == shape:
        return source
    if isinstance(source, Fill) or prod(shape) == 0:
        value = source.value if isinstance(source, Fill) else work.algebra.number(0.0)
        return Fill(shape, source.kind, value)
    split = v.split_axes(source.shape, shape)
    if split is not None:
        return work.seen(source, split)
    kept = work.keep(source)
    again = v.reshaped(kept, shape)
    if again is not None:
        return again
    rows = work.rows(kept)
    return v.Strided(shape, rows.buffer, v.contiguous(shape), rows.offset)


@rule("clone", "copy", "_to_copy", "lift_fresh_copy")
def _copy(work: Lowering, node: Node) -> Value:
    source = node.args[1] if node.op._schema.name == "aten::copy" else node.args[0]
    value = work.raw(source)
    meta = node.meta
    if meta.dtype.is_floating_point and meta.dtype is not work.dtype and meta.shape:
        raise Refusal(f"{node.op} mixes {meta.dtype} into {work.dtype}")
    if value.shape == meta.shape and value.kind == kind_of(meta.dtype):
        return value
    if value.kind == "real" and kind_of(meta.dtype) == "int":
        return elementwise(work, node, lambda x, a: x.cast(x.call("trunc", a), "int"), source)
    return elementwise(work, node, lambda _, a: a, source)


@rule("fill")
def _fill(work: Lowering, node: Node) -> Value:
    return work.broadcast(work.value(node.args[1]), node.meta.shape)


@rule("unbind")
def _unbind(work: Lowering, node: Node) -> tuple[Value, ...]:
    source = work.value(node.args[0])
    axis = argument(node, 1, "dim", 0) % len(source.shape)
    return tuple(
        work.seen(source, v.selected(source.shape, axis, k)) for k in range(len(node.results))
    )


@rule("split", "split_with_sizes")
def _split(work: Lowering, node: Node) -> tuple[Value, ...]:
    source = work.value(node.args[0])
    axis = argument(node, 2, "dim", 0) % len(source.shape)
    start, parts = 0, []
    for meta in node.metas:
        parts.append(work.seen(source, v.sliced(source.shape, axis, start, meta.shape[axis])))
        start += meta.shape[axis]
    return tuple(parts)


@rule("roll")
def _roll(work: Lowering, node: Node) -> Value:
    source = work.cheap(work.value(node.args[0]))
    shape = source.shape
    shifts, axes = node.args[1], argument(node, 2, "dims", [])
    if not axes:
        flat = reshape(work, source, (prod(shape),))
        return reshape(work, _rolled(work, flat, 0, shifts[0]), shape)
    for shift, axis in zip(shifts, axes, strict=True):
        source = _rolled(work, source, axis % len(shape), shift)
    return source


def _rolled(work: Lowering, source: Dense, axis: int, shift: int) -> Dense:
    n = source.shape[axis]
    cut = shift % n if n else 0
    target = work.memory(source.shape, source.kind)
    for start, length, into in ((0, n - cut, cut), (n - cut, cut, 0)):
        part = work.seen(source, v.sliced(source.shape, axis, start, length))
        work.store(target.seen(v.sliced(source.shape, axis, into, length)), part)
    return target


@rule("repeat")
def _repeat(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    times = node.args[1]
    lead = len(times) - len(source.shape)
    shape = (1,) * lead + source.shape
    pairs = tuple(k for t, n in zip(times, shape, strict=True) for k in (t, n))
    apart = tuple(k for n in shape for k in (1, n))
    tall = work.broadcast(reshape(work, source, apart), pairs)
    return reshape(work, tall, node.meta.shape)


# --- joining ---


@rule("cat", "stack")
def _join(work: Lowering, node: Node) -> Value:
    parts = [work.value(part) for part in node.args[0]]
    shape = node.meta.shape
    axis = argument(node, 1, "dim", 0) % len(shape)
    if node.op._schema.name == "aten::stack":
        parts = [reshape(work, p, (*p.shape[:axis], 1, *p.shape[axis:])) for p in parts]
    parts = [part for part in parts if len(part.shape) == len(shape)]  # cat drops shape (0,)
    target = work.memory(shape, kind_of(node.meta.dtype))
    start = 0
    for part in parts:
        view = v.sliced(shape, axis, start, part.shape[axis])
        work.store(target.seen(view), part)
        start += part.shape[axis]
    return target


# --- backwards: pieces of zeros ---


def padded(work: Lowering, source: Value, view: View, shape: Shape) -> Padded:
    """Zeros of ``shape`` with ``source`` written where ``view`` reads."""
    algebra = work.algebra
    if not isinstance(source, Padded):
        return Padded(shape, (Piece(source, lambda index: view.apply(algebra, index)),))

    def moved(piece: Piece) -> Piece:
        def place(index: Index) -> Index:
            return view.apply(algebra, piece.place(index))

        return Piece(piece.value, place, piece.scattered)

    return Padded(shape, tuple(map(moved, source.pieces)))


@rule("slice_backward")
def _slice_backward(work: Lowering, node: Node) -> Value:
    source, shape, axis, start, end, step = node.args
    view = _slice_of(tuple(shape), axis, start, end, step)
    return padded(work, work.raw(source), view, tuple(shape))


@rule("select_backward")
def _select_backward(work: Lowering, node: Node) -> Value:
    source, shape, axis, index = node.args
    view = v.selected(tuple(shape), axis % len(shape), index)
    return padded(work, work.raw(source), view, tuple(shape))


@rule("diag_embed")
def _diag_embed(work: Lowering, node: Node) -> Value:
    shape = node.meta.shape
    offset = argument(node, 1, "offset", 0)
    first, second = argument(node, 2, "dim1", -2), argument(node, 3, "dim2", -1)
    view = v.diagonal(shape, offset, first % len(shape), second % len(shape))
    return padded(work, work.raw(node.args[0]), view, shape)


@rule("unfold")
def _unfold(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    axis, size, step = node.args[1:4]
    return work.seen(source, v.windows(source.shape, axis % len(source.shape), size, step))


@rule("unfold_backward")
def _unfold_backward(work: Lowering, node: Node) -> Value:
    source, shape, axis, size, step = node.args
    view = v.windows(tuple(shape), axis % len(shape), size, step)
    return padded(work, work.raw(source), view, tuple(shape))


@rule("diagonal_backward")
def _diagonal_backward(work: Lowering, node: Node) -> Value:
    source, shape, offset, first, second = node.args
    view = v.diagonal(tuple(shape), offset, first % len(shape), second % len(shape))
    return padded(work, work.raw(source), view, tuple(shape))


@rule("constant_pad_nd")
def _pad(work: Lowering, node: Node) -> Value:
    source = work.raw(node.args[0])
    pads: Sequence[int] = node.args[1]
    shape = node.meta.shape
    before = [0] * len(shape)
    after = [0] * len(shape)
    for k in range(len(pads) // 2):
        before[len(shape) - 1 - k], after[len(shape) - 1 - k] = pads[2 * k : 2 * k + 2]
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        if low < 0 or high < 0:  # negative padding cuts off
            length = source.shape[axis] + min(low, 0) + min(high, 0)
            view = v.sliced(source.shape, axis, max(-low, 0), length)
            source = work.seen(work.dense(source), view)
    terms = tuple(((d, 1),) for d in range(len(shape)))
    view = View(source.shape, tuple(max(low, 0) for low in before), terms)
    filling = argument(node, 2, "value", 0)
    if filling == 0:
        return padded(work, source, view, shape)
    target = work.memory(shape, source.kind)
    work.store(target, work.broadcast(work.value(float(filling)), shape))
    work.store(target.seen(view), work.dense(source))
    return target


# --- triangles ---


@rule("tril", "triu")
def _triangle(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    offset = argument(node, 1, "diagonal", 0)
    op = "le" if node.op._schema.name == "aten::tril" else "ge"
    x: Algebra = work.algebra

    def compute(index: Index) -> Any:
        row, column = index[-2:]
        inside = x.compare(op, column, x.add(row, x.integer(offset)))
        return x.where(inside, source.at(x, index), x.number(0.0))

    return v.Lazy(source.shape, source.kind, compute)
