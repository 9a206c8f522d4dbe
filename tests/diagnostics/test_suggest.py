"""The near name: at most one, near enough, transpositions cheap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.diagnostics.suggest import nearest

FAMILIES = ["Normal", "LogNormal", "HalfNormal", "Beta", "Gamma", "Bernoulli", "Poisson"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Norml", "Normal"),
        ("Noraml", "Normal"),  # two neighbours exchanged
        ("nrmal", "Normal"),
        ("HalfNrmal", "HalfNormal"),
        ("Bernouli", "Bernoulli"),
        ("Gama", "Gamma"),
        ("Zeta", "Beta"),
        ("Tree", None),
        ("x", None),
        ("", None),
    ],
)
def test_nearest_finds_what_was_meant_or_nothing(name: str, meant: str | None) -> None:
    assert nearest(name, FAMILIES) == meant


def test_a_transposition_costs_one() -> None:
    assert nearest("ab", ["ba"]) == "ba"  # distance 1; two substitutions would be too far
    assert nearest("ab", ["xy"]) is None


def test_ties_go_to_the_first_and_the_name_itself_is_no_suggestion() -> None:
    assert nearest("sigm", ["sigma", "sigmb"]) == "sigma"
    assert nearest("mu", ["mu"]) is None
    assert nearest("mu", []) is None


@given(st.text("abc", max_size=9), st.lists(st.text("abc", max_size=9), max_size=5))
def test_a_suggestion_is_a_candidate_within_a_third_of_the_length(
    name: str, candidates: list[str]
) -> None:
    found = nearest(name, candidates)
    if found is not None:
        assert found in candidates
        assert plain_distance(name, found) <= 2 * max(1, max(len(name), len(found)) // 3)


def plain_distance(a: str, b: str) -> int:
    """Levenshtein's distance by its definition; a transposition is at most two of its steps."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return plain_distance(a[1:], b[1:])
    return 1 + min(plain_distance(a[1:], b), plain_distance(a, b[1:]), plain_distance(a[1:], b[1:]))
