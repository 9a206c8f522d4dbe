"""Scalar expressions and buffers: what stands inside the loops of the emitted C.

Expressions are interned by the `Algebra` that makes them: equal means identical, so a repeated
subexpression is one object and comparing indices is comparing objects. ``level`` counts the loops
an expression needs around it (loop variable 0 is the outermost), ``cost`` is a rough count of
operations that decides what is worth keeping in memory.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["real", "int", "bool"]
Role = Literal["input", "argument", "data", "literals", "scratch", "gradient"]

RANK: dict[Kind, int] = {"bool": 0, "int": 1, "real": 2}
CALL_COST = 20
# Written into the source as they are; every other number is an argument of the compiled function.
PLAIN_NUMBERS = frozenset({0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, math.inf, -math.inf})


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Memory the emitted function reads or writes. Scratch of one element is a C variable."""

    name: str
    size: int
    kind: Kind
    role: Role

    @property
    def is_variable(self) -> bool:
        return self.role == "scratch" and self.size == 1


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A node: ``op`` is literal, variable, load, call, where, cast or a C operator's name."""

    op: str
    args: tuple["Expression", ...]
    kind: Kind
    detail: Any = None  # the number, the loop variable, the buffer, the C function
    level: int = 0
    cost: int = 0

    def walk(self) -> Iterator["Expression"]:
        """Every node once, arguments before users."""
        seen: set[int] = set()
        stack: list[tuple[Expression, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((argument, False) for argument in reversed(node.args))

    def loads(self) -> Iterator["Expression"]:
        """The loads inside."""
        return (node for node in self.walk() if node.op == "load")


_COST = {"literal": 0, "variable": 0, "load": 0, "div": 4, "call": CALL_COST}


@dataclass(slots=True)
class Algebra:
    """Makes expressions. Folds only what is exact and keeps NaN: x + 0, 1 x, x / 1, constants."""

    _known: dict[Any, Expression] = field(default_factory=dict)

    def node(
        self, op: str, args: Iterable[Expression], kind: Kind, detail: Any = None
    ) -> Expression:
        """The expression with these parts."""
        args = tuple(args)
        key = (op, tuple(map(id, args)), kind, repr(detail) if op == "literal" else detail)
        found = self._known.get(key)
        if found is None:
            level = detail + 1 if op == "variable" else max((a.level for a in args), default=0)
            cost = sum(a.cost for a in args) + _COST.get(op, 1)
            found = self._known[key] = Expression(op, args, kind, detail, level, cost)
        return found

    def number(self, value: float, kind: Kind = "real") -> Expression:
        """A literal of the source text."""
        if kind == "real":
            return self.node("literal", (), kind, float(value))
        return self.node("literal", (), kind, int(value))

    def integer(self, value: int) -> Expression:
        return self.number(value, "int")

    def variable(self, loop: int) -> Expression:
        """The counter of a loop, outermost 0."""
        return self.node("variable", (), "int", loop)

    def load(self, buffer: Buffer, index: Expression) -> Expression:
        return self.node("load", (index,), buffer.kind, buffer)

    def cast(self, a: Expression, kind: Kind) -> Expression:
        """``a`` as another kind; to bool means "is not zero"."""
        if a.kind == kind:
            return a
        if a.op == "literal":
            return self.number(a.detail if kind != "bool" else bool(a.detail), kind)
        if kind == "bool":
            return self.compare("ne", a, self.number(0, a.kind))
        return self.node("cast", (a,), kind)

    def common(self, *args: Expression, least: Kind = "bool") -> tuple[Expression, ...]:
        """All as the widest kind among them, and at least ``least``."""
        kind = max((least, *(a.kind for a in args)), key=RANK.__getitem__)
        return tuple(self.cast(a, kind) for a in args)

    def add(self, a: Expression, b: Expression) -> Expression:
        a, b = self.common(a, b, least="int")
        if _is(a, 0):
            return b
        if _is(b, 0):
            return a
        if a.op == b.op == "literal":
            return self.number(a.detail + b.detail, a.kind)
        return self._two_halves(a, b) or self.node("add", (a, b), a.kind)

    def _two_halves(self, a: Expression, b: Expression) -> Expression | None:
        """``(c ? x : 0) + (c ? 0 : y)`` as ``c ? x : y``, also where the second is negated.

        Gradients of choices are sums like that, which compilers do not vectorise when added up.
        """
        half = b.args[0] if b.op == "neg" else b
        if not (a.op == half.op == "where" and a.args[0] is half.args[0]):
            return None
        if not (_is(a.args[2], 0) and _is(half.args[1], 0)):
            return None
        other = self.neg(half.args[2]) if b.op == "neg" else half.args[2]
        return self.where(a.args[0], a.args[1], other)

    def sub(self, a: Expression, b: Expression) -> Expression:
        a, b = self.common(a, b, least="int")
        return a if _is(b, 0) else self.node("sub", (a, b), a.kind)

    def apart(self, a: Expression, b: Expression) -> Expression:
        """``a - b`` in real numbers, rounded before anything else is added or taken away."""
        return self.node("apart", self.common(a, b, least="real"), "real")

    def remainder(self, a: Expression, b: Expression) -> Expression:
        """Of whole numbers, with the sign of ``a``; ``b`` is neither 0 nor -1."""
        return self.node("mod", self.common(a, b, least="int"), "int")

    def mul(self, a: Expression, b: Expression) -> Expression:
        a, b = self.common(a, b, least="int")
        if _is(a, 1):
            return b
        if _is(b, 1):
            return a
        if _is(a, -1):
            return self.neg(b)
        if _is(b, -1):
            return self.neg(a)
        if a.op == b.op == "literal" and a.kind == "int":
            return self.number(a.detail * b.detail, "int")
        return self.node("mul", (a, b), a.kind)

    def div(self, a: Expression, b: Expression) -> Expression:
        a, b = self.common(a, b, least="real")
        return a if _is(b, 1) else self.node("div", (a, b), "real")

    def neg(self, a: Expression) -> Expression:
        (a,) = self.common(a, least="int")
        if a.op == "neg":
            return a.args[0]
        if a.op == "literal" and a.detail != 0:
            return self.number(-a.detail, a.kind)
        return self.node("neg", (a,), a.kind)

    def compare(self, op: str, a: Expression, b: Expression) -> Expression:
        """``op``: lt, le, gt, ge, eq, ne."""
        return self.node(op, self.common(a, b), "bool")

    def logic(self, op: str, *args: Expression) -> Expression:
        """``op``: and, or, not."""
        return self.node(op, (self.cast(a, "bool") for a in args), "bool")

    def low_bits(self, a: Expression, size: int) -> Expression:
        """``a`` modulo ``size``, a power of two; ``a`` is not negative."""
        return self.node("and", (a, self.integer(size - 1)), "int")

    def where(self, test: Expression, a: Expression, b: Expression) -> Expression:
        a, b = self.common(a, b)
        if test.op == "literal":
            return a if test.detail else b
        return a if a is b else self.node("where", (self.cast(test, "bool"), a, b), a.kind)

    def call(self, function: str, *args: Expression) -> Expression:
        """A real function of the C library or of ``scalar.h``."""
        return self.node("call", (self.cast(a, "real") for a in args), "real", function)

    def affine(self, offset: int, terms: Iterable[tuple[Expression, int]]) -> Expression:
        """``offset + sum of coefficient * term``, with terms in the order given."""
        total = self.integer(0)
        for term, coefficient in terms:
            if coefficient and not _is(term, 0):
                total = self.add(total, self.mul(term, self.integer(coefficient)))
        return self.add(total, self.integer(offset))


def _is(a: Expression, value: float) -> bool:
    return a.op == "literal" and bool(a.detail == value)
