"""What people are told about broken texts: one fact per broken statement, at its place."""

import re

import pytest

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.syntax.parser import parse
from tests.syntax.mistakes import DRAW, GOLDEN, MISTAKES, prog, render

each_mistake = pytest.mark.parametrize("name", MISTAKES)
each_unfinished = pytest.mark.parametrize("name", sorted(MISTAKES.keys() - {"pragma at the end"}))
TERMINALS = re.compile(r"\b(_NL|_INDENT|_DEDENT|NAME|INT|FLOAT|STRING|COMP|END)\b")


def found(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ParseError) as caught:
        parse(text)
    return caught.value.diagnostics


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in found(text)]


def test_the_words_are_those_of_the_golden_file() -> None:
    assert render() == GOLDEN.read_text(encoding="utf-8")


@each_mistake
def test_one_mistake_gives_one_diagnostic(name: str) -> None:
    assert len(found(MISTAKES[name])) == 1


@each_mistake
def test_the_place_is_short_and_on_one_line(name: str) -> None:
    text, (diagnostic,) = MISTAKES[name], found(MISTAKES[name])
    marked = text[diagnostic.span.start : diagnostic.span.stop]
    assert 1 <= len(marked) <= 20
    assert "\n" not in marked


@each_mistake
def test_the_message_is_in_words_and_there_is_a_hint(name: str) -> None:
    (diagnostic,) = found(MISTAKES[name])
    assert diagnostic.hint
    assert not TERMINALS.search(diagnostic.message + diagnostic.hint)
    assert diagnostic.message.count("`") % 2 == 0 == diagnostic.hint.count("`") % 2


@each_unfinished
def test_a_good_declaration_after_the_mistake_adds_nothing(name: str) -> None:
    alone = found(MISTAKES[name])
    followed = found(MISTAKES[name] + "object Last : FinSet 2\n")
    assert [d.message for d in followed] == [d.message for d in alone]


@each_unfinished
def test_a_mistake_hides_no_other_one(name: str) -> None:
    text = MISTAKES[name] + "object Last = FinSet 2\n"
    assert (codes(text)[-1], len(codes(text))) == ("Q0116", 2)


def test_every_broken_step_is_reported_once() -> None:
    text = prog("u <- F(1.0)", DRAW, "let v = u ** 2", "score w = (1 + ", "return (u, v") + (
        "object X = 3\nmorphism f : X -> X\n"
    )
    assert codes(text) == ["Q0105", "Q0122", "Q0111", "Q0111", "Q0116", "Q0102"]


def test_a_broken_header_hides_neither_its_block_nor_more() -> None:
    text = "program p X -> X\n    let v = u ** 2\n    return u\nobject X = 3\n"
    assert codes(text) == ["Q0117", "Q0122", "Q0116"]


def test_a_misspelled_header_is_read_as_what_it_is_near() -> None:
    text = "progam p : X -> X\n    let v = 1.0 +\n    return u\n"
    assert codes(text) == ["Q0115", "Q0136"]


def test_a_header_of_nothing_known_hides_its_block() -> None:
    assert codes("def f(x):\n    y = 1\n    if z:\n        pass\nobject X = 3\n") == [
        "Q0122", "Q0116"
    ]  # fmt: skip


def test_a_broken_return_is_no_missing_return() -> None:
    assert codes(prog(DRAW, "return (u")) == ["Q0111"]


def test_nested_blocks_are_resumed() -> None:
    text = prog(
        "marginalize z <- Bernoulli(0.5) [",
        "    observe y <- Normal(z, 1.0",
        "    observe w <- Normal(z, 1.0)",
        "let a = b c",
        "return a",
    )
    assert codes(text) == ["Q0111", "Q0111", "Q0138"]


def test_entries_of_every_kind_of_block_are_resumed() -> None:
    text = (
        "signature S\n    sorts\n        a thing\n        b : data\n    constructors\n"
        "        c : a b\n    bindrs\n        l : binds (x : S) in (b : S) -> S\n"
        "encoder E : S\n    dim a 3\n    f(a -> b\n"
        "deduction D : A -> B\n    atoms\n    lexicon\n        word : NP = x\n"
        "loss L\n    a + * b\n"
    )
    assert codes(text) == [
        "Q0117", "Q0100", "Q0115", "Q0117", "Q0100", "Q0136", "Q0115", "Q0100"
    ]  # fmt: skip


def test_reports_end_after_a_hundred() -> None:
    assert len(found("@@@\n" * 500)) == 100


def test_the_error_says_where_and_renders() -> None:
    with pytest.raises(ParseError) as caught:
        parse("object X : FinSet 3\nobject Y = 4\n")
    assert (caught.value.line, caught.value.column) == (2, 10)
    assert "Q0116" in str(caught.value)


def test_steps_without_a_program_are_silent_only_as_long_as_they_last() -> None:
    text = f"program p : X -> X\n{DRAW}\nreturn u\nobject Y : 3\nlet h = f >>\n"
    assert codes(text) == ["Q0120", "Q0136"]


def test_refusals_are_bounded_too() -> None:
    assert len(found("morphism f : X -> X\n" * 500)) == 100
