"""From the place where the parser is stuck to one diagnostic that a person can act on.

A `Place` holds the facts: the statement so far, the token that does not fit, and the terminals
that would have. `MISTAKES` is an ordered table of explanations; the first that applies is used,
and the last one applies always.
"""

from collections.abc import Callable

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax.layout import DECLARATIONS, PAIRS, STEPS
from quivers_nb.syntax.machine import SPACES
from quivers_nb.syntax.phrases import BREAK_HINT, FOREIGN_OPERATORS, PYTHON_WORDS
from quivers_nb.syntax.place import DRAWS, Place
from quivers_nb.syntax.recovery_layout import unclosed
from quivers_nb.syntax.recovery_start import START

ARITHMETIC = frozenset({"+", "-", "*", "/"})
Explanation = Callable[[Place], Diagnostic | None]


def explain(place: Place) -> Diagnostic:
    """The first explanation in the table that applies."""
    for mistake in MISTAKES if place.read else START:
        if (diagnostic := mistake(place)) is not None:
            return diagnostic
    return _expected(place)


def _unclosed(p: Place) -> Diagnostic | None:
    """An item of a bracket ended, and the next line begins like something else."""
    opener = p.opener
    if opener is None or not p.new_line() or p.previous.text in (",", opener.text):
        return None
    if p.token.text not in DECLARATIONS | STEPS:
        return None
    return unclosed(opener)


def _step_argument(p: Place) -> Diagnostic | None:
    if p.leader not in DRAWS or not p.has("<-"):
        return None
    sign = p.token.kind
    if p.opener is None:
        return _step_expression(p) if sign in ARITHMETIC | {"COMP", "@"} else None
    negated = p.previous.kind == "-" and sign in ("NAME", "(")
    wrong = ARITHMETIC | {"COMP", "@", "(", "STRING", ".", "->"}
    if not negated and (sign not in wrong or (sign == "(" and p.previous.kind == ")")):
        return None
    return p.say(
        "Q0106", "step arguments are names or numbers, not expressions",
        "bind a `let` before this step and pass its name",
        Span(p.previous.start, p.previous.stop) if negated else None,
    )  # fmt: skip


def _step_expression(p: Place) -> Diagnostic:
    return p.say(
        "Q0106", "a step draws from one family or morphism, not from an expression",
        "compute with a `let` below this step; compose morphisms with a `let` at the left margin",
    )  # fmt: skip


def _second_index(p: Place) -> Diagnostic | None:
    if p.token.kind not in ("[", ".") or p.previous.kind not in ("]", ")"):
        return None
    if not p.in_arithmetic or p.leader not in ("let", "score"):
        return None
    if p.token.kind == ".":
        return p.say(
        "Q0110", "only a variable can have a method called",
            "bind the expression with a `let`, then call the method of its name",
        )  # fmt: skip
    return p.say(
        "Q0110", "only a variable can be indexed, not the result of an expression",
        "bind the expression with a `let` and index its name; several indices go in one bracket:"
        " `a[i, j]`",
    )  # fmt: skip


def _two_minus(p: Place) -> Diagnostic | None:
    after_minus = p.token.kind == "-" and p.previous.kind == "-" and "factor" in p.expected
    if not after_minus and not (p.token.kind == "--" and ("-" in p.expected)):
        return None
    return p.say(
        "Q0133", "two minus signs in a row: a sign stands before one atom",
        "write `-(-a)`, or `a - (-b)`",
    )  # fmt: skip


def _colon_or_equals(p: Place) -> Diagnostic | None:
    wanted = {"=": ":", ":": "="}.get(p.token.kind)
    if wanted is None or wanted not in p.expected:
        return None
    what = f"`{p.previous.text if p.opener else p.leader}`"
    return p.say(
        "Q0116", f"{what} takes `{wanted}` here, not `{p.token.kind}`",
        f"write `{p.so_far} {wanted} …`",
    )  # fmt: skip


def _header_colon(p: Place) -> Diagnostic | None:
    if p.token.kind != ":" or p.after.kind != "_NL":
        return None
    return p.say("Q0122", "a line that opens a block does not end with `:`", "remove the colon")


