"""A recorded variational step as a function of one vector: parameters, then noise.

The native tier compiles functions of one vector. `flattened` rewrites the graph of a step so that
every fitted weight and every normal draw is a piece of it; weights that are not fitted are data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Generator, Tensor

from quivers_nb.inference.graph import (
    Graph,
    Meta,
    Node,
    RecordingError,
    Ref,
    aten,
    is_draw,
)
from quivers_nb.inference.simplify import renumbered, simplify

_NORMAL = frozenset({"aten::randn", "aten::randn_like"})
_SHIFT = 1  # the old value numbers make room for the vector


@dataclass(frozen=True, slots=True)
class FlatStep:
    """``graph``: ``(fitted + noise,) -> loss (), gradient (fitted + noise,)``, zero for noise."""

    graph: Graph
    sizes: tuple[int, ...]  # of the fitted weights, in order
    draws: tuple[tuple[int, ...], ...]  # shapes of the draws, in order

    @property
    def fitted(self) -> int:
        return sum(self.sizes)

    @property
    def noise(self) -> int:
        return sum(map(prod, self.draws))

    def draw(self, generator: Generator | None, dtype: torch.dtype) -> Tensor:  # -> (noise,)
        """The noise of one step as the step itself draws it: one call for each draw."""
        parts = [torch.randn(s, generator=generator, dtype=dtype).reshape(-1) for s in self.draws]
        return torch.cat(parts) if parts else torch.empty(0, dtype=dtype)


@dataclass(slots=True)
class _Pieces:
    """Nodes that cut pieces out of the vector, one behind the other."""

    dtype: torch.dtype
    free: int  # the next value number that is not taken
    place: int = 0

    def cut(self, shape: tuple[int, ...], result: int) -> tuple[Node, Node]:
        """The next piece, in this shape, as value number ``result``."""
        stop = self.place + prod(shape)
        flat = Meta((prod(shape),), self.dtype, (1,))
        shaped = Meta.of(torch.empty(shape, dtype=self.dtype))
        middle, self.free = self.free, self.free + 1
        piece = Node(aten.slice.Tensor, (Ref(0), 0, self.place, stop), {}, (middle,), (flat,))
        self.place = stop
        return piece, Node(aten.view.default, (Ref(middle), list(shape)), {}, (result,), (shaped,))


def flattened(graph: Graph, weights: Sequence[Tensor], fitted: Sequence[Tensor]) -> FlatStep:
    """``graph`` has ``weights`` as inputs; outputs are the loss and a gradient per ``fitted``.

    Raises `RecordingError` where numbers other than normal ones are drawn, or dtypes are mixed.
    """
    dtypes = {tensor.dtype for tensor in fitted}
    if len(dtypes) != 1:
        raise RecordingError("weights of several dtypes are fitted")
    place = {id(weight): number for number, weight in enumerate(weights)}
    metas = [*graph.inputs, *(m for n in graph.nodes for m in n.metas)]
    count = (
        len(metas)
        + len(graph.constants)
        + max((r for node in graph.nodes for r in node.results), default=len(weights))
    )
    pieces = _Pieces(dtypes.pop(), count + 2)
    nodes: list[Node] = []
    for tensor in fitted:
        nodes += pieces.cut(tuple(tensor.shape), place[id(tensor)] + _SHIFT)
    draws = []
    for old in graph.nodes:
        if is_draw(old.op):
            draws.append(_normal_shape(old, pieces.dtype))
            nodes += pieces.cut(draws[-1], old.result + _SHIFT)
        else:
            nodes.append(renumbered(old, _SHIFT.__add__))
    constants = {number + _SHIFT: tensor for number, tensor in graph.constants.items()}
    known = {id(tensor) for tensor in fitted}
    constants |= {place[id(w)] + _SHIFT: w.detach().clone() for w in weights if id(w) not in known}
    loss, *gradients = (Ref(ref.index + _SHIFT) for ref in graph.outputs)
    sizes = tuple(tensor.numel() for tensor in fitted)
    joined, more = _joined(gradients, sizes, pieces, sum(map(prod, draws)), constants)
    inputs = (Meta((pieces.place,), pieces.dtype, (1,)),)
    whole = Graph((*nodes, *more), inputs, (loss, joined), constants)
    return FlatStep(simplify(whole), sizes, tuple(draws))


def _normal_shape(node: Node, dtype: torch.dtype) -> tuple[int, ...]:
    if node.op._schema.name not in _NORMAL or node.meta.dtype is not dtype:
        raise RecordingError(f"{node.op} draws {node.meta.dtype} numbers that are not normal")
    return node.meta.shape


def _joined(
    gradients: Sequence[Ref],
    sizes: Sequence[int],
    pieces: _Pieces,
    noise: int,
    constants: dict[int, Tensor],
) -> tuple[Ref, list[Node]]:
    """The gradients as one vector, with zeros for the noise."""
    nodes, parts = [], []
    for gradient, size in zip(gradients, sizes, strict=True):
        meta = Meta((size,), pieces.dtype, (1,))
        nodes.append(Node(aten.reshape.default, (gradient, [size]), {}, (pieces.free,), (meta,)))
        parts.append(Ref(pieces.free))
        pieces.free += 1
    if noise:
        constants[pieces.free] = torch.zeros(noise, dtype=pieces.dtype)
        parts.append(Ref(pieces.free))
        pieces.free += 1
    whole = Meta((sum(sizes) + noise,), pieces.dtype, (1,))
    nodes.append(Node(aten.cat.default, (parts, 0), {}, (pieces.free,), (whole,)))
    return Ref(pieces.free), nodes
