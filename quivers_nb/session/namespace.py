"""Which names a cell may bind in the user's namespace, and why not the others.

Nothing of the user's is ever overwritten: not a variable that we did not put there ourselves, not
a builtin. What is refused is reported with its reason and stays reachable through the module.
"""

import builtins
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A name that was not bound. ``reason`` completes the sentence "``name`` …"."""

    name: str
    reason: str

    @property
    def unnamed(self) -> bool:
        """It is an expression, such as ``f >> g``."""
        return not self.name.isidentifier()


@dataclass(frozen=True, slots=True)
class Binding(Generic[T]):
    """What to put into the namespace, and what not."""

    names: Mapping[str, T]
    refused: tuple[Refusal, ...] = ()


def bind(
    names: Mapping[str, T], namespace: Mapping[str, object], ours: Mapping[str, object]
) -> Binding[T]:
    """Sort ``names`` into those that may be bound and those that may not.

    ``ours`` are the objects bound before, by name. One of them may be replaced as long as the user
    has not put something else in its place.
    """
    allowed: dict[str, T] = {}
    refused: list[Refusal] = []
    for name, value in names.items():
        reason = _objection(name, namespace, ours)
        if reason is None:
            allowed[name] = value
        else:
            refused.append(Refusal(name, reason))
    return Binding(allowed, tuple(refused))


def _objection(
    name: str, namespace: Mapping[str, object], ours: Mapping[str, object]
) -> str | None:
    if not name.isidentifier():
        return "is not a Python name"
    if keyword.iskeyword(name):
        return "is a keyword of Python"
    if hasattr(builtins, name):
        return "is a builtin of Python"
    if name in namespace and not (name in ours and namespace[name] is ours[name]):
        return "is a variable of yours"
    return None
