"""Every word of the language is explained, by an example that can be parsed."""

import pytest

from quivers_nb.check.measures import SHAPES
from quivers_nb.check.morphisms import COMMON, ROLE_OPTIONS, ROLES
from quivers_nb.check.term import SourceKind
from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.session.complete import COMBINATORS
from quivers_nb.session.words import WORDS
from quivers_nb.syntax.layout import DECLARATIONS, STEPS
from quivers_nb.syntax.machine import SPACES, table
from quivers_nb.syntax.parser import parse

OPTIONS = {key for options in (COMMON, *ROLE_OPTIONS.values()) for key in options}
KNOWN = {
    *DECLARATIONS, *STEPS, *SPACES, *table().keywords, *SHAPES, *ROLES, *OPTIONS, *COMBINATORS,
    *(kind.value for kind in SourceKind),
}  # fmt: skip
PLACES = (
    "{}\n",
    "program p : A -> B\n    {step}\n    return b\n",
    "let h = {}\n",
    "object O : {}\n",
    "morphism f : A -> B [{}]\n",
    "program p : A -> B\n    sample v <- {}\n    return v\n",
    "program p : A -> B\n    {step}\n",
)


def parsed(example):
    for place in PLACES:
        try:
            parse(place.format(example, step=example.replace("\n", "\n    ")))
        except LanguageError:
            continue
        return True
    return False


def test_every_word_that_the_language_knows_is_explained() -> None:
    assert KNOWN - {*WORDS} == set()


@pytest.mark.parametrize("word", WORDS)
def test_an_explanation_has_a_sentence_and_an_example_with_the_word(word) -> None:
    sentence, example = WORDS[word]
    assert len(sentence.split()) >= 3
    assert word in example
    assert parsed(example)


def test_what_is_no_example_is_not_parsed() -> None:
    assert not parsed("sample level : Site < Normal(0.0")
