"""Colours for a text in any state: what is a keyword where."""

import pytest

from quivers_nb.diagnostics.source import SourceText
from quivers_nb.syntax.tokens import Kind, tokens
from tests.syntax.samples import SAMPLES


def kinds(text: str, word: str) -> list[Kind]:
    """The kinds of a word at each of its places."""
    return [piece.kind for piece in tokens(text) if piece.text == word]


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("object object : sample", "object", [Kind.KEYWORD, Kind.NAME]),
        ("object X : Real 2", "Real", [Kind.TYPE]),
        ("object Real : 2", "Real", [Kind.NAME]),
        ("let h = fan(f) >> fan", "fan", [Kind.KEYWORD, Kind.NAME]),
        ("let h = f.dagger >> dagger", "dagger", [Kind.KEYWORD, Kind.NAME]),
        ("let h = f where\n    let f = g", "where", [Kind.KEYWORD]),
        ("    let a = factor i : X in factor", "factor", [Kind.KEYWORD, Kind.NAME]),
        ("    let a = factor i : X in b", "in", [Kind.KEYWORD]),
        ("    sample = 3", "sample", [Kind.NAME]),
        ("    rule : object", "rule", [Kind.NAME]),
        ("let h = (f >>\nlet)", "let", [Kind.KEYWORD, Kind.NAME]),
        ("decoder D over S", "over", [Kind.KEYWORD]),
        ("composition real as algebra", "as", [Kind.KEYWORD]),
        ("x -1.5e-3", "1.5e-3", [Kind.NUMBER]),
        ("x .5", ".5", [Kind.ERROR]),
        ('x "a # b" # c', '"a # b"', [Kind.STRING]),
        ('x "a # b" # c', "# c", [Kind.COMMENT]),
        ('x "open', '"open', [Kind.STRING]),
        ("#{ open", "#{ open", [Kind.COMMENT]),
        ("f \u22a2 g", "\u22a2", [Kind.OPERATOR]),
        ("caf\u00e9", "caf\u00e9", [Kind.ERROR]),
        ("#[a]", "#[", [Kind.OPERATOR]),
    ],
)
def test_kinds(text: str, word: str, expected: list[Kind]) -> None:
    assert kinds(text, word) == expected


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES.keys())
def test_tokens_are_in_order_and_leave_only_blanks_out(text: str) -> None:
    at = 0
    for piece in tokens(SourceText(text)):
        assert text[at : piece.span.start].strip() == ""
        assert text[piece.span.start : piece.span.stop] == piece.text
        at = piece.span.stop
    assert text[at:].strip() == ""


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES.keys())
def test_a_program_that_parses_has_no_faulty_token(text: str) -> None:
    assert Kind.ERROR not in {piece.kind for piece in tokens(text)}


OPERATORS = ">=> >>> ||> &&> |-> >> << *> ~> ?> +> $> %> -> <- => |- --"


@pytest.mark.parametrize("operator", OPERATORS.split())
def test_operators_take_as_many_characters_as_they_can(operator: str) -> None:
    assert [piece.text for piece in tokens(f"a{operator}b")] == ["a", operator, "b"]
