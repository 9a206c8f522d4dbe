"""Graphs made smaller: operations that do nothing, repeated work, unused work.

Each pass maps a graph to an equal graph: NaN and infinity stay where they were, only the sign of a
zero may change (-0 + 0 is 0, and is folded to -0). They run in one sweep, because folding an
operation makes others equal, and end with consecutive value numbers.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from quivers_nb.inference.graph import Graph, Meta, Node, Ref, is_draw, refs, replace_refs


def simplify(graph: Graph) -> Graph:
    """Fold operations that return an argument, merge equal ones, drop unused ones, renumber."""
    return renumber(without_dead_code(merge_equal(graph)))


def merge_equal(graph: Graph) -> Graph:
    """Common subexpressions become one; operations that change nothing become their argument."""
    alias: dict[int, Ref] = {}
    metas = dict(enumerate(graph.inputs))
    metas.update({number: Meta.of(tensor) for number, tensor in graph.constants.items()})
    seen: dict[Any, tuple[int, ...]] = {}
    nodes: list[Node] = []

    def current(ref: Ref) -> Ref:
        return alias.get(ref.index, ref)

    for old in graph.nodes:
        kwargs = {key: replace_refs(value, current) for key, value in old.kwargs.items()}
        node = replace(old, args=replace_refs(old.args, current), kwargs=kwargs)
        metas.update(zip(node.results, node.metas, strict=True))
        if is_draw(node.op):
            nodes.append(node)
            continue
        same = _folded(node, metas, graph.constants)
        if same is not None:
            alias[node.result] = same
            continue
        key = (node.op, _freeze(node.args), _freeze(kwargs))
        if key in seen:
            pairs = zip(node.results, seen[key], strict=True)
            alias.update({number: Ref(first) for number, first in pairs})
            continue
        seen[key] = node.results
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(map(current, graph.outputs)))


def without_dead_code(graph: Graph) -> Graph:
    """Only what the outputs need."""
    needed = {ref.index for ref in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if not node.results or needed.intersection(node.results):
            kept.append(node)
            needed.update(ref.index for ref in refs((node.args, node.kwargs)))
    constants = {n: tensor for n, tensor in graph.constants.items() if n in needed}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)


def renumbered(node: Node, number: Callable[[int], int]) -> Node:
    """The same node with ``number`` of every number that it reads or makes."""

    def current(ref: Ref) -> Ref:
        return Ref(number(ref.index))

    return replace(
        node,
        args=replace_refs(node.args, current),
        kwargs={key: replace_refs(value, current) for key, value in node.kwargs.items()},
        results=tuple(map(number, node.results)),
    )


def renumber(graph: Graph) -> Graph:
    """Inputs, constants and results numbered in this order without gaps."""
    new: dict[int, int] = {number: number for number in range(len(graph.inputs))}
    for number in (*graph.constants, *(n for node in graph.nodes for n in node.results)):
        new[number] = len(new)

    nodes = tuple(renumbered(node, new.__getitem__) for node in graph.nodes)
    constants = {new[number]: tensor for number, tensor in graph.constants.items()}
    outputs = tuple(Ref(new[output.index]) for output in graph.outputs)
    return replace(graph, nodes=nodes, outputs=outputs, constants=constants)


def _freeze(argument: Any) -> Any:
    """A hashable form; 1, 1.0 and True stay apart, and so do 0.0 and -0.0."""
    if isinstance(argument, list | tuple):
        return tuple(_freeze(part) for part in argument)
    if isinstance(argument, dict):
        return tuple(sorted((key, _freeze(value)) for key, value in argument.items()))
    return (type(argument).__name__, repr(argument) if isinstance(argument, float) else argument)


# ---- operations that return their argument ---------------------------------------------------

_Metas = dict[int, Meta]
_Constants = Any  # Mapping[int, Tensor]


def _folded(node: Node, metas: _Metas, constants: _Constants) -> Ref | None:
    """The argument that ``node`` returns unchanged, if it does."""
    rule = _RULES.get(node.op._schema.name)
    if rule is None or node.several:
        return None
    for place in rule(node, constants):
        candidate = node.args[place]
        if isinstance(candidate, Ref) and _same_layout(metas[candidate.index], node.meta):
            return candidate
    return None


def _same_layout(a: Meta, b: Meta) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, b.strides, strict=True))


def _always(_node: Node, _constants: _Constants) -> tuple[int, ...]:
    return (0,)


def _neutral(value: float, *, both: bool) -> Callable[[Node, _Constants], tuple[int, ...]]:
    """``x op value`` is ``x``; with ``both`` also ``value op x``."""

    def rule(node: Node, constants: _Constants) -> tuple[int, ...]:
        plain = all(key == "alpha" and value == 1 for key, value in node.kwargs.items())
        if not plain or len(node.args) != 2:
            return ()
        left, right = node.args
        places = (0,) if _is(right, value, constants) else ()
        return (*places, 1) if both and _is(left, value, constants) else places

    return rule


def _is(argument: Any, value: float, constants: _Constants) -> bool:
    if isinstance(argument, Ref):
        tensor: Tensor | None = constants.get(argument.index)
        return tensor is not None and bool((tensor == value).all())
    return isinstance(argument, int | float) and argument == value


_RULES: dict[str, Callable[[Node, _Constants], tuple[int, ...]]] = {
    "aten::view": _always,
    "aten::_unsafe_view": _always,
    "aten::reshape": _always,
    "aten::expand": _always,
    "aten::clone": _always,
    "aten::_to_copy": _always,
    "aten::permute": lambda node, _: (0,) if list(node.args[1]) == sorted(node.args[1]) else (),
    "aten::slice": _always,
    "aten::mul": _neutral(1.0, both=True),
    "aten::div": _neutral(1.0, both=False),
    "aten::pow": _neutral(1.0, both=False),
    "aten::add": _neutral(0.0, both=True),
    "aten::sub": _neutral(0.0, both=False),
}