def _several_names(p: Place) -> Diagnostic | None:
    """``return u, v`` and ``sample u, v <- f``."""
    if p.token.kind != "," or p.opener is not None or p.leader not in ("return", "sample"):
        return None
    return p.say(
        "Q0127", "several names stand in parentheses",
        f"write `{p.leader} ({p.previous.text}, …)`",
    )  # fmt: skip


def _function(p: Place) -> Diagnostic | None:
    """``let f(x) = …`` in a program."""
    indented = bool(p.read) and p.text[: p.read[0].start].endswith((" ", "\t"))
    if p.leader != "let" or len(p.read) != 2 or p.token.kind != "(" or not indented:
        return None
    return p.say(
        "Q0117", "a `let` binds a name, not a name with parameters",
        f"write `let {p.previous.text} = x -> …`",
    )  # fmt: skip


def _number_at_the_margin(p: Place) -> Diagnostic | None:
    if p.leader != "let" or p.previous.kind != "=" or p.expected != {"NAME", "("}:
        return None
    if p.token.kind not in ("INT", "FLOAT", "STRING", "-", "["):
        return None
    return p.say(
        "Q0134", f"a `let` at the left margin names a morphism, {p.found} begins a value",
        "compute with a `let` inside a program",
    )  # fmt: skip


def _no_draw_arrow(p: Place) -> Diagnostic | None:
    if p.leader not in DRAWS or "<-" not in p.expected:
        return None
    name = f"{p.leader} {_name_of(p)}"
    several = f"several values are a plate: `{name} : A <- F(…)` with `object A : FinSet …`"
    return p.say(
        "Q0126", f"`<-` is missing after `{p.previous.text}`, before {p.found}",
        several if p.token.kind == "[" else f"write `{name} <- F(…)`",
    )  # fmt: skip


def _name_of(p: Place) -> str:
    return p.read[1].text if len(p.read) > 1 and p.read[1].kind == "NAME" else "v"


def _wrong_kind_of_operator(p: Place) -> Diagnostic | None:
    """Composition between numbers, arithmetic between morphisms."""
    if p.token.kind in ("COMP", "@") and p.in_arithmetic:
        return p.say(
        "Q0134", f"{p.found} combines morphisms, not numbers",
            "multiply with `matmul(a, b)`" if p.token.kind == "@" else
            "name the composite with a `let` at the left margin and use it in a step",
        )  # fmt: skip
    if p.token.kind in ARITHMETIC | {"\\"} and "COMP" in p.expected:
        return p.say(
        "Q0134", f"{p.found} combines numbers, not morphisms",
            "compose morphisms with `>>`, put them side by side with `@`",
        )  # fmt: skip
    return None


def _foreign(p: Place) -> Diagnostic | None:
    sign, before = p.token.text, p.previous
    if p.token.kind == "NAME" and before.text in ("lambda", "not"):
        message, hint = f"`{before.text}` is not an operator of QVR", PYTHON_WORDS[before.text]
        return p.say("Q0122", message, hint, Span(before.start, before.stop))
    if p.token.kind == "NAME" and sign in PYTHON_WORDS and "NAME" not in p.expected:
        return p.say("Q0122", f"`{sign}` is not an operator of QVR", PYTHON_WORDS[sign])
    if sign in FOREIGN_OPERATORS and (p.in_arithmetic or (sign == "|" and "COMP" in p.expected)):
        return p.say("Q0122", f"QVR has no operator `{sign}`", FOREIGN_OPERATORS[sign])
    return None


def _size(p: Place) -> Diagnostic | None:
    ctor = p.previous.text
    if ctor not in SPACES | {"FinSet"} or "INT" not in p.expected or "SPACE" in p.expected:
        return None
    hint = f"write `{ctor} 3`, with the size after a blank"
    return p.say("Q0135", f"`{ctor}` needs a size, found {p.found}", hint)


