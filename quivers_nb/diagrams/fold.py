"""Which groups of a diagram are closed: repetition elided, a depth, or what someone asked for.

A folded group is a box with the same boundary, so the picture is still a picture of the morphism.
"""

from collections.abc import Iterable

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.graph import Diagram, GroupKind, Item, groups

GUARD = 400  # items that are shown at once


def elided(diagram: Diagram) -> frozenset[str]:
    """Repetition folded: of groups with equal templates in a row, the first is open.

    Programs used as morphisms, and morphisms applied in programs, are folded too.
    """
    return frozenset(_elided(diagram))


def _elided(diagram: Diagram) -> set[str]:
    folded: set[str] = set()
    seen: set[str] = set()
    for item in diagram.items:
        if item.body is None:
            continue
        repeated = item.group is GroupKind.LAYER and item.template in seen
        applied = item.group is GroupKind.PROGRAM or (
            not diagram.planar and item.group is GroupKind.LET
        )
        if repeated or applied or (item.group is GroupKind.SEGMENT and seen):
            folded.add(item.id)
        if item.template and item.group in {GroupKind.LAYER, GroupKind.SEGMENT}:
            seen.add(item.template)
        folded |= _elided(item.body)
    return folded


def at_depth(diagram: Diagram, depth: int) -> frozenset[str]:
    """Every group at this depth or deeper folded; 0 shows boxes only."""
    return frozenset(item.id for level, item in groups(diagram) if level >= depth)


def named(diagram: Diagram, wishes: Iterable[str]) -> frozenset[str]:
    """The groups with these ids or labels.

    Raises:
        UserError: no group is called so.
    """
    found: set[str] = set()
    every = [item for _, item in groups(diagram)]
    for wish in wishes:
        hits = {item.id for item in every if wish in {item.id, item.label}}
        if not hits:
            known = ", ".join(dict.fromkeys(item.label for item in every)) or "none"
            raise UserError(f"The diagram has no group {wish!r}. Groups: {known}.")
        found |= hits
    return frozenset(found)


def visible(diagram: Diagram, folded: frozenset[str]) -> int:
    """How many items are shown."""
    return sum(1 + _inside(item, folded) for item in diagram.items)


def _inside(item: Item, folded: frozenset[str]) -> int:
    return visible(item.body, folded) if item.body is not None and item.id not in folded else 0


def guarded(diagram: Diagram, folded: frozenset[str]) -> tuple[frozenset[str], str]:
    """As many groups folded, the deepest first, as keep the picture readable; and a word on it."""
    if visible(diagram, folded) <= GUARD:
        return folded, ""
    deepest = max((depth for depth, _ in groups(diagram)), default=-1)
    for depth in range(deepest, -1, -1):
        more = folded | at_depth(diagram, depth)
        if visible(diagram, more) <= GUARD:
            note = f"{visible(diagram, folded)} items: groups below level {depth} are folded"
            return more, note
    count = visible(diagram, folded | at_depth(diagram, 0))
    return folded | at_depth(diagram, 0), f"{count} items, all groups folded"
