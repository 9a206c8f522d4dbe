"""Loop programs: what a graph has become before its loops are joined and printed.

A `Kernel` is one loop nest with one store; a `Call` runs a routine of ``linear.h`` or
``order.h`` over whole buffers. Both stand in an order that is correct when run one after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quivers_nb.inference.graph import Ref
from quivers_nb.inference.native.expression import Buffer, Expression

Asked = tuple[Ref, int, int]  # an index, the least and one past the greatest that it may be
Fold = Literal["set", "add", "mul", "max", "min"]
LIBRARY_CALL = "q_gemm"  # the routine behind which is the library that torch links
START: dict[Fold, float] = {"add": 0.0, "mul": 1.0, "max": float("-inf"), "min": float("inf")}


class Refusal(Exception):
    """Native code cannot serve this; the message is the reason, as a clause."""


@dataclass(frozen=True, slots=True)
class Store:
    """``buffer[index] = value``, or folded into what is there."""

    buffer: Buffer
    index: Expression
    value: Expression
    fold: Fold = "set"


@dataclass(frozen=True)
class Kernel:
    """``store`` for every point of ``extent``. ``in_order``: iterations must not be overlapped.

    Scattered stores may meet in one place, and calls without a vector form hold back everything
    that shares their loop, so such kernels keep to themselves.
    """

    extent: tuple[int, ...]
    store: Store
    in_order: bool = False

    @cached_property
    def loads(self) -> tuple[Expression, ...]:
        both = {id(e): e for part in (self.store.value, self.store.index) for e in part.loads()}
        return tuple(both.values())

    @cached_property
    def reads(self) -> frozenset[Buffer]:
        return frozenset(load.detail for load in self.loads)

    @property
    def writes(self) -> Buffer:
        return self.store.buffer


@dataclass(frozen=True)
class Call:
    """``routine(arguments);`` with buffers (and offsets into them) and integers as arguments."""

    routine: str
    arguments: tuple[tuple[Buffer, int] | int, ...]
    writes: Buffer

    @property
    def reads(self) -> frozenset[Buffer]:
        buffers = (a[0] for a in self.arguments if isinstance(a, tuple))
        return frozenset(buffers) - {self.writes}


@dataclass(frozen=True)
class Program:
    """Everything the printer needs, and the data that the compiled function is to be given."""

    steps: tuple[Kernel | Call, ...]
    value: Expression  # the log density
    gradient: Buffer
    scratch: tuple[Buffer, ...]
    data: tuple[Buffer, ...]
    arrays: tuple[NDArray[np.generic], ...]  # one per data buffer
    literals: tuple[float, ...]
    arguments: tuple[Buffer, ...] = ()  # what each evaluation is given besides its first input
    asked: tuple[Asked, ...] = ()  # indices among or made from these, to be looked at before

    @property
    def calls_library(self) -> bool:
        return any(isinstance(s, Call) and s.routine == LIBRARY_CALL for s in self.steps)

    def __iter__(self) -> Iterator[Kernel | Call]:
        return iter(self.steps)


def unread_product(steps: Sequence[Kernel | Call], buffer: Buffer) -> Call | None:
    """The product of the library that alone makes ``buffer``, if no step reads it."""
    made = [step for step in steps if step.writes == buffer]
    if len(made) != 1 or any(buffer in step.reads for step in steps):
        return None
    (call,) = made
    return call if isinstance(call, Call) and call.routine == LIBRARY_CALL else None
