"""Where the parser is stuck: the facts from which a message is made."""

from dataclasses import dataclass

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax.layout import PAIRS
from quivers_nb.syntax.phrases import expected_words
from quivers_nb.syntax.scanner import Token

DRAWS = ("sample", "observe", "marginalize")
NOTHING = Token("", 0, 0, "")


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how the parser is stuck.

    ``read`` are the tokens of the statement before ``token``; ``after`` is the token that
    follows; ``above`` begins the statement before this one.
    """

    text: str
    read: tuple[Token, ...]
    token: Token
    after: Token
    above: Token
    expected: frozenset[str]

    @property
    def previous(self) -> Token:
        return self.read[-1] if self.read else NOTHING

    @property
    def leader(self) -> str:
        return self.read[0].text if self.read else ""

    @property
    def span(self) -> Span:
        """The token; at the end of a line, the last token before it."""
        token = self.token
        if token.stop > token.start:
            return Span(token.start, token.stop)
        if self.read:
            return Span(self.previous.start, self.previous.stop)
        return Span(token.start, token.start)

    @property
    def found(self) -> str:
        match self.token.kind:
            case "_NL":
                return "the end of the line"
            case "$END" | "_DEDENT":
                return "the end of the block" if self.token.kind == "_DEDENT" else "the end"
            case _:
                return f"`{self.token.text}`"

    @property
    def opener(self) -> Token | None:
        """The innermost bracket that is open here."""
        stack: list[Token] = []
        for token in self.read:
            if token.kind in PAIRS:
                stack.append(token)
            elif token.kind in PAIRS.values() and stack:
                stack.pop()
        return stack[-1] if stack else None

    @property
    def in_program(self) -> bool:
        """Are steps what may stand here?"""
        return "sample" in self.expected

    @property
    def in_arithmetic(self) -> bool:
        """Is this inside a let expression, after an operand?"""
        return {"+", "-", "*", "/"} <= self.expected

    @property
    def wanted(self) -> str:
        """What would have fitted, in words."""
        said = expected_words(self.expected)
        return said.replace("a morphism", "a name") if self.leader in (*DRAWS, "return") else said

    @property
    def so_far(self) -> str:
        """The statement up to the token if that is short, else the token before it."""
        if len(self.read) == 2:
            return f"{self.leader} {self.previous.text}"
        return self.previous.text

    @property
    def rest_of_line(self) -> str:
        """The text after the token, up to the end of its line."""
        return self.text[self.token.stop :].partition("\n")[0]

    def new_line(self) -> bool:
        """Does the token stand on a later line than the one before it?"""
        return "\n" in self.text[self.previous.stop : self.token.start]

    def has(self, kind: str) -> bool:
        """Has the statement such a token already?"""
        return any(token.kind == kind for token in self.read)

    def say(self, code: str, message: str, hint: str, span: Span | None = None) -> Diagnostic:
        """A diagnostic at the token, or at another place."""
        return Diagnostic(code, message, span or self.span, hint=hint)
