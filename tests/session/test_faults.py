"""Faults as they really happen: a full disk, a killed worker, a model that raises."""

import os
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import pytest
import torch

from quivers_nb import UserError, fit_nuts, fit_svi
from quivers_nb.inference import ELBO
from quivers_nb.inference.executors import spread
from quivers_nb.session.run import State
from tests.session.test_fits import DATA, X
from tests.session.test_run import ended
from tests.support.models import HandModel


@contextmanager
def small_disk(size):
    """Files may grow to so many bytes; a longer write fails in the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_disk_that_is_full_costs_neither_the_run_nor_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.qvr"
    options = {"chains": 2, "warmup": 30, "seed": 1, "tier": "traced", "checkpoint": path}
    ended(fit_nuts(HandModel(True), X, DATA, draws=20, **options))
    before = path.read_bytes()
    with small_disk(len(before) // 2):
        again = fit_nuts(HandModel(True), X, DATA, draws=20, **options)
        run = fit_svi(
            HandModel(), X, DATA, steps=40, seed=1, checkpoint=tmp_path / "fit.qvr",
            checkpoint_every=0.0,
        )  # fmt: skip
        ended(again)
        ended(run)
    for each in (again, run):
        assert each.state is State.DONE
        notes = [event.note for event in each.events if "could not be written" in event.note]
        assert notes
        assert "what was there before is unchanged" in notes[0]
    assert run.result.num_steps == 40
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["run.qvr"]  # no half file is left


@dataclass(frozen=True)
class Counts(ELBO):
    """An objective that is evaluated step by step."""

    @property
    def eager_reason(self):
        return "it counts its steps"


class Raises(Counts):
    """It fails at its 701st step; a traced loop would not call it so often."""

    def loss(self, *arguments, **options):
        steps.append(None)
        if len(steps) == 701:
            raise ZeroDivisionError("the model divided by nothing")
        return super().loss(*arguments, **options)


steps = []


def test_an_exception_at_step_700_says_so_and_keeps_what_was_fitted():
    steps.clear()
    model, same = HandModel(), HandModel()
    run = ended(fit_svi(model, X, DATA, objective=Raises(), steps=2000, seed=3))
    assert run.state is State.FAILED
    assert run.reason == "ZeroDivisionError: the model divided by nothing"
    assert len(run.partial) == 700
    with pytest.raises(ZeroDivisionError) as caught:
        run.result  # noqa: B018
    assert caught.value.__notes__ == ["in run SVI, after 700 iterations"]
    good = ended(fit_svi(same, X, DATA, objective=Counts(), steps=700, seed=3))
    assert torch.equal(run.partial, good.partial)
    weights = [{key: value.detach() for key, value in m.storage().items()} for m in (model, same)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


def test_a_worker_process_that_dies_is_named_with_a_way_out():
    died = pytest.raises(UserError, match="a worker of the ProcessPoolExecutor died")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, died as caught:
        spread(pool, os._exit, [(9,), (9,)])  # as one does that is killed for its memory
    assert "Make a new executor" in str(caught.value)
