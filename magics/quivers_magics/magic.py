"""The magics. They read options, call the session once and display what it gives."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping

import traitlets
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.session import Card, CellResult, Made, Session, card, cell_card, list_card
from quivers_nb.session.card import error_card
from quivers_nb.session.namespace import Refusal


@magics_class
class QvrMagics(Magics):
    """`%%qvr` compiles a cell; `%qvr` shows what cells have made.

    `%config QvrMagics` shows what can be set.
    """

    shell: InteractiveShell
    panel = traitlets.Enum(
        ("auto", "widget", "static", "text"),
        "auto",
        help="What %qvr_fit shows: a live panel, a picture, or a sentence and the code; 'auto' is "
        "a live panel in notebooks and text in a terminal.",
    ).tag(config=True)
    method = traitlets.Enum(("svi", "nuts"), "svi", help="The form that %qvr_fit shows first.").tag(
        config=True
    )
    leave_a_core = traitlets.Bool(
        True,
        help="Whether torch leaves one core to the notebook; read when the extension is loaded.",
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell, parent=shell)
        self.session = session

    @magic_arguments()
    @argument(
        "name",
        nargs="?",
        help="in a cell: also bind the module itself to this name, as quivers_nb.dsl.loads would "
        "return it; on a line: the object to show again",
    )
    @argument(
        "-f",
        "--fresh",
        action="store_true",
        help="compile the cell on its own, even if it is unchanged: new objects with new "
        "parameters; it sees no other cell, and no other cell sees it",
    )
    @no_var_expand
    @line_cell_magic
    def qvr(self, line: str, cell: str | None = None) -> None:
        """Compile a QVR cell, or show what cells have made.

        `%%qvr [NAME]` compiles the lines below it, puts what they export into your variables and
        shows a card. A cell may use what earlier cells declare; a name that it declares again
        takes the place of the earlier one, and the cells that use it are compiled anew with the
        weights they had. Your own variables and Python's builtins are never overwritten.
        `%qvr` lists the objects, `%qvr NAME` shows one again.
        """
        options = read_options(self.qvr, line)
        if cell is not None:
            self.run_text(cell, options.name, self.label(), fresh=options.fresh)
        elif options.name is not None:
            display(self._find(options.name))
        else:
            display(list_card(self._present()))

    @line_magic
    def qvr_traceback(self, line: str) -> None:
        """Show the Python traceback of the last error, which a refused cell leaves out."""
        del line
        error = getattr(sys, "last_value", None)
        if error is None:
            raise UsageError("no cell has failed yet")
        self.shell.InteractiveTB(type(error), error, error.__traceback__)

    def run_text(self, text: str, name: str | None, label: str, *, fresh: bool = False) -> None:
        """Run a text as a cell that people know as ``label``."""
        try:
            result = self.session.run_cell(text, name, label, fresh=fresh)
        except LanguageError as error:
            drawn = error_card(error)
            if drawn is not None:
                display(drawn)
            raise
        for other in (*result.rebuilt, *result.shortened):
            self._bind(other)
        refused = self._bind(result)
        display(cell_card(result, refused))

    def _bind(self, result: CellResult) -> tuple[Refusal, ...]:
        """Put what a cell has made into the user's variables; the names that were left alone."""
        binding = self.session.bind(result, self.shell.user_ns)
        self.shell.push(dict(binding.names))
        return binding.refused

    def label(self) -> str:
        """How the user finds the cell that runs: execution_count is that of the next already."""
        return f"cell [{len(self.shell.user_ns['_ih']) - 1}]"

    def _present(self) -> Mapping[str, Made]:
        """The objects of the session that the user still has under the names we gave them."""
        space = self.shell.user_ns
        bound = self.session.bound.items()
        return {name: value for name, value in bound if space.get(name) is value}

    def _unbound(self) -> Mapping[str, Made]:
        """What cells export and your variables do not have, because another thing has the name."""
        return {name: made for each in self.session.results for name, made in each.names.items()}

    def _find(self, name: str) -> Card:
        present = {**self._unbound(), **self._present()}
        if name in present:
            return card(present[name])
        meant = nearest(name, present)
        hint = f"did you mean {meant}?" if meant else "%qvr lists what there is"
        raise UsageError(f"no QVR cell has made an object called {name}; {hint}")


def read_options(magic: Callable[..., object], line: str) -> Namespace:
    """The options on a magic's line.

    Raises:
        UsageError: an option is unknown, or a quote does not close.
    """
    try:
        options: Namespace = parse_argstring(magic, line)
    except ValueError as error:  # quotes that do not close
        raise UsageError(f"the line {line!r} cannot be read: {error}") from error
    return options
