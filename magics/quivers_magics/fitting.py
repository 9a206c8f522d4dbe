"""The magics about fits and versions: `%qvr_fit` shows a panel, `%qvr_diff` compares."""

import ast
import re
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils._process_common import arg_split

from quivers_magics.magic import QvrMagics, read_options
from quivers_nb.check.describe import outline
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference.columns import by_name
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Module
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module

if TYPE_CHECKING:
    from quivers_nb.panels import Panel

_PAIR = re.compile(r"[a-z_]+=(?!=)")


@magics_class
class QvrFitting(Magics):
    """`%qvr_fit` and `%qvr_diff`."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell, cells: QvrMagics) -> None:
        super().__init__(shell)
        self.cells = cells

    @magic_arguments()
    @argument("name", help="a program")
    @argument("-x", "--input", default=None, help="an expression for its input; without one, None")
    @argument(
        "-d", "--data", default=None, help="an expression for the data by name; without one, the "
        "variables that are called as the program's data and observed sites are taken",
    )  # fmt: skip
    @argument("-m", "--method", choices=("svi", "nuts"), help="which form is shown first")
    @argument("settings", nargs="*", help="fields of the form to fill in: steps=500 lr=0.05")
    @no_var_expand
    @line_magic
    def qvr_fit(self, line: str) -> "Panel":
        """Show a panel that fits a program: `%qvr_fit line`, `%qvr_fit line -d data steps=500`.

        Quote an expression that has spaces: `-d '{"y": y}'`. The panel is the cell's value, in a
        terminal, too: `p = %qvr_fit line`, then `run = p.start()`.
        """
        # widgets take a third of a second to import: nobody waits for them before they are used
        from quivers_nb.panels import Panel  # noqa: PLC0415

        words, pairs = _settings(line)
        options = read_options(self.qvr_fit, words)
        model = self._model(options.name)
        given, data_text = self._data(model, options.data)
        input_text = "None" if options.input is None else _unquoted(options.input)
        x = None if options.input is None else self._value(input_text, "--input")
        names = (options.name, input_text, data_text)
        settings = dict(map(_pair, [*pairs, *options.settings]))
        made = Panel(model, x, given, options.method or self.cells.method, names, settings)
        made.shown_as = self._shown_as()
        return made

    @no_var_expand
    @line_magic
    def qvr_diff(self, line: str) -> None:
        """Compare two programs, morphisms, modules or files: `%qvr_diff old new`."""
        words = line.split()
        if len(words) != 2:
            raise UsageError("write two names or files: %qvr_diff old new")
        one, two = (self._text(word) for word in words)
        lines = list(unified_diff(one, two, words[0], words[1], lineterm=""))
        print("\n".join(lines) if lines else f"{words[0]} and {words[1]} are the same.")  # noqa: T201

    def _shown_as(self) -> str:
        if self.cells.panel != "auto":
            return str(self.cells.panel)
        return "widget" if hasattr(self.shell, "kernel") else "text"

    def _model(self, name: str) -> Model:
        value = self.shell.user_ns.get(name)
        if isinstance(value, Module):
            value = value.morphism
        if isinstance(value, Model):
            return value
        programs = [key for key, each in self.shell.user_ns.items() if isinstance(each, Model)]
        meant = nearest(name, programs)
        hint = f"did you mean {meant}?" if meant else "%qvr lists what there is"
        what = "is no program" if value is not None else "is not defined"
        raise UsageError(f"{name} {what}; {hint}")

    def _data(self, model: Model, text: str | None) -> tuple[Mapping[str, Any], str]:
        """The data and the expression for them."""
        if text is not None:
            text = _unquoted(text)
            value = self._value(text, "--data")
            try:
                return by_name(value), text
            except UserError as error:
                raise UsageError(f"--data {text}: {error}") from error
        wanted = [*model.program.host_names, *sorted(model.observed_names)]
        missing = [name for name in wanted if name not in self.shell.user_ns]
        if missing:
            raise UsageError(
                f"{model.name} needs {', '.join(wanted)}, and there is no variable called "
                f"{', '.join(missing)}: make one, or name a mapping, %qvr_fit {model.name} -d data"
            )
        pairs = ", ".join(f'"{name}": {name}' for name in wanted)
        return {name: self.shell.user_ns[name] for name in wanted}, f"{{{pairs}}}"

    def _value(self, text: str, option: str) -> Any:
        try:
            return self.shell.ev(text)
        except Exception as error:
            words = f"{option} {text} has no value: {type(error).__name__}: {error}"
            raise UsageError(words) from error

    def _text(self, word: str) -> list[str]:
        value = self.shell.user_ns.get(word)
        if isinstance(value, Module):
            return print_module(parse(value.checked.source)).splitlines()
        if value is not None and hasattr(value, "program"):
            return outline(value.program).splitlines()
        if value is not None and hasattr(value, "term"):
            return outline(value.term).splitlines()
        try:
            text = Path(word).read_text(encoding="utf-8-sig")
        except OSError:
            raise UsageError(f"{word} is no object of a QVR cell and no file") from None
        return print_module(parse(SourceText(text, word))).splitlines()


def _unquoted(text: str) -> str:
    """Without quotes around the whole, which are there to hold spaces together."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _settings(line: str) -> tuple[str, list[str]]:
    """The line without its ``name=value`` words, and these: argparse wants them in one place."""
    rest: list[str] = []
    pairs: list[str] = []
    for word in arg_split(line, strict=False):
        is_value = bool(rest) and rest[-1] in ("-x", "--input", "-d", "--data", "-m", "--method")
        is_pair = _PAIR.match(word) is not None and not is_value
        (pairs if is_pair else rest).append(word)
    return " ".join(rest), pairs


def _pair(word: str) -> tuple[str, str]:
    name, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{word!r} is no setting: write name=value, for example steps=500")
    try:
        return name, str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return name, text
