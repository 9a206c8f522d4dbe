"""Explanations of faults that are seen before any grammar: characters, brackets, indentation."""

import unicodedata
from collections.abc import Callable

from quivers_nb.diagnostics.diagnostic import Diagnostic, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax.layout import PAIRS, Fault, width_of
from quivers_nb.syntax.phrases import (
    BREAK_HINT,
    CONTINUATIONS,
    FOREIGN_CHARACTERS,
    FOREIGN_OPERATORS,
)
from quivers_nb.syntax.place import NOTHING
from quivers_nb.syntax.scanner import Token

MISSING_BLOCKS = {
    "program": ("steps", "indent its steps by four blanks below this line"),
    "marginalize": ("block", "indent the steps that use it below this line"),
    "loss": ("body", "indent its expression below this line"),
}


def explain_fault(fault: Fault) -> Diagnostic:
    """A fault of the characters or of the layout."""
    return FAULTS[fault.kind](fault)


def _bad_number(fault: Fault) -> Diagnostic:
    text = fault.token.text
    message, hint = f"malformed number `{text}`", _number_hint(text)
    return Diagnostic("Q0103", message, fault.span, hint=hint)


def _open_string(fault: Fault) -> Diagnostic:
    message, hint = "this string is not closed on its line", 'close it with `"` on the same line'
    return Diagnostic("Q0113", message, fault.span, hint=hint)


def _open_block(fault: Fault) -> Diagnostic:
    return Diagnostic(
        "Q0114", "this block comment is never closed",
        Span(fault.span.start, fault.span.start + 2),
        hint="close it with `}#`, or write `# …` for a comment of one line",
    )  # fmt: skip


def _unclosed(fault: Fault) -> Diagnostic:
    return unclosed(fault.token)


def unclosed(opener: Token) -> Diagnostic:
    """A bracket without its partner."""
    return Diagnostic(
        "Q0111", f"this `{opener.text}` is never closed", Span(opener.start, opener.stop),
        hint=f"add `{PAIRS[opener.text]}` where the list ends",
    )  # fmt: skip


def _mismatch(fault: Fault) -> Diagnostic:
    token, opener, span = fault.token, fault.other, fault.span
    if opener is None:
        return Diagnostic(
            "Q0112", f"`{token.text}` closes nothing", span, hint=f"remove `{token.text}`"
        )
    return Diagnostic(
        "Q0112", f"`{token.text}` does not close `{opener.text}`", span,
        labels=(Label(Span(opener.start, opener.stop), "opened here"),),
        hint=f"write `{PAIRS[opener.text]}`",
    )  # fmt: skip


def _indentation(fault: Fault) -> Diagnostic:
    blanks, block = fault.token, fault.other or NOTHING
    have, want = width_of(blanks.text), width_of(block.text)
    mixed = ("\t" in blanks.text) != ("\t" in block.text)
    hint = (
        "a tab counts as eight columns: indent with blanks only"
        if mixed
        else f"indent this line by {want} {'column' if want == 1 else 'columns'}"
    )
    return Diagnostic(
        "Q0109",
        f"inconsistent indentation: this line starts in column {have + 1},"
        f" its block in column {want + 1}",
        Span(max(blanks.stop - 1, blanks.start), blanks.stop + (have == 0)),
        hint=hint,
    )


def _number_hint(text: str) -> str:
    if text.startswith("."):
        return (
            f"write `0{text}`" if text[1:].isdigit() else "write digits on both sides of the point"
        )
    if text.endswith(".") and text[:-1].isdigit():
        return f"write `{text}0`"
    if "_" in text and text.replace("_", "").isdigit():
        return f"write `{text.replace('_', '')}`"
    if text.count(".") > 1:
        return "a number has one decimal point"
    return "a name cannot begin with a digit, and a number has no letters but an exponent `e`"


def _operator(fault: Fault) -> Diagnostic:
    text = fault.token.text
    message, hint = f"QVR has no operator `{text}`", FOREIGN_OPERATORS.get(text, "remove it")
    return Diagnostic("Q0122", message, fault.span, hint=hint)


