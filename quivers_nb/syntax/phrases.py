"""What the parser expected, in words: the data behind syntax messages."""

from collections.abc import Iterable

from quivers_nb.syntax.layout import DECLARATIONS, STEPS

# What may start a construct, and its name; larger sets first, so that the whole is named before
# its parts. A set is recognized when all of it is expected.
STARTS: tuple[tuple[frozenset[str], str], ...] = tuple(
    (frozenset(terminals.split()), phrase)
    for terminals, phrase in (
        ("NAME ( [ STRING INT FLOAT - factor", "an expression"),
        ("NAME ( [ STRING INT FLOAT -", "a morphism, a number or a string"),
        ("NAME STRING INT FLOAT - [", "a value"),
        ("NAME INT SPACE FinSet ( {", "an object, such as `X`, `Real 2` or `{a, b}`"),
        ("NAME INT SPACE FinSet (", "an object, such as `X` or `Real 2`"),
        ("NAME STRING INT FLOAT -", "a name, a number or a string"),
        ("NAME INT FLOAT - [", "an argument"),
        ("sample observe marginalize let score return", "a step"),
        ("sample observe marginalize let score", "a step"),
        ("object morphism program export", "a declaration"),
        ("atoms binders rule lexicon", "`atoms`, `binders`, `rule` or `lexicon`"),
        (
            "sorts constructors binders vertex_kinds edge_kinds",
            "a section such as `sorts` or `constructors`",
        ),
        ("NAME INT FLOAT", "a name or a number"),
        ("NAME ( [", "a name"),
        ("NAME (", "a morphism"),
        ("NAME INT", "a name or a whole number"),
        ("INT FLOAT -", "a number"),
        ("INT FLOAT", "a number"),
        ("-> --", "`->` or `--`"),
        ("NAME", "a name"),
        ("INT", "a whole number"),
        ("STRING", "a string"),
    )
)
WORDS = {"_NL": "the end of the line", "_INDENT": "an indented block"}
SILENT = frozenset({"_DEDENT", "$END", "SPACE", "#[", "#!["})
# What can always go on after a complete operand says little about what is missing.
OPERATORS = frozenset({"+", "-", "*", "/", "\\", "@", "COMP", "."})
# Keywords of the statement-starting kind, to be named together or not at all.
LEADERS = DECLARATIONS | STEPS


def expected_words(terminals: Iterable[str]) -> str:
    """At most three things, in words: ``a name or `)```."""
    rest = set(terminals)
    if not rest <= OPERATORS | SILENT:
        rest -= OPERATORS - _operand_signs(rest)
    phrases = []
    for starts, phrase in STARTS:
        if starts <= rest:
            phrases.append(phrase)
            rest -= starts
    if any(phrase in ("a step", "a declaration") for phrase in phrases):
        rest -= LEADERS
    rest -= SILENT
    phrases += [WORDS.get(t) or f"`{t}`" for t in sorted(rest, key=_order)]
    shown = phrases[:3] or ["the end of the block"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _operand_signs(rest: set[str]) -> set[str]:
    """A minus that begins an operand is part of what may start one."""
    return {"-"} if "INT" in rest or "STRING" in rest else set()


def _order(terminal: str) -> tuple[bool, str]:
    """The end of the line last: it is rarely what a person wants to hear."""
    return terminal == "_NL", terminal


BREAK_HINT = "a statement stands on one line; lines may be broken inside brackets"

# Words and signs of other languages, and what to write here.
PYTHON_WORDS = {
    "def": "declare a `program` or a `morphism`",
    "class": "declare an `object` or a `signature`",
    "import": "a module imports nothing: declare what it uses",
    "from": "a module imports nothing: declare what it uses",
    "for": "repeat over a plate: `sample v : A <- F(…)`, or `factor i : A in …` in a `let`",
    "while": "repeat over a plate: `sample v : A <- F(…)`",
    "if": "choose with `where(c, a, b)` in a `let`",
    "else": "choose with `where(c, a, b)` in a `let`",
    "elif": "choose with `where(c, a, b)` in a `let`",
    "print": "a module prints nothing: use Python in another cell",
    "del": "leave the line out",
    "pass": "leave the line out",
    "with": "leave the line out",
    "assert": "leave the line out",
    "lambda": "write `x -> body`",
    "and": "multiply conditions: `a * b`",
    "or": "write `where(a, 1.0, b)`",
    "not": "write `1.0 - a`",
    "is": "compare with `eq(a, b)`",
    "in": "`in` belongs to `factor i : A in …`",
}
FOREIGN_OPERATORS = {
    "==": "compare with `eq(a, b)`",
    "!=": "compare with `1.0 - eq(a, b)`",
    "<=": "compare with `le(a, b)`",
    ">=": "compare with `ge(a, b)`",
    "<": "compare with `lt(a, b)`",
    ">": "compare with `gt(a, b)`",
    "**": "write `pow(a, b)`",
    "**=": "bind a new name: `let b = pow(a, 2)`",
    ":=": "write `let x = …`",
    "&&": "multiply conditions: `a * b`",
    "||": "write `where(a, 1.0, b)`",
    "|": "composition operators are `>>`, `||>`, …; `|-` stands in rules",
    "//": "divide with `/`; a comment starts with `#`",
}
FOREIGN_CHARACTERS = {
    "^": "write `pow(a, b)`",
    ";": "put each statement on a line of its own",
    "'": "a string stands in double quotes",
    "%": "`%` is only part of `%>`",
    "$": "`$` is only part of `$>`",
    "&": "`&` is only part of `&&>`",
    "?": "`?` is only part of `?>`",
    "!": "write `1.0 - a` for not; comments start with `#`",
    "`": "write names without quotes",
    "\r": "end lines with LF or CRLF",
    "\u00a0": "replace the non-breaking space by a blank",
    "\u2028": "replace the Unicode line separator by a line break",
    "\u2029": "replace the Unicode paragraph separator by a line break",
    "\u2192": "write `->`",
    "\u2190": "write `<-`",
    "\u21d2": "write `=>`",
    "\u00d7": "write `*`",
    "\u2297": "write `@` for morphisms or `*` for objects",
    "\u2212": "write `-`",
    "\u2013": "write `-`",
    "\u2014": "write `-`",
    "\u223c": "write `~`",
    "\ufeff": "remove the byte order mark; it may only begin the text",
}
# Tokens that go on with the line above rather than start one.
CONTINUATIONS = frozenset(
    {
        "~", "COMP", "@", "->", "<-", "=>", "|-", "|->", "=", ":", ",", ".", "+", "-", "*", "/",
        "\\", ")", "]", "}", "[",
    }
)  # fmt: skip
