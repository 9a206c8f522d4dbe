"""The line magics: look at the workspace, check, format, read, write and forget."""

from collections.abc import Iterable
from pathlib import Path

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from quivers_magics.magic import QvrMagics, read_options
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.session.lookup import explain, listing, subjects
from quivers_nb.session.session import Session
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module


@magics_class
class QvrCommands(Magics):
    """`%qvr_ls`, `%qvr_type`, `%qvr_doc`, `%qvr_check`, `%qvr_fmt`, `%qvr_load`, …"""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, cells: QvrMagics) -> None:
        super().__init__(shell)
        self.cells = cells

    @property
    def session(self) -> Session:
        return self.cells.session

    @magic_arguments()
    @line_magic
    def qvr_ls(self, line: str) -> None:
        """List the names that QVR cells have declared: kind, type and cell."""
        read_options(self.qvr_ls, line)
        display(listing(self.session.known()))

    @no_var_expand
    @line_magic
    def qvr_type(self, line: str) -> None:
        """Show the type of a morphism expression or of a declared name: `%qvr_type f >> g`."""
        expression = line.strip()
        if not expression:
            raise UsageError("write an expression: %qvr_type f >> g")
        print(f"{expression} : {self.session.type_of(expression)}")  # noqa: T201

    @no_var_expand
    @line_magic
    def qvr_doc(self, line: str) -> None:
        """Explain a declared name, a family, a function, a keyword or the code of a message.

        `%qvr_doc encoder`, `%qvr_doc Normal`, `%qvr_doc sample`, `%qvr_doc Q0402`.
        """
        word = line.strip()
        if not word:
            raise UsageError(
                "write a name, a family, a function, a keyword or a code: %qvr_doc exp"
            )
        names = self.session.known()
        cards = explain(word, names)
        if not cards:
            raise UsageError(
                f"{word} is no declared name, family, function, keyword or code"
                f"{_meant(word, subjects(names), '; %qvr_ls lists the names')}"
            )
        for each in cards:
            display(each)

    @magic_arguments()
    @argument("file", nargs="?", help="on a line: the file to check")
    @no_var_expand
    @line_cell_magic
    def qvr_check(self, line: str, cell: str | None = None) -> None:
        """Check a cell, or a file, without running it: nothing is declared and nothing is bound."""
        options = read_options(self.qvr_check, line)
        text, label = self._text(cell, options.file, "%%qvr_check")
        checked = self.session.check(text, label)
        exported = ", ".join(export.key for export in checked.exports) or "nothing"
        print(f"No errors. It would export: {exported}.")  # noqa: T201

    @magic_arguments()
    @argument("file", nargs="?", help="on a line: the file to format; it is not changed")
    @no_var_expand
    @line_cell_magic
    def qvr_fmt(self, line: str, cell: str | None = None) -> None:
        """Print a cell, or a file, in canonical form."""
        options = read_options(self.qvr_fmt, line)
        text, label = self._text(cell, options.file, "%%qvr_fmt")
        print(print_module(parse(SourceText(text, label))), end="")  # noqa: T201

    @magic_arguments()
    @argument("file", help="a text file of QVR, UTF-8")
    @argument("name", nargs="?", help="also bind the module itself to this name")
    @no_var_expand
    @line_magic
    def qvr_load(self, line: str) -> None:
        """Run a file as a cell."""
        options = read_options(self.qvr_load, line)
        self.cells.run_text(_read(options.file), options.name, options.file)

    @magic_arguments()
    @argument("file", help="the file to write")
    @argument("-f", "--force", action="store_true", help="write over a file that is there")
    @no_var_expand
    @line_magic
    def qvr_save(self, line: str) -> None:
        """Write all that QVR cells have declared into one file, which compiles on its own."""
        options = read_options(self.qvr_save, line)
        text = self.session.workspace.whole()
        try:
            with Path(options.file).open("w" if options.force else "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise UsageError(f"{options.file} is there already: add --force to replace") from error
        except OSError as error:
            raise UsageError(f"{options.file} cannot be written: {error.strerror}") from error
        count = len(self.session.workspace.cells)
        print(f"{options.file}: {count} cell{'' if count == 1 else 's'} written.")  # noqa: T201

    @magic_arguments()
    @argument("names", nargs="*", help="drop only the cells that declare these names")
    @no_var_expand
    @line_magic
    def qvr_reset(self, line: str) -> None:
        """Forget what QVR cells have declared, and their weights.

        With names, only their cells and those that use them. Your variables are left alone.
        """
        names = read_options(self.qvr_reset, line).names
        there = {*self.session.declared_names()}
        for name in names:
            if name not in there:
                hint = _meant(name, sorted(there), "; %qvr_ls lists the names")
                raise UsageError(f"no QVR cell declares {name}{hint}")
        dropped = ", ".join(self.session.forget(names)) or "nothing was there"
        print(f"Forgotten: {dropped}.")  # noqa: T201

    def _text(self, cell: str | None, file: str | None, magic: str) -> tuple[str, str]:
        """The text to look at, and what messages call it."""
        if cell is not None:
            return cell, self.cells.label()
        if file is None:
            raise UsageError(f"write a file, or begin a cell with {magic}")
        return _read(file), file


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        here = Path.cwd()
        raise UsageError(
            f"{file} cannot be read: {error.strerror} (working directory {here})"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not a text in UTF-8: {error}") from error


def _meant(word: str, known: Iterable[str], otherwise: str) -> str:
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else otherwise