def _quote(fault: Fault) -> Diagnostic:
    text = fault.token.text
    inner = text[1:-1] if text[0] == "'" else ""
    message = "a string stands in straight double quotes"
    return Diagnostic("Q0123", message, fault.span, hint=f'write `"{inner or "…"}"`')


def _name(fault: Fault) -> Diagnostic:
    text = fault.token.text
    plain = _ascii(text)
    hint = f"write `{plain}`" if plain else "spell the name out, as in `alpha` or `mu_1`"
    message = f"`{text}` is not a name: names are ASCII letters, digits and `_`"
    return Diagnostic("Q0123", message, fault.span, hint=hint)


def _ascii(word: str) -> str:
    """The word without its accents, if that leaves a name; Greek letters by their names."""
    out = ""
    for char in word:
        name = unicodedata.name(char, "")
        if name.startswith("GREEK") and "LETTER" in name:
            out += name.split("LETTER ")[1].split(" WITH")[0].lower()
        else:
            plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
            if not plain:
                return ""
            out += plain
    return out if out.isidentifier() else ""


def _unknown(fault: Fault) -> Diagnostic:
    text, span = fault.token.text, fault.span
    hint = FOREIGN_CHARACTERS.get(text[0], "remove it, or put it in a comment")
    if len(text) > 1 and text.isascii() and text.isprintable():
        return Diagnostic("Q0101", f"unexpected characters `{text}`", span, hint=hint)
    span = Span(span.start, span.start + 1)
    return Diagnostic("Q0101", f"unexpected character {describe(text[0])}", span, hint=hint)


def describe(char: str) -> str:
    """A character for people: itself if it can be seen, and its code and name."""
    name = unicodedata.name(char, "")
    code = f"U+{ord(char):04X}"
    if char.isascii() and char.isprintable():
        return f"`{char}`"
    seen = f"`{char}` " if char.isprintable() else ""
    return f"{seen}({code}{' ' + name if name else ''})"


def missing_block(leader: Token, name: Token) -> Diagnostic:
    """A header with nothing indented below it."""
    block, hint = MISSING_BLOCKS.get(
        leader.text, ("block", "indent the lines that belong to it below this line")
    )
    named = name.kind == "NAME"
    header = f"{leader.text} `{name.text}`" if named else f"`{leader.text}`"
    place = name if named else leader
    return Diagnostic(
        "Q0120", f"{header} has no {block}: nothing is indented below its header",
        Span(place.start, place.stop), hint=hint,
    )  # fmt: skip


def missing_return(name: Token) -> Diagnostic:
    """A program whose last step is not a return."""
    return Diagnostic(
        "Q0104", f"program `{name.text}` has no `return`", Span(name.start, name.stop),
        hint="end it with `return v`, with `v` a name bound above",
    )  # fmt: skip


def unexpected_indent(token: Token, kind: str, first: bool) -> Diagnostic:
    """A deeper line where no block can begin."""
    span = Span(token.start, token.stop)
    if kind in CONTINUATIONS or token.text == "where":
        return Diagnostic(
            "Q0107", f"unexpected line break before `{token.text}`", span,
            hint=f"put `{token.text}` at the end of the line above: {BREAK_HINT}",
        )  # fmt: skip
    hint = (
        "start the first line at the left margin"
        if first
        else f"start the line in the same column as the line above; {BREAK_HINT}"
    )
    return Diagnostic("Q0107", f"unexpected indentation before `{token.text}`", span, hint=hint)


FAULTS: dict[str, Callable[[Fault], Diagnostic]] = {
    "bad_number": _bad_number,
    "open_string": _open_string,
    "open_block": _open_block,
    "unclosed": _unclosed,
    "mismatch": _mismatch,
    "indentation": _indentation,
    "foreign_operator": _operator,
    "foreign_quote": _quote,
    "foreign_name": _name,
    "unknown": _unknown,
}
