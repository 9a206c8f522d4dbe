"""The tokens of a text with what they are to a reader: for colours and completion.

Works on any text, finished or not, and never fails. Keywords are words of the language only where
they stand as such, so the rules below look at neighbours; they are a little more generous than
the parser, which alone knows.
"""

from dataclasses import dataclass
from enum import Enum

from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.syntax.layout import CLOSERS, DECLARATIONS, PAIRS, STEPS
from quivers_nb.syntax.machine import SPACES
from quivers_nb.syntax.mistakes import METHODS
from quivers_nb.syntax.scanner import COMMENTS, Token, scan
from quivers_nb.syntax.shapes import READERS


class Kind(Enum):
    """What a token is to a reader."""

    KEYWORD = "keyword"
    TYPE = "type"
    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    OPERATOR = "operator"
    COMMENT = "comment"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of the text: where, what, and the characters themselves."""

    span: Span
    kind: Kind
    text: str


_KINDS = {
    "name": Kind.NAME,
    "number": Kind.NUMBER,
    "string": Kind.STRING,
    "open_string": Kind.STRING,
    "operator": Kind.OPERATOR,
    "pragma": Kind.OPERATOR,
    "open_block": Kind.COMMENT,
    **dict.fromkeys(COMMENTS, Kind.COMMENT),
}
# Words that begin a line, beside declarations and steps.
_ENTRIES = frozenset(
    {
        "atoms", "binders", "lexicon", "sorts", "constructors", "vertex_kinds", "edge_kinds",
        "dim", "iterations", "readout", "init", "message", "update", "var_init", "structure",
        "primitive", "factor", "binder_select", "body",
    }
)  # fmt: skip
_LEADERS = DECLARATIONS | STEPS | _ENTRIES
_TYPES = SPACES | {"FinSet", "FreeMonoid", "FreeResiduated", "Space", "Object", "Nat", "Mor"}
# Words inside a line, by the word that its line begins with.
_INNER = {
    "composition": {"as"},
    "decoder": {"over"},
    "lexicon": {"from"},
    "var_init": {"from", "as"},
    "let": {"where", "in"},
    "score": {"in"},
    "body": {"recursive"},
}
_NOWHERE = Token("", 0, 0, "")


def tokens(source: SourceText | str) -> tuple[Piece, ...]:
    """Every token but blanks, in order."""
    text = source if isinstance(source, str) else source.text
    pieces: list[Piece] = []
    leader, before, depth = _NOWHERE, _NOWHERE, 0
    raw = [token for token in scan(text) if token.kind != "blank"]
    for at, token in enumerate(raw):
        if token.kind == "newline":
            leader = leader if depth else _NOWHERE
            continue
        kind = _KINDS.get(token.kind, Kind.ERROR)
        if kind is Kind.NAME:
            after = raw[at + 1] if at + 1 < len(raw) else _NOWHERE
            kind = _word(token, leader, before, after)
        elif token.text in PAIRS or token.text in CLOSERS:
            depth = max(depth + (1 if token.text in PAIRS else -1), 0)
        if kind is not Kind.COMMENT:
            leader = leader if leader is not _NOWHERE else token
            before = token
        pieces.append(Piece(Span(token.start, token.stop), kind, token.text))
    return tuple(pieces)


def _word(token: Token, leader: Token, before: Token, after: Token) -> Kind:
    """A word is a keyword at the start of a line, or where its neighbours make it one."""
    word = token.text
    if leader is _NOWHERE:
        begins = word in _LEADERS and after.text not in ("=", ":", ",", "<-")
        return Kind.KEYWORD if begins else Kind.NAME
    if word in _TYPES and before.text not in DECLARATIONS:
        return Kind.TYPE
    if word in READERS and after.text == "(" and before.text != ".":
        return Kind.KEYWORD
    if word in METHODS and before.text == ".":
        return Kind.KEYWORD
    inner = word in _INNER.get(leader.text, ()) and before.kind != "operator"
    opens = word == "factor" and leader.text in ("let", "score") and after.kind == "name"
    return Kind.KEYWORD if inner or opens else Kind.NAME
