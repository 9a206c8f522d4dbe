"""An expression printed from its term reads as it was written, up to blanks."""

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.let_text import let_text
from quivers_nb.check.term import LetStep, Program

HEAD = "object G : FinSet 2\nprogram p : G -> G\n    let a = 1.0\n    let v = [a, 2.0]\n"


def shown(text: str) -> str:
    module = check_source(f"{HEAD}    let it = {text}\n    return a\nexport p\n")
    program = module.exports[0].value
    assert isinstance(program, Program)
    step = program.steps[-1]
    assert isinstance(step, LetStep)
    return let_text(step.value)


@pytest.mark.parametrize(
    "text",
    [
        "1.0",
        "3",
        "a",
        '"a b"',
        "a + b * c",
        "(a + b) * c",
        "a - (b - c)",
        "a - b - c",
        "a / (b * c)",
        "a / b * c",
        "-a * b",
        "-(a + b)",
        "-(-a)",
        "exp(a + b)",
        "x[i, j + 1]",
        "[a, [b, 1.0]]",
        "y -> y * y",
        "map(v, y -> y + 1.0)",
        "fold(x, 0.0, acc -> y -> acc + y)",
        "factor g : G, h : G in x[g] * z[h]",
        "factor g : G in { 0 -> a, 1 -> a + 1.0 }",
        "(factor g : G in x[g]) + 1.0",
        "a * (factor g : G in x[g])",
    ],
)
def test_an_expression_reads_as_it_was_written(text: str) -> None:
    assert shown(text) == text


def test_a_long_expression_is_cut() -> None:
    text = shown(" + ".join(["abcdefgh"] * 20))
    assert len(text) == 72
    assert text.endswith("…")
