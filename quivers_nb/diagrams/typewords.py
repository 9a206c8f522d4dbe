"""Where the names of types are written: only where a type changes, and only where there is room."""

from collections.abc import Iterator
from typing import NamedTuple

from quivers_nb.diagrams.columns import Link, Sheet
from quivers_nb.diagrams.graph import Port, WireType
from quivers_nb.diagrams.metrics import shown, text_width
from quivers_nb.diagrams.route import is_labelled
from quivers_nb.diagrams.sizes import TYPE, Look

_BESIDE = 4.0  # between a wire and the name of its type
_LINE = 12.0  # the height of a line of them


class TypeWord(NamedTuple):
    """A name beside the start of a wire, in the coordinates of its sheet (down: the baseline)."""

    source: Port
    type: WireType
    along: float
    across: float
    ends_there: bool


def type_words(sheet: Sheet, look: Look) -> Iterator[TypeWord]:
    """One word for each type in each gap: beside the last of its wires that has room for it."""
    if not sheet.diagram.planar:
        return
    families: dict[tuple[int, str], list[Link]] = {}
    gaps: dict[int, list[float]] = {}
    for link in sheet.links:
        gaps.setdefault(link.right.column, []).append(_start(link))
        if is_labelled(link, look):
            families.setdefault((link.right.column, link.wire.type.name), []).append(link)
    for (gap, _), family in families.items():
        family.sort(key=_start, reverse=True)
        words = (word for link in family for word in _places(link, gaps[gap], look))
        word = next(words, None)
        if word is not None:
            yield word


def _places(link: Link, others: list[float], look: Look) -> Iterator[TypeWord]:
    """Free places at the two sides of a wire, first that from which it bends away."""
    here, source = _start(link), link.left
    bend = link.right.across + link.right.ins[link.into] - here
    before_first = bend > 2 if look.down else bend > -2
    wide = text_width(shown(link.wire.type.name), TYPE) + 2 * _BESIDE if look.down else _LINE
    along = source.along + source.length
    for before in (before_first, not before_first):
        low, high = (here - wide, here) if before else (here, here + wide)
        if any(low + 0.1 < other < high - 0.1 for other in others):
            continue
        if look.down:
            across = here + (-_BESIDE if before else _BESIDE)
            yield TypeWord(link.wire.source, link.wire.type, along + 11, across, before)
        else:
            across = here - _BESIDE if before else here + _BESIDE + 6
            yield TypeWord(link.wire.source, link.wire.type, along + 4, across, False)


def _start(link: Link) -> float:
    return link.left.across + link.left.outs[link.out]
