"""The three roots of everything we raise: a user's error, a missing extra, a bug of ours.

Language errors derive from `Exception` and never from `SyntaxError`: IPython prints its own
frames for the latter and would bypass `_render_traceback_`.
"""

from importlib import import_module
from types import ModuleType

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.render import render_text
from quivers_nb.diagnostics.source import SourceText


class QuiversError(Exception):
    """Root of every error of this project."""


class UserError(QuiversError):
    """Something the user can mend: a model, data, an option."""


class MissingExtra(QuiversError):
    """An optional package is not installed."""


class InternalError(QuiversError):
    """A bug of this project; the message asks for a report."""


class LanguageError(UserError):
    """A module was refused. Carries every diagnostic, sorted by place.

    Attributes: ``diagnostics`` (at least one), ``source``, and ``line``, ``column`` of the first.
    """

    def __init__(self, diagnostics: tuple[Diagnostic, ...], source: SourceText) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda d: (d.span, d.code)))
        self.source = source
        _, self.line, self.column = source.place(self.diagnostics[0].span.start)
        super().__init__(render_text(self.diagnostics, source))

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of Python frames."""
        return render_text(self.diagnostics, self.source).splitlines()


class ParseError(LanguageError):
    """The text is not a QVR module: a lexical or syntactic fault."""


class CompileError(LanguageError):
    """The module parses, but does not mean anything: a fault found after parsing."""


class QuiversWarning(UserWarning):
    """Something legal that is probably not what was meant; said once per place."""


def require(package: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional package, or raise `MissingExtra` with the command that installs it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtra(
            f"{package} is needed {why}. Install it with: pip install 'quivers-nb[{extra}]'"
        ) from error
