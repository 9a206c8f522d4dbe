"""Which names a cell may bind: nothing of the user's is overwritten, and every refusal says why."""

import keyword

from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.session.namespace import Refusal, bind


def test_new_names_are_bound_in_order() -> None:
    binding = bind({"b": 1, "a": 2}, {}, {})
    assert list(binding.names.items()) == [("b", 1), ("a", 2)]
    assert binding.refused == ()


def test_a_name_of_ours_may_be_replaced() -> None:
    old = object()
    assert bind({"m": 2}, {"m": old}, {"m": old}).names == {"m": 2}


def test_a_variable_of_the_users_is_refused_even_when_it_replaced_one_of_ours() -> None:
    for ours in ({}, {"m": object()}):
        binding = bind({"m": 2}, {"m": 7}, ours)
        assert binding.names == {}
        assert binding.refused == (Refusal("m", "is a variable of yours"),)


def test_an_equal_value_in_our_place_is_still_the_users() -> None:
    ours, theirs = [1], [1]
    assert bind({"m": 2}, {"m": theirs}, {"m": ours}).names == {}


def test_a_name_that_the_user_deleted_is_free_again() -> None:
    assert bind({"m": 2}, {}, {"m": object()}).names == {"m": 2}


def test_keywords_builtins_and_expressions_are_refused_with_their_reason() -> None:
    names = {"lambda": 1, "sum": 2, "f >> g": 3, "fine": 4}
    binding = bind(names, {}, {})
    assert binding.names == {"fine": 4}
    assert [(r.name, r.reason) for r in binding.refused] == [
        ("lambda", "is a keyword of Python"),
        ("sum", "is a builtin of Python"),
        ("f >> g", "is not a Python name"),
    ]


names = st.one_of(st.sampled_from(["a", "b", "sum", "if", "1x", "é"]), st.text(max_size=3))


@given(st.dictionaries(names, st.integers()), st.dictionaries(names, st.integers()))
def test_every_name_is_either_bound_or_refused_and_never_overwrites(
    offered: dict[str, int], present: dict[str, int]
) -> None:
    binding = bind(offered, present, {})
    refused = {refusal.name for refusal in binding.refused}
    assert refused | set(binding.names) == set(offered)
    assert not refused & set(binding.names)
    assert not set(binding.names) & set(present)
    assert all(name.isidentifier() and not keyword.iskeyword(name) for name in binding.names)
