"""From pieces to the port graph: one pass with the open wires in their planar order.

Every item takes the wires it reads out of the row and puts its own in their place. An item that
reads nothing is put beside the wire on its left, which it remembers as its ghost. Ids are the
paths of `quivers_nb.check.paths` where the piece brings one, else names numbered in order.
"""

from dataclasses import dataclass, field, replace
from hashlib import blake2s

from quivers_nb.diagnostics.errors import InternalError
from quivers_nb.diagrams.graph import (
    IN,
    OUT,
    Anchor,
    Diagram,
    Ghost,
    Item,
    Kind,
    Port,
    Wire,
    WireType,
)
from quivers_nb.diagrams.pieces import Beside, Block, Chain, One, Piece, Wires

Strand = tuple[Port, WireType]  # an open wire: where it comes from and what it carries


@dataclass(slots=True)
class _Margin:
    """What is on the right side of open wires, where later items without inputs are born.

    Wires that end in an effect leave the row, yet they are drawn: what is born after them in the
    same place stands on their right, and what reads wires on both sides of them waits for them.
    """

    right: Anchor = None  # what the last piece leaves on the left of its right neighbour
    ended: dict[Port, tuple[str, ...]] = field(default_factory=dict)  # effects right of a wire
    moved: dict[Anchor, Port] = field(default_factory=dict)  # the last wire that ended there
    stands: dict[Anchor, Anchor] = field(default_factory=dict)  # for a wire that is gone

    def place(self, left: Anchor) -> Anchor:
        """Where something is born whose left neighbour is ``left``."""
        while left in self.moved:
            left = self.moved[left]
        return left

    def pass_item(self, item: Item, sources: list[Port], left: Anchor) -> tuple[str, ...]:
        """Account for an item that takes wires out of the row; returns what it must wait for."""
        ended = [self.ended.pop(source, ()) for source in sources]
        between = tuple(name for names in ended[:-1] for name in names)
        beside = ended[-1] if ended else ()
        moved = self.moved.pop(sources[-1], None) if sources else None
        if item.outs:
            heir: Anchor = Port(item.id, len(item.outs) - 1)
            self.right = heir
            if moved is not None:
                self.moved[heir] = moved
        else:
            heir, beside = self._standing(left), (item.id, *beside)
            self.right = left
            if sources:
                self.moved[left] = self.right = moved or sources[-1]
        if sources:
            self.stands[sources[-1]] = heir
        if isinstance(heir, Port) and beside:
            self.ended[heir] = (*self.ended.get(heir, ()), *beside)
        return between

    def _standing(self, left: Anchor) -> Anchor:
        """The wire still open that is the nearest on the left."""
        while left in self.stands:
            left = self.stands[left]
        return left


@dataclass(slots=True)
class _Page:
    """What one diagram is built on. ``taken`` is shared with the groups inside."""

    prefix: str
    taken: dict[str, int]
    items: list[Item] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    states: set[Port] = field(default_factory=set)  # last outputs of items without inputs
    margin: _Margin = field(default_factory=_Margin)


def assemble(piece: Piece, title: str = "") -> Diagram:
    """The diagram of a piece."""
    return _diagram(piece, _Page("", {}), title)


def _diagram(piece: Piece, page: _Page, title: str, feedback: int = 0) -> Diagram:
    strands = [(Port(IN, i), wire) for i, wire in enumerate(piece.dom)]
    ends = _put(piece, strands, page, None)
    page.wires.extend(Wire(s, Port(OUT, i), t) for i, (s, t) in enumerate(ends))
    return Diagram(
        dom=piece.dom,
        cod=tuple(wire for _, wire in ends),
        items=tuple(page.items),
        wires=tuple(page.wires),
        feedback=feedback,
        title=title,
    )


def _put(piece: Piece, strands: list[Strand], page: _Page, left: Anchor) -> list[Strand]:
    """The open wires after ``piece``; ``left`` is the place on the left of the first of them."""
    match piece:
        case Wires():
            page.margin.right = strands[-1][0] if strands else left
            return strands
        case Chain():
            for part in piece.parts:
                strands = _put(part, strands, page, left)
            return strands
        case Beside():
            return _beside(piece, strands, page, left)
        case One():
            item = piece.item
            ident = item.id if piece.placed else _path(page.prefix, item.id)
            return _place(replace(item, id=_free(ident, page.taken)), strands, page, left)
        case Block():
            return _place(_group(piece, page), strands, page, left)


def _beside(piece: Beside, strands: list[Strand], page: _Page, left: Anchor) -> list[Strand]:
    done: list[Strand] = []
    start = 0
    for part in piece.parts:
        stop = start + len(part.dom)
        done.extend(_put(part, strands[start:stop], page, left))
        left, start = page.margin.right, stop
    if start != len(strands):
        raise InternalError(f"{len(strands)} wires enter a piece of {start} in a diagram")
    return done


def _place(item: Item, strands: list[Strand], page: _Page, left: Anchor) -> list[Strand]:
    left = page.margin.place(left)
    if not item.ins:
        at_state = isinstance(left, Port) and left in page.states
        ghost = Ghost(left.item) if at_state and isinstance(left, Port) else left
        item = replace(item, ghost=ghost)
        if item.outs:
            page.states.add(Port(item.id, len(item.outs) - 1))
    waits = page.margin.pass_item(item, [source for source, _ in strands], left)
    item = replace(item, waits=waits) if waits else item
    page.items.append(item)
    page.wires.extend(
        Wire(source, Port(item.id, i), wire) for i, (source, wire) in enumerate(strands)
    )
    return [(Port(item.id, i), wire) for i, wire in enumerate(item.outs)]


def _group(block: Block, page: _Page) -> Item:
    wished = block.id if block.placed else _path(page.prefix, block.id)
    ident = _free(wished, page.taken)
    body = _diagram(block.body, _Page(ident, page.taken), block.label, block.feedback)
    outs = body.cod[: len(body.cod) - block.feedback]
    item = Item(
        id=ident,
        kind=Kind.GROUP,
        label=block.label,
        ins=block.dom,
        outs=outs,
        note=block.note,
        dagger=block.dagger,
        group=block.kind,
        body=body,
        template=template(block, body),
        span=block.span,
    )
    return item


def template(block: Block, body: Diagram) -> str:
    """A word that is equal for groups of equal shape, whatever their ids."""
    where = {item.id: str(i) for i, item in enumerate(body.items)}
    facts = [
        block.kind.value,
        str(block.feedback),
        str(block.dagger),
        *(f"{i.kind.value} {i.label} {i.dagger} {i.template} {i.ins} {i.outs}" for i in body.items),
        *(f"{where.get(w.source.item, IN)} {w.source.at}" for w in body.wires),
        *(f"{where.get(w.target.item, OUT)} {w.target.at}" for w in body.wires),
    ]
    return blake2s("\n".join(facts).encode(), digest_size=8).hexdigest()


def _path(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _free(wished: str, taken: dict[str, int]) -> str:
    """``wished``, with ``#2`` and so on where the name is taken."""
    taken[wished] = count = taken.get(wished, 0) + 1
    if count == 1:
        return wished
    return _free(f"{wished}#{count}", taken)
