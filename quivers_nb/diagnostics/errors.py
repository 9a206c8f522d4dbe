"""The three roots of everything we raise: a user's error, a missing extra, a bug of ours.

Language errors derive from `Exception` and never from `SyntaxError`: IPython prints its own
frames for the latter and would bypass `_render_traceback_`.
"""

import sysconfig
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.render import render_text
from quivers_nb.diagnostics.source import SourceText

_OURS = str(Path(__file__).parents[1])
_FOREIGN = (
    _OURS,
    *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
    "<frozen",
)


class QuiversError(Exception):
    """Root of every error of this project."""


class _Brief(QuiversError):
    """An error that is not about the Python that found it."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the message, and the lines of the user's own that led to it."""
        frames = traceback.extract_tb(self.__traceback__)
        own = [frame for frame in frames if _is_of_the_user(frame.filename)]
        places = [f"  line {each.lineno}{_function(each)}: {each.line}" for each in own]
        return [*f"{type(self).__name__}: {self}".splitlines(), *places]


class UserError(_Brief):
    """Something the user can mend: a model, data, an option."""


class MissingExtra(_Brief):
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


class LanguageWarning(QuiversWarning):
    """What checking a module warns of, with the places; also in ``module.checked.warnings``."""


def _is_of_the_user(file: str) -> bool:
    """Whether a file is neither ours nor part of Python and what is installed with it."""
    return not file.startswith(_FOREIGN) and "quivers_magics" not in Path(file).parts


def _function(frame: traceback.FrameSummary) -> str:
    return "" if frame.name.startswith("<") else f", in {frame.name}"


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
