"""The diagram of a morphism: a hierarchical port graph, and nothing about where it is drawn.

    WireType   what a wire carries; a product of objects is one wire per factor, the unit is none
    Port       an item and the number of its input or output; the boundary is two pseudo-items
    Wire       from one output to one input; wires never branch, branching is an item
    Item       a box, a structural sign (copy, regroup, swap, …), or a group with a body
    Diagram    ordered domain and codomain, items, wires; one for each group

Identity wires and brackets leave no trace. A *ghost* is the place in the planar order of an item
without inputs: the port, or the other such item, on whose right side it was born.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from quivers_nb.check.term import NO_SPAN
from quivers_nb.diagnostics.source import Span

IN, OUT = "<in>", "<out>"  # no name of the language looks like these


@dataclass(frozen=True, slots=True)
class WireType:
    """One factor of an object. ``name``: the word of the declaration; ``size``: ``ℝ16``, ``Fin 3``.

    ``weight`` 1, 2, 3 is how thick the wire is: a label, a small space, a large one.
    """

    name: str
    size: str = ""
    weight: int = 1


class Port(NamedTuple):
    """An input or output of an item (or of the boundary), by number."""

    item: str
    at: int


class Ghost(NamedTuple):
    """The place beside an item that has no inputs itself."""

    item: str


Anchor = Port | Ghost | None  # None: at the very left


@dataclass(frozen=True, slots=True)
class Wire:
    """From an output (or an input of the whole) to an input (or an output of the whole)."""

    source: Port
    target: Port
    type: WireType


class Kind(Enum):
    """What an item is; the second line are signs without computation."""

    __hash__ = object.__hash__  # that of a string, in Python, is asked for a million times a layout

    BOX = "box"
    CONTRACTION = "contraction"
    COPY = "copy"
    DISCARD = "discard"
    MERGE = "merge"
    REGROUP = "regroup"
    SWAP = "swap"
    CUP = "cup"
    CAP = "cap"
    GROUP = "group"
    JUNCTION = "junction"  # where two types do not meet
    SITE = "site"  # of a program: sample, observe, let, score
    WORD = "word"  # of a program: an input, data, return


SIGNS = frozenset(
    {Kind.COPY, Kind.DISCARD, Kind.MERGE, Kind.REGROUP, Kind.SWAP, Kind.CUP, Kind.CAP}
)


class GroupKind(Enum):
    """Why some items stand together."""

    LET = "let"
    STACK = "stack"
    LAYER = "layer"
    REPEAT = "repeat"
    FAN = "fan"
    SCAN = "scan"
    PROGRAM = "program"
    PLATE = "plate"
    BRACKET = "bracket"  # composition that is not associative
    SEGMENT = "segment"  # a part of a long chain


@dataclass(frozen=True, slots=True)
class Item:
    """Something on the page. ``role``: a morphism's role, or the kind of a site.

    ``order`` of a swap says which input each output is. ``template`` is equal for groups of equal
    shape. ``note`` is the second line of a box, ``about`` what its tooltip adds.
    """

    id: str
    kind: Kind
    label: str
    ins: tuple[WireType, ...]
    outs: tuple[WireType, ...]
    role: str = ""
    note: str = ""
    about: str = ""
    dagger: bool = False
    order: tuple[int, ...] = ()
    group: GroupKind | None = None
    body: "Diagram | None" = None
    template: str = ""
    ghost: Anchor = None
    waits: tuple[str, ...] = ()  # items that end between the inputs, so before this one
    span: Span = field(default=NO_SPAN, compare=False)

    @property
    def is_box(self) -> bool:
        """Whether it stands for a generator: not a sign, not a group."""
        return self.kind not in SIGNS and self.kind is not Kind.GROUP


@dataclass(frozen=True, slots=True)
class Diagram:
    """``dom -> cod``. ``feedback``: how many trailing inputs and outputs are fed back (scan).

    ``planar`` is false for the picture of a program, whose edges are a relation, not a term.
    """

    dom: tuple[WireType, ...]
    cod: tuple[WireType, ...]
    items: tuple[Item, ...]
    wires: tuple[Wire, ...]
    feedback: int = 0
    title: str = ""
    planar: bool = True


def walk(diagram: Diagram, depth: int = 0) -> Iterator[tuple[int, Item]]:
    """Every item with its depth, groups before what is in them."""
    for item in diagram.items:
        yield depth, item
        if item.body is not None:
            yield from walk(item.body, depth + 1)


def groups(diagram: Diagram) -> Iterator[tuple[int, Item]]:
    """Every group with its depth, outermost first."""
    return ((depth, item) for depth, item in walk(diagram) if item.body is not None)


def boxes(diagram: Diagram) -> Iterator[Item]:
    """Every generator in use, at any depth."""
    return (item for _, item in walk(diagram) if item.is_box)


def signature(item: Item) -> str:
    """``Latent * Latent -> Combined``."""
    return f"{type_text(item.ins)} → {type_text(item.outs)}"


def type_text(types: tuple[WireType, ...]) -> str:
    """The factors with stars between them; the unit is ``1``."""
    return " * ".join(wire.name for wire in types) or "1"


def problems(diagram: Diagram) -> list[str]:
    """What is wrong with a port graph: dangling ports, double use, types that differ. Empty: sound.

    The law that every builder keeps; the layout relies on it and does not look again.
    """
    found: list[str] = []
    sources = {Port(IN, i): t for i, t in enumerate(diagram.dom)}
    targets = {Port(OUT, i): t for i, t in enumerate(diagram.cod)}
    for item in diagram.items:
        sources.update({Port(item.id, i): t for i, t in enumerate(item.outs)})
        targets.update({Port(item.id, i): t for i, t in enumerate(item.ins)})
        if item.body is not None:
            found.extend(f"{item.id}: {text}" for text in _boundary(item, item.body))
    for wire in diagram.wires:
        if sources.pop(wire.source, None) != wire.type:
            found.append(f"{wire.source} is not a free source of {wire.type.name}")
        wanted = targets.pop(wire.target, None)
        if wanted is None or (diagram.planar and wanted != wire.type):
            found.append(f"{wire.target} is not a free target of {wire.type.name}")
    found.extend(f"{port} leads nowhere" for port in sources)
    found.extend(f"{port} gets nothing" for port in targets)
    names = [item.id for item in diagram.items]
    found.extend(f"{name} stands twice" for name in set(names) if names.count(name) > 1)
    return found


def _boundary(item: Item, body: Diagram) -> list[str]:
    own = len(body.dom) - body.feedback
    found = problems(body)
    if tuple(body.dom[:own]) != item.ins:
        found.append("the body has other inputs than the group")
    if len(body.cod) - body.feedback != len(item.outs):
        found.append("the body has other outputs than the group")
    return found
