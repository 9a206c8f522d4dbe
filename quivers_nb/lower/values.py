"""Run-time values: a tensor and its own axes (ruling R11).

A value's axes are, in order: the runtime stack (chains, particles, branches of a summed site), the
batch of rows if it is row-wise, then its *own* axes, each remembering the object that made it:

    tensor : (*s, *b?, *own)       len(names) == len(own)

Every operation acts on own axes only. Own shapes align from the right; a batch or stack axis is
never aligned with an own axis. The stack is right-aligned in front of the batch, so a value that
does not depend on the outer stack axes simply lacks them (``lead`` counts those it has).

Numbers of the program text stay Python numbers (R12): own rank 0, never row-wise.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import QuiversWarning, UserError

Names = tuple[str | None, ...]
Number = int | float


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor ``(*s, *b?, *own)`` with the names of its own axes.

    ``rows`` says whether the batch axes are there, ``batch_rank`` how many a run has. ``unit``
    marks a declared ``Real 1``, a plate over the unit or host data of shape ``(1,)``: such a
    value keeps its last axis in traces and is read as a scalar (R2). ``host`` names undeclared host
    data of a run with rows, which may have been meant per row (R11). ``span`` marks 0 … n - 1 along
    the first axis, the binder of a ``factor``; ``taken`` says where a gathered tensor is from.
    """

    tensor: Tensor
    names: Names
    rows: bool
    batch_rank: int
    unit: bool = False
    host: str = ""
    span: bool = False
    taken: "Taken | None" = None

    @property
    def own_rank(self) -> int:
        return len(self.names)

    @property
    def own_shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[self.tensor.ndim - len(self.names) :])

    @property
    def front(self) -> int:
        """Number of axes before the own ones."""
        return self.tensor.ndim - len(self.names)

    @property
    def lead(self) -> int:
        """Number of runtime stack axes."""
        return self.front - (self.batch_rank if self.rows else 0)

    def read(self) -> "Value":
        """The value as lets and family arguments see it: a unit axis is dropped."""
        if not self.unit:
            return self
        return replace(self, tensor=self.tensor.squeeze(-1), names=self.names[:-1], unit=False)


Readable = Value | Number


@dataclass(frozen=True, slots=True)
class Taken:
    """``result`` is ``source`` at ``index`` ``(R,)`` along ``axis``.

    Pointwise functions of a gathered table are cheaper before it is gathered. Only for the tensor
    itself: whoever reads this checks that ``result`` is the tensor at hand.
    """

    source: Tensor
    axis: int
    index: Tensor
    result: Tensor


class AxesClash(UserError):
    """Two own axes made by different objects, or of different lengths, would be aligned."""


def join_names(names: Sequence[Names]) -> Names:
    """The names of own axes after aligning from the right."""
    rank = max(map(len, names), default=0)
    joined: list[str | None] = [None] * rank
    for each in names:
        for k in range(1, len(each) + 1):
            have, new = joined[-k], each[-k]
            if have is not None and new is not None and have != new:
                raise AxesClash(
                    f"an axis over {have} would be aligned with an axis over {new}. "
                    f"Index them explicitly: factor i : {have}, j : {new} in …"
                )
            joined[-k] = new if have is None else have
    return tuple(joined)


def _stretch(value: Value, rank: int, rows: bool) -> Tensor:
    """The tensor with singleton axes where it lacks own or batch axes; leading ones broadcast."""
    tensor, missing = value.tensor, rank - value.own_rank
    shape = tensor.shape
    lead, front = value.lead, value.front
    need_rows = rows and not value.rows and lead > 0
    if not missing and not need_rows:
        return tensor
    if lead == 0 and not value.rows:
        return tensor  # own axes only: broadcasting from the right does it all
    ones = (1,) * (value.batch_rank if need_rows else 0)
    return tensor.reshape(
        (*shape[:lead], *ones, *shape[lead:front], *((1,) * missing), *shape[front:])
    )


def align(values: Sequence[Readable]) -> tuple[list[Tensor | Number], Names, bool, int]:
    """Tensors that broadcast against each other, the joined names, whether row-wise, batch rank."""
    tensors = [v for v in values if isinstance(v, Value)]
    names = join_names([v.names for v in tensors])
    rows = any(v.rows for v in tensors)
    batch_rank = tensors[0].batch_rank if tensors else 0
    out: list[Tensor | Number] = [
        _stretch(v, len(names), rows) if isinstance(v, Value) else v for v in values
    ]
    return out, names, rows, batch_rank


def pointwise(function: Callable[..., Any], *values: Readable) -> Readable:
    """Apply a broadcasting function to values, own axes aligned from the right."""
    read = [v.read() if isinstance(v, Value) else v for v in values]
    if not any(isinstance(v, Value) for v in read):
        return function(*read)  # type: ignore[no-any-return]
    tensors, names, rows, batch_rank = align(read)
    if rows:
        _warn_of_rows(read)
    result = _checked(function, tensors, read)
    return Value(result, names, rows, batch_rank)


def _warn_of_rows(values: Sequence[Readable]) -> None:
    """Undeclared host data of batch length that meet a row-wise scalar: say how they are read."""
    scalars = [v for v in values if isinstance(v, Value) and v.rows and not v.own_rank]
    for value in values if scalars else ():
        if not isinstance(value, Value) or not value.host or value.own_rank != 1:
            continue
        rows = scalars[0].tensor.shape[-1]
        if value.own_shape == (rows,):
            warnings.warn(
                f"`{value.host}` has one number per row ({rows}), but is read as a vector that "
                f"every row sees. If it belongs to the rows, declare it over the domain: "
                f"data {value.host} : … -> Real 1",
                QuiversWarning,
                stacklevel=2,
            )


