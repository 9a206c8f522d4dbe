"""No text makes the parser raise anything but `ParseError`, and its places lie in the text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.syntax.layout import PAIRS
from quivers_nb.syntax.parser import parse
from quivers_nb.syntax.printer import print_module
from quivers_nb.syntax.scanner import scan
from quivers_nb.syntax.tokens import tokens
from tests.syntax.samples import SAMPLES

WORDS = sorted(
    {token.text for text in SAMPLES.values() for token in scan(text)} | PAIRS.keys() | set("@$\0é'")
)
PIECES = {name: [token.text for token in scan(text)] for name, text in SAMPLES.items()}


def survives(text: str) -> None:
    """Parse: a tree that prints and parses again, or diagnostics with places and hints."""
    colours = [piece.text for piece in tokens(text)]
    raw = [token.text for token in scan(text) if token.kind not in ("blank", "newline")]
    assert colours == raw
    for diagnostic in diagnostics(text):
        assert 0 <= diagnostic.span.start < diagnostic.span.stop <= len(text)
        assert diagnostic.message
        assert diagnostic.hint


def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """What parsing finds; if nothing, the tree prints and parses again."""
    try:
        module = parse(text)
    except ParseError as error:
        return error.diagnostics
    assert parse(print_module(module)) == module
    return ()


@given(st.text())
@settings(max_examples=100)
def test_any_text(text: str) -> None:
    survives(text)


@given(st.lists(st.sampled_from(WORDS), max_size=40))
@settings(max_examples=100)
def test_any_words_of_the_language(words: list[str]) -> None:
    survives(" ".join(words))


@given(st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(max_examples=50)
def test_any_bytes(text: str) -> None:
    survives(text)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("kind", ["delete", "double", "swap", "replace", "insert", "cut"])
def test_mutated_programs(name: str, kind: str) -> None:
    """Ten mutations of one to three tokens, drawn by a generator of their own."""
    draw = random.Random(f"{name} {kind}")
    for _ in range(10):
        pieces = list(PIECES[name])
        for _ in range(draw.randint(1, 3)):
            mutate(pieces, kind, draw)
        survives("".join(pieces))


def mutate(pieces: list[str], kind: str, draw: random.Random) -> None:
    """Change ``pieces`` in place, at a random place."""
    at = draw.randrange(len(pieces))
    other = draw.randrange(len(pieces))
    match kind:
        case "delete":
            pieces[at] = ""
        case "double":
            pieces[at] *= 2
        case "swap":
            pieces[at], pieces[other] = pieces[other], pieces[at]
        case "replace":
            pieces[at] = draw.choice(WORDS)
        case "insert":
            pieces.insert(at, draw.choice(WORDS))
        case _:
            del pieces[at + 1 :]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_beginning_of_a_program(name: str) -> None:
    """What a person sees while typing: the text up to a token, some fifty of them."""
    for at in range(0, len(PIECES[name]), len(PIECES[name]) // 50 + 1):
        survives("".join(PIECES[name][:at]))
