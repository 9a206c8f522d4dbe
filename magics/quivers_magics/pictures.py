"""`%qvr_diagram`: the diagram of an object of the notebook, live or in a file."""

from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from quivers_magics.magic import QvrMagics, read_options
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.diagrams import Drawing, diagram
from quivers_nb.session.card import SHOWN


@magics_class
class QvrPictures(Magics):
    """`%qvr_diagram` draws what cells have declared."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, cells: QvrMagics) -> None:
        super().__init__(shell)
        self.cells = cells

    @magic_arguments()
    @argument("name", help="a declared morphism or program, or a variable that holds one")
    @argument("--orient", choices=("tb", "lr"), default="tb", help="down the page, or to the right")
    @argument("--depth", type=int, help="fold every group from this depth on; 0: boxes only")
    @argument("--fold", action="append", metavar="GROUP", help="fold this group; may be repeated")
    @argument("--badges", default="kernel", metavar="CHANNEL", help="what boxes say: params, shape")
    @argument("--run", metavar="VARIABLE", help="a fit whose progress the badges follow")
    @argument("--static", action="store_true", help="the picture alone, without a widget")
    @argument("--save", metavar="FILE", help="write it: svg, png, pdf, dot, html, tex, txt, json")
    @no_var_expand
    @line_magic
    def qvr_diagram(self, line: str) -> None:
        """Draw a morphism or a program: folds by click and Enter, lights the path of a wire."""
        options = read_options(self.qvr_diagram, line)
        obj = self._object(options.name)
        look = {"orient": options.orient, "depth": options.depth, "fold": options.fold}
        if options.save is not None:
            written = _static(obj, options.name, look, options.badges).save(options.save)
            print(f"{written} written.")  # noqa: T201
        elif options.static:
            display(_static(obj, options.name, look, options.badges))
        else:
            # widgets take a third of a second to import: nobody waits for them before they are used
            from quivers_nb.panels.diagram import live_diagram  # noqa: PLC0415

            run = None if options.run is None else self._variable(options.run)
            display(live_diagram(obj, options.name, badges=options.badges, run=run, **look))

    def _object(self, name: str) -> Any:
        """A variable of the user's that can be drawn, else what a cell has declared."""
        if isinstance(self.shell.user_ns.get(name), SHOWN):
            return self.shell.user_ns[name]
        known = {each.name: each for each in self.cells.session.known() if each.is_morphism}
        if name in known:
            return known[name].value
        if name in self.shell.user_ns:
            return self.shell.user_ns[name]
        meant = nearest(name, known)
        hint = f"did you mean {meant}?" if meant else "%qvr_ls lists the names"
        raise UsageError(f"no cell declares a morphism or program called {name}; {hint}")

    def _variable(self, name: str) -> Any:
        if name not in self.shell.user_ns:
            raise UsageError(f"there is no variable {name}")
        return self.shell.user_ns[name]


def _static(obj: Any, name: str, look: Mapping[str, Any], badges: str) -> Drawing:
    return diagram(obj, name, badges=badges, **look)