def _options_after_init(p: Place) -> Diagnostic | None:
    if p.leader != "morphism" or p.token.kind != "[" or not p.has("~"):
        return None
    return p.say(
        "Q0102", "the option block of a morphism stands before `~`",
        "move the block to the place after the codomain",
    )  # fmt: skip


def _pragma(p: Place) -> Diagnostic | None:
    if p.token.kind in ("#[", "#!["):
        return p.say(
        "Q0125", "a pragma stands on its own line, or at the end of a deduction rule",
            "move it to the line above; a comment must not begin with `[`: write `# [`",
        )  # fmt: skip
    if p.opener is not None and p.opener.kind in ("#[", "#!["):
        return p.say(
        "Q0125", f"a pragma lists `key` or `key=value`, found {p.found}",
            "for a comment, write a blank after `#`",
        )  # fmt: skip
    return None


def _twice(p: Place) -> Diagnostic | None:
    """``object object X``: the keyword is legal as a name, but hardly meant."""
    if len(p.read) != 2 or p.previous.text != p.leader or p.token.kind != "NAME":
        return None
    return p.say(
        "Q0100", f"`{p.leader}` is written twice", "remove one of the two",
        Span(p.previous.start, p.previous.stop),
    )  # fmt: skip


def _missing_operator(p: Place) -> Diagnostic | None:
    """Two operands side by side."""
    if p.token.kind not in ("NAME", "INT", "FLOAT", "(") or p.token.text in DECLARATIONS | STEPS:
        return None
    if "," in p.expected or ("COMP" not in p.expected and not p.in_arithmetic):
        return None
    sign = ">>" if "COMP" in p.expected else "*"
    return p.say(
        "Q0138", f"an operator is missing between `{p.previous.text}` and {p.found}",
        f"write an operator such as `{sign}` between the two",
    )  # fmt: skip


def _initializer(p: Place) -> Diagnostic | None:
    """A ``~`` or an option block that is missing from a morphism."""
    if p.leader != "morphism" or "~" not in p.expected or p.token.text in DECLARATIONS | STEPS:
        return None
    if p.token.kind in (":", "="):
        return p.say(
            "Q0116", f"a morphism takes `~` here, not {p.found}", "write `~ Family`"
        )  # fmt: skip
    if p.token.kind != "NAME":
        return None
    if p.after.kind != "=":
        return p.say("Q0117", f"`~` is missing before {p.found}", f"write `~ {p.token.text}`")
    if p.previous.kind == "]":
        return p.say(
            "Q0119", f"the option block is closed before {p.found}",
            "write all options in one block: `[…, …]`",
        )  # fmt: skip
    return p.say(
        "Q0102", "options stand in square brackets", f"write `[{p.token.text}=…]`"
    )  # fmt: skip


def _two_statements(p: Place) -> Diagnostic | None:
    if "_NL" not in p.expected or p.opener is not None:
        return None
    if p.token.kind == "NAME" and p.token.text in DECLARATIONS | STEPS:
        return p.say(
            "Q0119", f"two statements on one line: {p.found} starts the second",
            f"start {p.found} on a line of its own",
        )  # fmt: skip
    if p.expected - OPTIONAL <= {"_NL"}:
        return p.say(
            "Q0119", f"the statement is complete before {p.found}",
            "compute in a `let` before it, and return the name" if p.leader == "return" else
            f"remove {p.found}, or start a new line there",
        )  # fmt: skip
    return None


def _sign(p: Place) -> Diagnostic | None:
    """The one thing that is missing is an arrow, a colon or an equals sign."""
    needed = p.expected - OPTIONAL - SIZES
    for sign, (code, hint) in SIGNS.items():
        if needed == {sign} or (sign in needed and p.token.kind in LOOKALIKES.get(sign, ())):
            after = "the option block" if p.previous.kind == "]" else f"`{p.previous.text}`"
            return p.say(
                code, f"`{sign}` is missing after {after}, before {p.found}",
                hint or f"write `{p.so_far} {sign} …`",
            )  # fmt: skip
    return None


