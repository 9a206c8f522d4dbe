"""Residuated categories: the elements of `FreeResiduated`, in the order of section 3.1.

A category is an atom (a string) or a tuple ``(op, *arguments)`` with op one of
``/ \\ product unit diamond box``; a slash has its result first.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quivers_nb.spaces.space import FreeResiduated

Category = str | tuple["str | Category", ...]

OPS = ("slash", "product", "unit", "diamond", "box")
MAX_CATEGORIES = 200_000


@cache
def categories(obj: "FreeResiduated") -> tuple[Category, ...]:
    """Every category of ``obj``: the atoms, then ``depth`` times each application of each op.

    The checker refuses objects for which `at_most` exceeds `MAX_CATEGORIES`.
    """
    found: dict[Category, None] = dict.fromkeys(obj.generators.labels)
    for _ in range(obj.depth):
        known = tuple(found)
        for op in obj.ops:
            for category in _applications(op, known):
                found.setdefault(category)
    return tuple(found)


def at_most(atoms: int, depth: int, ops: tuple[str, ...]) -> int:
    """An upper bound for the number of categories, as cheap as it is rough."""
    count = atoms
    for _ in range(depth):
        added = {"slash": 2 * count * count, "product": count * count, "unit": 1}
        count = atoms + sum(added.get(op, count) for op in ops)
        if count > MAX_CATEGORIES:
            break
    return count


def _applications(op: str, known: tuple[Category, ...]) -> Iterator[Category]:
    if op == "unit":
        yield ("unit",)
    elif op in {"diamond", "box"}:
        yield from ((op, category) for category in known)
    else:
        symbols = ("/", "\\") if op == "slash" else ("product",)
        yield from ((s, left, right) for left in known for right in known for s in symbols)
