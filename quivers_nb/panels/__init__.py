"""Panels: a fit as a form, buttons and live curves, and what a saved notebook keeps of it."""

from quivers_nb.panels.panel import Panel, panel

__all__ = ["Panel", "panel"]
