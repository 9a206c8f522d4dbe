"""The LALR(1) machine: the parse table, the stacks, and what tokens turn into.

The machine is the textbook one, over ``table.json``. Beside its states it keeps a value, a span
and a depth for everything read so far; rules hand their values to `construct.CONSTRUCTORS`.
"""

import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import mistakes, tree
from quivers_nb.syntax.construct import Builder, Constructor
from quivers_nb.syntax.rules import CONSTRUCTORS
from quivers_nb.syntax.scanner import Token

MAX_DEPTH = 100  # nested nodes; keeps every walk over a tree below Python's recursion limit
MAX_DIGITS = 400
SPACES = frozenset(
    {
        "Real", "Simplex", "Sphere", "Ball", "CholeskyFactor", "Covariance", "Correlation",
        "Orthogonal", "Stiefel", "LowerTriangular", "Diagonal",
    }
)  # fmt: skip

Plan = list[int | list[int] | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A production: what it yields, how long it is, which children go to which constructor.

    ``build`` is None for a list to be spliced into its parent. ``collapse``: a single child is
    passed on as it is. ``passes``: that is all the rule ever does.
    """

    origin: str
    size: int
    plan: Plan
    build: Constructor | None
    collapse: bool
    passes: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The parse table. ``actions[state]`` maps a terminal to ``n >= 0``, a state to go to, or to
    ``-1 - r``, a rule to reduce by.
    """

    rules: list[Rule]
    actions: list[dict[str, int]]
    gotos: list[dict[str, int]]
    end: int
    keywords: frozenset[str]


@cache
def table() -> Table:
    """The table of this grammar, read once."""
    data = json.loads(Path(__file__).with_name("table.json").read_text("utf-8"))
    rules = [
        Rule(origin, size, plan, CONSTRUCTORS.get(action), flag, flag and plan == [0] and size == 1)
        for origin, action, size, plan, flag in data["rules"]
    ]
    rows = data["rows"]
    words = {word for row in rows for word in row if word.isidentifier() and not word.isupper()}
    return Table(
        rules=rules,
        actions=[rows[row] for row, _ in data["states"]],
        gotos=[gotos for _, gotos in data["states"]],
        end=data["end"],
        keywords=frozenset(words),
    )


class Stuck(Exception):
    """The token cannot follow what was read. Internal to the parser, which explains it."""


@dataclass(slots=True)
class Machine:
    """The stacks. ``starts`` and ``stops`` are -1 for what covers no text."""

    builder: Builder
    states: list[int] = field(default_factory=lambda: [0])
    values: list[Any] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    def copy(self) -> "Machine":
        """An independent machine at the same place."""
        return Machine(
            self.builder, self.states[:], self.values[:], self.starts[:], self.stops[:],
            self.depths[:],
        )  # fmt: skip

    def feed(self, kind: str, token: Token) -> None:
        """Read one token as terminal ``kind``.

        Raises:
            Stuck: no statement goes on like that.
        """
        parse_table = table()
        actions, rules = parse_table.actions, parse_table.rules
        while True:
            action = actions[self.states[-1]].get(kind)
            if action is None:
                raise Stuck
            if action >= 0:
                break
            self.reduce(rules[-1 - action], parse_table)
            if self.states[-1] == parse_table.end:  # only the end of the text leads here
                return
        self.states.append(action)
        self.values.append(_leaf(kind, token, self.builder))
        covers = token.stop > token.start
        self.starts.append(token.start if covers else -1)
        self.stops.append(token.stop if covers else -1)
        self.depths.append(0)

    def reduce(self, rule: Rule, parse_table: Table) -> None:
        """Replace the last ``rule.size`` entries by one."""
        if rule.passes:
            self.states[-1] = parse_table.gotos[self.states[-2]][rule.origin]
            return
        base = len(self.values) - rule.size
        start, stop = self.extent(base)
        depth = max(self.depths[base:], default=0)
        children = self.children(rule.plan, base)
        value: Any = children
        if rule.collapse and len(children) == 1:
            value = children[0]
        elif rule.build is not None:
            span = Span(start, stop) if start >= 0 else tree.NO_SPAN
            value = rule.build(self.builder, children, span)
            if isinstance(value, tree.Node) and not (children and value is children[0]):
                depth += 1
                if depth == MAX_DEPTH + 1:
                    self.builder.refuse(mistakes.too_deep(Span(start, start + 1), MAX_DEPTH))
                    if not isinstance(value, tree.Line):  # nothing walks what is too deep
                        value, depth = _TOO_DEEP, 0
        del self.states[base + 1 :], self.values[base:], self.starts[base:]
        del self.stops[base:], self.depths[base:]
        self.states.append(parse_table.gotos[self.states[-1]][rule.origin])
        self.values.append(value)
        self.starts.append(start)
        self.stops.append(stop)
        self.depths.append(depth)

    def acceptable(self) -> frozenset[str]:
        """The terminals that can be read next: those with an action that ends in a shift."""
        return frozenset(kind for kind in table().actions[self.states[-1]] if self.shifts(kind))

    def shifts(self, kind: str) -> bool:
        parse_table = table()
        states = self.states[:]
        while True:
            action = parse_table.actions[states[-1]].get(kind)
            if action is None or action >= 0 or states[-1] == parse_table.end:
                return action is not None
            rule = parse_table.rules[-1 - action]
            del states[len(states) - rule.size :]
            states.append(parse_table.gotos[states[-1]][rule.origin])

    def extent(self, base: int) -> tuple[int, int]:
        """From the first to the last character that the entries from ``base`` cover."""
        start = next((s for s in self.starts[base:] if s >= 0), -1)
        return start, max(self.stops[base:], default=-1)

    def children(self, plan: Plan, base: int) -> list[Any]:
        """The values that a rule keeps. A leading list is extended in place: lists are linear."""
        kept: list[Any] = []
        for item in plan:
            if item is None:
                kept.append(None)
            elif isinstance(item, int):
                kept.append(self.values[base + item])
            elif kept:
                kept.extend(self.values[base + item[0]])
            else:
                kept = self.values[base + item[0]]
        return kept


_TOO_DEEP = tree.ExprName(tree.Name(""))


def _leaf(kind: str, token: Token, builder: Builder) -> Any:
    """The value of a token: a name, a literal, or the token itself."""
    span = Span(token.start, token.stop)
    if kind == "NAME" or token.kind == "NAME":
        return tree.Name(token.text, span=span)
    if kind == "STRING":
        return tree.String(token.text[1:-1], span=span)
    if kind in ("INT", "FLOAT"):
        return tree.Number(_number(token, builder), token.text, span=span)
    return token


def _number(token: Token, builder: Builder) -> int | float:
    if len(token.text) > MAX_DIGITS:
        builder.refuse(mistakes.number_too_large(Span(token.start, token.stop)))
        return 0
    value = int(token.text) if token.kind == "INT" else float(token.text)
    if value == math.inf:
        builder.refuse(mistakes.number_too_large(Span(token.start, token.stop)))
    return value
