"""Forms: what a field accepts, what it says when it does not, and the code that comes out."""

import pytest
import torch

from quivers_nb import UserError, fit_nuts, fit_svi
from quivers_nb.session.recipe import recipe
from quivers_nb.session.settings import ESTIMATORS, GUIDES, SETTINGS, defaults, read
from tests.session.test_fits import DATA, X
from tests.session.test_run import ended
from tests.support.models import HandModel

SVI_SHORT = {"steps": "12", "seed": "3"}
NUTS_SHORT = {"chains": "2", "warmup": "20", "draws": "6", "seed": "3"}


@pytest.mark.parametrize("method", SETTINGS)
def test_a_fresh_form_is_right(method):
    assert read(method, {}, None).good


@pytest.mark.parametrize(
    ("method", "field", "text", "words"),
    [
        ("svi", "lr", "0", "Learning rate 0 must be above 0"),
        ("svi", "lr", "fast", "Learning rate 'fast' must be a number, above 0"),
        ("svi", "lr", "inf", "must be finite"),
        ("svi", "steps", "", "Steps is empty: it must be a whole number, at least 1"),
        ("svi", "steps", "1.5", "must be a whole number"),
        ("svi", "guide", "AutoNormalguide", "did you mean AutoNormalGuide?"),
        ("svi", "minibatch", "3", "the input of this model has no rows"),
        ("svi", "guide", "AmortizedNormalGuide", "reads the input"),
        ("svi", "estimator", "DoublyReparameterized", "ELBO takes"),
        ("svi", "estimator", "ScoreFunction", "take at least 2"),
        ("nuts", "target_accept", "1", "above 0 and below 1"),
        ("nuts", "max_tree_depth", "64", "at least 1 and at most 63"),
        ("nuts", "seed", "-1", "at least 0"),
        ("nuts", "seed", str(2**64), "at least 0 and below 2^64"),
        ("svi", "particles", str(2**31), "at least 1 and below 2^31"),
        ("nuts", "recenter", "perhaps", "Recentre effects 'perhaps' is not one of no, yes"),
    ],
)
def test_a_fault_is_named_with_what_would_be_right(method, field, text, words):
    reading = read(method, {field: text}, None)
    assert not reading.good
    assert words in "; ".join(reading.problems.values())


def test_a_form_takes_what_the_options_take():
    assert read("nuts", {"seed": str(2**64 - 1), "max_tree_depth": "63"}, None).good
    assert read("svi", {"seed": str(2**64 - 1), "particles": str(2**31 - 1)}, None).good


def test_a_minibatch_larger_than_the_data_is_refused():
    assert read("svi", {"minibatch": "8"}, 8).good
    assert "at most 8" in read("svi", {"minibatch": "9"}, 8).problems["minibatch"]


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean steps"):
        read("svi", {"step": "3"}, None)


def executed(made, **names):
    scope = {"model": HandModel(), "x": X, "data": DATA, **names}
    exec(made.code(("model", "x", "data")), scope)
    return ended(scope["run"]).result


def forms():
    yield from ({"guide": guide} for guide in GUIDES)
    for objective, estimators in ESTIMATORS.items():
        for estimator in estimators:
            yield {"objective": objective, "estimator": estimator, "particles": "3"}
    yield from ({"optimizer": name} for name in ("AdamW", "RMSprop", "SGD"))
    yield from ({"schedule": name} for name in ("cosine", "exponential"))
    yield {"minibatch": "3", "threads": "1", "lr": "0.003"}


@pytest.mark.parametrize("texts", list(forms()), ids=str)
def test_every_form_of_svi_runs_and_its_code_repeats_it_bit_for_bit(texts):
    reading = read("svi", {**SVI_SHORT, **texts}, len(X))
    assert reading.good
    made = recipe("svi", reading.values, 0, 1)
    one = ended(made.start(fit_svi, HandModel(), X, DATA)).result
    two = executed(made)
    assert torch.equal(one.losses, two.losses)
    assert all(torch.equal(one.params[name], two.params[name]) for name in one.params)


def test_what_the_form_says_is_what_the_fit_does():
    made = recipe("svi", read("svi", SVI_SHORT, None).values, 0, None)
    usual = ended(made.start(fit_svi, HandModel(), X, DATA)).result
    other = recipe("svi", read("svi", {**SVI_SHORT, "schedule": "cosine"}, None).values, 0, None)
    changed = ended(other.start(fit_svi, HandModel(), X, DATA)).result
    assert torch.equal(usual.losses[:1], changed.losses[:1])
    assert not torch.equal(usual.losses, changed.losses)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"mass_matrix": "dense"},
        {"tier": "eager", "target_accept": "0.9", "max_tree_depth": "4"},
    ],
    ids=str,
)
def test_every_form_of_nuts_runs_and_its_code_repeats_it_bit_for_bit(texts):
    made = recipe("nuts", read("nuts", {**NUTS_SHORT, **texts}, None).values, 0, None)
    one = ended(made.start(fit_nuts, HandModel(), X, DATA)).result
    two = executed(made)
    assert all(torch.equal(one.samples[name], two.samples[name]) for name in one.samples)


def test_a_drawn_seed_is_in_the_code():
    made = recipe("nuts", read("nuts", {"draws": "5"}, None).values, 77, None)
    assert "seed=77," in made.code(("m", "None", "d"))
    assert set(defaults("nuts")) == {setting.name for setting in SETTINGS["nuts"]}


@pytest.mark.parametrize("text", ["yes", "True"])
def test_a_yes_is_true_and_in_the_code(text):
    reading = read("nuts", {"recenter": text, "seed": "1"}, None)
    assert reading.values["recenter"] is True
    assert "recenter=True," in recipe("nuts", reading.values, 0, None).code(("m", "None", "d"))
    plain = recipe("nuts", read("nuts", {"seed": "1"}, None).values, 0, None)
    assert "recenter" not in plain.code(("m", "None", "d"))
