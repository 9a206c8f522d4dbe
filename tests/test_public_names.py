"""The public names of `quivers_nb`: lazy, complete, and honest about what is there."""

import pytest

import quivers_nb


def test_every_listed_name_can_be_had() -> None:
    missing = [name for name in dir(quivers_nb) if not hasattr(quivers_nb, name)]
    assert missing == []


def test_the_public_names_are_these() -> None:
    assert sorted({*quivers_nb._HOME, *quivers_nb._SUBMODULES}) == [
        "AutoNormalGuide",
        "CompileError",
        "ELBO",
        "LanguageError",
        "MCMC",
        "NUTSKernel",
        "ParseError",
        "Predictive",
        "Run",
        "SVI",
        "Session",
        "UserError",
        "bayesian_lift_parameters",
        "compat",
        "condition",
        "diagram",
        "dsl",
        "figures",
        "fit_nuts",
        "fit_svi",
        "inference",
        "live_diagram",
        "load",
        "loads",
        "panel",
        "parse",
    ]


def test_a_star_imports_all_of_them() -> None:
    found: dict[str, object] = {}
    exec("from quivers_nb import *", found)
    assert set(found) - {"__builtins__"} == {*quivers_nb._HOME, *quivers_nb._SUBMODULES}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        quivers_nb.nonsense  # noqa: B018
