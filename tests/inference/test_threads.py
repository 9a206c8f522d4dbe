"""Inference leaves a core to the notebook server, and the setting as it was."""

import pytest
import torch

from quivers_nb.inference import ELBO, MCMC, SVI, AutoNormalGuide, NUTSKernel, threads
from tests.support.models import HandModel

X, OBS = torch.zeros(3, 1), {"y": torch.zeros(3)}


@pytest.fixture(autouse=True)
def five_threads_on_three_cores(monkeypatch):
    monkeypatch.setattr(threads, "default_threads", lambda: 2)
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
