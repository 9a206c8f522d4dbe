"""From a graph of aten operations to a loop program, one rule per operation.

`lower` walks the graph once. Each node's rule (see `ops`) describes its result as a `Value`; this
module decides what is computed in place and what is kept in memory, and holds the numbers and
arrays that the compiled function receives as arguments.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quivers_nb.inference.graph import Graph, Meta, Node, Ref, refs
from quivers_nb.inference.native.bounds import Bounds
from quivers_nb.inference.native.expression import (
    PLAIN_NUMBERS,
    Algebra,
    Buffer,
    Expression,
    Kind,
)
from quivers_nb.inference.native.program import (
    LIBRARY_CALL,
    START,
    Call,
    Fold,
    Kernel,
    Program,
    Refusal,
    Store,
    unread_product,
)
from quivers_nb.inference.native.value import (
    Dense,
    Fill,
    Index,
    Lazy,
    Padded,
    Shape,
    Strided,
    Value,
    View,
    contiguous,
    expanded,
    iteration,
    loop_strides,
)

Rule = Callable[["Lowering", Node], "Value | tuple[Value, ...]"]
RULES: dict[str, Rule] = {}  # by operation, "aten::add.Tensor", or by packet, "aten::add"


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for aten operations by name; a name may be registered once."""

    def register(function: Rule) -> Rule:
        for name in names:
            if f"aten::{name}" in RULES:
                raise ValueError(f"two rules for {name}")
            RULES[f"aten::{name}"] = function
        return function

    return register


# Recomputing this much where a value is used again is cheaper than memory.
FREE_COST = 1
# Scattering loops are not vectorised, so they should not compute.
GREATEST_SCATTERED_COST = 2
# Longer expressions are cut into stores, which a shared loop turns into variables again.
GREATEST_COST = 60


def kind_of(dtype: torch.dtype) -> Kind:
    """How values of a dtype are held."""
    if dtype.is_complex:
        raise Refusal("complex numbers are not supported")
    if dtype.is_floating_point:
        return "real"
    return "bool" if dtype is torch.bool else "int"


