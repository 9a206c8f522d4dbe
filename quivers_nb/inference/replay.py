"""Replay: a graph as straight-line Python over raw operations, no compiler needed."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.inference.graph import Graph, Node, Ref, aten, refs

Replay = Callable[..., tuple[Tensor, ...]]


def replay(graph: Graph, mode: Callable[[], Any] = torch.inference_mode) -> Replay:
    """A function of the graph's inputs that runs its operations in order and nothing else.

    Runs under ``mode``: `torch.no_grad` where results must be ordinary tensors. The results depend
    on the shapes that the graph was recorded with. Values are dropped after their last use, so
    memory is that of the live ones.
    """
    graph = vectorized(graph)
    names: dict[str, Any] = {"_mode": mode}
    names.update({f"v{number}": tensor for number, tensor in graph.constants.items()})
    last = _last_uses(graph)
    inputs = ", ".join(f"v{number}" for number in range(len(graph.inputs)))
    lines = [f"def run({inputs}):", "    with _mode():"]
    for place, node in enumerate(graph.nodes):
        lines.append("        " + _statement(node, place, names))
        dead = [f"v{number}" for number in last.get(place, ())]
        if dead:
            lines.append("        del " + ", ".join(dead))
    lines.append(f"        return {_tuple(f'v{ref.index}' for ref in graph.outputs)}")
    exec(compile("\n".join(lines), "<graph>", "exec"), names)
    run: Replay = names["run"]
    return run


def vectorized(graph: Graph) -> Graph:
    """Slopes of lower clamps by an operation that is vectorized.

    Autograd selects with a mask, ``where(x >= c, g, 0)``, which takes thirty times as long as
    ``threshold_backward(g, x, before c)``, the same for every number. At NaN it is g, not zero:
    the value is NaN there, too.
    """
    makers = {node.result: node for node in graph.nodes if len(node.results) == 1}
    nodes = tuple(_clamped(node, makers, graph) for node in graph.nodes)
    read = {ref.index for node in nodes for ref in refs((node.args, node.kwargs))}
    read.update(ref.index for ref in graph.outputs)
    unread = {n.result for n in nodes if n.op is aten.ge.Scalar and n.result not in read}
    kept = (node for node in nodes if not unread.intersection(node.results))
    return replace(graph, nodes=tuple(kept))


def _clamped(node: Node, makers: dict[int, Node], graph: Graph) -> Node:
    if node.op is not aten.where.self:
        return node
    mask, slope, other = node.args
    test, zero = makers.get(mask.index), graph.constants.get(other.index)
    if test is None or test.op is not aten.ge.Scalar or zero is None or bool(zero.any()):
        return node
    x, edge = test.args
    same = graph.meta(x) == graph.meta(slope) == node.meta and node.meta.dtype in _BEFORE
    if not same or not isinstance(edge, float) or not math.isfinite(edge):
        return node
    before = _BEFORE[node.meta.dtype](edge)
    return replace(node, op=aten.threshold_backward.default, args=(slope, x, before), kwargs={})


_BEFORE: dict[torch.dtype, Callable[[float], float]] = {
    torch.float32: lambda c: float(np.nextafter(np.float32(c), np.float32(-np.inf))),
    torch.float64: lambda c: float(np.nextafter(c, -np.inf)),
}


def _statement(node: Node, place: int, names: dict[str, Any]) -> str:
    function = f"f{place}"
    # The overload's own C++ callable: a third of the cost of calling the overload object.
    names[function] = getattr(node.op, "_op", node.op)
    parts = [_expression(argument, names) for argument in node.args]
    parts += [f"{key}={_expression(value, names)}" for key, value in node.kwargs.items()]
    call = f"{function}({', '.join(parts)})"
    if not node.results:
        return call
    if node.several:
        return f"{_tuple(f'v{number}' for number in node.results)} = {call}"
    return f"v{node.result} = {call}"


def _expression(argument: Any, names: dict[str, Any]) -> str:
    if isinstance(argument, Ref):
        return f"v{argument.index}"
    if isinstance(argument, list | tuple):
        return "[" + ", ".join(_expression(part, names) for part in argument) + "]"
    if argument is None or isinstance(argument, bool | int):
        return repr(argument)
    name = f"k{len(names)}"  # dtypes, devices, and floats that have no literal (inf, nan)
    names[name] = argument
    return name


def _tuple(items: Any) -> str:
    return "(" + "".join(f"{item}, " for item in items) + ")"


def _last_uses(graph: Graph) -> dict[int, list[int]]:
    """Place of a node -> results that nobody reads after it."""
    kept = {ref.index for ref in graph.outputs}
    made = {number for node in graph.nodes for number in node.results}
    last: dict[int, int] = {}
    for place, node in enumerate(graph.nodes):
        for number in node.results:
            last[number] = place
        for ref in refs((node.args, dict(node.kwargs))):
            last[ref.index] = place
    uses: dict[int, list[int]] = {}
    for number, place in last.items():
        if number in made and number not in kept:
            uses.setdefault(place, []).append(number)
    return uses
