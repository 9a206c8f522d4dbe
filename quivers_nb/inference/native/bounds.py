"""Between which numbers the values of a graph lie, whatever its inputs are.

torch looks at every index that it is given; compiled loops do not, and would read the memory behind
a table. An index that is computed must therefore be known to stay on its axis: because it is the
place of a maximum, a truth value, or clamped (as a whole number: NaN passes a clamp of real ones).
Of real numbers only those have bounds that are chosen among constants: they are not NaN.
"""

import math
import operator
from collections.abc import Callable, Iterable
from itertools import chain, product
from math import prod
from typing import Any

import torch

from quivers_nb.inference.graph import Graph, Meta, Node, Ref, refs
from quivers_nb.inference.native.program import Asked, Refusal

Interval = tuple[float, float]  # the least and the greatest that any element can be
ANYTHING: Interval = (-math.inf, math.inf)
GREATEST = 2**62  # beyond, sums of two whole numbers may wrap around
EXACT = 2**24  # up to here every whole number is a real one, in either precision

# Where these say on which axis the places are that they give (behind the values, if there are any).
_AXIS_OF_PLACES = {
    "argmax": 1, "argmin": 1, "cummax": 1, "cummin": 1, "kthvalue": 2, "max": 1, "median": 1,
    "min": 1, "nanmedian": 1, "sort": 1, "topk": 2,
}  # fmt: skip
# What these give are elements of their first argument.
_KEEPS = frozenset(
    {
        "amax", "amin", "clone", "diagonal", "expand", "flip", "gather", "index", "index_select",
        "permute", "repeat", "reshape", "roll", "select", "slice", "squeeze", "t", "transpose",
        "unfold", "unsqueeze", "view", "_to_copy", "_unsafe_view",
    }
)  # fmt: skip
_CHOICES = frozenset({"cat", "masked_fill", "stack", "where"})  # elements of several arguments
_ROUNDED = frozenset({"ceil", "floor", "trunc"})


class Bounds:
    """What is known of the numbers of one graph, and the indices of which too little is.

    ``asked``: indices that are made from arguments, to be looked at before each call.
    """

    def __init__(self, graph: Graph) -> None:
        self.asked: list[Asked] = []
        self._graph = graph
        self._metas: dict[int, Meta] = dict(enumerate(graph.inputs))
        self._moved: set[int] = set()  # what depends on the first input, when first needed
        self._known: dict[int, Interval] = {}

    def ask(self, index: Ref, least: int, size: int) -> None:
        """Make sure that an index that is not constant stays in ``least .. size - 1``."""
        low, high = self.of(index)
        if least <= low and high < size:
            return
        if index.index in self._moved:
            raise Refusal(
                f"an index that depends on the variables may lie outside an axis of {size} "
                "(clamp it as a whole number)"
            )
        self.asked.append((index, least, size))

    def _walk(self) -> None:
        self._moved.add(0)
        for node in self._graph.nodes:
            self._metas.update(zip(node.results, node.metas, strict=True))
            if any(ref.index in self._moved for ref in refs((node.args, node.kwargs))):
                self._moved.update(node.results)
            for number, meta in zip(node.results, node.metas, strict=True):
                self._known[number] = self._of_result(node, number, meta.dtype)

    def of(self, argument: Any) -> Interval:
        """The bounds of an argument of a node."""
        if isinstance(argument, int | float) and math.isfinite(argument):
            return (argument, argument)
        if not isinstance(argument, Ref):
            return ANYTHING
        if not self._moved:
            self._walk()
        constant = self._graph.constants.get(argument.index)
        if constant is None:
            return self._known.get(argument.index, ANYTHING)
        if constant.dtype.is_complex or not constant.numel():
            return ANYTHING
        low, high = (end.item() for end in torch.aminmax(constant))
        return (low, high) if math.isfinite(low) and math.isfinite(high) else ANYTHING

    def _of_result(self, node: Node, number: int, dtype: torch.dtype) -> Interval:
        if dtype is torch.bool:
            return (0, 1)
        name = node.op._schema.name.removeprefix("aten::")
        if not _is_whole(dtype):
            return self._of_real(node, name)
        if name in _AXIS_OF_PLACES and (number != node.results[0] or name.startswith("arg")):
            return self._places(node, _AXIS_OF_PLACES[name])
        if name in _KEEPS or (name in _AXIS_OF_PLACES and len(node.results) == 2):
            return _cut(self.of(node.args[0]))
        return _cut(_RULES[name](self, node)) if name in _RULES else ANYTHING

    def _of_real(self, node: Node, name: str) -> Interval:
        """Both ends are known or neither, so that what is made of NaN has none."""
        if name in _CHOICES:
            return _RULES[name](self, node)
        if name not in _KEEPS | _ROUNDED:
            return ANYTHING
        low, high = self.of(node.args[0])
        if name in _ROUNDED or name == "_to_copy":  # the latter to fewer digits, perhaps
            return (math.floor(low), math.ceil(high)) if max(-low, high) < EXACT else ANYTHING
        return (low, high)

    def _places(self, node: Node, where: int) -> Interval:
        """Of places on the axis that argument number ``where`` names; of none, among all."""
        shape = self._shape(node.args[0])
        last = None if node.op._schema.name.startswith("aten::arg") else -1
        axis = node.args[where] if len(node.args) > where else node.kwargs.get("dim", last)
        size = prod(shape) if axis is None else shape[axis] if shape else 1
        return (0, size - 1)

    def size(self, argument: Ref) -> int:
        """The length of the last axis."""
        return self._shape(argument)[-1]

    def _shape(self, argument: Ref) -> tuple[int, ...]:
        constant = self._graph.constants.get(argument.index)
        return self._metas[argument.index].shape if constant is None else tuple(constant.shape)


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex


