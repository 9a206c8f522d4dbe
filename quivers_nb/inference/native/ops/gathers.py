"""Reading at computed places, and adding into them.

Indices that do not depend on the variables become data; negative ones are wrapped here, once. Those
that do depend on them must be known to stay on their axis (`bounds`).
"""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from quivers_nb.inference.graph import Node, Ref
from quivers_nb.inference.native import value as v
from quivers_nb.inference.native.expression import Algebra
from quivers_nb.inference.native.lowering import GREATEST_SCATTERED_COST, Lowering, rule
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.value import (
    Dense,
    Fill,
    Index,
    Lazy,
    Padded,
    Piece,
    Shape,
    Strided,
    Value,
)

LANES = 4  # a power of two: an addition into memory takes that long to be seen by the next
SPREAD = 2  # rows per sum and lane from which lanes are worth their own sums
CROWDED = 0.25  # share of neighbours in one place: rows that are sorted by group, or few groups

Place = Callable[[Index], Index]  # index of the result -> index of the source


def places(work: Lowering, index: Any, size: int, *, least: int = 0) -> Dense:
    """A tensor of places on an axis of ``size``, none of them negative.

    Torch has looked at those that are constant; others are from ``least`` on, see `Bounds.ask`.
    """
    tensor = work.tensor(index) if isinstance(index, Ref) else index
    if isinstance(tensor, Tensor):
        key = (index.index, size) if isinstance(index, Ref) else (id(tensor), size)
        if key not in work.derived:
            wrapped = torch.where(tensor < 0, tensor + size, tensor).to(torch.int64)
            work.derived[key] = _steps(work, wrapped) or work.constant(wrapped)
        return work.derived[key]
    work.bounds.ask(index, least, size)
    found, x = work.keep(work.value(index)), work.algebra
    if least == 0:
        return found

    def wrapped_at(at: Index) -> Any:
        place = found.at(x, at)
        below = x.compare("lt", place, x.integer(0))
        return x.where(below, x.add(place, x.integer(size)), place)

    return Lazy(found.shape, "int", wrapped_at)


def _steps(work: Lowering, places: Tensor) -> Lazy | None:
    """Places in equal steps along every axis, as arithmetic: nothing is gathered then."""
    if places.numel() < 2:
        return None
    first = int(places.flatten()[0])
    steps = [
        int(places.select(d, 1).flatten()[0]) - first if n > 1 else 0
        for d, n in enumerate(places.shape)
    ]
    whole = torch.full((), first)
    for n, step in zip(places.shape, steps, strict=True):
        whole = whole.unsqueeze(-1) + step * torch.arange(n)
    if not torch.equal(whole, places):
        return None

    def at(index: Index) -> Any:
        return work.algebra.affine(first, zip(index, steps, strict=True))

    return Lazy(tuple(places.shape), "int", at)


def _one_per_axis(
    work: Lowering, shape: Shape, indices: Sequence[Ref | None], *, wraps: bool
) -> list[Dense | None]:
    """The places asked for on each axis, masks resolved; None keeps the axis."""
    found: list[Dense | None] = []
    for index in indices:
        if index is None:
            found.append(None)
            continue
        tensor = work.tensor(index)
        if tensor is not None and tensor.dtype in (torch.bool, torch.uint8):
            hits = tensor.bool().nonzero(as_tuple=True)
            sizes = shape[len(found) : len(found) + len(hits)]
            found.extend(work.constant(hit) for hit, _ in zip(hits, sizes, strict=True))
        else:
            size = shape[len(found)]
            found.append(places(work, index, size, least=-size if wraps else 0))
    return found + [None] * (len(shape) - len(found))


