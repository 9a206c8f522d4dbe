"""How wide a text is, from a table: pictures have the same bytes on every machine.

Widths are the public metrics of the Helvetica/Arial family, in thousandths of the font size, for
the 95 printable characters of ASCII. Others count as wide as a capital, East Asian ones as two.
"""

from functools import lru_cache

from quivers_nb.display.text import visible, width

# fmt: off
_REGULAR = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)
_BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
)
# fmt: on
_NARROW = {"·": 278, "×": 584, "†": 556, "…": 1000, "▸": 600, "▾": 600, "→": 1000, "↺": 1000}
_OTHER = 722
LONGEST = 48  # characters of a label; the rest is in the tooltip


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of one line in points at a font size in points."""
    table = _BOLD if bold else _REGULAR
    return sum(_thousandths(char, table) for char in text) * size / 1000


def shown(text: str, limit: int = LONGEST) -> str:
    """A user's text for a picture: on one line, invisible characters spelled out, long ones cut."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _thousandths(char: str, table: tuple[int, ...]) -> int:
    code = ord(char) - 32
    if 0 <= code < len(table):
        return table[code]
    return _NARROW.get(char) or _OTHER * width(char)
