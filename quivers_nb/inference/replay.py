"""Replay: a graph as straight-line Python over raw operations, no compiler needed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quivers_nb.inference.graph import Graph, Node, Ref, refs

Replay = Callable[..., tuple[Tensor, ...]]


def replay(graph: Graph, mode: Callable[[], Any] = torch.inference_mode) -> Replay:
    """A function of the graph's inputs that runs its operations in order and nothing else.

    Runs under ``mode``: `torch.no_grad` where results must be ordinary tensors. The results depend
    on the shapes that the graph was recorded with. Values are dropped after their last use, so
    memory is that of the live ones.
    """
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
