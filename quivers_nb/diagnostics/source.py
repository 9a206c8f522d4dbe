"""Source text and places in it.

A `Span` is a half-open range of character offsets; line and column are derived from the text and
never stored, so a span survives every change of how positions are shown.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Characters ``start <= i < stop`` of a source text."""

    start: int
    stop: int

    def __or__(self, other: "Span") -> "Span":
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.stop, other.stop))


class Place(NamedTuple):
    """The name of a text, and a 1-based line and column in it."""

    name: str
    line: int
    column: int


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

    def place(self, offset: int) -> Place:
        """Where people find ``offset``."""
        return Place(self.name, *self.line_column(offset))

    def line_text(self, line: int) -> str:
        """The text of a 1-based line without its line break."""
        start = self.line_starts[line - 1]
        stop = self.line_starts[line] if line < len(self.line_starts) else len(self.text)
        return self.text[start:stop].rstrip("\r\n")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What stands from ``start`` on was written in ``source``, from ``offset`` on."""

    start: int
    source: SourceText
    offset: int


@dataclass(frozen=True)
class JoinedText(SourceText):
    """A text put together from excerpts of others; places are told in the text they come from.

    ``name`` is that of the last excerpt's text. There is an excerpt that starts at 0. An excerpt
    begins a line, whatever stands before it.
    """

    excerpts: tuple[Excerpt, ...] = ()

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of the first character of every line."""
        starts = SourceText(self.text).line_starts
        return tuple(sorted({*starts, *(excerpt.start for excerpt in self.excerpts)}))

    def place(self, offset: int) -> Place:
        """Where people find ``offset``: in the text that it was written in."""
        starts = [excerpt.start for excerpt in self.excerpts]
        excerpt = self.excerpts[bisect_right(starts, offset) - 1]
        return excerpt.source.place(offset - excerpt.start + excerpt.offset)
