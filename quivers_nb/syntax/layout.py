"""The layout filter: from tokens to lines and blocks.

Blanks and comments disappear from the token stream; in their place stand ``_NL`` at the end of
every statement and ``_INDENT``, ``_DEDENT`` around every block. Rules, in the order of the code:

- inside brackets line breaks mean nothing, unless a line starts like a statement: then a bracket
  was forgotten, which is one fault, and the statement before it ends there;
- lines of blanks and comments only take no part in indentation;
- a line that starts deeper than the block opens a block, one that starts less deep closes blocks;
- comments are kept, by the statement that they belong to: the ones before it and inside it
  (``leading``, ``docs``) and the one at its end (``trailing``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax.scanner import COMMENTS, FAULTS, Token

DECLARATIONS = frozenset(
    {
        "composition", "category", "rule", "schema", "object", "morphism", "bundle", "program",
        "data", "contraction", "let", "export", "deduction", "signature", "encoder", "decoder",
        "loss",
    }
)  # fmt: skip
STEPS = frozenset({"sample", "observe", "marginalize", "let", "score", "return"})

PAIRS = {"(": ")", "[": "]", "{": "}", "#[": "]", "#![": "]"}
CLOSERS = frozenset(PAIRS.values())
TAB_WIDTH = 8
COMPOSITIONS = frozenset(
    {">>", "<<", ">=>", "*>", "~>", "||>", "?>", "&&>", "+>", "$>", "%>", ">>>"}
)


@dataclass(slots=True)
class Trivia:
    """What a person wrote around a statement that is not code."""

    leading: list[str] = field(default_factory=list)
    docs: list[str] = field(default_factory=list)
    trailing: str | None = None

    def add(self, comment: str) -> None:
        """Sort one comment (or ``""``, a blank line) among ``leading`` and ``docs``."""
        if comment.startswith("#!"):
            self.docs.append(comment[2:].strip())
        else:
            self.leading.append(comment)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault the layout itself sees. ``other`` is a second place: a bracket, a block's column."""

    kind: str
    token: Token
    other: Token | None = None

    @property
    def span(self) -> Span:
        return Span(self.token.start, self.token.stop)


@dataclass(slots=True)
class Lines:
    """The filtered text.

    ``tokens`` end with ``$END``. Faults are kept beside the tokens, by the index of the token that
    they are found at: ``hard`` ones make the statement unreadable, ``soft`` ones (indentation) do
    not.
    """

    tokens: list[Token] = field(default_factory=list)
    trivia: dict[int, Trivia] = field(default_factory=dict)  # by offset of a statement's start
    rest: list[str] = field(default_factory=list)  # comments and blank lines at the end
    hard: dict[int, Fault] = field(default_factory=dict)
    soft: dict[int, Fault] = field(default_factory=dict)


