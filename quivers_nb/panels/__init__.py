"""What lives in a notebook beside its cells, and what a saved notebook keeps of it.

Panel, panel   a fit as a form, buttons and live curves
`diagram`      the live diagram
"""

from quivers_nb.panels.panel import Panel, panel

__all__ = ["Panel", "panel"]
