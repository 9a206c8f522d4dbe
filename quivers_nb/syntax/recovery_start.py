"""Explanations of lines that do not start like a statement."""

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax.layout import DECLARATIONS, STEPS
from quivers_nb.syntax.mistakes import words
from quivers_nb.syntax.phrases import BREAK_HINT, CONTINUATIONS, PYTHON_WORDS, expected_words
from quivers_nb.syntax.place import NOTHING, Place

STEP_LEADERS = ("sample", "observe", "marginalize", "let", "score")


def _complete_block(p: Place) -> Diagnostic | None:
    """A block that had its last line: a program its return, a loss its expression."""
    if p.expected != {"_DEDENT"}:
        return None
    if p.above.text == "return":
        return p.say(
            "Q0121", "`return` is the last step of a program: nothing may follow it",
            "move this step above `return`",
        )  # fmt: skip
    return p.say(
        "Q0121", f"the block is complete: {p.found} may not follow in it",
        "remove this line, or start it at the left margin",
    )  # fmt: skip


def _unreadable(p: Place) -> Diagnostic | None:
    """A run of signs, such as ``@@@``."""
    touching = p.after.start == p.token.stop and not p.after.text.isidentifier()
    if p.token.kind in ("NAME", "INT", "FLOAT", "STRING") or not touching:
        return None
    stop = p.token.stop
    while stop < len(p.text) and p.text[stop] in "-+*/\\@~.,:=|<>$%&?^!":
        stop += 1
    signs = p.text[p.token.start : stop]
    if len(signs) < 2 or p.token.kind == "COMP":
        return None
    return p.say(
        "Q0101", f"unexpected characters `{signs}`",
        "remove them; a comment starts with `#`", Span(p.token.start, stop),
    )  # fmt: skip


def _broken_line(p: Place) -> Diagnostic | None:
    kind = "where" if p.token.text == "where" else p.token.kind
    if (kind not in CONTINUATIONS and kind != "where") or p.above is NOTHING:
        return None
    return p.say(
        "Q0107", f"unexpected line break before {p.found}",
        f"put {p.found} at the end of the line above: {BREAK_HINT}",
    )  # fmt: skip


def _no_statement(p: Place) -> Diagnostic | None:
    """The line starts with something that is no word."""
    if p.token.kind == "NAME":
        return None
    return p.say(
        "Q0115", f"{_starters(p)}, not with {p.found}", "remove it, or write a comment: `# …`"
    )


def _foreign_statement(p: Place) -> Diagnostic | None:
    if p.token.text not in PYTHON_WORDS or p.after.text in ("=", "<-", ":"):
        return None
    return p.say(
        "Q0122", f"`{p.token.text}` is Python: QVR has no such statement",
        PYTHON_WORDS[p.token.text],
    )  # fmt: skip


def _misplaced(p: Place) -> Diagnostic | None:
    word = p.token.text
    if word not in DECLARATIONS | STEPS:
        return None
    if word in DECLARATIONS - {"let"} and p.after.kind == "NAME":
        return p.say(
        "Q0130", f"`{word}` starts a declaration, which cannot stand inside another one",
            f"write `{word}` at the left margin",
        )  # fmt: skip
    if word in STEPS and not p.in_program and p.after.kind in ("NAME", "(", "["):
        return p.say(
        "Q0130", f"a `{word}` step stands only inside a program",
            "indent it below the header of a `program`",
        )  # fmt: skip
    return None


def _bare_step(p: Place) -> Diagnostic | None:
    name, sign = p.token.text, p.after.text
    if not p.in_program or sign not in ("<-", "=", "~", ":", "("):
        return None
    ways = {"=": f"let {name} = …", "(": f"sample u <- {name}(…)"}
    return p.say(
        "Q0105", f"a step must start with {words(STEP_LEADERS)}, not with `{name}`",
        f"write `{ways.get(sign, f'sample {name} <- …')}`",
    )  # fmt: skip


def _bare_declaration(p: Place) -> Diagnostic | None:
    name, sign = p.token.text, p.after.text
    if "object" not in p.expected or sign not in ("=", ":", "<-"):
        return None
    ways = {"=": f"let {name} = …", ":": f"{_declared(p)} {name} : …"}
    return p.say(
        "Q0115", f"a declaration starts with a keyword, not with `{name}`",
        f"write `{ways.get(sign, 'program …')}`" + (
            ", and put steps below it" if sign == "<-" else ""
        ),
    )  # fmt: skip


def _declared(p: Place) -> str:
    """What ``name : …`` may have been meant to declare."""
    if "->" not in p.rest_of_line:
        return "object"
    return "morphism" if "role" in p.rest_of_line else "program"


def _misspelled(p: Place) -> Diagnostic | None:
    choices = sorted(t for t in p.expected if t.isidentifier() and not t.isupper())
    near = nearest(p.token.text, choices)
    if near is not None:
        hint = f"did you mean `{near}`?"
    elif p.in_program:
        hint = f"start with {words(STEP_LEADERS)}"
    elif "object" in p.expected:
        hint = "start with `object`, `morphism`, `let`, `program`, `export` or another declaration"
    elif "STRING" in p.expected:
        hint = f'write the word in quotes: `"{p.token.text}"`'
    else:
        hint = f"start with {words(choices)}" if choices else "move the line out of this block"
    code = "Q0105" if p.in_program and near is None else "Q0115"
    return p.say(code, f"{_starters(p)}, not with `{p.token.text}`", hint)


def _starters(p: Place) -> str:
    if p.in_program:
        return f"a step must start with {words(STEP_LEADERS)}"
    if "object" in p.expected:
        return "a declaration starts with a keyword such as `object` or `morphism`"
    return f"this line should start with {expected_words(p.expected)}"


START = (
    _complete_block,
    _unreadable,
    _broken_line,
    _no_statement,
    _foreign_statement,
    _misplaced,
    _bare_step,
    _bare_declaration,
    _misspelled,
)
