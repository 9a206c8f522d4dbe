"""Lines and blocks: what the layout filter puts in place of blanks."""

import pytest

from quivers_nb.syntax.layout import lay_out, width_of
from quivers_nb.syntax.scanner import scan


def shape(text: str) -> str:
    """The tokens, marks by signs: ``;`` line end, ``>`` indent, ``<`` dedent, ``!`` fault."""
    signs = {"_NL": ";", "_INDENT": ">", "_DEDENT": "<", "$END": "", "fault": "!"}
    lines = lay_out(scan(text))
    return " ".join(signs.get(token.kind, token.text) for token in lines.tokens).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a\nb", "a ; b ;"),
        ("a\n\n  # c\nb\n", "a ; b ;"),
        ("a\n  b\n  c\nd\n", "a ; > b ; c ; < d ;"),
        ("a\n b\n  c\n", "a ; > b ; > c ; < <"),
        ("a\n\tb\n        c\n", "a ; > b ; c ; <"),
        ("a\n    b\n  c\nd\n", "a ; > b ; c ; < d ;"),
        ("(a\n  b\nc)\nd", "( a b c ) ; d ;"),
        ("a (b\nobject c", "a ( b ! ; object c ;"),
        ("a (\nobject,\nlet)\n", "a ( object , let ) ;"),
        ("p\n  a (b\n  return c\n", "p ; > a ( b ! ; return c ; <"),
        ("p\n  a (b,\n      return)\n", "p ; > a ( b , return ) ; <"),
        ("a (b", "a ( b ! ;"),
        ("a #{ c\n }# b\n", "a b ;"),
        ("#{ c }# a\n", "a ;"),
        ("a \u22a2 b", "a \u22a2 b ;"),
    ],
)
def test_lines_and_blocks(text: str, expected: str) -> None:
    assert shape(text) == expected


def test_an_unclosed_bracket_is_reported_at_the_bracket() -> None:
    (fault,) = lay_out(scan("a (b [c\nobject d : e")).hard.values()
    assert (fault.kind, fault.token.text) == ("unclosed", "[")


def test_a_column_between_two_blocks_is_a_soft_fault() -> None:
    lines = lay_out(scan("a\n    b\n  c\n"))
    assert not lines.hard
    assert [fault.kind for fault in lines.soft.values()] == ["indentation"]


def test_blanks_count_one_and_tabs_eight() -> None:
    assert [width_of(blanks) for blanks in ("", "  ", "\t", " \t", "\f ")] == [0, 2, 8, 9, 1]