def _cut(interval: Interval) -> Interval:
    """Of whole numbers that are made from others, real ones without their fractions."""
    ends = [end for end in interval if math.isfinite(end)]
    if any(abs(end) >= GREATEST for end in ends):
        return ANYTHING
    low, high = (math.trunc(end) if math.isfinite(end) else end for end in interval)
    return (low, high)


Rule = Callable[[Bounds, Node], Interval]


def _clamp(bounds: Bounds, node: Node) -> Interval:
    names = ("max",) if node.op._schema.name == "aten::clamp_max" else ("min", "max")
    given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    low, high = given.get("min"), given.get("max")
    least = (-math.inf, -math.inf) if low is None else bounds.of(low)
    most = (math.inf, math.inf) if high is None else bounds.of(high)
    below, above = (
        min(max(value, a), b)
        for value, a, b in zip(bounds.of(node.args[0]), least, most, strict=True)
    )
    return (below, above)


def _abs(bounds: Bounds, node: Node) -> Interval:
    low, high = bounds.of(node.args[0])
    return (max(low, -high, 0), max(-low, high))


def _relu(bounds: Bounds, node: Node) -> Interval:
    low, high = bounds.of(node.args[0])
    return (max(low, 0), max(high, 0))


def _remainder(bounds: Bounds, node: Node) -> Interval:
    low, high = bounds.of(node.args[1])
    return (0, high - 1) if low > 0 else ANYTHING


def _hull(bounds: Bounds, parts: Iterable[Any]) -> Interval:
    """Of numbers that come from any of ``parts``."""
    lows, highs = zip(*map(bounds.of, parts), strict=True)
    return (min(lows), max(highs))


def _by_ends(function: Callable[[float, float], float]) -> Rule:
    """Of a function whose extremes are at ends of both arguments; sums must not wrap around."""

    def rule(bounds: Bounds, node: Node) -> Interval:
        pairs = tuple(product(bounds.of(node.args[0]), bounds.of(node.args[1])))
        if node.kwargs.get("alpha", 1) != 1 or not all(map(math.isfinite, chain(*pairs))):
            return ANYTHING
        found = [function(a, b) for a, b in pairs]
        return (min(found), max(found)) if max(map(abs, found)) < GREATEST else ANYTHING

    return rule


def _greater(bounds: Bounds, node: Node) -> Interval:
    (a, b), (c, d) = map(bounds.of, node.args[:2])
    return (max(a, c), max(b, d))


def _lesser(bounds: Bounds, node: Node) -> Interval:
    (a, b), (c, d) = map(bounds.of, node.args[:2])
    return (min(a, c), min(b, d))


_RULES: dict[str, Rule] = {
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "abs": _abs,
    "relu": _relu,
    "remainder": _remainder,
    "masked_fill": lambda bounds, node: _hull(bounds, (node.args[0], node.args[2])),
    "where": lambda bounds, node: _hull(bounds, node.args[1:3]),
    "cat": lambda bounds, node: _hull(bounds, node.args[0]),
    "stack": lambda bounds, node: _hull(bounds, node.args[0]),
    "add": _by_ends(operator.add),
    "sub": _by_ends(operator.sub),
    "mul": _by_ends(operator.mul),
    "searchsorted": lambda bounds, node: (0, bounds.size(node.args[0])),
    "bucketize": lambda bounds, node: (0, bounds.size(node.args[1])),
    "maximum": _greater,
    "minimum": _lesser,
}
