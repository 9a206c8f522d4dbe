"""What a fit says: sites in draws of the guide, and whether the loss is steady."""

import numpy as np
import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoDelta, AutoNormalGuide, EmptyGuide
from quivers_nb.inference.vi import result as results
from quivers_nb.inference.vi.result import steady
from tests.inference.vi.conjugate import Conjugate, data
from tests.stats.budget import alpha, critical_z
from tests.support.models import HandModel

MODEL = Conjugate(2, 1)
X, Y = data(MODEL, 4)
OBS = {"y": Y}
BOUND = critical_z(alpha("variational guides", 300))
WEIGHTS = """object R : Real 1
morphism f : R -> R [role=kernel] ~ Normal
program p : R -> R
    observe y <- f
    return y
export p
"""


def fitted(guide, model=MODEL, x=X, obs=OBS, steps: int = 3):
    optim = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01)
    return SVI(model, guide, optim, ELBO(), generator=torch.Generator().manual_seed(0)).run(
        x, obs, steps
    )


def test_sites_are_summarized_by_the_moments_and_quantiles_of_the_guide():
    """Size: 1,000 draws of normal sites; z of the mean, chi of the sd, order statistics."""
    guide = AutoNormalGuide(MODEL, {"y"}, init_scale=0.5)
    result = fitted(guide)
    assert set(result.sites) == {"a", "z"}
    for name, shape in (("a", (2,)), ("z", (4, 1))):
        loc, log_scale = guide.moments(name)
        mean, sd = loc.detach(), log_scale.detach().exp()
        site = result.sites[name]
        assert tuple(site.mean.shape) == tuple(site.sd.shape) == shape
        assert float(((site.mean - mean) / sd).abs().max()) * np.sqrt(1000) < BOUND
        assert float((site.sd / sd - 1.0).abs().max()) * np.sqrt(2000) < BOUND
        for quantile, z in ((site.low, -1.645), (site.high, 1.645)):
            density = 0.1031  # of the normal there
            error = np.sqrt(0.05 * 0.95 / 1000) / density
            assert float(((quantile - mean) / sd - z).abs().max()) < BOUND * error


def test_equal_fits_give_equal_tables_and_draws_of_the_caller_stay_as_they_are():
    torch.manual_seed(0)
    tables = [fitted(AutoNormalGuide(MODEL, {"y"})).summary() for _ in range(2)]
    after = torch.rand(())
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(()))
    assert tables[0].splitlines()[0].split() == ["mean", "sd", "5%", "95%"]
    assert [line.split()[0] for line in tables[0].splitlines()[1:4]] == ["a[0]", "a[1]", "z[0,"]


def test_sites_are_shown_in_their_supports_and_parameters_as_they_are():
    x = torch.linspace(-1, 1, 5)[:, None]
    model = HandModel(with_scale=True)
    result = fitted(AutoNormalGuide(model, {"y"}), model, x, {"y": torch.zeros(5)})
    assert float(result.sites["s"].low) > 0.0
    assert float(result.sites["s"].low) < float(result.sites["s"].mean)
    text = result.parameters()
    assert "loc_s" in text
    assert "log_scale_s" in text
    assert "loc_s" not in result.summary()
    assert result.summary(1).splitlines()[-1] == "... and 7 more"


def test_points_have_no_spread_and_weights_alone_no_sites():
    point = fitted(AutoDelta(MODEL, {"y"}))
    assert float(point.sites["a"].sd.abs().max()) == pytest.approx(0.0, abs=1e-12)
    model = loads(WEIGHTS).morphism
    x = torch.linspace(-1, 1, 5)[:, None]
    weights = fitted(EmptyGuide(model, {"y"}), model, x, {"y": x})
    assert dict(weights.sites) == {}
    assert "model.f." in weights.parameters()


def test_of_large_models_fewer_draws_are_taken(monkeypatch):
    monkeypatch.setattr(results, "SUMMARY_NUMBERS", 1)
    guide = AutoNormalGuide(MODEL, {"y"})
    seen = []
    draw = guide.draw
    monkeypatch.setattr(guide, "draw", lambda *a: seen.append(a[1]) or draw(*a))
    fitted(guide)
    assert seen[-1] == (results.FEWEST_DRAWS,)


SIMULATIONS = 4000


def share_steady(change, seed: int) -> float:
    """Of losses with noise 1 and this expected value at each of 200 steps."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(SIMULATIONS, 200)) + change
    return float(np.mean([steady(losses, 100) for losses in noise]))


def test_a_loss_without_a_trend_is_called_unsteady_once_in_a_hundred_times():
    """Size: 4,000 losses; 1 % within its own error."""
    unsteady = 1.0 - share_steady(np.zeros(200), 0)
    assert abs(unsteady - 0.01) < BOUND * np.sqrt(0.01 * 0.99 / SIMULATIONS)


def test_a_fall_by_seven_tenths_of_the_noise_is_missed_once_in_twenty():
    """Power of the rule; a rule that forgets to divide by the batches misses it (the mutant)."""
    fall = np.repeat([0.7, 0.0], 100)
    assert share_steady(fall, 1) < 0.05
    assert share_steady(0.7 * np.linspace(2.0, 0.0, 200), 2) < 0.15  # the same as a trend


def test_a_rule_that_forgets_the_number_of_batches_misses_the_fall(monkeypatch):
    monkeypatch.setattr(results, "T_99", results.T_99 * np.sqrt(results.BATCHES))
    assert share_steady(np.repeat([0.7, 0.0], 100), 1) > 0.05


def test_long_runs_are_judged_by_a_fifth_of_their_steps():
    rng = np.random.default_rng(3)
    slow = rng.normal(size=5000) - 1e-4 * np.arange(5000)  # 0.01 in a window of 100
    assert not steady(slow - 2e-4 * np.arange(5000), 100)
    assert not steady(rng.normal(size=150), 100)  # too few
    assert not steady(np.zeros(20), 10)  # windows too short to tell


def test_a_fit_at_its_optimum_has_converged_in_spite_of_single_particles():
    """The relative rule alone called half of such fits unfinished."""
    verdicts = []
    for seed in range(10):
        guide = AutoNormalGuide(MODEL, {"y"})
        optim = torch.optim.Adam(guide.parameters(), lr=0.01)
        svi = SVI(MODEL, guide, optim, ELBO(), generator=torch.Generator().manual_seed(seed))
        verdicts.append(svi.run(X, OBS, 3000).converged)
    assert sum(verdicts) >= 8