def _empty(p: Place) -> Diagnostic | None:
    opener = p.opener
    if opener is None or p.token.text != PAIRS[opener.text] or p.previous != opener:
        return None
    return p.say(
        "Q0127", f"there is nothing between `{opener.text}` and `{p.token.text}`: expected"
        f" {p.wanted}", "write at least one item",
    )  # fmt: skip


def _comma(p: Place) -> Diagnostic | None:
    opener = p.opener
    if opener is None:
        return None
    if p.token.kind == ",":
        return p.say(
            "Q0127", f"expected {p.wanted} before this comma",
            "remove the comma, or write the item that belongs before it",
        )  # fmt: skip
    if "," in p.expected and p.token.kind in ("NAME", "INT", "FLOAT", "STRING", "("):
        return p.say(
            "Q0127", f"a comma is missing between `{p.previous.text}` and {p.found}",
            f"write `{p.previous.text}, {p.token.text}`",
        )  # fmt: skip
    if p.token.kind == "_NL":
        return unclosed(opener)
    return None


def _line_end(p: Place) -> Diagnostic | None:
    if p.token.kind != "_NL":
        return None
    if p.expected == {"("} and len(p.read) > 1 and p.read[-2].text == ".":
        message = f"numbers have no attribute `.{p.previous.text}`"
        return p.say("Q0136", message, "functions stand alone: `f(x)`; `%qvr_doc exp` tells of one")
    wanted = "a family, such as `Normal`," if p.previous.text == "~" else p.wanted
    return p.say(
        "Q0136", f"the line ends too early: expected {wanted}"
        f" after `{p.previous.text}`", f"complete the line; {BREAK_HINT}",
    )  # fmt: skip


def _reserved(p: Place) -> Diagnostic | None:
    """A name was wanted, and something that cannot be one stands there."""
    if p.expected != {"NAME"}:
        return None
    if p.token.kind in ("INT", "FLOAT", "STRING"):
        return p.say(
            "Q0137", f"expected a name after `{p.previous.text}`, found {p.found}",
            "a name is a word: a letter or `_`, then letters, digits and `_`",
        )  # fmt: skip
    return p.say(
        "Q0137", f"a name is missing after `{p.previous.text}`, before {p.found}",
        f"write `{p.previous.text} name`",
    )  # fmt: skip


def _expected(p: Place) -> Diagnostic:
    after = f" after `{p.previous.text}`" if p.previous.text else ""
    skipped = p.token.kind == "[" and p.previous.text in ("->", ":")
    return p.say(
        "Q0100", f"expected {p.wanted}{after}, found {p.found}",
        f"write it before {p.found}" if skipped else f"replace or remove {p.found}",
    )  # fmt: skip


OPTIONAL = frozenset(
    {"+", "-", "*", "/", "\\", "@", "COMP", ".", "(", "[", "where", "~", "as", "#["}
)
SIZES = frozenset({"INT", "FLOAT"})  # after a name that could be a constructor's
SIGNS = {
    "->": ("Q0118", "a type goes from a domain to a codomain: `A -> B`"),
    "|->": ("Q0118", "an entry reads `op(a, b) |-> expression`"),
    "=>": ("Q0118", "a rule goes from premises to a conclusion: `P, Q => C`"),
    "|-": ("Q0118", "a deduction rule reads `P, Q |- C`"),
    ":": ("Q0117", ""),
    "=": ("Q0117", ""),
}
LOOKALIKES = {
    "->": ("=>", "|->", "<-", "--", "COMP", ">", "-"),
    "|->": ("->", "=>", "|-", "="),
    "=>": ("->", "|-", "="),
    "|-": ("->", "=>", "|->", "="),
}
MISTAKES: tuple[Explanation, ...] = (
    _unclosed,
    _step_argument,
    _second_index,
    _two_minus,
    _pragma,
    _options_after_init,
    _twice,
    _several_names,
    _no_draw_arrow,
    _header_colon,
    _initializer,
    _colon_or_equals,
    _function,
    _number_at_the_margin,
    _foreign,
    _wrong_kind_of_operator,
    _size,
    _empty,
    _missing_operator,
    _two_statements,
    _sign,
    _comma,
    _line_end,
    _reserved,
)
