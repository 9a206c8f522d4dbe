"""Text to raw tokens, which the layout filter reads and `tokens` colours.

Nothing here fails: text that is no token becomes a token of a faulty kind, and the parser reports
it. Offsets are those of the text, so every token can be found again.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Token(NamedTuple):
    """``text`` stands at ``start <= i < stop``. ``kind`` is a group of the pattern below."""

    kind: str
    start: int
    stop: int
    text: str


# Alternatives in order; the first that matches wins, so longer openers stand before shorter ones.
_PATTERN = re.compile(
    r"""
      (?P<blank>[ \t\f]+)
    | (?P<newline>\r?\n)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*+(?!\w))
    | (?P<pragma>\#!?\[)
    | (?P<doc>\#![^\n]*)
    | (?P<block>\#\{)
    | (?P<comment>\#[^\n]*)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<bad_number>\.?[0-9](?:[\w.]|(?<=[eE])[+-](?=[0-9]))*)
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
    | (?P<open_string>"[^\n]*)
    | (?P<foreign_operator>\*\*=?|==|!=|<=|>=(?!>)|:=|&&(?!>)|\|\|(?!>)|//)
    | (?P<operator>>=>|>>>|\|\|>|&&>|\|->|>>|<<|\*>|~>|\?>|\+>|\$>|%>|->|<-|=>|\|-|--|⊢
        |[-+*/\\@~.,:=()\[\]{}|<>])
    | (?P<foreign_name>[^\W\d]\w*)
    | (?P<foreign_quote>'[^'\n]*'|[“”„«»‘’])
    | (?P<unknown>.)
    """,
    re.VERBOSE | re.DOTALL,
)

BLANKS = frozenset({"blank", "newline"})
COMMENTS = frozenset({"doc", "block", "comment"})
FAULTS = frozenset(
    {
        "bad_number", "open_string", "open_block", "foreign_operator", "foreign_name",
        "foreign_quote", "unknown",
    }
)  # fmt: skip


def scan(text: str) -> Iterator[Token]:
    """Every token of the text, blanks and comments included; together they are the whole text.

    A byte order mark at the beginning is left out. Neighbouring unknown characters are one token.
    """
    at = 1 if text.startswith("\ufeff") else 0
    match = _PATTERN.match
    last_closer = text.rfind("}#")
    while at < len(text):
        found = match(text, at)
        assert found is not None
        assert found.lastgroup is not None
        kind, end = found.lastgroup, found.end()
        if kind == "unknown":
            end = _end_of_unknown(text, end)
        elif kind == "block" and last_closer >= end:
            end = text.index("}#", end) + 2
        elif kind == "block":
            kind, end = "open_block", _end_of_line(text, end)
        yield Token(kind, at, end, text[at:end])
        at = end


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _end_of_unknown(text: str, at: int) -> int:
    while (found := _PATTERN.match(text, at)) is not None and found.lastgroup == "unknown":
        at = found.end()
    return at