def indexed(
    work: Lowering, shape: Shape, indices: Sequence[Ref | None], *, wraps: bool = True
) -> tuple[Shape, Place]:
    """The shape of ``source[indices]`` and where each of its elements is read.

    ``wraps``: whether torch counts negative places from the end.
    """
    asked = _one_per_axis(work, shape, indices, wraps=wraps)
    taken = [d for d, index in enumerate(asked) if index is not None]
    block = tuple(torch.broadcast_tensors(*(torch.empty(a.shape) for a in asked if a))[0].shape)
    wide = [None if a is None else work.broadcast(a, block) for a in asked]
    adjacent = taken == list(range(taken[0], taken[0] + len(taken)))
    lead = taken[0] if adjacent else 0
    rest = [d for d in range(len(shape)) if d not in taken]
    sizes = [shape[d] for d in rest]

    def place(index: Index) -> Index:
        inner = index[lead : lead + len(block)]
        outer = iter((*index[:lead], *index[lead + len(block) :]))
        return tuple(next(outer) if a is None else a.at(work.algebra, inner) for a in wide)

    return (*sizes[:lead], *block, *sizes[lead:]), place


def gathered(work: Lowering, source: Dense, shape: Shape, place: Place) -> Dense:
    """``source`` read at ``place``."""
    if isinstance(source, Fill):
        return Fill(shape, source.kind, source.value)
    ready = work.cheap(source)
    return Lazy(shape, ready.kind, lambda index: ready.at(work.algebra, place(index)))


def _added(
    work: Lowering, base: Value, source: Dense, place: Place, *, crowded: bool = False
) -> Value:
    """``base`` with ``source`` added at ``place``."""
    if crowded and prod(source.shape) >= SPREAD * LANES * prod(base.shape):
        piece = Piece(_in_lanes(work, source, base.shape, place), lambda index: index)
    else:
        piece = Piece(source, place, scattered=True)
    if isinstance(base, Padded):
        return Padded(base.shape, (*base.pieces, piece))
    if isinstance(base, Fill) and base.is_number(0.0):
        return Padded(base.shape, (piece,)) if piece.scattered else piece.value
    return Padded(base.shape, (Piece(base, lambda index: index), piece))


def _in_lanes(work: Lowering, source: Dense, shape: Shape, place: Place) -> Dense:
    """``source`` added into zeros of ``shape`` at ``place``, in lanes that are then summed.

    Where rows are sorted by group each addition would wait for the one before; now it waits for
    the last of its own lane.
    """
    x: Algebra = work.algebra
    if work.cost(source) > GREATEST_SCATTERED_COST:
        source = work.keep(source)
    lanes = work.row_memory((*shape, LANES))
    extent, index = v.iteration(x, source.shape)
    lane = x.low_bits(x.variable(len(extent) - 1), LANES)
    work.emit(extent, lanes, (*place(index), lane), source.at(x, index), "add", in_order=True)
    parts = [work.seen(lanes, v.selected(lanes.shape, len(shape), k)) for k in range(LANES)]
    return work.pointwise(shape, "real", lambda *each: reduce(x.add, each), *parts)


def _crowded(work: Lowering, indices: Sequence[Ref | None], shape: Shape) -> bool:
    """Whether elements of ``shape``, with known places, often go where the one before went."""
    tensors = [None if index is None else work.tensor(index) for index in indices]
    known = [t for t in tensors if t is not None and t.dtype is not torch.bool]
    if len(known) < len(tensors) or not v.loop_order(shape):
        return False
    inner = v.loop_order(shape)[-1]
    if torch.broadcast_tensors(*known)[0].shape != shape or shape[inner] < 2:
        return False
    wide = torch.stack(torch.broadcast_tensors(*known))
    same = (wide.diff(dim=inner + 1) == 0).all(0)
    return float(same.double().mean()) > CROWDED


def _replaced(work: Lowering, base: Dense, source: Dense, place: Place) -> Strided:
    """``base`` with ``source`` written at ``place``."""
    target = work.memory(base.shape, base.kind)
    work.store(target, base)
    kept = work.keep(source)
    extent, index = v.iteration(work.algebra, kept.shape)
    value = kept.at(work.algebra, index)
    work.emit(extent, target, place(index), value, "set", in_order=True)
    return target


