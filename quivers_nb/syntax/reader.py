"""Reading a module statement by statement, and going on after a broken one.

A word is a keyword only where the machine can go on with it, so an object may be called
``sample``. At the start of each statement the machine is remembered. A statement that cannot be
read is explained (`recovery`) and put aside: the remembered machine reads a stand-in for it, the
shortest statement that may stand there, and goes on with the next line or with its block.
"""

import re
from bisect import bisect_right
from dataclasses import replace

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax import recovery_layout, tree
from quivers_nb.syntax.construct import Builder
from quivers_nb.syntax.layout import STEPS, lay_out
from quivers_nb.syntax.machine import SPACES, Machine, Stuck, table
from quivers_nb.syntax.place import NOTHING, Place
from quivers_nb.syntax.recovery import explain
from quivers_nb.syntax.scanner import Token, scan

MAX_FINDINGS = 100  # enough for any text a person wrote
LONGEST = 60  # characters of source quoted in a message
MARKS = frozenset({"_INDENT", "_DEDENT", "$END"})

# Where a name may stand as well as the keyword, the keyword is meant if these follow it.
FOLLOWERS = {
    "factor": ("NAME", ":"),
    "dim": ("NAME",),
    "iterations": ("INT",),
    "init": ("NAME",),
    "var_init": ("NAME",),
    "readout": ("|->",),
    "message": ("[",),
    "update": ("[",),
}

# The shortest statement of each kind that has a block, by its first word, and of those that have
# none. Lower-case words are themselves.
HEADERS = {
    "program": "program NAME : NAME -> NAME _NL",
    "composition": "composition NAME _NL",
    "deduction": "deduction NAME : NAME -> NAME _NL",
    "signature": "signature NAME _NL",
    "encoder": "encoder NAME : NAME _NL",
    "decoder": "decoder NAME over NAME _NL",
    "loss": "loss NAME _NL",
    "marginalize": "marginalize NAME <- NAME _NL",
    "lexicon": "lexicon _NL",
    "sorts": "sorts _NL",
    "vertex_kinds": "vertex_kinds _NL",
    "edge_kinds": "edge_kinds _NL",
    "constructors": "constructors _NL",
    "binders": "binders _NL",
}
STAND_INS = (
    "object NAME : NAME _NL",
    "score NAME = NAME _NL",
    "let NAME = NAME _NL",
    "return NAME _NL",
    "atoms NAME _NL",
    "STRING : NAME = NAME _NL",
    "sorts _NL _INDENT NAME : NAME _NL _DEDENT",
    "NAME : -> NAME _NL",
    "NAME : NAME -> NAME _NL",
    "NAME : NAME _NL",
    "NAME : binds ( NAME : NAME ) in ( NAME : NAME ) -> NAME _NL",
    "dim NAME = INT _NL",
    "NAME = NAME _NL",
    "NAME _NL",
)


