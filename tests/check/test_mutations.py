"""Whatever is done to a program, only our own errors come out, and they point into the text."""

import json
import random
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.check import check_source
from quivers_nb.check.verify import verify
from quivers_nb.diagnostics.errors import LanguageError

TESTS = Path(__file__).parents[1]
TOKEN = re.compile(r"[A-Za-z_]\w*|\d+\.\d+|\d+|>>|<-|->|[^\w\s]|\n|[ ]+")
BLOCK = re.compile(r"^```qvr(?: prelude)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def programs() -> list[str]:
    """The seed, the reference posteriors, and every block of the case files."""
    found = [(TESTS / "data" / "seed" / "seq2seq.qvr").read_text()]
    posteriors = sorted((TESTS / "data" / "posteriordb").glob("*.json"))
    found.extend(
        json.loads(file.read_text())["program"] for file in posteriors if "gp_" not in file.name
    )
    for file in sorted((TESTS / "cases").glob("*.md")):
        blocks = [re.sub(r"  # [^\n]*", "", block) for block in BLOCK.findall(file.read_text())]
        found.extend(blocks[:1] + [blocks[0] + block for block in blocks[1:]] if blocks else [])
    return found


PROGRAMS = programs()
WORDS = sorted({token for text in PROGRAMS for token in TOKEN.findall(text) if token.strip()})


def mutated(text: str, seed: int) -> str:
    """One to three tokens deleted, doubled, exchanged, moved or replaced by another word."""
    rng = random.Random(seed)
    tokens = TOKEN.findall(text)
    for _ in range(rng.randint(1, 3)):
        i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.randrange(5):
            case 0:
                tokens[i] = ""
            case 1:
                tokens[i] *= 2
            case 2:
                tokens[i], tokens[j] = tokens[j], tokens[i]
            case 3:
                tokens.insert(j, tokens[i])
            case _:
                tokens[i] = rng.choice(WORDS)
    return "".join(tokens)


def refusal(text: str) -> LanguageError | None:
    """What checking a text raises; what it accepts obeys the laws."""
    try:
        verify(check_source(text))
    except LanguageError as error:
        return error
    return None


@given(st.sampled_from(PROGRAMS), st.integers(0, 2**32))
def test_a_mutated_program_is_accepted_or_refused_by_a_diagnostic(text: str, seed: int) -> None:
    changed = mutated(text, seed)
    error = refusal(changed)
    if error is None:
        return
    for found in error.diagnostics:
        assert 0 <= found.span.start <= found.span.stop <= len(changed)
        assert found.message
        assert not found.message.endswith(".")
        for label in found.labels:
            assert 0 <= label.span.start <= label.span.stop <= len(changed)


STARTS = ["", "object X : ", "let h = ", "morphism f : "]


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.sampled_from(STARTS))
def test_words_in_any_order_are_accepted_or_refused(words: list[str], start: str) -> None:
    refusal(start + " ".join(words) + "\n")


def test_the_programs_that_are_mutated_are_many() -> None:
    assert len(PROGRAMS) > 80