@dataclass(slots=True)
class Lowering:
    """State of one lowering."""

    graph: Graph
    dtype: torch.dtype
    bounds: Bounds
    library: bool = False  # whether products may go to the library that torch links
    algebra: Algebra = field(default_factory=Algebra)
    values: dict[int, Value] = field(default_factory=dict)
    derived: dict[Any, Dense] = field(default_factory=dict)  # data made from constants
    uses: Counter[int] = field(default_factory=Counter)
    steps: list[Kernel | Call] = field(default_factory=list)
    scratch: list[Buffer] = field(default_factory=list)
    data: list[Buffer] = field(default_factory=list)
    arrays: list[NDArray[np.generic]] = field(default_factory=list)
    literals: list[float] = field(default_factory=list)
    literal_buffer: Buffer = field(default_factory=lambda: Buffer("k", 0, "real", "literals"))
    gradient: Buffer = field(default_factory=lambda: Buffer("g", 0, "real", "gradient"))

    # --- numbers and data ---

    def number(self, value: float) -> Expression:
        """A real number: of the source if it is one of the plain ones, else an argument."""
        if value in PLAIN_NUMBERS:
            return self.algebra.number(value)
        self.literals.append(float(value))
        return self.algebra.load(self.literal_buffer, self.algebra.integer(len(self.literals) - 1))

    def array(self, tensor: Tensor) -> Strided:
        """Data as an argument of the compiled function."""
        kind = kind_of(tensor.dtype)
        dtype = {"real": self.dtype, "int": torch.int64, "bool": torch.int32}[kind]
        shape = tuple(tensor.shape)
        strides = loop_strides(shape)
        laid_out = torch.empty_strided(shape, strides, dtype=dtype).copy_(tensor.detach())
        numbers = laid_out.as_strided((tensor.numel(),), (1,)).numpy()
        for buffer, known in zip(self.data, self.arrays, strict=True):
            if buffer.kind == kind and _same(known, numbers):  # a matrix and its transpose, say
                return Strided(shape, buffer, strides)
        buffer = Buffer(f"c{len(self.data)}", tensor.numel(), kind, "data")
        self.data.append(buffer)
        self.arrays.append(numbers)
        return Strided(shape, buffer, strides)

    def argument(self, number: int, meta: Meta) -> Strided:
        """An input that stays where torch keeps it."""
        kind = kind_of(meta.dtype)
        if meta.dtype not in (self.dtype, torch.int64):
            raise Refusal(f"an input of {meta.dtype} stands beside others of {self.dtype}")
        buffer = Buffer(f"a{number}", prod(meta.shape), kind, "argument")
        return Strided(meta.shape, buffer, meta.strides)

    def constant(self, tensor: Tensor) -> Dense:
        """A constant of the graph: one number everywhere, or data."""
        shape, kind = tuple(tensor.shape), kind_of(tensor.dtype)
        first = tensor.flatten()[0] if tensor.numel() else tensor.new_zeros(())
        if tensor.numel() > 1 and not bool((tensor == first).all()):
            return self.array(tensor)
        number = first.item()
        value = self.number(number) if kind == "real" else self.algebra.number(number, kind)
        return Fill(shape, kind, value)

    # --- arguments of nodes ---

    def value(self, argument: Any) -> Dense:
        """An argument as a dense value."""
        found = self.raw(argument)
        if isinstance(found, Padded):
            found = self.keep(found)
            self.values[argument.index] = found
        return found

    def dense(self, value: Value) -> Dense:
        """``value`` with its pieces put together."""
        return self.keep(value) if isinstance(value, Padded) else value

    def raw(self, argument: Any) -> Value:
        """An argument, which may still be in pieces."""
        if isinstance(argument, Ref):
            if argument.index not in self.values:
                self.values[argument.index] = self.constant(self.graph.constants[argument.index])
            return self.values[argument.index]
        if isinstance(argument, bool):
            return Fill((), "bool", self.algebra.number(argument, "bool"))
        if isinstance(argument, int):
            return Fill((), "int", self.algebra.number(argument, "int"))
        if isinstance(argument, float):
            return Fill((), "real", self.number(argument))
        raise Refusal(f"an argument {argument!r} is not understood")

    def tensor(self, argument: Ref) -> Tensor | None:
        """The constant tensor behind an argument, if it is one."""
        return self.graph.constants.get(argument.index)

    # --- memory ---

    def allocate(self, size: int, kind: Kind = "real") -> Buffer:
        buffer = Buffer(f"b{len(self.scratch)}", size, kind, "scratch")
        self.scratch.append(buffer)
        return buffer

    def memory(self, shape: Shape, kind: Kind = "real") -> Strided:
        """New memory of a shape, not filled in, in the order of its loops."""
        return Strided(shape, self.allocate(prod(shape), kind), loop_strides(shape))

    def row_memory(self, shape: Shape, kind: Kind = "real") -> Strided:
        """New memory of a shape, row by row."""
        return Strided(shape, self.allocate(prod(shape), kind), contiguous(shape))

    def store(self, target: Strided, value: Dense) -> None:
        """Fill ``target`` with ``value``, of the same shape."""
        extent, index = iteration(self.algebra, target.shape)
        self.emit(extent, target, index, value.at(self.algebra, index), "set")

    def emit(
        self, extent: Shape, target: Strided, place: Index, value: Expression, fold: Fold,
        *, in_order: bool = False,
    ) -> None:  # fmt: skip
        """One kernel: ``target[place] = value`` (or folded) over ``extent``."""
        if 0 in extent:  # nothing to fold in, but what is there must still begin
            if fold == "set" or target.buffer.size == 0:
                return
            extent, value = (), self.algebra.number(START[fold])
            place = tuple(self.algebra.integer(0) for _ in place)
        where = target.at(self.algebra, place).args[0]
        kind = target.buffer.kind
        store = Store(target.buffer, where, self.algebra.cast(value, kind), fold)
        self.steps.append(Kernel(extent, store, in_order))

    def deliver(self, target: Strided, value: Strided) -> None:
        """Fill ``target`` with ``value``, of which this is the only use beside those so far.

        A product of the library that nobody else reads is made there.
        """
        whole = value.is_contiguous and prod(value.shape) == value.buffer.size
        made = unread_product(self.steps, value.buffer) if whole else None
        if made is None:
            self.store(target, value)
            return
        there = ((target.buffer, target.offset), *made.arguments[1:])
        moved = Call(LIBRARY_CALL, there, target.buffer)
        self.steps = [moved if step is made else step for step in self.steps]

    def call(self, routine: str, result: Buffer, *arguments: Strided | int) -> None:
        """One routine over whole buffers."""
        seen = tuple(a if isinstance(a, int) else (a.buffer, a.offset) for a in arguments)
        self.steps.append(Call(routine, seen, result))

    def keep(self, value: Value, *, in_order: bool = False) -> Strided:
        """``value`` in memory."""
        if isinstance(value, Strided):
            return value
        target = self.memory(value.shape, value.kind)
        if isinstance(value, Padded):
            self.place(target, value)
            return target
        extent, index = iteration(self.algebra, value.shape)
        self.emit(extent, target, index, value.at(self.algebra, index), "set", in_order=in_order)
        return target

    def rows(self, value: Dense) -> Strided:
        """``value`` in memory row by row, for routines."""
        if isinstance(value, Strided) and value.is_contiguous:
            return value
        target = self.row_memory(value.shape, value.kind)
        self.store(target, value)
        return target

    def place(self, target: Strided, padded: Padded) -> None:
        """Add every piece into ``target``, which starts at zero."""
        for piece in padded.pieces:
            held = piece.scattered and self.cost(piece.value) > GREATEST_SCATTERED_COST
            source = self.keep(piece.value) if held else piece.value
            extent, index = iteration(self.algebra, source.shape)
            value = source.at(self.algebra, index)
            self.emit(extent, target, piece.place(index), value, "add", in_order=piece.scattered)
        if not padded.pieces:
            self.store(target, Fill(target.shape, "real", self.algebra.number(0.0)))

    # --- values from values ---

    def cost(self, value: Dense) -> int:
        """Operations per element."""
        if isinstance(value, Lazy):
            return value.at(self.algebra, iteration(self.algebra, value.shape)[1]).cost
        return 0

    def cheap(self, value: Dense) -> Dense:
        """``value`` kept if reading it more than once would repeat work."""
        return self.keep(value) if self.cost(value) > 0 else value

    def seen(self, value: Dense, view: View) -> Dense:
        """``value`` through a view."""
        if isinstance(value, Fill):
            return Fill(view.shape, value.kind, value.value)
        if prod(view.shape) > prod(value.shape):
            value = self.cheap(value)
        if isinstance(value, Strided):
            return value.seen(view)
        if isinstance(value, Fill):
            return Fill(view.shape, value.kind, value.value)
        source = value
        return Lazy(
            view.shape,
            value.kind,
            lambda index: source.at(self.algebra, view.apply(self.algebra, index)),
        )

    def broadcast(self, value: Dense, shape: Shape) -> Dense:
        return value if value.shape == shape else self.seen(value, expanded(value.shape, shape))

    def pointwise(
        self, shape: Shape, kind: Kind, body: Callable[..., Expression], *arguments: Dense
    ) -> Dense:
        """``body`` of the elements of broadcast arguments."""
        parts = [self.broadcast(argument, shape) for argument in arguments]
        if all(isinstance(part, Fill) for part in parts):
            value = body(*(part.value for part in parts if isinstance(part, Fill)))
            if value.op == "literal":
                return Fill(shape, kind, self.algebra.cast(value, kind))
        return Lazy(
            shape, kind, lambda index: body(*(part.at(self.algebra, index) for part in parts))
        )

    # --- the walk ---

    def settle(self, value: Value, uses: int) -> Value:
        """What later nodes see: the description, or memory if that saves work."""
        if isinstance(value, Padded):
            return self.keep(value) if uses > 1 else value
        cost = self.cost(value)
        alone = prod(value.shape) == 1 and cost > 0
        shared = uses > 1 and cost > FREE_COST
        return self.keep(value) if alone or shared or cost > GREATEST_COST else value

    def run(self, node: Node) -> None:
        """Lower one node."""
        overload = node.op._schema.overload_name or "default"
        found = RULES.get(f"{node.op._schema.name}.{overload}")
        found = found or RULES.get(node.op._schema.name)
        if found is None:
            raise Refusal(f"the operation {node.op} has no native form")
        results = found(self, node)
        several = results if isinstance(results, tuple) else (results,)
        for number, value in zip(node.results, several, strict=True):
            self.values[number] = self.settle(value, self.uses[number])


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are bit for bit the same, in the same order."""
    if one.size != other.size or one.dtype != other.dtype or one.size == 0:
        return False
    return bool(one[-1] == other[-1]) and np.array_equal(one.view(np.uint8), other.view(np.uint8))


def lower(graph: Graph, *, library: bool = False) -> Program:
    """The loop program of ``(q, ...) -> (value, gradients)``, these one behind the other.

    ``library``: large matrix products are calls of the library that torch links.

    Raises `Refusal`, naming the operation, where the graph needs something that is not covered.
    """
    q, *others = graph.inputs
    value, *gradients = graph.outputs
    work = Lowering(graph, q.dtype, Bounds(graph), library)
    work.uses.update(ref.index for node in graph.nodes for ref in refs((node.args, node.kwargs)))
    work.uses.update(ref.index for ref in graph.outputs)
    work.values[0] = Strided(q.shape, Buffer("q", prod(q.shape), "real", "input"), q.strides)
    given = [work.argument(number, meta) for number, meta in enumerate(others, start=1)]
    work.values.update(enumerate(given, start=1))
    size = sum(prod(graph.meta(gradient).shape) for gradient in gradients)
    work.gradient = Buffer("g", size, "real", "gradient")
    for node in graph.nodes:
        work.run(node)
    program = _finish(work, value, gradients)
    return replace(program, arguments=tuple(argument.buffer for argument in given))


def _finish(work: Lowering, value: Ref, gradients: Sequence[Ref]) -> Program:
    total = work.value(value)
    zero = tuple(work.algebra.integer(0) for _ in total.shape)
    result = work.algebra.cast(total.at(work.algebra, zero), "real")
    kept = [load.detail for load in result.loads()]
    values = [work.raw(gradient) for gradient in gradients]
    kept += [found.buffer for found in values if isinstance(found, Strided)]
    start = 0
    for gradient, found in zip(gradients, values, strict=True):
        shape = found.shape
        target = Strided(shape, work.gradient, contiguous(shape), start)
        if isinstance(found, Padded) and found.pieces and len(gradients) == 1:
            work.place(target, found)
        elif isinstance(found, Strided) and kept.count(found.buffer) == 1:
            work.deliver(target, found)
        else:
            work.store(target, work.value(gradient))
        start += prod(shape)
    read = {buffer for step in work.steps for buffer in step.reads}
    read.update(load.detail for load in result.loads())
    pairs = [pair for pair in zip(work.data, work.arrays, strict=True) if pair[0] in read]
    return Program(
        tuple(work.steps),
        result,
        work.gradient,
        tuple(work.scratch),
        tuple(buffer for buffer, _ in pairs),
        tuple(array for _, array in pairs),
        tuple(work.literals),
        asked=tuple(work.bounds.asked),
    )
