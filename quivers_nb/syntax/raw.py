"""What the grammar reads before it is known what it means: calls, and trailing option blocks.

``fan(f, g)``, ``Normal(0.0, s)`` and ``affinity(u, v)`` are one production. The name, and whether
the call stands alone after ``~``, decide what it is; until then it is a `RawCall`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.syntax import mistakes, tree

Refuse = Callable[[Diagnostic], None]


@dataclass(frozen=True, slots=True)
class RawKeyword(tree.Node):
    """``key=value`` among arguments."""

    key: tree.Name
    value: Any


@dataclass(frozen=True, slots=True)
class RawList(tree.Node):
    """``[a, b]`` among arguments."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class RawCall(tree.Node):
    """``name(args)``."""

    name: tree.Name
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Trailing(tree.Node):
    """An object expression and the option block after it, whose owner is not known yet."""

    obj: tree.Obj
    block: tree.Options

    def attach(self, refuse: Refuse) -> tree.Obj:
        """Give the block to the constructor it follows; only spaces take one."""
        return _attach(self.obj, self.block, refuse)


def _attach(obj: tree.Obj, block: tree.Options, refuse: Refuse) -> tree.Obj:
    """Rebuild ``obj`` with ``block`` at its rightmost leaf."""
    span = obj.span | block.span
    match obj:
        case tree.ObjProduct(factors=(*others, last)):
            return tree.ObjProduct(factors=(*others, _attach(last, block, refuse)), span=span)
        case tree.ObjSum(terms=(*others, last)):
            return tree.ObjSum(terms=(*others, _attach(last, block, refuse)), span=span)
        case tree.ObjSlash():
            return replace(obj, argument=_attach(obj.argument, block, refuse), span=span)
        case tree.ObjSpace(options=None):
            return replace(obj, options=block, span=span)
        case _:
            refuse(mistakes.stray_options(obj, block))
            return obj
