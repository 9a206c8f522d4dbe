"""Checkpoints: a killed run that is gone on with is an uninterrupted one; faults of files.

The kill is real: another process is killed with signal 9 while it fits, at a random moment.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from quivers_nb import UserError, fit_nuts, fit_svi
from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, RunningMean, ScoreFunction
from quivers_nb.session import checkpoint as module
from quivers_nb.session.run import State
from quivers_nb.session.schedules import Cosine
from tests.session.test_fits import DATA, X
from tests.session.test_run import LONG, ended
from tests.support.models import HandModel

ROOT = Path(__file__).parents[2]
NUTS = {
    "native": {"chains": 2, "warmup": 400, "draws": 12_000, "seed": 5, "tier": "native"},
    "traced": {"chains": 2, "warmup": 120, "draws": 80, "seed": 5, "tier": "traced"},
}
KILLED = """
import sys, torch
from quivers_nb import {fit}
from tests.session.test_checkpoint import HandModel, X, DATA, NUTS, SVI_LONG
print("begun", flush=True)
{fit}(HandModel(True), X, DATA, checkpoint=sys.argv[1], checkpoint_every=0.02, block=True,
      **{options})
open(sys.argv[1] + ".over", "x")
"""
SVI_LONG = {"steps": 2000, "seed": 3, "lr": 0.02, "scheduler": Cosine(2000)}


def same(one, two):
    assert list(one) == list(two)
    return all(torch.equal(one[name], two[name]) for name in one)


def killed(path, fit, options, after):
    """Fit in another process and kill it so many seconds after its first checkpoint.

    A fit that was over by then proves nothing: it is done again, and killed sooner.
    """
    over = path.with_name(path.name + ".over")
    while True:
        _kill(path, fit, options, after)
        if not over.exists():
            return
        over.unlink()
        path.unlink()
        after /= 2
        assert after > 1e-3


def _kill(path, fit, options, after):
    code = KILLED.format(fit=fit, options=options)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n", process.communicate()[1]
    end = time.monotonic() + LONG
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.005)
    assert path.exists()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)


@pytest.fixture(scope="module")
def nuts_alone():
    return {
        tier: ended(fit_nuts(HandModel(True), X, DATA, **options)).result
        for tier, options in NUTS.items()
    }


@pytest.fixture(scope="module")
def svi_alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "fit.qvr"
    return ended(fit_svi(HandModel(True), X, DATA, checkpoint=path, **SVI_LONG)).result


def check_nuts(tmp_path, alone, tier, after):
    path = tmp_path / "run.qvr"
    killed(path, "fit_nuts", f"NUTS[{tier!r}]", after)
    run = ended(fit_nuts(HandModel(True), X, DATA, checkpoint=path, **NUTS[tier]))
    assert same(run.result.samples, alone[tier].samples)
    assert same(run.result.stats, alone[tier].stats)
    assert same(run.partial, alone[tier].samples)
    assert run.result.tier == tier


def check_svi(tmp_path, alone, after):
    path = tmp_path / "fit.qvr"
    killed(path, "fit_svi", "SVI_LONG", after)
    run = ended(fit_svi(HandModel(True), X, DATA, checkpoint=path, **SVI_LONG))
    assert torch.equal(run.result.losses, alone.losses)
    assert same(run.result.params, alone.params)


def test_chains_that_were_killed_go_on_bit_for_bit(tmp_path, nuts_alone):
    check_nuts(tmp_path, nuts_alone, "traced", random.Random(1).uniform(0.0, 2.0))


def test_a_fit_that_was_killed_goes_on_bit_for_bit(tmp_path, svi_alone):
    check_svi(tmp_path, svi_alone, random.Random(2).uniform(0.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_kills_at_random_moments(tmp_path, nuts_alone, svi_alone, seed):
    draw = random.Random(100 + seed)
    if seed % 3 == 2:
        check_svi(tmp_path, svi_alone, draw.uniform(0.0, 2.0))
    else:
        tier = ("native", "traced")[seed % 3]
        check_nuts(tmp_path, nuts_alone, tier, draw.uniform(0.0, 1.0))


# --- without a kill: stopped anywhere, in every way to run


@pytest.mark.parametrize("mass_matrix", ["diagonal", "dense", "low_rank", "identity"])
@pytest.mark.parametrize("tier", ["native", "traced"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, tier, mass_matrix):
    options = {"chains": 2, "warmup": 30, "draws": 12, "seed": 7, "tier": tier}
    options["mass_matrix"] = mass_matrix
    alone = ended(fit_nuts(HandModel(True), X, DATA, **options)).result
    path = tmp_path / "run.qvr"
    for stop in (1, 20, 36):
        run = fit_nuts(HandModel(True), X, DATA, checkpoint=path, until=_After(stop), **options)
        ended(run)
        assert path.exists()
    run = ended(fit_nuts(HandModel(True), X, DATA, checkpoint=path, **options))
    assert same(run.result.samples, alone.samples)
    assert same(run.result.stats, alone.stats)
    assert run.progress.iteration == 42


class _After:
    """A stop rule: so many iterations."""

    every = 1

    def __init__(self, count):
        self.count = count

    def met(self, progress):
        return "enough" if progress.iteration >= self.count else None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"minibatch": 3},
        {"optimizer": torch.optim.AdamW},
        {"scheduler": Cosine(60)},
        {"objective": ELBO(num_particles=2)},
    ],
    ids=str,
)
def test_a_stopped_fit_goes_on_bit_for_bit(tmp_path, options):
    options = {"steps": 60, "seed": 3, "lr": 0.02, **options}
    alone = ended(fit_svi(HandModel(True), X, DATA, **options)).result
    path = tmp_path / "fit.qvr"
    for stop in (1, 7, 40):
        ended(fit_svi(HandModel(True), X, DATA, checkpoint=path, until=_After(stop), **options))
    run = ended(fit_svi(HandModel(True), X, DATA, checkpoint=path, **options))
    assert torch.equal(run.result.losses, alone.losses)
    assert same(run.result.params, alone.params)


@pytest.mark.parametrize("options", [{"minibatch": 3}, {"scheduler": Cosine(60)}], ids=str)
def test_a_fit_with_a_checkpoint_compiles_no_single_step(tmp_path, monkeypatch, options):
    compiled = []

    def native_step(traced, *_):
        compiled.append(traced)
        return traced, "not now"

    for user in ("svi", "streamed"):
        monkeypatch.setattr(f"quivers_nb.inference.vi.{user}.native_step", native_step)
    monkeypatch.setattr("quivers_nb.inference.vi.svi.COMPILE_AT", 20)
    options = {"steps": 60, "seed": 3, **options}
    ended(fit_svi(HandModel(True), X, DATA, checkpoint=tmp_path / "fit.qvr", **options))
    assert not compiled
    ended(fit_svi(HandModel(True), X, DATA, **options))
    assert len(compiled) == 1


def test_a_finished_run_is_read_and_may_have_more_steps(tmp_path):
    path = tmp_path / "fit.qvr"
    first = ended(fit_svi(HandModel(), X, DATA, steps=30, checkpoint=path)).result
    again = ended(fit_svi(HandModel(), X, DATA, steps=30, checkpoint=path)).result
    assert torch.equal(first.losses, again.losses)
    assert not again.interrupted
    more = ended(fit_svi(HandModel(), X, DATA, steps=50, checkpoint=path)).result
    assert torch.equal(more.losses[:30], first.losses)
    assert more.num_steps == 50


# --- faults


def test_a_full_disk_is_noted_and_costs_neither_the_run_nor_the_last_checkpoint(
    tmp_path, monkeypatch
):
    path = tmp_path / "fit.qvr"
    ended(fit_svi(HandModel(), X, DATA, steps=20, seed=1, checkpoint=path))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    run = ended(fit_svi(HandModel(), X, DATA, steps=40, seed=1, checkpoint=path))
    assert run.state is State.DONE
    assert run.result.num_steps == 40
    assert any("No space left on device" in event.note for event in run.events)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", ["cut", "text", "foreign", "altered"])
def test_a_damaged_or_foreign_file_is_refused_and_left_alone(tmp_path, fault):
    path = tmp_path / "fit.qvr"
    ended(fit_svi(HandModel(), X, DATA, steps=20, seed=1, checkpoint=path))
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif fault == "text":
        path.write_text("not a checkpoint")
    elif fault == "foreign":
        save_file({"a": torch.ones(2)}, path)
    else:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        save_file({**load_file(path), "losses": torch.zeros(20).double()}, path, metadata)
    before = path.read_bytes()
    run = fit_svi(HandModel(), X, DATA, steps=40, seed=1, checkpoint=path)
    assert run.wait(LONG)
    assert run.state is State.FAILED
    with pytest.raises(UserError, match="damaged or no checkpoint") as caught:
        run.result  # noqa: B018
    assert "left as it is" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "word"),
    [({"lr": 0.5}, "lr: saved 0.01, here 0.5"), ({"seed": 2}, "seed: saved 1, here 2")],
)
def test_the_file_of_another_run_is_refused_by_naming_what_differs(tmp_path, change, word):
    path = tmp_path / "fit.qvr"
    options = {"steps": 20, "seed": 1, "checkpoint": path}
    ended(fit_svi(HandModel(), X, DATA, **options))
    run = fit_svi(HandModel(), X, DATA, **{**options, **change})
    assert run.wait(LONG)
    with pytest.raises(UserError, match="of another run") as caught:
        run.result  # noqa: B018
    assert word in str(caught.value)


def test_other_data_are_seen(tmp_path):
    path = tmp_path / "run.qvr"
    options = {"chains": 1, "warmup": 20, "draws": 5, "seed": 1, "checkpoint": path}
    ended(fit_nuts(HandModel(), X, DATA, **options))
    run = fit_nuts(HandModel(), X, {"y": DATA["y"] + 1}, **options)
    assert run.wait(LONG)
    with pytest.raises(UserError, match="data: saved"):
        run.result  # noqa: B018


def test_what_a_checkpoint_cannot_hold_is_refused_at_once(tmp_path):
    objective = ELBO(num_particles=2, estimator=ScoreFunction(RunningMean()))
    with pytest.raises(UserError, match="remembers earlier steps"):
        fit_svi(HandModel(), X, DATA, objective=objective, checkpoint=tmp_path / "a.qvr")


def test_a_folder_that_is_not_there_is_said_before_the_run(tmp_path):
    with pytest.raises(UserError, match=r"nowhere' does not exist\. Make it"):
        fit_nuts(HandModel(), X, DATA, seed=1, checkpoint=tmp_path / "nowhere" / "fit.qvr")


def test_a_run_does_not_go_on_with_another_table(tmp_path):
    source = """object X : FinSet 2
morphism w : X -> X [role=observed] ~ from_data("w")
program p(i) : X -> X
    sample m : 1 <- Normal(0.0, 1.0)
    sample a <- w(i)
    let t = m + a
    observe y <- Normal(t, 1.0)
    return m
export p
"""
    rows, path = torch.tensor([0, 1]), tmp_path / "run"
    options = {"warmup": 5, "chains": 1, "seed": 1, "block": True}
    for _ in range(2):  # the second goes on from the first
        model = loads(source, {"w": [[0.5, 0.5], [0.5, 0.5]]}).morphism
        fit_nuts(model, rows, {"y": [0.3, 0.1]}, draws=6, checkpoint=path, **options)
    other = loads(source, {"w": [[0.4, 0.6], [0.5, 0.5]]}).morphism
    with pytest.raises(UserError, match=r"checkpoint of another run .tables: saved {'w'"):
        fit_nuts(other, rows, {"y": [0.3, 0.1]}, draws=6, checkpoint=path, **options)
