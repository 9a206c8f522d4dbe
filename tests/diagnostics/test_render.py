"""Diagnostics as text and HTML: what a person reads when something is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.diagnostics.diagnostic import Because, Diagnostic, Label, Severity
from quivers_nb.diagnostics.errors import CompileError
from quivers_nb.diagnostics.render import LINE_WIDTH, render_html, render_text
from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.display.text import width

PROGRAM = """\
object A : FinSet 3
morphism f : A -> A
let h = f >> g
"""


def place(text: str, part: str, length: int | None = None) -> Span:
    """Where ``part`` first occurs; only its first ``length`` characters, if given."""
    start = text.index(part)
    return Span(start, start + (len(part) if length is None else length))


def rendered(text: str, span: Span, **rest: object) -> list[str]:
    diagnostic = Diagnostic("Q0101", "message", span, **rest)  # type: ignore[arg-type]
    return render_text([diagnostic], SourceText(text, "cell [1]")).split("\n")


def test_a_full_diagnostic_reads_fact_place_line_reason_way_out() -> None:
    diagnostic = Diagnostic(
        "Q0402",
        "`f` gives `A`, but `g` takes `B`",
        place(PROGRAM, "f >>", 1),
        labels=(Label(place(PROGRAM, "g\n", 1), "takes `B`"),),
        because=(Because("`f : A -> A` says so", place(PROGRAM, "morphism f")),),
        hint="compose with a morphism `A -> B` between the two",
    )
    assert render_text([diagnostic], SourceText(PROGRAM, "cell [3]")) == (
        "error[Q0402]: `f` gives `A`, but `g` takes `B`\n"
        " --> cell [3], line 3, column 9\n"
        "  3 | let h = f >> g\n"
        "    |         ^    - takes `B`\n"
        "  because `f : A -> A` says so (line 2)\n"
        "  hint: compose with a morphism `A -> B` between the two"
    )


def test_a_secondary_place_on_another_line_is_quoted_in_source_order() -> None:
    label = Label(place(PROGRAM, "A"), "declared here")
    lines = rendered(PROGRAM, place(PROGRAM, "h"), labels=(label,))
    assert lines[2:] == [
        "  1 | object A : FinSet 3",
        "    |        - declared here",
        "  2 | morphism f : A -> A",
        "    |     ^",
    ]


def test_overlapping_places_are_quoted_one_after_the_other() -> None:
    label = Label(place(PROGRAM, "f >> g"), "the composite")
    lines = rendered(PROGRAM, place(PROGRAM, "f >>", 1), labels=(label,))
    assert lines[2:] == [
        "  3 | let h = f >> g",
        "    |         ^",
        "  3 | let h = f >> g",
        "    |         ------ the composite",
    ]


def test_a_tab_is_a_step_to_the_next_multiple_of_four() -> None:
    assert rendered("a\tlet x", place("a\tlet x", "let"))[2:] == [
        "  1 | a   let x",
        "    |     ^^^",
    ]


def test_carets_follow_wide_characters() -> None:
    text = 'x = "漢字" y'
    assert rendered(text, place(text, "y"))[3] == "    |            ^"


def test_a_span_at_the_end_of_the_file_points_after_the_last_character() -> None:
    assert rendered("let x =", Span(7, 7))[1:] == [
        " --> cell [1], line 1, column 8",
        "  1 | let x =",
        "    |        ^",
    ]
    assert rendered("let x =\n", Span(8, 8))[1:] == [
        " --> cell [1], line 2, column 1",
        "  2 |",
        "    | ^",
    ]
    assert rendered("", Span(0, 0))[1:] == [" --> cell [1], line 1, column 1", "  1 |", "    | ^"]


def test_a_span_over_several_lines_marks_the_first_and_names_the_last() -> None:
    assert rendered(PROGRAM, Span(7, len(PROGRAM)))[2:] == [
        "  1 | object A : FinSet 3",
        "    |        ^^^^^^^^^^^^ to line 3",
    ]


def test_crlf_line_ends_are_not_shown() -> None:
    text = "object A\r\nlet x"
    assert rendered(text, place(text, "A"))[2:] == ["  1 | object A", "    |        ^"]


@pytest.mark.parametrize("at", [0, 10, 50, 500, 960, 999])
def test_a_long_line_is_cut_around_the_mark(at: int) -> None:
    text = "x" * at + "!" + "y" * (999 - at)
    quoted, carets = rendered(text, Span(at, at + 1))[2:]
    assert width(quoted) <= LINE_WIDTH + len("  1 | ……")
    assert quoted[carets.index("^")] == "!"
    assert quoted.endswith("…") == (at <= 500)
    assert quoted.startswith("  1 | …") == (at >= 50)


def test_a_line_of_a_million_characters_costs_no_more_than_what_is_shown() -> None:
    quoted, carets = rendered("\u0301" * 10**6 + "!", Span(10**6, 10**6 + 1))[2:]
    assert len(quoted) < 300
    assert "^" in carets


def test_a_bidirectional_override_is_spelled_out_so_that_the_line_reads_as_compiled() -> None:
    text = "let a\u202e = b c"
    quoted, carets = rendered(text, place(text, "c"))[2:]
    assert quoted == "  1 | let a⟨U+202E⟩ = b c"
    assert quoted[carets.index("^")] == "c"


def test_a_warning_is_named_as_one() -> None:
    assert rendered("x", Span(0, 1), severity=Severity.WARNING)[0] == "warning[Q0101]: message"


def test_ten_are_shown_and_the_rest_is_counted() -> None:
    source = SourceText("x")
    diagnostics = [Diagnostic("Q0101", f"number {i}", Span(0, 1)) for i in range(13)]
    text = render_text(diagnostics, source)
    assert text.count("error[Q0101]") == 10
    assert "number 9" in text
    assert "number 10" not in text
    assert text.endswith("\n… and 3 more")
    assert "more" not in render_text(diagnostics[:10], source)


def test_the_error_shows_its_diagnostics_sorted_and_without_python_frames() -> None:
    source = SourceText(PROGRAM)
    late = Diagnostic("Q0201", "late", place(PROGRAM, "g\n", 1))
    early = Diagnostic("Q0201", "early", place(PROGRAM, "A"))
    error = CompileError((late, early), source)
    assert error.diagnostics == (early, late)
    assert (error.line, error.column) == (1, 8)
    assert error._render_traceback_() == str(error).split("\n")
    assert str(error).startswith("error[Q0201]: early\n")


_line_chars = st.text(st.sampled_from("ab \t\r\n漢\u0301\u202e<&"), max_size=300)


@given(_line_chars, st.integers(0, 320), st.integers(0, 320), st.integers(0, 320))
def test_any_span_of_any_text_is_rendered_and_its_place_is_named(
    text: str, start: int, stop: int, other: int
) -> None:
    source = SourceText(text)
    label = Label(Span(other, other + 2), "there")
    diagnostic = Diagnostic("Q0101", "m", Span(start, max(start, stop)), labels=(label,))
    out = render_text([diagnostic], source)
    line, column = source.line_column(min(start, len(text)))
    assert out.splitlines() == out.split("\n")
    assert f"line {line}, column {column}" in out
    assert "^" in out
    assert "there" in out
    assert "<div" in render_html([diagnostic], source)
