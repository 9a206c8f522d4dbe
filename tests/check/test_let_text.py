"""Let expressions as text: what is printed parses back to what it was."""

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.let_text import let_text
from quivers_nb.check.term import LetStep, LetTerm, Program
from quivers_nb.diagnostics.source import SourceText

TEXTS = [
    "a",
    "a + b * 2.0",
    "(a + b) * 2.0",
    "a - (b - 1.0)",
    "a - b - 1.0",
    "a / (b * 2.0)",
    "-a * b",
    "-(a + b)",
    "exp(a + b) - log(w)",
    "w[i]",
    "w[i] * sum(a * w)",
    "fold([a, b], 0.0, acc -> x -> acc + x)",
    "factor g : G in w[g] + a",
    "factor g : G in { 0 -> a, 1 -> b + 1.0 }",
]


def _value(text: str) -> LetTerm:
    source = f"""object G : FinSet 2
program p : 1 -> 1
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    let v = {text}
    return a
export p
"""
    program = check_source(SourceText(source)).exports[0].value
    assert isinstance(program, Program)
    return next(step.value for step in program.steps if isinstance(step, LetStep))


@pytest.mark.parametrize("text", TEXTS)
def test_an_expression_is_printed_as_it_was_written(text: str) -> None:
    assert let_text(_value(text)) == text


@pytest.mark.parametrize("text", ["((a)) + (b)", "(a * b) + 1.0", "(a + b) + 1.0"])
def test_brackets_that_say_nothing_are_left_out_and_meaning_is_kept(text: str) -> None:
    value = _value(text)
    assert len(let_text(value)) < len(text)
    assert _value(let_text(value)) == value


def test_a_long_expression_is_cut_where_the_line_would_be_too_long() -> None:
    long = let_text(_value(" + ".join(["a"] * 60)), limit=20)
    assert len(long) == 20
    assert long.endswith("…")
