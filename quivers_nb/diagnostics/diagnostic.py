"""A diagnostic is data: what is wrong, where, why it was expected otherwise, and one way out.

Rendering lives in `quivers_nb.diagnostics.render`; codes and their pages in
`quivers_nb.diagnostics.catalogue`. Whoever finds a fault states facts and places, nothing more.
"""

from dataclasses import dataclass
from enum import Enum

from quivers_nb.diagnostics.source import Span


class Severity(Enum):
    """How much a diagnostic matters: an error stops compilation, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that matters, with the few words to print beside it."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Because:
    """One link of the chain that explains an expectation: a sentence, and where it was decided."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. ``message`` is a sentence that stands alone; ``hint`` is one way out."""

    code: str  # a key of the catalogue, for example "Q0210"
    message: str
    span: Span
    labels: tuple[Label, ...] = ()
    because: tuple[Because, ...] = ()
    hint: str | None = None
    severity: Severity = Severity.ERROR