@rule("index")
def _index(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    shape, place = indexed(work, source.shape, node.args[1])
    return gathered(work, source, shape, place)


@rule("index_put", "_unsafe_index_put")
def _index_put(work: Lowering, node: Node) -> Value:
    base = work.raw(node.args[0])
    shape, place = indexed(work, base.shape, node.args[1])
    source = work.broadcast(work.value(node.args[2]), shape)
    if len(node.args) > 3 and node.args[3]:
        crowded = len(node.args[1]) == len(base.shape) and _crowded(work, node.args[1], shape)
        return _added(work, base, source, place, crowded=crowded)
    return _replaced(work, work.value(node.args[0]), source, place)


def _along(work: Lowering, shape: Shape, axis: int, index: Any) -> tuple[Shape, Place]:
    """Places of ``index_select``: the index replaces one coordinate."""
    where = places(work, index, shape[axis])
    length = 1 if not where.shape else where.shape[0]

    def place(at: Index) -> Index:
        found = where.at(work.algebra, at[axis : axis + 1] if where.shape else ())
        return (*at[:axis], found, *at[axis + 1 :])

    return (*shape[:axis], length, *shape[axis + 1 :]), place


@rule("index_select")
def _index_select(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    axis = node.args[1] % max(len(source.shape), 1)
    shape, place = _along(work, source.shape, axis, node.args[2])
    return gathered(work, source, shape, place)


@rule("index_add")
def _index_add(work: Lowering, node: Node) -> Value:
    if node.kwargs.get("alpha", 1) != 1:
        raise Refusal(f"{node.op} with a factor has no native form")
    base = work.raw(node.args[0])
    _, place = _along(work, base.shape, node.args[1] % len(base.shape), node.args[2])
    source = work.value(node.args[3])
    crowded = len(base.shape) == 1 and _crowded(work, [node.args[2]], source.shape)
    return _added(work, base, source, place, crowded=crowded)


@rule("embedding")
def _embedding(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    shape, place = indexed(work, source.shape, [node.args[1]], wraps=False)
    return gathered(work, source, shape, place)


@rule("embedding_dense_backward")
def _embedding_backward(work: Lowering, node: Node) -> Value:
    grad, index, count, padding, by_frequency = node.args
    if padding >= 0 or by_frequency:
        raise Refusal(f"{node.op} with padding or frequencies has no native form")
    source = work.value(grad)
    shape = (count, source.shape[-1])
    _, place = indexed(work, shape, [index], wraps=False)
    zeros = Fill(shape, "real", work.algebra.number(0.0))
    return _added(work, zeros, source, place)


# --- one place per element of the index (gather, scatter) ---


def _per_element(work: Lowering, shape: Shape, axis: int, index: Any) -> tuple[Shape, Place]:
    where = places(work, index, shape[axis] if shape else 1)

    def place(at: Index) -> Index:
        return (*at[:axis], where.at(work.algebra, at), *at[axis + 1 :]) if shape else ()

    return where.shape, place


def _axis(node: Node, value: Value) -> int:
    return int(node.args[1] % max(len(value.shape), 1))


@rule("gather")
def _gather(work: Lowering, node: Node) -> Value:
    source = work.value(node.args[0])
    shape, place = _per_element(work, source.shape, _axis(node, source), node.args[2])
    return gathered(work, source, shape, place)


def _front(work: Lowering, source: Dense, shape: Shape) -> Dense:
    """The leading corner of ``source``: scatter reads no more than the index covers."""
    for axis, n in enumerate(shape):
        if source.shape[axis] != n:
            source = work.seen(source, v.sliced(source.shape, axis, 0, n))
    return source


@rule("scatter_add")
def _scatter_add(work: Lowering, node: Node) -> Value:
    base = work.raw(node.args[0])
    shape, place = _per_element(work, base.shape, _axis(node, base), node.args[2])
    return _added(work, base, _front(work, work.value(node.args[3]), shape), place)


@rule("scatter.src", "scatter.value")
def _scatter(work: Lowering, node: Node) -> Value:
    base = work.value(node.args[0])
    shape, place = _per_element(work, base.shape, _axis(node, base), node.args[2])
    source = work.value(node.args[3])
    source = _front(work, source, shape) if source.shape else work.broadcast(source, shape)
    return _replaced(work, base, source, place)
