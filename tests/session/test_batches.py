"""Minibatches: every row once per epoch, in an order that depends on the seed alone."""

import pytest
import torch

from quivers_nb import UserError, fit_svi
from quivers_nb.session.batches import batches
from tests.session.test_fits import DATA, X
from tests.session.test_run import ended
from tests.support.models import HandModel


def test_an_epoch_has_every_row_once_and_its_own_data():
    some = batches(HandModel(), X, DATA, 2, seed=5)
    seen = []
    for step in range(4):
        x, data = some.at(step)
        rows = [int((X[:, 0] == value).nonzero()) for value in x[:, 0]]
        assert torch.equal(data["y"], DATA["y"][rows])
        seen += rows
    assert sorted(seen) == list(range(8))
    assert not torch.equal(some.at(0)[0], some.at(4)[0])  # another order in the next epoch
    assert torch.equal(some.at(3)[0], batches(HandModel(), X, DATA, 2, seed=5).at(3)[0])


def test_data_that_are_not_of_rows_are_passed_on_whole():
    data = {**DATA, "other": torch.arange(8)}
    assert len(batches(HandModel(), X, data, 2, 5).at(0)[1]["other"]) == 8


def test_a_fit_by_minibatches_tends_to_that_of_all_rows():
    whole = ended(fit_svi(HandModel(), X, DATA, steps=600, lr=0.03, seed=1)).result
    some = ended(fit_svi(HandModel(), X, DATA, steps=600, lr=0.03, seed=1, minibatch=4)).result
    assert some.tier == "native", some.tier_reason
    one, two = (float(r.losses[-200:].mean()) for r in (whole, some))
    # A loss that forgot to weigh its rows would be off by a factor of two in its row terms.
    assert abs(one - two) < 0.25 * abs(float(whole.losses[:20].mean()) - one)
    assert set(some.params) == set(whole.params)


@pytest.mark.parametrize(("size", "words"), [(0, "at least 1"), (9, "between 1 and 8")])
def test_a_size_that_does_not_fit_is_refused(size, words):
    with pytest.raises(UserError, match=words):
        fit_svi(HandModel(), X, DATA, minibatch=size)


def test_a_model_without_rows_has_no_batches():
    with pytest.raises(UserError, match="leave minibatch out"):
        batches(HandModel(), None, DATA, 2, 5)
