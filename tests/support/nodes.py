"""Short ways to write syntax trees by hand, and to find nodes in a text."""

from typing import Any

from quivers_nb.syntax import tree as t
from quivers_nb.syntax.parser import parse


def n(*words: str) -> Any:
    """Names: one, or a tuple of several."""
    found = tuple(t.Name(word) for word in words)
    return found[0] if len(found) == 1 else found


def i(value: float) -> t.Number:
    return t.Number(value)


X, Y, Z = (t.ObjName(n(word)) for word in "XYZ")
F, G, H = (t.ExprName(n(word)) for word in "fgh")
A, B = (t.LetName(n(word)) for word in "ab")
LOW = t.Options((t.OptionEntry(n("low"), i(0.0)),))
LATENT = t.Options((t.OptionEntry(n("role"), n("latent")),))


def binary(op: str, left: t.Expr, right: t.Expr) -> t.ExprBinary:
    return t.ExprBinary(op, left, right)


def one(text: str) -> Any:
    return parse(text).declarations[0]


def step(text: str) -> Any:
    return one(f"program p : X -> X\n    {text}\n    return u\n").steps[0]


def covered(text: str, node: t.Node) -> str:
    return text[node.span.start : node.span.stop]
