"""Modules, programs, morphisms and results show their cards wherever a notebook displays them.

The formatters are registered with the shell rather than written into the classes, so that nothing
below the notebook surface knows that there is one.
"""

from IPython.core.formatters import MimeBundleFormatter
from IPython.core.interactiveshell import InteractiveShell

from quivers_nb.session.card import SHOWN, card
from quivers_nb.session.report import REPORTED, report


def register_cards(shell: InteractiveShell) -> None:
    """Show the card of every object that has one."""
    formatter = _formatter(shell)
    for kind in SHOWN:
        formatter.for_type(kind, lambda value: card(value)._repr_mimebundle_())
    for result in REPORTED:
        formatter.for_type(result, lambda value: report(value)._repr_mimebundle_())


def unregister_cards(shell: InteractiveShell) -> None:
    """Leave these objects to their `repr` again."""
    formatter = _formatter(shell)
    for kind in (*SHOWN, *REPORTED):
        formatter.pop(kind, None)


def _formatter(shell: InteractiveShell) -> MimeBundleFormatter:
    assert shell.display_formatter is not None  # every shell has one from its start
    formatter: MimeBundleFormatter = shell.display_formatter.mimebundle_formatter
    return formatter