def _checked(
    function: Callable[..., Any], tensors: list[Any], values: Sequence[Readable]
) -> Tensor:
    own = [v.own_shape for v in values if isinstance(v, Value)]
    for k in range(1, max(map(len, own), default=0) + 1):
        sizes = {shape[-k] for shape in own if len(shape) >= k} - {1}
        if len(sizes) > 1:
            shown = " and ".join(str(shape) for shape in own)
            raise AxesClash(f"own shapes {shown} do not align from the right")
    return function(*tensors)  # type: ignore[no-any-return]


def to_front(value: Value, rows: bool, lead: int) -> Tensor:
    """The tensor with explicit singleton stack and batch axes: ``lead`` + batch + own axes."""
    tensor = value.tensor
    shape, have, front = tensor.shape, value.lead, value.front
    ones = () if value.rows or not rows else (1,) * value.batch_rank
    return tensor.reshape(
        (*((1,) * (lead - have)), *shape[:have], *ones, *shape[have:front], *shape[front:])
    )


def gather(base: Value, indices: Sequence[Readable]) -> Value:
    """``base[i, j]``: index tensors replace the first own axes of ``base`` (7.7)."""
    count = len(indices)
    base = base.read() if count < base.own_rank else base  # a unit axis may be the one indexed
    if base.own_rank < count:
        raise UserError(
            f"cannot index {count} own axes of a value that has {base.own_rank}"
            + (": it is one number per row" if base.rows else "")
        )
    if all(isinstance(index, int) for index in indices):
        return _select(base, [int(index) for index in indices])  # type: ignore[arg-type]
    values = [_index_value(index, base) for index in indices]
    if _spans(base, values):
        return _spanned(base, values)
    tensors, names, rows, _ = align([v.read() for v in values])
    out_names = (*names, *base.names[count:])
    where = [t.long() for t in tensors]  # type: ignore[union-attr]
    flat = all(v.lead == 0 and not v.rows for v in values)
    if flat:
        taken = None
        if count == 1 and where[0].ndim == 1:
            result = base.tensor.index_select(base.front, where[0])
            taken = Taken(base.tensor, base.front, where[0], result)
        else:
            result = base.tensor[(slice(None),) * base.front + tuple(where)]
        return replace(base, tensor=result, names=out_names, unit=False, taken=taken)
    if base.front == 0:
        return Value(base.tensor[tuple(where)], out_names, rows, base.batch_rank)
    return _batched_gather(base, where, rows, out_names, own_index_rank=len(names))


def _spans(base: Value, indices: Sequence[Value]) -> bool:
    """Whether every index is a binder over the whole of its axis, in front of ``base``."""
    behind = [index.tensor.ndim - 1 for index in indices]
    whole = all(
        index.span and index.tensor.shape[0] == size
        for index, size in zip(indices, base.own_shape, strict=False)
    )
    return whole and min(behind) >= base.lead and len(set(behind)) == len(behind)


def _spanned(base: Value, indices: Sequence[Value]) -> Value:
    """``base[i, j]`` for binders i, j over whole axes: the axes move, and nothing is gathered."""
    front, behind = base.front, [index.tensor.ndim - 1 for index in indices]
    order = sorted(range(len(indices)), key=lambda k: -behind[k])
    rest = range(front + len(indices), base.tensor.ndim)
    moved = base.tensor.permute(*(front + k for k in order), *range(front), *rest)
    shape = [1] * (max(behind) + 1 - base.lead)
    for index in indices:
        shape[max(behind) + 1 - index.tensor.ndim] = index.tensor.shape[0]
    result = moved.reshape((*shape, *moved.shape[len(indices) :]))
    return Value(result, base.names[len(indices) :], base.rows, base.batch_rank)


def _select(base: Value, indices: list[int]) -> Value:
    tensor = base.tensor
    for index in indices:
        tensor = tensor.select(base.front, index)
    return replace(base, tensor=tensor, names=base.names[len(indices) :], unit=False)


def _index_value(index: Readable, base: Value) -> Value:
    if isinstance(index, Value):
        return index
    tensor = torch.as_tensor(int(index), device=base.tensor.device)
    return Value(tensor, (), rows=False, batch_rank=base.batch_rank)


def _batched_gather(
    base: Value, where: list[Tensor], rows: bool, names: Names, *, own_index_rank: int
) -> Value:
    """Gather where the index itself has stack or batch axes: those of ``base`` go along."""
    lead = max(base.lead, max(w.ndim for w in where) - own_index_rank - (base.batch_rank * rows))
    front_rows = rows or base.rows
    front = lead + (base.batch_rank if front_rows else 0)
    index_rank = front + own_index_rank
    spread: list[Tensor] = []  # each front axis of the base, at its place among those of the index
    for axis, size in enumerate(base.tensor.shape[: base.front]):
        steps = torch.arange(size, device=base.tensor.device)
        behind = index_rank - (lead - base.lead + axis) - 1
        spread.append(steps.reshape((-1, *((1,) * behind))))
    picks = []
    for w in where:
        index_front = w.ndim - own_index_rank
        no_rows = front_rows and not rows and index_front > 0
        ones = (1,) * base.batch_rank if no_rows else ()
        picks.append(w.reshape((*w.shape[:index_front], *ones, *w.shape[index_front:])))
    result = base.tensor[(*spread, *picks)]
    return Value(result, names, front_rows, base.batch_rank)


def surely_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, unless they are so large that their sum is not finite.

    A tenth of the cost of looking at each of them, which every minibatch would pay.
    """
    return bool(tensor.sum().isfinite())
