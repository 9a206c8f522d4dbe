"""Random well-typed diagrams: with swaps, copies, states, effects, cups and caps, scans, groups.

A `Tree` is an expression with its brackets; `put_together` reads it as pieces, `rebracketed` is the
same expression with other brackets. The generator draws from a `random.Random`, so hypothesis can
shrink it (`hypothesis.strategies.randoms`) and a benchmark can seed it.
"""

from dataclasses import dataclass
from random import Random

from quivers_nb.diagrams.graph import GroupKind, Item, WireType
from quivers_nb.diagrams.pieces import (
    Block,
    One,
    Piece,
    Types,
    Wires,
    beside,
    box,
    cap,
    chain,
    contraction,
    copies,
    copy,
    cup,
    permute,
    regroup,
)

TYPES = tuple(
    WireType(name, size, weight)
    for name, size, weight in (("A", "ℝ2", 2), ("B", "Fin 5", 1), ("Latent", "ℝ32", 3))
)
NAMES = ("f", "g", "attend", "h", "a_long_name")
GROUPS = (GroupKind.LET, GroupKind.FAN, GroupKind.LAYER, GroupKind.BRACKET)


@dataclass(frozen=True)
class Row:
    """Parts in a chain, or beside each other, with brackets of their own."""

    along: bool
    parts: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Boxed:
    """A group around a tree; ``feedback`` of a scan."""

    kind: GroupKind
    body: "Tree"
    feedback: int = 0


Tree = Row | Boxed | Piece


def put_together(tree: Tree) -> Piece:
    """The piece a tree stands for."""
    match tree:
        case Row():
            parts = tuple(map(put_together, tree.parts))
            return chain(*parts) if tree.along else beside(*parts)
        case Boxed():
            return Block(
                tree.kind.value, tree.kind, tree.kind.value, put_together(tree.body), tree.feedback
            )
        case _:
            return tree


def rebracketed(tree: Tree, r: Random) -> Tree:
    """The same expression, bracketed in pairs at random."""
    match tree:
        case Row():
            parts = [rebracketed(part, r) for part in _flat(tree)]
            while len(parts) > 1:
                k = r.randrange(len(parts) - 1)
                parts[k : k + 2] = [Row(tree.along, (parts[k], parts[k + 1]))]
            return parts[0]
        case Boxed():
            return Boxed(tree.kind, rebracketed(tree.body, r), tree.feedback)
        case _:
            return tree


def _flat(row: Row) -> list[Tree]:
    found: list[Tree] = []
    for part in row.parts:
        same = isinstance(part, Row) and part.along == row.along
        found += _flat(part) if same else [part]  # type: ignore[arg-type]
    return found


def generators(tree: Tree) -> list[Item]:
    """The items that a tree names: an independent count of what must be drawn."""
    match tree:
        case Row():
            return [item for part in tree.parts for item in generators(part)]
        case Boxed():
            return generators(tree.body)
        case One():
            return [tree.item]
        case Block():
            return generators(tree.body)
        case Wires():
            return []
        case _:
            return [item for part in tree.parts for item in generators(part)]


def random_tree(r: Random, depth: int = 4, *, planar: bool = False) -> Tree:
    """A well-typed expression; ``planar``: no swap, cup, cap or feedback in it."""
    dom = tuple(r.choice(TYPES) for _ in range(r.randint(0, 4)))
    return _tree(r, dom, depth, planar)


def _tree(r: Random, dom: Types, depth: int, planar: bool) -> Tree:
    if depth == 0 or not dom:
        return _leaf(r, dom, planar)
    roll = r.random()
    if roll < 0.36:
        first = _tree(r, dom, depth - 1, planar)
        second = _tree(r, put_together(first).cod, depth - 1, planar)
        return Row(True, (first, second))
    if roll < 0.66:
        cut = r.randint(0, len(dom))
        return Row(
            False, (_tree(r, dom[:cut], depth - 1, planar), _tree(r, dom[cut:], depth - 1, planar))
        )
    if roll < 0.76:
        return Boxed(r.choice(GROUPS), _tree(r, dom, depth - 1, planar))
    if roll < 0.82 and not planar:
        return _scan(r, dom, depth - 1)
    return _leaf(r, dom, planar)


def _leaf(r: Random, dom: Types, planar: bool) -> Tree:
    roll = r.random()
    if roll < 0.12 and len(dom) > 1 and not planar:
        order = list(range(len(dom)))
        r.shuffle(order)
        return permute(dom, order)
    if roll < 0.24 and len(dom) == 1:
        return copy(dom[0], r.choice((0, 2, 2, 3)))
    if roll < 0.3 and dom:
        return Wires(dom)
    if roll < 0.36 and len(dom) > 1:
        return regroup(dom, (r.choice(TYPES),))
    if roll < 0.4 and not dom and not planar:
        return cap(r.choice(TYPES))
    if roll < 0.44 and dom and not planar:
        wire = r.choice(TYPES)
        return Row(True, (Row(False, (Wires(dom), cap(wire))), _closed(r, dom, wire)))
    if roll < 0.5 and len(dom) > 1:
        return contraction("contract", dom, _some(r, 1))
    outs = _some(r, 0 if dom and r.random() < 0.25 else 1)
    return box(r.choice(NAMES), dom, outs)


def _closed(r: Random, dom: Types, wire: WireType) -> Piece:
    """Something that reads a cap of ``wire`` again: boxes on the wires before, and on the new."""
    return beside(box("left", dom, _some(r, 1)), Wires(()), *_reader(r, wire))


def _reader(r: Random, wire: WireType) -> tuple[Piece, ...]:
    dual = WireType(f"{wire.name}*", wire.size, wire.weight)
    return (cup(wire),) if r.random() < 0.5 else (box("pair", (wire, dual), _some(r, 1)),)


def _scan(r: Random, dom: Types, depth: int) -> Tree:
    states = tuple(r.choice(TYPES) for _ in range(r.randint(1, 2)))
    before = _tree(r, dom, max(depth - 1, 0), True)
    first = Row(False, (before, Wires(states)))
    cell = box("cell", put_together(first).cod, _some(r, 0) + states)
    if r.random() < 0.3:
        body: Tree = Row(
            True, (first, box("step", put_together(first).cod, states), copies(states, 2))
        )
    else:
        body = Row(True, (first, cell))
    return Boxed(GroupKind.SCAN, body, len(states))


def _some(r: Random, least: int) -> Types:
    return tuple(r.choice(TYPES) for _ in range(r.randint(least, 3)))
