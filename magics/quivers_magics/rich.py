"""Modules, programs and morphisms show their cards wherever a notebook displays them.

The formatters are registered with the shell rather than written into the classes, so that nothing
below the notebook surface knows that there is one.
"""

from IPython.core.interactiveshell import InteractiveShell

from quivers_nb.session.card import SHOWN, card


def register_cards(shell: InteractiveShell) -> None:
    """Show the card of every object that has one."""
    formatter = shell.display_formatter.mimebundle_formatter
    for kind in SHOWN:
        formatter.for_type(kind, lambda value: card(value)._repr_mimebundle_())


def unregister_cards(shell: InteractiveShell) -> None:
    """Leave these objects to their `repr` again."""
    formatter = shell.display_formatter.mimebundle_formatter
    for kind in SHOWN:
        formatter.pop(kind, None)
