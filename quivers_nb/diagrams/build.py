"""From the typed term to its diagram. The only input is `quivers_nb.check.term`.

Ids are occurrence paths (ruling R13), so a box of the picture, a site of a trace and a parameter
of a checkpoint find each other. A bar stands exactly where the checker let two different products
meet.
"""

from dataclasses import replace

from quivers_nb.check.expect import signature_texts
from quivers_nb.check.paths import child_segments, join, own_segment
from quivers_nb.check.term import (
    Compose,
    Fan,
    Generator,
    Identity,
    Morphism,
    Named,
    Parallel,
    Program,
    ProgramTerm,
    Repeat,
    Scan,
    Stack,
    Term,
)
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.factors import Factors, meeting, wires_of
from quivers_nb.diagrams.graph import Diagram, GroupKind, Item, Kind
from quivers_nb.diagrams.pieces import Block, One, Piece, Wires, beside, chain, copies
from quivers_nb.diagrams.sites import program_diagram, program_item

LONG = 25  # parts of a chain that stand in one frame
SEGMENT = 12  # parts of a chain in one segment, when it is longer
PASSES = 200  # of a repeat that are drawn one by one


def build(value: Term | Program, name: str = "") -> Diagram:
    """The diagram of a morphism expression, or of a program and the morphisms that it uses."""
    if isinstance(value, Program):
        return program_diagram(value, morphism_body)
    title = name or own_segment(value) or "expression"
    start = own_segment(value)
    path = start if start == name or not name else join(name, start)
    return assemble(piece(value, path), title)


def morphism_body(term: Term, path: str) -> Piece:
    """The picture a use of a morphism in a program stands for."""
    return piece(term, path)


def dom_of(term: Term) -> Factors:
    """The wires that enter a term."""
    return wires_of(term.dom, signature_texts(term)[0])


def cod_of(term: Term) -> Factors:
    """The wires that leave a term."""
    return wires_of(term.cod, signature_texts(term)[1])


def piece(term: Term, path: str) -> Piece:
    """A term that stands at an occurrence path."""
    match term:
        case Generator():
            return _generator(term, path)
        case Identity():
            return Wires(dom_of(term).types)
        case ProgramTerm():
            ins, outs = dom_of(term).types, cod_of(term).types
            return One(program_item(term.program, path, ins, outs, morphism_body), placed=True)
        case Compose():
            return _compose(term, path)
        case Parallel():
            inner = child_segments(term)
            return beside(*(piece(part, join(path, seg)) for seg, part in inner))
        case _:
            return _group(term, path)


def _group(term: Fan | Stack | Repeat | Scan | Named, path: str) -> Piece:
    match term:
        case Fan():
            return _fan(term, path)
        case Stack() | Repeat():
            return _layers(term, path)
        case Scan():
            return _scan(term, path)
        case Named():
            ((segment, body),) = child_segments(term)
            inside = piece(body, join(path, segment))
            return _block(GroupKind.LET, path, term.name, inside, term)


def _generator(term: Generator, path: str) -> Piece:
    morphism = term.morphism
    return One(
        Item(
            id=path,
            kind=Kind.BOX,
            label=morphism.label,
            ins=dom_of(term).types,
            outs=cod_of(term).types,
            role=morphism.role.value,
            note=note(morphism),
            span=term.span,
        ),
        placed=True,
    )


def note(morphism: Morphism) -> str:
    """The second line of a box: ``Normal · mlp 64 64``, ``embed``, ``table``."""
    if morphism.family is None:
        return "table" if morphism.role.value == "kernel" else morphism.role.value
    if morphism.source is None or not morphism.source.explicit:
        return morphism.family
    words = (morphism.source.kind.value, *map(str, morphism.source.widths))
    return f"{morphism.family} · {' '.join(words)}"


def _compose(term: Compose, path: str) -> Piece:
    parts = [_bracketed(part, join(path, seg)) for seg, part in child_segments(term)]
    return _joined(list(zip(parts, term.parts, strict=True)), path)


def _bracketed(term: Term, path: str) -> Piece:
    """A chain that the checker left inside a chain is there because its brackets matter."""
    inside = piece(term, path)
    if isinstance(term, Compose):
        return _block(GroupKind.BRACKET, join(path, "bracket"), "", inside, term)
    return inside


