"""Parts as text: columns, carets, tables, and characters that nobody can see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.display.parts import Fold, Mark, Part, Row, Stack, Table, Text, Tone
from quivers_nb.display.text import pointers, to_text, visible, width


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("", 0), ("ﬀ", 1), ("ｆ", 2)]
)
def test_width_counts_terminal_columns(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200b", "\x1b", "\x00", "\u2028", "\ud800"])
def test_invisible_characters_are_spelled_out(char: str) -> None:
    assert visible(f"a{char}b") == f"a⟨U+{ord(char):04X}⟩b"


@given(st.text())
def test_visible_text_has_one_line_per_line_break_and_is_stable(text: str) -> None:
    seen = visible(text)
    assert visible(seen) == seen
    assert len(seen.splitlines()) == len([line for line in text.split("\n") if line]) + len(
        [line for line in text.split("\n")[:-1] if not line]
    )


def test_carets_stand_under_the_mark_even_after_wide_characters() -> None:
    row = Row((Text("漢 = "), Mark("字x", note="here"), Text(" .")), gutter="12")
    assert to_text(row).splitlines() == ["12 | 漢 = 字x .", "   |      ^^^ here"]


def test_an_empty_mark_gets_one_caret() -> None:
    assert pointers(Row((Text("ab"), Mark("")))) == ["  ^"]


def test_every_note_of_a_row_is_printed_the_last_one_beside_its_caret() -> None:
    row = Row((Mark("a", Tone.QUIET, "one"), Text(" + "), Mark("b", Tone.WARNING, "two")))
    assert pointers(row) == ["-   ^ two", "one"]


def test_table_columns_are_aligned_by_width() -> None:
    table = Table(
        rows=((Text("漢"), Text("7")), (Text("abc"), Text("1234"))),
        head=("name", "n"),
        align="<>",
    )
    assert to_text(table).splitlines() == [
        "name     n",
        "----  ----",
        "漢       7",
        "abc   1234",
    ]


def test_an_empty_table_is_no_text() -> None:
    assert to_text(Table(())) == ""


def test_a_fold_shows_title_and_body() -> None:
    fold = Fold("sites", Stack((Text("a"), Text("b"))))
    assert to_text(fold) == "sites\n  a\n  b"


_texts = st.builds(Text, st.text(max_size=8), st.sampled_from(Tone))
_marks = st.builds(Mark, st.text(st.characters(codec="utf-8"), max_size=5), st.sampled_from(Tone))
_parts: st.SearchStrategy[Part] = st.recursive(
    _texts | _marks | st.builds(Row, st.lists(_texts | _marks, max_size=4).map(tuple)),
    lambda inner: (
        st.builds(Stack, st.lists(inner, max_size=4).map(tuple))
        | st.builds(Fold, st.text(max_size=4), inner)
    ),
    max_leaves=8,
)


@given(_parts)
def test_text_of_any_part_holds_no_control_character(part: Part) -> None:
    assert not any(ord(char) < 32 and char != "\n" for char in to_text(part))
