"""Sessions: the cells of a notebook and what they have made. No user interface."""

from quivers_nb.session.card import Card, card, cell_card, list_card
from quivers_nb.session.cell import CellResult, Made
from quivers_nb.session.session import Session

__all__ = ["Card", "CellResult", "Made", "Session", "card", "cell_card", "list_card"]
