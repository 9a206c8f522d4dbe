"""Texts that no one writes on purpose: read, or refused with a diagnostic, never a Python error."""

import random
import re
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.syntax import tree
from quivers_nb.syntax.machine import MAX_DEPTH, Machine
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module
from tests.syntax.mistakes import prog
from tests.syntax.samples import SAMPLES

MEGABYTE = 2**20
LATIN = bytes(random.Random(0).randrange(256) for _ in range(50_000)).decode("latin-1")


def code(text: str) -> str:
    """The code of the one diagnostic."""
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert len(caught.value.diagnostics) == 1
    assert str(caught.value)
    return caught.value.diagnostics[0].code


@pytest.mark.parametrize(
    "text", ["", "\n", "\r\n\r\n", "   ", "\t\f\n", "\ufeff", "# x", "#", "##"]
)
def test_a_module_may_hold_nothing(text: str) -> None:
    assert parse(text).declarations == ()


def test_comments_alone_are_kept() -> None:
    text = "# one\n\n    # two\n#{ three\n }#\n#! four\n"
    assert parse(text).trailing == ("# one", "", "# two", "#{ three\n }#", "#! four")


@pytest.mark.parametrize("indent", [" ", "  ", "\t", "\t  ", " \t", "          "])
def test_any_consistent_indentation_works(indent: str) -> None:
    text = f"program p : X -> X\n{indent}let a = b\n{indent}return a\n"
    assert parse(text) == parse(prog("let a = b", "return a"))


def test_a_tab_is_as_wide_as_eight_blanks() -> None:
    parse("program p : X -> X\n\tlet a = b\n        return a\n")


def test_form_feeds_have_no_width() -> None:
    assert len(parse("\fobject X : 3\n\f\nobject Y : 4").declarations) == 2


@pytest.mark.parametrize("between", ["\n", "\n\n", "  # c\n", "\n# c\n", "\n            # c\n"])
def test_brackets_suspend_line_breaks(between: str) -> None:
    text = f"object X : {{{between}a,{between}b,{between}}}\n"
    assert parse(text).declarations[0] == parse(text).declarations[0]
    found = parse(text).declarations[0]
    assert isinstance(found, tree.ObjectDecl)
    assert found.value == tree.ObjEnum((tree.Name("a"), tree.Name("b")))


def test_comments_take_no_part_in_indentation() -> None:
    text = "program p : X -> X\n    let a = b\n# left\n            # right\n    return a\n# end\n"
    (program,) = parse(text).declarations
    assert isinstance(program, tree.ProgramDecl)
    assert program.returns.leading == ("# left", "# right")


def test_500_levels_of_parentheses_are_none() -> None:
    deep = f"let h = {'(' * 500}f{')' * 500}\n"
    assert parse(deep) == parse("let h = f\n")


@pytest.mark.parametrize(
    "text",
    [
        f"let h = {'fan(' * 500}f{')' * 500}\n",
        f"let h = {' >> '.join(['f'] * 500)}\n",
        f"object X : {'F(' * 500}X{')' * 500}\n",
        prog(f"let a = {'-(' * 500}b{')' * 500}", "return a"),
        prog(f"let a = {'x -> ' * 500}b", "return a"),
        prog(f"sample a <- {'F(' * 500}b{')' * 500}", "return a"),
        "program p : X -> X\n"
        + "".join(f"{' ' * (k + 1)}marginalize z <- F\n" for k in range(500))
        + f"{' ' * 501}let a = b\n return a\n",
    ],
)
def test_deeper_trees_than_anyone_reads_are_refused(text: str) -> None:
    assert code(text) == "Q0124"


