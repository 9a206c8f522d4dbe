"""A recorded step as one compiled function that reads its inputs where torch keeps them.

Between matrix products a step is loops over rows, each of them a pass over memory in torch. Here
they are joined (`fuse`), the products are the library's that torch links, and gradients are written
behind each other into one vector. Random numbers are drawn as the recorded step draws them, by
torch, in the same order: the generator of a fit ends where it does without compiling.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from quivers_nb.inference.graph import Graph, Node, Ref, is_draw, refs
from quivers_nb.inference.native.function import NativeFunction, compile_graph
from quivers_nb.inference.native.program import Asked, Refusal
from quivers_nb.inference.replay import Replay, replay, vectorized
from quivers_nb.inference.simplify import renumbered, simplify

Draw = Callable[[], Tensor]
Guard = Callable[..., None]


def compile_step(graph: Graph) -> Replay:
    """``graph`` of ``(weights, data) -> (value, gradients)`` in compiled code.

    The replay gives the value as a new tensor and the gradients as views of one vector that the
    next replay writes over. Inputs must have the strides that the graph was recorded with.

    Raises `Refusal` where an operation has no native form, or no compiler works here.
    """
    if not graph.inputs or not graph.inputs[0].dtype.is_floating_point:
        raise Refusal("there are no weights")
    shapes = [graph.meta(output).shape for output in graph.outputs[1:]]
    bare, draws = _without_draws(vectorized(graph))
    function = compile_graph(bare, library=True)
    return _Step(function, draws, shapes, _guard(bare, function.asked))


class _Step:
    """The replay that `compile_step` gives."""

    def __init__(
        self, function: NativeFunction, draws: Sequence[Draw], shapes: Sequence[Sequence[int]],
        guard: Guard | None,
    ) -> None:  # fmt: skip
        self._function, self._draws, self._guard = function, draws, guard
        self._gradient = torch.empty(sum(map(prod, shapes)), dtype=function.dtype)
        pieces = self._gradient.split([prod(shape) for shape in shapes])
        self._pieces = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        self._work = function.memory(function.scratch)
        self._known, self._pointers = len(function.data), function.pointers()

    def __call__(self, first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """The value, then the gradients. Raises what torch raises where an index has no place."""
        given = [*others, *(draw() for draw in self._draws)]  # held until the call is over
        if self._guard is not None:
            self._guard(first, *given)
        for place, tensor in enumerate(given, start=self._known):
            self._pointers[place] = tensor.data_ptr()
        value = self._function.library.density(
            ctypes.c_void_p(first.data_ptr()),
            ctypes.c_void_p(self._gradient.data_ptr()),
            self._pointers,
            ctypes.c_void_p(self._work.ctypes.data),
        )
        return (torch.tensor(value, dtype=self._function.dtype), *self._pieces)


def _guard(graph: Graph, asked: Sequence[Asked]) -> Guard | None:
    """What looks at the indices that are made from data, before compiled loops follow them."""
    if not asked:
        return None
    indices = replay(simplify(replace(graph, outputs=tuple(index for index, _, _ in asked))))
    ends = [(least, size) for _, least, size in asked]

    def guard(*inputs: Tensor) -> None:
        for index, (least, size) in zip(indices(*inputs), ends, strict=True):
            low, high = (0, -1) if not index.numel() else map(int, torch.aminmax(index))
            if low < least or high >= size:
                replay(graph)(*inputs)  # torch names the operation
                raise IndexError(
                    f"index {low if low < least else high} is out of bounds for {size}"
                )

    return guard


def _without_draws(graph: Graph) -> tuple[Graph, list[Draw]]:
    """The graph with its draws as inputs behind the others, and what draws them, in order."""
    drawn = [node for node in graph.nodes if is_draw(node.op)]
    draws = [_drawn(node) for node in drawn]
    inputs = len(graph.inputs)
    new = {node.result: inputs + place for place, node in enumerate(drawn)}

    def moved(number: int) -> int:  # numbers behind the inputs make room for the new ones
        return new.get(number, number if number < inputs else number + len(drawn))

    nodes = tuple(renumbered(node, moved) for node in graph.nodes if not is_draw(node.op))
    metas = tuple(node.meta for node in drawn)
    constants = {moved(number): tensor for number, tensor in graph.constants.items()}
    outputs = tuple(Ref(moved(output.index)) for output in graph.outputs)
    return Graph(nodes, (*graph.inputs, *metas), outputs, constants), draws


def _drawn(node: Node) -> Draw:
    if list(refs((node.args, dict(node.kwargs)))) or node.several:
        raise Refusal(f"{node.op} draws numbers that depend on others")
    if not node.meta.dtype.is_floating_point:
        raise Refusal(f"{node.op} draws {node.meta.dtype} numbers")
    return partial(getattr(node.op, "_op", node.op), *node.args, **node.kwargs)
