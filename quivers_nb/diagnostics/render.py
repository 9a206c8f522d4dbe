"""Diagnostics as parts, and from there as text or HTML.

One diagnostic reads from top to bottom: the fact, the place, the line it is about with the
offending characters marked, why something else was expected, and one way out.

    error[Q0402]: `f` gives `Latent`, but `g` takes `Hidden`
     --> cell [3], line 4, column 9
      4 | let h = f >> g
        |         ^    - takes `Hidden`
      because `f : Source -> Latent` says so (line 2)
      hint: compose with a morphism `Latent -> Hidden` between the two
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quivers_nb.diagnostics.diagnostic import Because, Diagnostic, Severity
from quivers_nb.diagnostics.source import Place, SourceText, Span
from quivers_nb.display.html import to_html
from quivers_nb.display.parts import Mark, Part, Row, Stack, Text, Tone
from quivers_nb.display.text import to_text, visible, width

SHOWN = 10  # diagnostics printed before the rest are only counted
LINE_WIDTH = 120  # columns of source shown; longer lines are cut around the mark
_TAB = 4
_CUT = "…"
_TONE = {Severity.ERROR: Tone.ERROR, Severity.WARNING: Tone.WARNING}


def render_text(diagnostics: Sequence[Diagnostic], source: SourceText) -> str:
    """The diagnostics as plain text, in the order given."""
    return to_text(render(diagnostics, source))


def render_html(diagnostics: Sequence[Diagnostic], source: SourceText) -> str:
    """The diagnostics as one self-contained HTML fragment."""
    return to_html(render(diagnostics, source))


def render(diagnostics: Sequence[Diagnostic], source: SourceText) -> Stack:
    """The diagnostics as parts: the first ten in full, then how many more there are."""
    parts: list[Part] = []
    for diagnostic in diagnostics[:SHOWN]:
        if parts:
            parts.append(Text(""))
        parts.extend(_one(diagnostic, source))
    if len(diagnostics) > SHOWN:
        parts.extend((Text(""), Text(f"… and {len(diagnostics) - SHOWN} more", Tone.QUIET)))
    return Stack(tuple(parts))


def _one(diagnostic: Diagnostic, source: SourceText) -> list[Part]:
    name, line, column = source.place(_clamp(diagnostic.span, source).start)
    head = Text(f"{diagnostic.severity.value}[{diagnostic.code}]", _TONE[diagnostic.severity])
    parts: list[Part] = [
        Row((head, Text(f": {diagnostic.message}", Tone.STRONG))),
        Text(f" --> {name}, line {line}, column {column}", Tone.QUIET),
        *_excerpt(diagnostic, source),
        *(_because(link, source, name) for link in diagnostic.because),
    ]
    if diagnostic.hint is not None:
        parts.append(Row((Text("  hint: ", Tone.HINT), Text(diagnostic.hint))))
    return parts


def _because(link: Because, source: SourceText, here: str) -> Row:
    place = ""
    if link.span is not None:
        name, line, _ = source.place(_clamp(link.span, source).start)
        place = f" ({_elsewhere(name, here)}line {line})"
    words = link.text.removeprefix("because ")
    return Row((Text("  because ", Tone.QUIET), Text(words + place)))


def _elsewhere(name: str, here: str) -> str:
    """The name of a text, where it is not the one that the message is about."""
    return "" if name == here else f"{name}, "


# --- the quoted lines ---


@dataclass(frozen=True, slots=True)
class _Pointed:
    """A span to be marked on one line: 0-based first and last+1 character of that line."""

    line: int
    start: int
    stop: int
    tone: Tone
    note: str


def _excerpt(diagnostic: Diagnostic, source: SourceText) -> list[Row]:
    """The lines of the primary and secondary spans, in order, each quoted with its marks."""
    primary = _pointed(diagnostic.span, _TONE[diagnostic.severity], "", source)
    here = _shown(primary.line, source).name
    others = []
    for label in diagnostic.labels:
        mark = _pointed(label.span, Tone.QUIET, label.text, source)
        where = _elsewhere(_shown(mark.line, source).name, here)
        others.append(replace(mark, note=f"{mark.note} ({where[:-2]})") if where else mark)
    quotes: list[list[_Pointed]] = []
    for mark in sorted([primary, *others], key=lambda m: (m.line, m.start, m.stop)):
        if quotes and _fits(quotes[-1][-1], mark):
            quotes[-1].append(mark)
        else:
            quotes.append([mark])
    digits = len(str(max(_shown(quote[0].line, source).line for quote in quotes)))
    return [_quote(quote, source, digits) for quote in quotes]


def _shown(line: int, source: SourceText) -> Place:
    """Where people find a line of ``source``."""
    return source.place(source.line_starts[line - 1])


def _fits(left: _Pointed, right: _Pointed) -> bool:
    return left.line == right.line and max(left.stop, left.start + 1) <= right.start


def _pointed(span: Span, tone: Tone, note: str, source: SourceText) -> _Pointed:
    span = _clamp(span, source)
    line, column = source.line_column(span.start)
    last, last_column = source.line_column(span.stop)
    start = min(column - 1, len(source.line_text(line)))
    if last == line:
        return _Pointed(line, start, max(start, last_column - 1), tone, note)
    if last_column == 1:  # the span ends with a line break, so it ends on the line before
        last -= 1
    until = f"to line {last}" if last > line else ""
    words = ", ".join(filter(None, (note, until)))
    return _Pointed(line, start, len(source.line_text(line)), tone, words)


def _clamp(span: Span, source: SourceText) -> Span:
    end = len(source.text)
    start = min(max(span.start, 0), end)
    return Span(start, min(max(span.stop, start), end))


def _quote(marks: list[_Pointed], source: SourceText, digits: int) -> Row:
    line = source.line_text(marks[0].line)
    focus = next((mark for mark in marks if mark.tone is not Tone.QUIET), marks[0]).start
    base = max(0, focus - LINE_WIDTH)  # nothing further away can be shown: a line may be huge
    cells = _cells(line[base : focus + LINE_WIDTH])
    first, stop = _window(cells, focus - base)
    parts: list[Text | Mark] = [Text(_CUT, Tone.QUIET)] if base + first else []
    at = first
    for mark in marks:
        start = min(max(mark.start - base, at), stop)
        end = min(max(mark.stop - base, start), stop)
        parts.append(Text("".join(cells[at:start])))
        parts.append(Mark("".join(cells[start:end]), mark.tone, mark.note))
        at = end
    parts.append(Text("".join(cells[at:stop])))
    if base + stop < len(line):
        parts.append(Text(_CUT, Tone.QUIET))
    gutter = "  " + str(_shown(marks[0].line, source).line).rjust(digits)
    return Row(tuple(p for p in parts if isinstance(p, Mark) or p.text), gutter)


def _cells(line: str) -> list[str]:
    """What each character of a line is printed as: tabs become spaces, the invisible is spelled."""
    cells: list[str] = []
    column = 0
    for char in line:
        cell = " " * (_TAB - column % _TAB) if char == "\t" else visible(char)
        cells.append(cell)
        column += width(cell)
    return cells


def _window(cells: list[str], focus: int) -> tuple[int, int]:
    """The range of cells to show: all, or as many around ``focus`` as fit, two thirds after it."""
    if sum(map(width, cells)) <= LINE_WIDTH:
        return 0, len(cells)
    first = stop = min(focus, len(cells))
    room = LINE_WIDTH
    while room > 0 and (first > 0 or stop < len(cells)):
        if stop < len(cells) and (first == 0 or stop - focus <= 2 * (focus - first)):
            room -= width(cells[stop])
            stop += 1
        else:
            first -= 1
            room -= width(cells[first])
    return first, stop