def test_trees_at_the_limit_survive_everything_python_does_to_them() -> None:
    nested = f"let h = {'fan(' * (MAX_DEPTH - 2)}f{')' * (MAX_DEPTH - 2)}\n"
    chained = prog(f"let a = {' + '.join(['b'] * (MAX_DEPTH - 4))}", "return a")
    for text in (nested, chained):
        module = parse(text)
        assert print_module(module) == text
        assert module == parse(text)
        assert repr(module)
        assert hash(module) == hash(parse(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("object X\0 : 3", "Q0101"),
        ("object X : 3 \ud800", "Q0101"),
        ("object X : 3\u2028object Y : 4", "Q0101"),
        ("object X : 3\robject Y : 4", "Q0101"),
        ("\vobject X : 3", "Q0101"),
        ("object\u200bX : 3", "Q0101"),
        ("object X : 3 \ufeff", "Q0101"),
        ("object \U0001d465 : 3", "Q0123"),
        ("object " + "x" * MEGABYTE + " = 3", "Q0116"),
        ("let x = " + "9" * MEGABYTE, "Q0134"),
        (prog("let x = " + "9" * 5000, "return x"), "Q0103"),
        ("." * 100_000, "Q0101"),
        ("let h = " + "(" * 50_000, "Q0111"),
        (")" * 50_000, "Q0112"),
        ("#{" * 100_000, "Q0114"),
        ('"' * 100_001, "Q0115"),
        ("\u00e9" * MEGABYTE, "Q0123"),
    ],
)  # fmt: skip
def test_characters_and_sizes_nobody_types(text: str, expected: str) -> None:
    assert code(text) == expected


def test_messages_can_be_shown_whatever_the_text_holds() -> None:
    for text in ("let \ud800 = f", 'object X : "\ud800"', "object X : 3 \x07", "object X\x00 Y"):
        with pytest.raises(ParseError) as caught:
            parse(text)
        for diagnostic in caught.value.diagnostics:
            assert f"{diagnostic.message}{diagnostic.hint}".isprintable()


def test_strings_and_comments_may_hold_any_character() -> None:
    text = 'let w = from_data("\u00e9 \u2028 \U0001f600 \\" \\n")  # \u201cfine\u201d \u2028.\n'
    (let,) = parse(text).declarations
    assert isinstance(let, tree.LetDecl)
    assert let.value == tree.ExprFromData(tree.String('\u00e9 \u2028 \U0001f600 \\" \\n'))
    assert print_module(parse(text)) == text


def test_random_bytes_are_refused() -> None:
    with pytest.raises(ParseError):
        parse(LATIN)


def calls(read: Callable[[str], object], text: str) -> int:
    """How many functions are called while ``read`` reads, those written in C included."""
    count = 0

    def watch(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        read(text)
    finally:
        sys.setprofile(before)
    return count


def again_and_again(text: str) -> None:
    """The mutant: each statement is read with all that stands before it."""
    for found in re.finditer(r"^object.*\n", text, re.MULTILINE):
        parse(text[: found.end()])


def test_the_steps_of_parsing_grow_as_the_text_does() -> None:
    """Four times the text, four times the calls; a quadratic reader makes sixteen times as many."""
    text = SAMPLES["acceptance"]
    parse(text)  # tables are read once
    assert calls(parse, text * 8) < 4.2 * calls(parse, text * 2)
    objects = "object X : FinSet 3\n" * 5
    assert calls(again_and_again, objects * 4) > 8 * calls(again_and_again, objects)


def test_what_is_remembered_at_a_statement_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader copies its stacks at each statement: a copy that grew would be quadratic."""
    deepest = 0
    copy = Machine.copy

    def watched(self: Machine) -> Machine:
        nonlocal deepest
        deepest = max(deepest, len(self.states), len(self.values))
        return copy(self)

    monkeypatch.setattr(Machine, "copy", watched)
    parse(SAMPLES["acceptance"] * 2)
    few, deepest = deepest, 0
    parse(SAMPLES["acceptance"] * 8)
    assert 0 < deepest == few


@pytest.mark.slow
def test_a_megabyte_is_parsed() -> None:
    line = "object Name_of_some_length : FinSet 32  # with a comment that is about as long\n"
    copies = MEGABYTE // len(line) + 1
    assert len(parse(line * copies).declarations) == copies
