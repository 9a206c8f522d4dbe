"""Every number and word that a public name takes has its limits, and is refused outside of them."""

from collections.abc import Callable
from inspect import signature
from math import inf, nan

import pytest

from quivers_nb import inference
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.options import OptionOutOfRange, WrongOption, _Takes
from quivers_nb.inference.ranges import (
    ANY,
    COUNTED,
    POSITIVE,
    SEEDS,
    SHARE,
    TREE_DEPTH,
    WHOLE,
    Range,
    Words,
)
from quivers_nb.session import fits, rules, schedules

TARGETS = {name: getattr(inference, name) for name in inference.__all__} | {
    each.__name__: each
    for each in (
        fits.fit_nuts, fits.fit_svi, inference.SVI.run, inference.MCMC.run,
        inference.MCMC.run_target, inference.SMC.run, inference.MCMCResult.summary,
        rules.RHatBelow, rules.EssAbove, rules.ElboPlateau, rules.TimeBudget,
        schedules.Cosine, schedules.Exponential,
    )
}  # fmt: skip
# What a run returns is made by us; what is estimated from draws has no limits.
RESULTS = {"Calibration", "ClassProbabilities", "MCMCResult", "SMCResult", "SVIResult", "RunFailed"}


def numbers_of(target: Callable) -> dict[str, dict]:
    """The options of numbers and texts, with the limits of each kind."""
    found = {}
    for option in signature(target).parameters.values():
        takes = _Takes.of(option.annotation)
        kinds = (
            {}
            if takes is None
            else {k: v for k, v in takes.limits.items() if k in (int, float, str)}
        )
        if kinds:
            found[option.name] = kinds
    return found


LIMITED = [
    (name, option, limits)
    for name, target in TARGETS.items()
    if callable(target) and name not in RESULTS
    for option, kinds in numbers_of(target).items()
    for limits in kinds.values()
    if limits is not None
]


def outside(limits: Range | Words) -> list:
    if isinstance(limits, Words):
        return ["random", limits.words[0].upper(), ""]
    beyond = [
        None if limits.low is None else limits.low - 1,
        limits.above,
        limits.below,
        None if limits.high is None else limits.high + 1,
        2**64 if limits.below is not None and limits.below < inf else None,
    ]
    return [each for each in beyond if each is not None]


@pytest.mark.parametrize(("name", "option", "limits"), LIMITED)
def test_what_is_outside_is_refused_by_the_name_of_the_option_and_before_anything_runs(
    name, option, limits
):
    for value in outside(limits):
        with pytest.raises(OptionOutOfRange, match=rf"^`{option}` of `\w+` is ") as caught:
            TARGETS[name](**{option: value})
        assert str(limits) in str(caught.value)
        assert "Q0804" in str(caught.value)
        assert isinstance(caught.value, UserError)
    if isinstance(limits, Range):
        with pytest.raises((OptionOutOfRange, WrongOption), match=rf"^`{option}` of `\w+` is nan"):
            TARGETS[name](**{option: nan})
        for value in ("x", True, [1]):
            with pytest.raises(WrongOption, match=rf"^`{option}` of `\w+` is "):
                TARGETS[name](**{option: value})


def test_no_public_name_takes_a_number_without_limits():
    """A new option is tested by being annotated; these are looked at elsewhere."""
    free = {
        (name, option)
        for name, target in TARGETS.items()
        if callable(target) and name not in RESULTS
        for option, kinds in numbers_of(target).items()
        for kind, limits in kinds.items()
        if limits is None and (kind is not str)
    }
    assert free == {("bayesian_lift_parameters", "prior_scale"), ("flat", "row_weight")}
    assert len(LIMITED) > 80


def test_limits_hold_what_they_say():
    for limits, inside, out in (
        (COUNTED, (1, 7, 2**63 - 1), (0, -1, nan, 2**63)),
        (WHOLE, (0, 1), (-1, nan)),
        (SEEDS, (0, 2**63, 2**64 - 1), (-1, 2**64, nan)),
        (TREE_DEPTH, (1, 21, 63), (0, 64, nan)),
        (POSITIVE, (1e-300, 3), (0, -1.0, inf, nan)),
        (SHARE, (0.5,), (0.0, 1.0, nan)),
        (ANY, (-inf, 0.0, inf), (nan,)),
        (Words(("a", "b")), ("a",), ("c", "", 3)),
    ):
        assert all(limits.holds(value) for value in inside)
        assert not any(limits.holds(value) for value in out)
    assert str(COUNTED) == "at least 1 and below 2^63"
    assert repr(COUNTED) == "at least 1"
    assert str(SEEDS) == "at least 0 and below 2^64"
    assert repr(SEEDS) == "at least 0"
    assert str(POSITIVE) == "above 0 and finite"
    assert str(Range(above=-inf, below=inf)) == "finite"
    assert str(ANY) == "any number"
    assert repr(Words(("a", "b"))) == "one of 'a', 'b'"


def test_the_message_has_the_value_what_is_wanted_and_why():
    for options, said in (
        ({"warmup": -1}, "is -1: it must be at least 0 and below 2^63, such as 1000"),
        (
            {"init": "unifrm"},
            "is 'unifrm': one of 'uniform', 'prior', 'value', 'pathfinder' is wanted; did you mean "
            "'uniform'?",
        ),
        (
            {"max_tree_depth": 64},
            "is 64: a trajectory has up to 2^depth - 1 leapfrogs, counted in 64 bits, so it must "
            "be at least 1 and at most 63, such as 10",
        ),
        (
            {"seed": 2**64},
            f"is {2**64}: a seed has 64 bits and no sign, so it must be at least 0 and below 2^64",
        ),
        ({"checkpoint_every": -1}, "is -1: it must be at least 0, such as 10.0"),
    ):
        with pytest.raises(OptionOutOfRange) as caught:
            fits.fit_nuts(None, **options)
        (option,) = options
        assert str(caught.value) == f"`{option}` of `fit_nuts` {said} (Q0804)"
