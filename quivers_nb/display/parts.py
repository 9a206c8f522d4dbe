"""The part tree: what every picture made of words starts as.

An object that wants to be shown builds parts; `quivers_nb.display.text` and
`quivers_nb.display.html` are the two readings. A part says what a run of characters *is* (its
tone), never how it looks, so both readings stay complete and neither leaks into the other.

    Text   a run of characters in a tone
    Mark   a run that is pointed at, with a note (carets in text, an underline in HTML)
    Row    parts side by side, on one line; with a gutter, a line quoted from a source
    Stack  parts under each other
    Table  cells in columns, with an optional head
    Fold   a title and a body that HTML can hide; text shows both
    Picture   what a painter has made, and the words that stand for it
"""

from dataclasses import dataclass
from enum import Enum


class Tone(Enum):
    """What a run of characters is, for the reader's eye."""

    PLAIN = "plain"
    STRONG = "strong"
    QUIET = "quiet"
    NAME = "name"
    TYPE = "type"
    NUMBER = "number"
    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Text:
    """A run of characters. Line breaks in it are kept."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Mark:
    """A run that is pointed at. An empty one points between two characters."""

    text: str
    tone: Tone = Tone.ERROR
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Parts on one line. ``gutter`` (a line number, say) makes it a line quoted from a source."""

    parts: "tuple[Text | Mark, ...]"
    gutter: str | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Parts under each other."""

    parts: "tuple[Part, ...]"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, aligned in columns; every row has as many cells as ``head``, if there is one.

    ``align`` has one of ``<``, ``>`` per column; missing columns are aligned left.
    """

    rows: tuple[tuple[Text, ...], ...]
    head: tuple[str, ...] = ()
    align: str = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """A title and what it stands for."""

    title: str
    body: "Part"
    open: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A painter's own markup, which is put into HTML as it is.

    ``words`` stand for it in text; empty where what is beside it says the same.
    """

    html: str
    words: str = ""


Part = Text | Mark | Row | Stack | Table | Fold | Picture
