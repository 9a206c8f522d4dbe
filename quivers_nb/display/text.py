"""Parts as plain text, for terminals, logs and the ``text/plain`` of a saved notebook.

Widths are terminal columns: wide characters take two, combining ones none. Characters that
nobody can see (controls, bidirectional overrides, stray separators) are written as ``⟨U+202E⟩``,
so that a quoted line reads in the order in which it is compiled.
"""

import unicodedata

from quivers_nb.display.parts import Fold, Mark, Part, Picture, Row, Stack, Table, Text, Tone

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_COMBINING = frozenset({"Mn", "Me"})
_INDENT = "  "


def visible(text: str) -> str:
    """``text`` with every character that cannot be seen spelled out; line breaks are kept."""
    if text.isascii() and text.isprintable():
        return text  # most texts, many of them: no look at every character
    return "".join(
        f"⟨U+{ord(char):04X}⟩"
        if unicodedata.category(char) in _INVISIBLE and char != "\n"
        else char
        for char in text
    )


def width(text: str) -> int:
    """Terminal columns that one line of ``text`` takes."""
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in _COMBINING:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def to_text(part: Part) -> str:
    """``part`` as text, without a final line break."""
    return "\n".join(line.rstrip() for line in lines(part))


def lines(part: Part) -> list[str]:
    """``part`` as lines of text."""
    match part:
        case Text(text=text) | Picture(words=text):
            return visible(text).split("\n") if text or isinstance(part, Text) else []
        case Mark():
            return _row(Row((part,)))
        case Row():
            return _row(part)
        case Stack(parts=parts):
            return [line for inner in parts for line in lines(inner)]
        case Table():
            return _table(part)
        case Fold(title=title, body=body):
            return [visible(title), *(_INDENT + line for line in lines(body))]


def pointers(row: Row) -> list[str]:
    """The lines of carets and notes under a row, without its gutter; none if nothing is marked."""
    places = _places(row)
    if not places:
        return []
    carets = ""
    for column, mark in places:
        sign = "-" if mark.tone is Tone.QUIET else "^"
        carets = carets.ljust(column) + sign * max(1, width(visible(mark.text)))
    *earlier, (_, last) = places
    first = f"{carets} {visible(last.note)}" if last.note else carets
    return [first, *(" " * column + visible(mark.note) for column, mark in earlier if mark.note)]


def _places(row: Row) -> list[tuple[int, Mark]]:
    """Every mark of a row with the column where it starts."""
    places: list[tuple[int, Mark]] = []
    column = 0
    for part in row.parts:
        if isinstance(part, Mark):
            places.append((column, part))
        column += width(visible(part.text))
    return places


def _row(row: Row) -> list[str]:
    line = "".join(visible(part.text) for part in row.parts)
    below = pointers(row)
    if row.gutter is None:
        return [*line.split("\n"), *below]
    blank = " " * width(row.gutter)
    return [f"{row.gutter} | {line}", *(f"{blank} | {pointer}" for pointer in below)]


def _table(table: Table) -> list[str]:
    rows = [tuple(visible(cell.text).replace("\n", " ") for cell in row) for row in table.rows]
    if table.head:
        rows.insert(0, tuple(visible(title) for title in table.head))
    columns = max((len(row) for row in rows), default=0)
    align = table.align.ljust(columns, "<")
    widths = [max(width(row[j]) for row in rows if j < len(row)) for j in range(columns)]
    out = ["  ".join(_pad(cell, widths[j], align[j]) for j, cell in enumerate(row)) for row in rows]
    if table.head:
        out.insert(1, "  ".join("-" * columns_wide for columns_wide in widths))
    return out


def _pad(cell: str, columns: int, align: str) -> str:
    space = " " * (columns - width(cell))
    return space + cell if align == ">" else cell + space
