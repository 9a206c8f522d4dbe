"""How large things are, in points, along the flow and across it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quivers_nb.diagrams.graph import GroupKind, Item, Kind, boxes
from quivers_nb.diagrams.metrics import shown, text_width

LABEL, NOTE, TITLE, TYPE = 11.0, 8.0, 9.0, 8.0  # font sizes
PITCH = 22.0  # between the ports of a box
NEAREST = 10.0  # ports that slide keep this distance
STRANDS = 6.0  # between the wires at a bar
CORNER = 8.0  # no port nearer to the end of a side
DOT = 8.0
BAR = 4.0
ROUND = frozenset({"sample", "observe", "marginalize"})  # sites drawn as ellipses
DELAY = 11.0
RIM = 3.0  # between the two borders of a folded group
SLACK = 16.0  # around a label, so that another font fits


@dataclass(frozen=True, slots=True)
class Look:
    """How a diagram is shown. ``badges`` replaces the second line of items, by id."""

    down: bool = True  # the flow: down the page, or to the right
    folded: frozenset[str] = frozenset()
    badges: Mapping[str, str] = field(default_factory=dict)

    def open(self, item: Item) -> bool:
        """Whether an item is a group that shows its body."""
        return item.body is not None and item.id not in self.folded

    def badge(self, item: Item) -> str:
        """The second line of an item."""
        given = self.badges.get(item.id)
        if given is not None:
            return shown(given)
        return shown(item.note or _summary(item))


def _summary(item: Item) -> str:
    """What a folded group holds."""
    if item.body is None:
        return ""
    count = sum(1 for _ in boxes(item.body))
    word = "site" if item.group in {GroupKind.PROGRAM, GroupKind.PLATE} else "box"
    return f"{count} {word}{'' if count == 1 else 'es' if word == 'box' else 's'}"


@dataclass(frozen=True, slots=True)
class Size:
    """``length`` along the flow, ``span`` across it, and where ports are across it."""

    length: float
    span: float
    ins: list[float]
    outs: list[float]


def leaf_size(item: Item, look: Look) -> Size:
    """The size of an item that shows no body."""
    match item.kind:
        case Kind.COPY | Kind.DISCARD | Kind.MERGE:
            return _fixed(item, DOT, DOT, 0.0)
        case Kind.REGROUP:
            count = max(len(item.ins), len(item.outs), 1)
            return _fixed(item, BAR, 10 + STRANDS * (count - 1), STRANDS)
        case Kind.SWAP:
            return _fixed(item, 26.0, PITCH * (len(item.ins) - 1) + 2, PITCH)
        case Kind.CUP | Kind.CAP:
            return _fixed(item, 13.0, PITCH + 2, PITCH)
        case Kind.JUNCTION:
            return _junction(item, look)
        case _:
            return _written(item, look)


def _junction(item: Item, look: Look) -> Size:
    """A broken line with the type that arrives before it, and the one that is wanted after it."""
    words = [text_width(shown(text), LABEL, bold=True) for text in (item.label, item.note)]
    across = PITCH * max(len(item.ins), len(item.outs), 1)
    if look.down:
        return _fixed(item, 48.0, max(*words, across) + 20, PITCH)
    return _fixed(item, 2 * max(words) + 34, max(24.0, across), PITCH)


def _written(item: Item, look: Look) -> Size:
    """The size of an item with a label."""
    wide, high = label_size(item, look)
    count = max(len(item.ins), len(item.outs), 1)
    if item.kind is Kind.CONTRACTION:
        wide = high = max(wide, high, 34.0)
    if item.kind is Kind.SITE and item.role in ROUND:
        wide, high = wide * 1.18 + 10, high + 9
    if item.body is not None:
        wide, high = wide + 2 * RIM, high + 2 * RIM
    pitch = 10.0 if item.kind in {Kind.SITE, Kind.WORD} else PITCH
    across = pitch * count
    length, span = (high, max(wide, across)) if look.down else (wide, max(high, across))
    return _fixed(item, length, span, pitch)


def label_size(item: Item, look: Look) -> tuple[float, float]:
    """Width and height of a box around its label and badge."""
    badge = look.badge(item)
    text = label_text(item)
    if item.kind is Kind.WORD:
        return max(text_width(text, LABEL, bold=True), text_width(badge, NOTE)) + 8, (
            25.0 if badge else 15.0
        )
    wide = max(text_width(text, LABEL, bold=True), text_width(badge, NOTE)) + SLACK
    return max(wide, 26.0), 33.0 if badge else 22.0


def label_text(item: Item) -> str:
    """The first line of a box."""
    return shown(item.label) + ("†" if item.dagger else "")


def _fixed(item: Item, length: float, span: float, pitch: float) -> Size:
    return Size(
        length, span, _centred(len(item.ins), span, pitch), _centred(len(item.outs), span, pitch)
    )


def _centred(count: int, span: float, pitch: float) -> list[float]:
    return [span / 2 + (i - (count - 1) / 2) * pitch for i in range(count)]
