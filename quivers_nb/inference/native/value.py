"""Tensors while they are being lowered: descriptions of where each element comes from.

    Strided   elements in memory, reached as torch reaches them;
    Lazy      elements computed where they are used;
    Fill      one number everywhere;
    Padded    a sum of pieces, each placed somewhere into zeros: what the backward of slicing,
              selecting and indexing makes. Kept apart until someone needs it whole.

A `View` is an affine map of indices. The same map reads (``select``) and places its backward
(``select_backward``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from quivers_nb.inference.native.expression import Algebra, Buffer, Expression, Kind

Shape = tuple[int, ...]
Index = tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class View:
    """``source index[d] = offset[d] + sum over (k, c) in terms[d] of c * index[k]``."""

    shape: Shape  # of the view
    offset: tuple[int, ...]  # one per source axis
    terms: tuple[tuple[tuple[int, int], ...], ...]

    def apply(self, algebra: Algebra, index: Index) -> Index:
        """The source index of an index of the view."""
        return tuple(
            algebra.affine(offset, ((index[k], c) for k, c in terms))
            for offset, terms in zip(self.offset, self.terms, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Strided:
    """Element ``i`` is ``buffer[offset + sum i[k] * strides[k]]``."""

    shape: Shape
    buffer: Buffer
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def kind(self) -> Kind:
        return self.buffer.kind

    def at(self, algebra: Algebra, index: Index) -> Expression:
        place = algebra.affine(self.offset, zip(index, self.strides, strict=True))
        return algebra.load(self.buffer, place)

    def seen(self, view: View) -> "Strided":
        """The same memory through a view."""
        strides = [0] * len(view.shape)
        for terms, stride in zip(view.terms, self.strides, strict=True):
            for k, c in terms:
                strides[k] += c * stride
        moved = sum(o * s for o, s in zip(view.offset, self.strides, strict=True))
        return Strided(view.shape, self.buffer, tuple(strides), self.offset + moved)

    @property
    def is_contiguous(self) -> bool:
        pairs = zip(self.shape, self.strides, contiguous(self.shape), strict=True)
        return all(n == 1 or s == c for n, s, c in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Lazy:
    """Element ``i`` is ``compute(i)``."""

    shape: Shape
    kind: Kind
    compute: Callable[[Index], Expression]

    def at(self, algebra: Algebra, index: Index) -> Expression:
        return algebra.cast(self.compute(index), self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """Every element is ``value``."""

    shape: Shape
    kind: Kind
    value: Expression

    def at(self, algebra: Algebra, _index: Index) -> Expression:
        return algebra.cast(self.value, self.kind)

    def is_number(self, number: float) -> bool:
        return self.value.op == "literal" and bool(self.value.detail == number)


Dense = Strided | Lazy | Fill


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """``value`` added into zeros, element ``i`` at ``place(i)``. Scattered: places may repeat."""

    value: Dense
    place: Callable[[Index], Index]
    scattered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """The sum of its pieces."""

    shape: Shape
    pieces: tuple[Piece, ...]
    kind: Kind = "real"


Value = Dense | Padded


def contiguous(shape: Shape) -> tuple[int, ...]:
    """Strides of a row-major tensor."""
    return tuple(prod(shape[k + 1 :]) for k in range(len(shape)))


SHORT_LOOP = 64  # an innermost loop shorter than this does not fill the vector units


def loop_order(shape: Shape) -> tuple[int, ...]:
    """Axes longer than one, outermost loop first.

    As written, except that a short last axis gives way to one twice as long: a thousand rows of
    three are looped over as three columns of a thousand.
    """
    axes = [d for d, n in enumerate(shape) if n != 1]
    if axes and shape[axes[-1]] < SHORT_LOOP:
        longest = max(axes, key=lambda d: (shape[d], d))
        if shape[longest] >= 2 * shape[axes[-1]]:
            axes.remove(longest)
            axes.append(longest)
    return tuple(axes)


def iteration(algebra: Algebra, shape: Shape) -> tuple[Shape, Index]:
    """Loops over ``shape`` without its axes of length one, and the index inside them."""
    order = loop_order(shape)
    index = [algebra.integer(0)] * len(shape)
    for loop, axis in enumerate(order):
        index[axis] = algebra.variable(loop)
    return tuple(shape[axis] for axis in order), tuple(index)


def loop_strides(shape: Shape) -> tuple[int, ...]:
    """Strides that make the loops over ``shape`` walk through memory one by one."""
    order = loop_order(shape)
    strides = [1] * len(shape)
    for axis, stride in zip(order, contiguous(tuple(shape[d] for d in order)), strict=True):
        strides[axis] = stride
    return tuple(strides)


# --- views -----------------------------------------------------------------------------------


def permuted(shape: Shape, order: Sequence[int]) -> View:
    """Axis ``k`` of the view is axis ``order[k]`` of the source."""
    where = {axis: k for k, axis in enumerate(order)}
    terms = tuple(((where[d], 1),) for d in range(len(shape)))
    return View(tuple(shape[d] for d in order), (0,) * len(shape), terms)


def selected(shape: Shape, axis: int, index: int) -> View:
    """One place of an axis, which goes away."""
    rest = tuple(d for d in range(len(shape)) if d != axis)
    offset = tuple(index % shape[axis] if d == axis else 0 for d in range(len(shape)))
    where = {d: k for k, d in enumerate(rest)}
    terms = tuple(() if d == axis else ((where[d], 1),) for d in range(len(shape)))
    return View(tuple(shape[d] for d in rest), offset, terms)


def sliced(shape: Shape, axis: int, start: int, length: int, step: int = 1) -> View:
    """``length`` places of an axis from ``start``."""
    ranks = range(len(shape))
    offset = tuple(start if d == axis else 0 for d in ranks)
    terms = tuple(((d, step if d == axis else 1),) for d in ranks)
    return View(tuple(length if d == axis else shape[d] for d in ranks), offset, terms)


def flipped(shape: Shape, axes: Sequence[int]) -> View:
    """Some axes backwards."""
    ranks = range(len(shape))
    offset = tuple(shape[d] - 1 if d in axes else 0 for d in ranks)
    return View(shape, offset, tuple(((d, -1 if d in axes else 1),) for d in ranks))


def expanded(shape: Shape, to: Shape) -> View:
    """Broadcast to a larger shape."""
    lead = len(to) - len(shape)
    terms = tuple(() if n == 1 else ((d + lead, 1),) for d, n in enumerate(shape))
    return View(to, (0,) * len(shape), terms)


def diagonal(shape: Shape, offset: int, first: int, second: int) -> View:
    """The diagonal of two axes, as the last axis."""
    down, right = max(-offset, 0), max(offset, 0)
    length = max(min(shape[first] - down, shape[second] - right), 0)
    rest = [d for d in range(len(shape)) if d not in (first, second)]
    where = {d: k for k, d in enumerate(rest)} | {first: len(rest), second: len(rest)}
    offsets = tuple({first: down, second: right}.get(d, 0) for d in range(len(shape)))
    terms = tuple(((where[d], 1),) for d in range(len(shape)))
    return View((*(shape[d] for d in rest), length), offsets, terms)


def windows(shape: Shape, axis: int, size: int, step: int) -> View:
    """Windows of an axis: their number in its place, their ``size`` as a new last axis."""
    rank = len(shape)
    count = (shape[axis] - size) // step + 1
    terms = tuple(((d, step), (rank, 1)) if d == axis else ((d, 1),) for d in range(rank))
    lengths = tuple(count if d == axis else n for d, n in enumerate(shape))
    return View((*lengths, size), (0,) * rank, terms)


def split_axes(shape: Shape, to: Shape) -> View | None:
    """The reshape that only splits axes or adds and drops axes of length one, if it is one."""
    terms: list[tuple[tuple[int, int], ...]] = []
    k = 0
    for n in shape:
        taken: list[int] = []
        while prod(to[j] for j in taken) < n:
            if k == len(to):
                return None
            taken.append(k)
            k += 1
        sizes = [to[j] for j in taken]
        if prod(sizes) != n:
            return None
        steps = contiguous(tuple(sizes))
        terms.append(tuple((j, c) for j, c in zip(taken, steps, strict=True) if to[j] != 1))
    if any(n != 1 for n in to[k:]):
        return None
    return View(to, (0,) * len(shape), tuple(terms))


def reshaped(value: Strided, to: Shape) -> Strided | None:
    """The same memory under another shape, where strides allow it."""
    strides: list[int] = []
    axes = [(n, s) for n, s in zip(value.shape, value.strides, strict=True) if n != 1]
    merged: list[tuple[int, int]] = []  # runs of axes that are contiguous among themselves
    for n, s in axes:
        if merged and merged[-1][1] == n * s:
            merged[-1] = (merged[-1][0] * n, s)
        else:
            merged.append((n, s))
    for n in reversed(to):
        if n == 1:
            strides.append(1)
            continue
        if not merged:
            return None
        size, stride = merged.pop()
        if size % n:
            return None
        strides.append(stride)
        if size > n:
            merged.append((size // n, stride * n))
    return Strided(to, value.buffer, tuple(reversed(strides)), value.offset)
