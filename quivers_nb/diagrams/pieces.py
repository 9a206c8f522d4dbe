"""Pieces of string diagrams, put together in two ways: one after the other, and side by side.

The algebra between typed terms and port graphs. `chain` and `beside` flatten what they are given,
so brackets leave no trace, and identities disappear. `dagger` is pushed to the generators.

Laws, tested on random pieces: `chain` and `beside` are associative with `wires` as units, and
``dagger(dagger(p)) == p``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from quivers_nb.check.term import NO_SPAN
from quivers_nb.diagnostics.errors import InternalError
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagrams.graph import GroupKind, Item, Kind, WireType

Types = tuple[WireType, ...]


@dataclass(frozen=True, slots=True)
class Wires:
    """Wires that go on: the identity."""

    types: Types

    @property
    def dom(self) -> Types:
        return self.types

    @property
    def cod(self) -> Types:
        return self.types


@dataclass(frozen=True, slots=True)
class One:
    """A single item. Its id is a wish, relative to what it stands in unless it is ``placed``."""

    item: Item
    placed: bool = False

    @property
    def dom(self) -> Types:
        return self.item.ins

    @property
    def cod(self) -> Types:
        return self.item.outs


@dataclass(frozen=True, slots=True)
class Chain:
    """One after the other."""

    parts: "tuple[Piece, ...]"
    dom: Types
    cod: Types


@dataclass(frozen=True, slots=True)
class Beside:
    """Side by side."""

    parts: "tuple[Piece, ...]"
    dom: Types
    cod: Types


@dataclass(frozen=True, slots=True)
class Block:
    """A group. ``feedback``: trailing wires of the body that return to its start."""

    id: str
    kind: GroupKind
    label: str
    body: "Piece"
    feedback: int = 0
    note: str = ""
    dagger: bool = False
    placed: bool = False
    span: Span = field(default=NO_SPAN, compare=False)

    @property
    def dom(self) -> Types:
        return self.body.dom[: len(self.body.dom) - self.feedback]

    @property
    def cod(self) -> Types:
        return self.body.cod[: len(self.body.cod) - self.feedback]


Piece = Wires | One | Chain | Beside | Block


def chain(*parts: Piece) -> Piece:
    """``parts`` one after the other.

    Raises:
        InternalError: two neighbours do not have the same number of wires between them.
    """
    flat = [p for part in parts for p in (part.parts if isinstance(part, Chain) else (part,))]
    for left, right in pairwise(flat):
        if len(left.cod) != len(right.dom):
            raise InternalError(f"{len(left.cod)} wires meet {len(right.dom)} in a diagram")
    kept = [part for part in flat if not isinstance(part, Wires)]
    if len(kept) <= 1:
        return kept[0] if kept else flat[0]
    return Chain(tuple(kept), kept[0].dom, kept[-1].cod)


def beside(*parts: Piece) -> Piece:
    """``parts`` side by side; none is the empty diagram."""
    flat: list[Piece] = []
    for part in (p for q in parts for p in (q.parts if isinstance(q, Beside) else (q,))):
        if isinstance(part, Wires) and flat and isinstance(flat[-1], Wires):
            flat[-1] = Wires(flat[-1].types + part.types)
        elif not (isinstance(part, Wires) and not part.types):
            flat.append(part)
    if len(flat) <= 1:
        return flat[0] if flat else Wires(())
    dom = tuple(t for part in flat for t in part.dom)
    return Beside(tuple(flat), dom, tuple(t for part in flat for t in part.cod))


def box(label: str, ins: Sequence[WireType], outs: Sequence[WireType], role: str = "") -> One:
    """A generator."""
    return One(Item(label, Kind.BOX, label, tuple(ins), tuple(outs), role=role))


def contraction(label: str, ins: Sequence[WireType], outs: Sequence[WireType]) -> One:
    """An operation on several morphisms at once, drawn as a rounded square."""
    return One(Item(label, Kind.CONTRACTION, label, tuple(ins), tuple(outs)))


def copy(wire: WireType, count: int) -> Piece:
    """One wire to ``count`` equal ones: a dot. None: the wire is discarded; one: it goes on."""
    if count == 1:
        return Wires((wire,))
    kind = Kind.COPY if count else Kind.DISCARD
    return One(Item(kind.value, kind, kind.value, (wire,), (wire,) * count))


def discard(wire: WireType) -> Piece:
    """A wire that ends."""
    return copy(wire, 0)


def merge(wire: WireType, ins: int, outs: int) -> One:
    """A spider of a Frobenius structure."""
    return One(Item("merge", Kind.MERGE, "merge", (wire,) * ins, (wire,) * outs))


def regroup(ins: Sequence[WireType], outs: Sequence[WireType]) -> Piece:
    """The same product read with other factors: a bar, no computation."""
    return One(Item("regroup", Kind.REGROUP, "regroup", tuple(ins), tuple(outs)))


def permute(types: Sequence[WireType], order: Sequence[int]) -> Piece:
    """Wires that change places: output k is input ``order[k]``."""
    if list(order) == list(range(len(types))):
        return Wires(tuple(types))
    outs = tuple(types[i] for i in order)
    return One(Item("swap", Kind.SWAP, "swap", tuple(types), outs, order=tuple(order)))


def swap(left: WireType, right: WireType) -> Piece:
    """Two wires that cross."""
    return permute((left, right), (1, 0))


def cup(wire: WireType) -> One:
    """A wire and its dual end in each other."""
    return One(Item("cup", Kind.CUP, "cup", (wire, _dual(wire)), ()))


def cap(wire: WireType) -> One:
    """A wire and its dual start from each other."""
    return One(Item("cap", Kind.CAP, "cap", (), (wire, _dual(wire))))


def copies(types: Types, count: int) -> Piece:
    """A whole product, ``count`` times over: every factor is copied, then they are sorted."""
    if count == 1 or not types:
        return Wires(types * count)
    split = beside(*(copy(wire, count) for wire in types))
    order = [factor * count + k for k in range(count) for factor in range(len(types))]
    return chain(split, permute(split.cod, order)) if count else split


def dagger(piece: Piece) -> Piece:
    """The converse, reversed in the direction of flow and pushed to the generators."""
    match piece:
        case Wires():
            return piece
        case One():
            return replace(piece, item=_dagger_item(piece.item))
        case Chain():
            return Chain(tuple(map(dagger, reversed(piece.parts))), piece.cod, piece.dom)
        case Beside():
            return Beside(tuple(map(dagger, piece.parts)), piece.cod, piece.dom)
        case Block():
            return replace(piece, body=dagger(piece.body), dagger=not piece.dagger)


_CONVERSE = {Kind.CUP: Kind.CAP, Kind.CAP: Kind.CUP}


def _dagger_item(item: Item) -> Item:
    kind = _CONVERSE.get(item.kind, item.kind)
    if item.kind in {Kind.COPY, Kind.DISCARD}:
        kind = Kind.MERGE
    elif item.kind is Kind.MERGE and len(item.outs) == 1 and len(item.ins) != 1:
        kind = Kind.COPY if item.ins else Kind.DISCARD
    order = tuple(item.order.index(i) for i in range(len(item.order)))
    flag = not item.dagger if item.kind in {Kind.BOX, Kind.CONTRACTION} else item.dagger
    named = item.label == item.kind.value
    label = kind.value if named else item.label
    ident = kind.value if named else item.id
    return replace(
        item,
        id=ident,
        label=label,
        kind=kind,
        ins=item.outs,
        outs=item.ins,
        order=order,
        dagger=flag,
    )


def _dual(wire: WireType) -> WireType:
    name = wire.name.removesuffix("*") if wire.name.endswith("*") else f"{wire.name}*"
    return replace(wire, name=name)
