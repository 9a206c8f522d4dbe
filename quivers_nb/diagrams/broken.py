"""The picture of a type error: what could be built, and the place where two types do not meet.

The checker hands out no term for a text that it refuses. `broken_places` reads the two operands of
every junction that it complained about, checks each by itself after the declarations before it, and
draws them with the junction between; `broken` draws two terms that someone has at hand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from quivers_nb.check import check_source
from quivers_nb.check.expect import signature_texts
from quivers_nb.check.paths import own_segment
from quivers_nb.check.term import NO_SPAN, Named, Term
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import LanguageError, ParseError
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.build import piece
from quivers_nb.diagrams.drawing import Drawing
from quivers_nb.diagrams.fold import at_depth
from quivers_nb.diagrams.graph import Item, Kind
from quivers_nb.diagrams.pieces import One, chain
from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse

JUNCTIONS = frozenset({"Q0402"})  # the diagnostics that point at an operator between two types
_BACKWARD = frozenset({"<<"})
_SIDE = "side_of_a_junction"


def broken(
    left: Term, right: Term, diagnostic: Diagnostic | None = None, *, orient: str = "tb"
) -> Drawing:
    """``left >> right`` with a broken junction between them, both types written at it.

    ``diagnostic`` adds its message to the tooltip of the junction, and its place to the item.
    """
    found = signature_texts(left)[1] or str(left.cod)
    wanted = signature_texts(right)[0] or str(right.dom)
    before = piece(left, own_segment(left) or "left")
    after = piece(right, own_segment(right) or "right")
    said = "" if diagnostic is None else f": {diagnostic.message}"
    junction = Item(
        id="junction",
        kind=Kind.JUNCTION,
        label=found,
        note=wanted,
        ins=before.cod,
        outs=after.dom,
        role="junction",
        about=f"{found} does not meet {wanted}{said}",
        span=NO_SPAN if diagnostic is None else diagnostic.span,
    )
    whole = assemble(chain(before, One(junction), after), "types that do not meet")
    return Drawing(whole, orient, folded=at_depth(whole, 0))


def broken_places(
    error: LanguageError, *, orient: str = "tb", sizes: Mapping[str, int] | None = None
) -> tuple[tuple[Diagnostic, Drawing], ...]:
    """The junctions that a refused module breaks at, each with its picture.

    A junction is left out if one of its sides cannot be checked by itself, because it depends on
    another error. ``sizes`` as in `quivers_nb.check.check_source`.
    """
    text = error.source.text
    try:
        module = parse(error.source)
    except ParseError:
        return ()
    found: list[tuple[Diagnostic, Drawing]] = []
    for diagnostic in error.diagnostics:
        if diagnostic.code not in JUNCTIONS:
            continue
        for declaration in module.declarations:
            for junction in _operators(declaration, diagnostic.span):
                before = text[: declaration.span.start]
                sides = [
                    _checked(before, text[part.span.start : part.span.stop], sizes)
                    for part in (junction.left, junction.right)
                ]
                left, right = reversed(sides) if junction.op in _BACKWARD else sides
                if left is not None and right is not None:
                    found.append((diagnostic, broken(left, right, diagnostic, orient=orient)))
    return tuple(found)


def _operators(node: object, span: Span) -> Iterator[tree.ExprBinary]:
    """The operators at a place, anywhere in a syntax tree."""
    if isinstance(node, tuple):
        for part in node:
            yield from _operators(part, span)
    elif is_dataclass(node) and not isinstance(node, type):
        if isinstance(node, tree.ExprBinary) and node.op_span == span:
            yield node
        for member in fields(node):
            yield from _operators(getattr(node, member.name), span)


def _checked(before: str, text: str, sizes: Mapping[str, int] | None) -> Term | None:
    """An expression after some declarations, or None if it cannot stand there."""
    try:
        module = check_source(f"{before}\nlet {_SIDE} = ({text})\n", sizes=sizes)
    except LanguageError:
        return None  # it has an error of its own, which is reported at its own place
    value = dict(module.morphisms)[_SIDE]
    return value.body if isinstance(value, Named) else None
