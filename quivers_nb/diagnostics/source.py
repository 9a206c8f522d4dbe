"""Source text and places in it.

A `Span` is a half-open range of character offsets; line and column are derived from the text and
never stored, so a span survives every change of how positions are shown.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters ``start <= i < stop`` of a source text."""

    start: int
    stop: int

    def __or__(self, other: "Span") -> "Span":
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.stop, other.stop))


@dataclass(frozen=True)
class SourceText:
    """A text and the name people know it by (a path, or ``cell [3]``)."""

    text: str
    name: str = "<cell>"

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of the first character of every line."""
        starts = [0]
        starts.extend(i + 1 for i, char in enumerate(self.text) if char == "\n")
        return tuple(starts)

    def line_column(self, offset: int) -> tuple[int, int]:
        """1-based line and 1-based column of ``offset``."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a 1-based line without its line break."""
        start = self.line_starts[line - 1]
        stop = self.line_starts[line] if line < len(self.line_starts) else len(self.text)
        return self.text[start:stop].rstrip("\r\n")
