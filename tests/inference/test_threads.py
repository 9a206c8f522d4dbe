"""Inference leaves the notebook free, and the settings as they were."""

import os
import sys
import threading

import pytest
import torch

from quivers_nb.inference import ELBO, MCMC, SVI, AutoNormalGuide, NUTSKernel, threads
from tests.support.models import HandModel
from tests.support.targets import eight_schools

X, OBS = torch.zeros(3, 1), {"y": torch.zeros(3)}


@pytest.fixture(autouse=True)
def five_threads_on_three_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 3)
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield
    torch.set_num_threads(before)


def test_torch_gets_the_spare_cores_only_while_it_runs():
    with threads.spare_core():
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 5
    with pytest.raises(RuntimeError, match="inside"), threads.spare_core():
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 5


def test_fewer_threads_than_that_stay_fewer():
    torch.set_num_threads(1)
    with threads.spare_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 1


def test_chains_and_steps_run_so():
    seen = []
    model = HandModel()
    densities = model.densities
    model.densities = lambda *given: seen.append(torch.get_num_threads()) or densities(*given)
    MCMC(NUTSKernel(), 2, 2, num_chains=1, seed=0, tier="eager").run(model, X, OBS)
    guide = AutoNormalGuide(model, {"y"})
    SVI(model, guide, torch.optim.Adam(guide.parameters()), ELBO()).step(X, OBS)
    assert set(seen) == {2}
    assert torch.get_num_threads() == 5


linux = pytest.mark.skipif(sys.platform != "linux", reason="threads step back on Linux only")


@linux
def test_a_thread_steps_back_alone():
    found = []

    def run():
        threads.step_back()
        found.append(os.nice(0))

    before = os.nice(0)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [max(threads.NICE, before)]
    assert os.nice(0) == before


@linux
def test_native_chains_run_in_threads_that_step_back(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "quivers_nb.inference.native.chains.step_back", lambda: seen.append(threading.get_ident())
    )
    monkeypatch.setattr("quivers_nb.inference.native.chains.chain_threads", lambda: 2)
    MCMC(NUTSKernel(), 5, 5, num_chains=2, seed=0, tier="native").run_target(eight_schools())
    assert seen
    assert threading.get_ident() not in seen


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, float("inf")),
        ({"cpu.max": "max 100000\n"}, float("inf")),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
    ],
)
def test_a_quota_of_processor_time_counts(tmp_path, monkeypatch, files, quota):
    monkeypatch.undo()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert threads.cores() == min(8, int(quota) if quota < 8 else 8)
    stepping = sys.platform == "linux" and quota == float("inf")
    assert threads.chain_threads() == (8 if stepping else max(1, threads.cores() - 1))
