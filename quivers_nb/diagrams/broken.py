"""The picture of a type error: what could be built, and the place where two types do not meet.

The checker stops at such a place and hands out no term, so the caller brings the two sides: what
ends in a type, and what wants another.
"""

from dataclasses import replace

from quivers_nb.check.expect import signature_texts
from quivers_nb.check.paths import own_segment
from quivers_nb.check.term import Term
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.build import piece
from quivers_nb.diagrams.drawing import Drawing
from quivers_nb.diagrams.graph import Item, Kind
from quivers_nb.diagrams.pieces import One, chain


def broken(
    left: Term, right: Term, diagnostic: Diagnostic | None = None, *, orient: str = "tb"
) -> Drawing:
    """``left >> right`` with a broken junction between them, both types written at it.

    ``diagnostic`` adds its message to the tooltip of the junction and its place to the item.
    """
    found, wanted = signature_texts(left)[1], signature_texts(right)[0]
    before = piece(left, own_segment(left) or "left")
    after = piece(right, own_segment(right) or "right")
    sides = f"{found or left.cod} does not meet {wanted or right.dom}"
    about = sides if diagnostic is None else f"{sides}. {diagnostic.message}"
    junction = Item(
        id="junction",
        kind=Kind.JUNCTION,
        label=found or str(left.cod),
        note=wanted or str(right.dom),
        ins=before.cod,
        outs=after.dom,
        role="junction",
        about=about,
    )
    if diagnostic is not None:
        junction = replace(junction, span=diagnostic.span)
    whole = chain(before, One(junction), after)
    return Drawing(assemble(whole, "types that do not meet"), orient)