class Reader:
    """One pass over the statements of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = lay_out(scan(text))
        self.tokens = self.lines.tokens
        self.builder = Builder(self.lines.trivia)
        self.machine = Machine(self.builder)
        self.remembered = self.machine  # at the start of the statement being read
        self.begin = 0  # its first token
        self.above = -1  # the first token of the statement before it
        self.between = True  # no token of a statement has been read since the last one ended
        self.blocks: list[tuple[int, int]] = []  # open blocks: findings so far, header's token
        self.orphans = False  # steps follow whose program has no block
        self.found: list[tuple[int, int, Diagnostic]] = []  # statement's offset, rank, finding

    def read(self) -> tuple[tree.Declaration, ...]:
        """All declarations; none if there are findings."""
        at = 0
        hard = self.lines.hard
        while at < len(self.tokens) and self.count() < MAX_FINDINGS:
            token = self.tokens[at]
            if self.between:
                self.remembered, self.begin = self.machine.copy(), at
                self.between = token.kind in MARKS
            try:
                if at in hard:
                    raise Stuck
                self.machine.feed(self.terminal(at), token)
            except Stuck:
                at = self.recover(at)
                continue
            self.note(token)
            at += 1
        if self.count():
            return ()
        declarations: tuple[tree.Declaration, ...] = self.machine.values[0]
        return declarations

    def note(self, token: Token) -> None:
        """Keep account of statements and blocks."""
        if token.kind == "_NL":
            self.between, self.above = True, self.begin
            self.orphans = self.orphans and self.tokens[self.begin].text in STEPS
        elif token.kind == "_INDENT":
            self.blocks.append((self.count(), self.above))
        elif token.kind == "_DEDENT":
            self.blocks.pop()

    def findings(self) -> tuple[Diagnostic, ...]:
        """One finding per statement, the one that explains the others."""
        starts = sorted(self.lines.trivia)
        found = list(self.found)
        for at, fault in self.lines.soft.items():
            found.append((self.tokens[at].start, 0, recovery_layout.explain_fault(fault)))
        for finding in self.builder.findings:
            statement = bisect_right(starts, finding.span.start) - 1
            found.append((starts[max(statement, 0)] if starts else 0, 1, finding))
        first: dict[int, Diagnostic] = {}
        for offset, _, finding in sorted(found, key=lambda f: (f[0], f[1], f[2].span)):
            first.setdefault(offset, finding)
        return tuple(
            replace(f, message=legible(f.message), hint=legible(f.hint or "") or None)
            for f in list(first.values())[:MAX_FINDINGS]
        )

    def count(self) -> int:
        return len(self.found) + len(self.builder.findings)

    # --- keywords ---------------------------------------------------------------------------------

    def terminal(self, at: int, machine: Machine | None = None) -> str:
        """What token ``at`` is to the machine: a word may be a keyword here."""
        token = self.tokens[at]
        if token.kind != "NAME":
            return token.kind
        word = "SPACE" if token.text in SPACES else token.text
        row = table().actions[(machine or self.machine).states[-1]]
        if word not in row or not (word in table().keywords or token.text in SPACES):
            return "NAME"
        return word if "NAME" not in row or self.is_keyword(at) else "NAME"

    def is_keyword(self, at: int) -> bool:
        """Where both a name and a keyword may stand, what follows decides."""
        after = FOLLOWERS.get(self.tokens[at].text, ())
        following = self.tokens[at + 1 : at + 1 + len(after)]
        return tuple(token.kind for token in following) == after

    # --- recovery ---------------------------------------------------------------------------------

    def recover(self, at: int) -> int:
        """Explain why token ``at`` does not fit; where to go on reading."""
        kind = self.tokens[at].kind
        at_boundary = at == self.begin and at not in self.lines.hard
        self.machine, self.between = self.remembered.copy(), True
        if at_boundary and self.machine.acceptable() == {"_INDENT"}:
            return self.without_block(at)
        if at_boundary and kind == "_INDENT":
            return self.indented(at)
        if at_boundary and kind == "_DEDENT":
            return self.unfinished(at)
        if kind == "$END":
            return len(self.tokens)
        return self.broken(at)

    def broken(self, at: int) -> int:
        """A statement that cannot be read."""
        leader = self.tokens[self.begin]
        self.orphans = self.orphans and leader.text in STEPS
        if not self.orphans:
            self.report(self.tokens[self.begin].start, 1, self.explanation(at))
        while self.tokens[at].kind != "_NL":
            at += 1
        self.above = self.begin
        if self.tokens[at + 1].kind != "_INDENT":
            self.orphans = self.orphans or leader.text == "program"
            self.stand_in(leader.text)
            return at + 1
        if self.read_header(leader.text, at):
            return at + 1
        self.stand_in(leader.text)
        return self.after_block(at + 1)

    def explanation(self, at: int) -> Diagnostic:
        fault = self.lines.hard.get(at)
        if fault is not None:
            return recovery_layout.explain_fault(fault)
        machine = self.remembered.copy()
        for index in range(self.begin, at):
            machine.feed(self.terminal(index, machine), self.tokens[index])
        return explain(
            Place(
                text=self.text,
                read=tuple(self.tokens[self.begin : at]),
                token=self.tokens[at],
                after=self.tokens[min(at + 1, len(self.tokens) - 1)],
                above=self.tokens[self.above] if self.above >= 0 else NOTHING,
                expected=machine.acceptable(),
            )
        )

    def without_block(self, at: int) -> int:
        """A header, and nothing indented below it."""
        header = self.tokens[self.above]
        name = self.tokens[self.above + 1]
        self.report(header.start, 1, recovery_layout.missing_block(header, name))
        self.orphans = header.text == "program"
        for body in STAND_INS:
            if self.feed_kinds(f"_INDENT {body} _DEDENT"):
                return at
        raise AssertionError("every block has a stand-in")

    def indented(self, at: int) -> int:
        """A block where none can begin: it belongs to the line above, or has slipped."""
        token = self.tokens[at + 1]
        above = self.tokens[self.above] if self.above >= 0 else token
        finding = recovery_layout.unexpected_indent(token, token.kind, self.above < 0)
        self.report(above.start, 0, finding)
        return self.after_block(at)

    def unfinished(self, at: int) -> int:
        """A block ends too early: a program without its return."""
        before, header = self.blocks[-1]
        if self.count() == before and "return" in self.machine.acceptable():
            name = self.tokens[header + 1]
            finding = recovery_layout.missing_return(name)
            self.report(self.tokens[header].start, 1, finding)
        if self.stand_in("return"):
            return at
        self.blocks.pop()
        return at + 1

    def after_block(self, at: int) -> int:
        """Skip the block that begins at ``at``."""
        depth = 0
        while True:
            depth += {"_INDENT": 1, "_DEDENT": -1}.get(self.tokens[at].kind, 0)
            at += 1
            if depth == 0:
                return at

    def read_header(self, word: str, at: int) -> bool:
        """Read the shortest header in place of a broken one, so that its block can be read."""
        if any(token.text == "where" for token in self.tokens[self.begin : at]):
            return self.feed_kinds("let NAME = NAME where _NL")
        if word not in HEADERS:
            word = nearest(word, HEADERS) or ""
        return word in HEADERS and self.feed_kinds(HEADERS[word])

    def stand_in(self, word: str) -> bool:
        """Read the shortest statement that may stand here, of the broken one's kind if possible."""
        first = [kinds for kinds in STAND_INS if kinds.split()[0] == word]
        return any(self.feed_kinds(kinds) for kinds in (*first, *STAND_INS))

    def feed_kinds(self, kinds: str) -> bool:
        """Read these tokens if the machine can."""
        machine = self.machine.copy()
        try:
            for kind in kinds.split():
                machine.feed(kind, Token(kind, 0, 0, _TEXTS.get(kind, "x")))
        except Stuck:
            return False
        self.machine = machine
        return True

    def report(self, statement: int, rank: int, finding: Diagnostic) -> None:
        self.found.append((statement, rank, finding))


def legible(text: str) -> str:
    """A message without overlong quotations and characters that cannot be shown."""
    text = re.sub("`[^`]*`", _clip, text)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _clip(quotation: re.Match[str]) -> str:
    text = quotation[0]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]}…`"


_TEXTS = {"INT": "1", "STRING": '""'}
