"""Cards: what a compiled cell, a module or a model looks like in a notebook.

A card is a sentence that stands alone and a drawing that adds to it. The drawing is made when the
card is shown, from the typed term; if that fails, the card is its sentence and a note, and the cell
goes on: a notebook never dies of a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quivers_nb.check.describe import SiteLine, outline, signature, site_lines
from quivers_nb.check.term import CheckedModule, Program, Term
from quivers_nb.diagnostics.render import render
from quivers_nb.display.html import mimebundle
from quivers_nb.display.parts import Fold, Part, Row, Stack, Table, Text, Tone
from quivers_nb.session.cell import CellResult
from quivers_nb.session.namespace import Refusal


@dataclass(frozen=True, slots=True)
class Card:
    """A sentence, and how to draw the rest. ``draw`` gives the whole card, sentence included."""

    sentence: str
    draw: Callable[[], Part]

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, str]:
        del include, exclude  # IPython selects for itself from what it is given
        try:
            return mimebundle(self.draw())
        except Exception as error:  # noqa: BLE001  (any fault of a picture must not fail the cell)
            note = f"(this card could not be drawn: {type(error).__name__}: {error})"
            return {"text/plain": f"{self.sentence}\n{note}"}

    def __repr__(self) -> str:
        return self.sentence
