"""Each of fifty slips gets a diagnostic at the right line, in words that were read by somebody."""

import pytest

from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.dsl import CompileError, ParseError, loads
from tests.golden.mutations import GOLDEN, MUTATIONS, Mutation, render
from tests.support.seed import MODULE

each_mutation = pytest.mark.parametrize(
    "mutation", MUTATIONS, ids=[f"{i}-{m.kind}-line-{m.at}" for i, m in enumerate(MUTATIONS, 1)]
)


def refused(mutation: Mutation) -> LanguageError:
    with pytest.raises((ParseError, CompileError)) as caught:
        loads(mutation.source())
    return caught.value


def test_there_are_fifty_and_each_is_a_program_of_its_own() -> None:
    assert len(MUTATIONS) == 50
    assert len({mutation.source() for mutation in MUTATIONS}) == 50
    assert {mutation.kind for mutation in MUTATIONS} == {
        "deleted", "doubled", "misspelled", "moved"
    }  # fmt: skip
    loads(MODULE.read_text(encoding="utf-8"))


@each_mutation
def test_the_first_diagnostic_stands_at_the_line_of_the_slip(mutation: Mutation) -> None:
    assert refused(mutation).line == mutation.line


@each_mutation
def test_its_message_speaks_of_what_was_changed(mutation: Mutation) -> None:
    first = refused(mutation).diagnostics[0]
    said = f"{first.message} {first.hint or ''}"
    for word in mutation.words:
        assert any(choice in said for choice in word.split("|")), (word, said)


@each_mutation
def test_one_slip_gives_few_diagnostics(mutation: Mutation) -> None:
    found = refused(mutation).diagnostics
    assert len({d.span for d in found}) == len(found), "one place is reported once"
    assert len(found) <= 3, [d.message for d in found]


@each_mutation
def test_every_position_lies_in_the_text_and_the_report_shows_it(mutation: Mutation) -> None:
    error, source = refused(mutation), mutation.source()
    for diagnostic in error.diagnostics:
        assert 0 <= diagnostic.span.start <= diagnostic.span.stop <= len(source)
    shown = str(error)
    assert source.splitlines()[error.line - 1].strip() in shown
    assert "^" in shown


def test_the_words_are_those_of_the_golden_file() -> None:
    hint = "read what changed, then write it again: python -m tests.golden.mutations"
    assert render() == GOLDEN.read_text(encoding="utf-8"), hint