class _Filter:
    """One pass over the tokens of a text."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.raw = list(tokens)
        self.lines = Lines()
        self.columns = [(0, "")]  # open blocks: column and the blanks that made it
        self.open: list[Token] = []  # open brackets
        self.waiting: list[str] = []  # comments and blank lines of the statement to come
        self.inner: list[str] = []  # comments since the last token of the statement being read
        self.current: Trivia | None = None  # of the statement being read, if one is
        self.blanks = ""  # at the start of this physical line
        self.fresh = True  # no token yet on this physical line
        self.commented = False  # a comment on this physical line

    def run(self) -> Lines:
        for at, token in enumerate(self.raw):
            if token.kind == "newline":
                self.newline(token)
            elif token.kind == "blank":
                self.blanks = token.text if self.fresh and not self.commented else self.blanks
            elif token.kind in COMMENTS:
                self.comment(token)
            else:
                self.code(at, token)
        self.end(self.raw[-1].stop if self.raw else 0)
        return self.lines

    def newline(self, token: Token) -> None:
        if self.current is not None and not self.open:
            self.finish(token.start)
        elif self.current is None and not self.commented:
            self.waiting.append("")
        self.blanks, self.fresh, self.commented = "", True, False

    def comment(self, token: Token) -> None:
        self.commented = True
        (self.waiting if self.current is None else self.inner).append(_normal(token.text))

    def code(self, at: int, token: Token) -> None:
        if self.open and self.fresh and self.is_statement(at):
            self.unclosed(token.start)
        if self.current is None:
            self.begin(token)
        elif self.inner:
            for comment in self.inner:
                self.current.add(comment)
            self.inner.clear()
        self.fresh = False
        if token.kind in FAULTS:
            self.lines.hard[len(self.lines.tokens)] = Fault(token.kind, token)
        elif token.kind in ("operator", "pragma"):
            self.bracket(token)
        self.lines.tokens.append(_as_terminal(token))

    def bracket(self, token: Token) -> None:
        if token.text in PAIRS:
            self.open.append(token)
        elif token.text in CLOSERS:
            opener = self.open.pop() if self.open else None
            if opener is None or PAIRS[opener.text] != token.text:
                fault = Fault("mismatch", token, opener)
                self.lines.hard[len(self.lines.tokens)] = fault

    def begin(self, token: Token) -> None:
        """A statement starts at ``token``: indentation counts here."""
        self.current = Trivia()
        for comment in self.waiting:
            self.current.add(comment)
        self.waiting.clear()
        self.lines.trivia[token.start] = self.current
        width = width_of(self.blanks)
        if width > self.columns[-1][0]:
            self.columns.append((width, self.blanks))
            self.mark("_INDENT", token.start)
            return
        while len(self.columns) > 1 and width <= self.columns[-2][0]:
            self.columns.pop()
            self.mark("_DEDENT", token.start)
        if width != self.columns[-1][0]:
            blanks = Token("blank", token.start - len(self.blanks), token.start, self.blanks)
            block = Token("blank", 0, 0, self.columns[-1][1])
            self.lines.soft[len(self.lines.tokens)] = Fault("indentation", blanks, block)

    def finish(self, at: int) -> None:
        """The statement being read ends."""
        assert self.current is not None
        if self.inner:
            self.current.trailing = self.inner.pop()
            for comment in self.inner:
                self.current.add(comment)
            self.inner.clear()
        self.current = None
        self.mark("_NL", at)

    def unclosed(self, at: int) -> None:
        self.lines.hard[len(self.lines.tokens)] = Fault("unclosed", self.open[-1])
        self.mark("fault", at)
        self.open.clear()
        self.finish(at)

    def end(self, at: int) -> None:
        if self.open:
            self.unclosed(at)
        elif self.current is not None:
            self.finish(at)
        for _ in self.columns[1:]:
            self.mark("_DEDENT", at)
        self.mark("$END", at)
        self.lines.rest = [_tidy(comment) for comment in self.waiting]

    def mark(self, kind: str, at: int) -> None:
        self.lines.tokens.append(Token(kind, at, at, ""))

    def is_statement(self, at: int) -> bool:
        """Does a line inside brackets start like a statement?

        A leader and a name side by side are no item of any list, whatever the column. Before
        another bracket a leader may be the name of what is called, unless the line stands where
        a statement would.
        """
        word, after = self.raw[at].text, self.after(at)
        if word not in DECLARATIONS | STEPS:
            return False
        if after.kind == "name":
            return True
        outside = width_of(self.blanks) <= self.columns[-1][0]
        return outside and word in ("return", "sample", "export") and after.text in ("(", "[")

    def after(self, at: int) -> Token:
        """The next token on the same line, or one of no kind."""
        following = self.raw[at + 1 : at + 3]
        code = [token for token in following if token.kind != "blank"]
        return code[0] if code else Token("", 0, 0, "")


_TERMINALS = {"name": "NAME", "string": "STRING"}
_SYNONYMS = {"⊢": "|-"}


def _as_terminal(token: Token) -> Token:
    """Name the token as the grammar does: operators by their spelling, the rest by kind."""
    if token.kind == "operator":
        kind = "COMP" if token.text in COMPOSITIONS else _SYNONYMS.get(token.text, token.text)
    elif token.kind == "number":
        kind = "INT" if token.text.isdigit() else "FLOAT"
    elif token.kind == "pragma":
        kind = token.text
    else:
        kind = _TERMINALS.get(token.kind, "fault")
    return token._replace(kind=kind)


def _normal(comment: str) -> str:
    return comment.rstrip().replace("\r\n", "\n")


def _tidy(comment: str) -> str:
    """A doc comment without a declaration, spelled as the printer spells docs."""
    return f"#! {comment[2:].strip()}".rstrip() if comment.startswith("#!") else comment


def width_of(blanks: str) -> int:
    """Columns of a run of leading blanks: a tab counts 8, a form feed nothing."""
    return blanks.count(" ") + TAB_WIDTH * blanks.count("\t")


def lay_out(tokens: Iterable[Token]) -> Lines:
    """Filter the tokens of a text."""
    return _Filter(tokens).run()