def _joined(parts: list[tuple[Piece, Term]], path: str) -> Piece:
    """Parts in a row, with bars where products are regrouped; a long row in segments."""
    row: list[Piece] = []
    for k, (part, term) in enumerate(parts):
        if k:
            row.append(meeting(cod_of(parts[k - 1][1]), dom_of(term)))
        row.append(part)
    whole = chain(*row)
    steps = len(parts)
    if steps <= LONG:
        return whole
    cuts = range(0, steps, SEGMENT)
    return chain(*(_segment(row, start, steps, path) for start in cuts))


def _segment(row: list[Piece], start: int, steps: int, path: str) -> Piece:
    stop = min(start + SEGMENT, steps)
    inside = chain(*row[max(2 * start - 1, 0) : 2 * stop - 1])
    label = f"steps {start + 1}–{stop} of {steps}"
    ident = join(path, f"segment[{start // SEGMENT}]")
    return Block(ident, GroupKind.SEGMENT, label, inside, placed=True)


def _fan(term: Fan, path: str) -> Piece:
    whole = dom_of(term)
    parts = [
        chain(meeting(whole, dom_of(part)), piece(part, join(path, seg)))
        for seg, part in child_segments(term)
    ]
    inside = chain(copies(whole.types, len(parts)), beside(*parts))
    return _block(GroupKind.FAN, join(path, "fan"), _fan_label(term), inside, term)


def _fan_label(term: Fan) -> str:
    names = {p.morphism.name for p in term.parts if isinstance(p, Generator)}
    grouped = all(isinstance(p, Generator) and p.morphism.member is not None for p in term.parts)
    return f"fan({names.pop()}) × {len(term.parts)}" if grouped and len(names) == 1 else "fan"


def _layers(term: Stack | Repeat, path: str) -> Piece:
    """Copies in a row, each in a frame of its own; their templates are equal."""
    kind = GroupKind.STACK if isinstance(term, Stack) else GroupKind.REPEAT
    word = "stack" if isinstance(term, Stack) else "repeat"
    inner = child_segments(term)
    drawn = inner[:PASSES]
    parts = [(_layer(part, path, seg, i), part) for i, (seg, part) in enumerate(drawn)]
    if len(inner) > PASSES:
        last = inner[-1][1]
        rest = Item(
            id=join(path, "more"),
            kind=Kind.BOX,
            label=f"{len(inner) - PASSES} more",
            ins=dom_of(last).types,
            outs=cod_of(last).types,
            role="more",
        )
        parts.append((One(rest, placed=True), last))
    inside = _joined(parts, path)
    return _block(kind, join(path, word), f"{word} × {len(inner)}", inside, term)


def _layer(term: Term, path: str, segment: str, index: int) -> Piece:
    here = join(path, segment)
    if isinstance(term, Generator):
        return _generator(term, here)
    if isinstance(term, Named):
        ((below, body),) = child_segments(term)
        inside, label = piece(body, join(here, below)), f"{term.name} #{index}"
    else:
        inside, label = piece(term, here), f"layer {index}"
    return _block(GroupKind.LAYER, here, label, inside, term)


def _scan(term: Scan, path: str) -> Piece:
    """A cell whose results are both handed out and handed back to itself, one step later."""
    ((segment, cell),) = child_segments(term)
    enters, leaves = dom_of(cell), cod_of(cell)
    own = len(dom_of(term).types)
    state = Factors(enters.types[own:], enters.objects[own:])
    hand_out = Wires(leaves.types)
    inside = chain(
        piece(cell, join(path, segment)),
        copies(leaves.types, 2),
        beside(hand_out, meeting(leaves, state)),
    )
    start = "learned start" if term.learned_init else "from 0"
    block = _block(GroupKind.SCAN, join(path, "scan"), f"scan · {start}", inside, term)
    return replace(block, feedback=len(state.types))


def _block(kind: GroupKind, path: str, label: str, inside: Piece, term: Term) -> Block:
    return Block(path, kind, label, inside, placed=True, span=term.span)
