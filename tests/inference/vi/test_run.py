"""Runs of steps: losses, convergence, schedules, interrupts, and densities that are not finite."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import ELBO, SVI, AutoMultivariateNormal, AutoNormalGuide, SVIResult
from quivers_nb.inference.vi.result import settled
from tests.inference.vi.conjugate import Conjugate, data

MODEL = Conjugate(2, 0)
X, Y = data(MODEL, 6)
OBS = {"y": Y}


def svi_of(lr: float = 0.05, model=MODEL, **options):
    guide = AutoMultivariateNormal(model, {"y"})
    optim = torch.optim.Adam(guide.parameters(), lr=lr)
    rng = torch.Generator().manual_seed(0)
    return SVI(model, guide, optim, ELBO(4), generator=rng, **options), guide, optim


def test_a_run_is_its_steps_and_says_what_it_reached():
    stepped, guide, _ = svi_of()
    losses = [stepped.step(X, OBS) for _ in range(8)]
    svi, _, _ = svi_of()
    seen = []
    result = svi.run(X, OBS, 8, progress=lambda count, loss: seen.append((count, loss)))
    assert result.losses.tolist() == losses
    assert seen == list(enumerate(losses, 1))
    assert set(result.params) == {f"shared_block.{n}" for n in ("loc", "log_scale", "lower")}
    for name, value in guide.named_parameters():
        torch.testing.assert_close(result.params[name], value.detach(), rtol=0.0, atol=0.0)
    before = {name: value.clone() for name, value in result.params.items()}
    svi.run(X, OBS, 1)
    assert all(torch.equal(before[name], result.params[name]) for name in before)
    assert "8 steps" in repr(result)
    assert "not converged" in repr(result)


def test_fitted_weights_of_the_model_are_among_the_parameters():
    model = Conjugate(2, 0)
    guide = AutoNormalGuide(model, {"y"})
    optim = torch.optim.Adam([*guide.parameters(), *model.parameters()], lr=0.01)
    result = SVI(model, guide, optim, ELBO()).run(X, OBS, 2)
    assert set(result.params) == {"loc_a", "log_scale_a", "model.intercept"}


def test_the_loss_has_settled_when_two_windows_agree():
    assert settled([5.0, 3.0, 2.0, 2.0], 2, 0.51)
    assert not settled([5.0, 3.0, 2.0, 2.0], 2, 0.49)
    assert settled([-2.0, -2.0], 1, 1e-12)
    assert not settled([-2.0, 2.0], 1, 0.9)
    assert not settled([1.0, 1.0, 1.0], 2, 1.0)  # fewer than two windows


def test_a_run_stops_early_once_it_has_converged_and_only_then():
    svi, _, _ = svi_of()
    result = svi.run(X, OBS, 3000, window=50, tolerance=0.01, stop_early=True)
    assert result.converged
    assert 100 <= result.num_steps < 3000
    assert result.num_steps % 50 == 0
    fresh, _, _ = svi_of()
    early = fresh.run(X, OBS, 60, window=30, tolerance=0.01)
    assert not early.converged  # the start: the loss still falls
    assert early.num_steps == 60


def test_a_function_schedules_the_learning_rate():
    svi, _, optim = svi_of(lr=0.2, scheduler=lambda steps: 1 / (1 + steps))
    rates = []
    for _ in range(4):
        rates.append(optim.param_groups[0]["lr"])
        svi.step(X, OBS)
    assert rates == pytest.approx([0.2, 0.1, 0.2 / 3, 0.05])


def test_torch_schedulers_are_stepped_and_must_belong_to_the_optimiser():
    guide = AutoNormalGuide(MODEL, {"y"})
    optim = torch.optim.SGD(guide.parameters(), lr=1e-3)
    halving = torch.optim.lr_scheduler.StepLR(optim, step_size=2, gamma=0.5)
    SVI(MODEL, guide, optim, ELBO(), scheduler=halving).run(X, OBS, 4)
    assert optim.param_groups[0]["lr"] == pytest.approx(2.5e-4)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optim, patience=0, threshold=1e9)
    SVI(MODEL, guide, optim, ELBO(), scheduler=plateau).run(X, OBS, 3)
    assert optim.param_groups[0]["lr"] < 2.5e-5
    other = torch.optim.SGD(guide.parameters(), lr=1e-3)
    with pytest.raises(UserError, match="another optimiser"):
        SVI(MODEL, guide, other, ELBO(), scheduler=halving)


@pytest.mark.parametrize("way", ["interrupt", "progress"])
def test_an_interrupted_run_keeps_what_it_has_and_can_go_on(way):
    whole, _, _ = svi_of()
    wanted = whole.run(X, OBS, 12).losses
    svi, _, _ = svi_of()

    def stop(steps: int, loss: float) -> bool:
        if steps == 5 and way == "interrupt":
            raise KeyboardInterrupt
        return steps < 5

    first = svi.run(X, OBS, 12, progress=stop)
    assert first.interrupted
    assert "interrupted" in repr(first)
    rest = svi.run(X, OBS, 7)
    assert not rest.interrupted
    torch.testing.assert_close(torch.cat((first.losses, rest.losses)), wanted, rtol=0.0, atol=0.0)


class Undefined(Conjugate):
    """Its log density is NaN where ``a[0]`` is above one half."""

    def densities(self, x, y, values):
        row, shared = super().densities(x, y, values)
        return row, shared + (0.5 - values["a"][..., 0]).sqrt()


@pytest.mark.parametrize("steps_before", [0, 5])
def test_a_loss_that_is_not_finite_names_the_site_and_changes_nothing(steps_before):
    svi, guide, _ = svi_of(model=Undefined(2, 0))
    if steps_before:  # traced by then
        with torch.no_grad():
            guide.shared_block.loc[0] = -50.0
        svi.run(X, OBS, steps_before)
        assert svi._traced is not None
    with torch.no_grad():
        guide.shared_block.loc[0] = 5.0
    before = {name: p.detach().clone() for name, p in guide.named_parameters()}
    with pytest.raises(UserError, match=r"the loss is nan.*a = \[4\.\d.*as before this step"):
        svi.run(X, OBS, 3)
    assert all(torch.equal(before[name], p) for name, p in guide.named_parameters())


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"window": 0}, {"tolerance": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=r"it must be (at least 1|above 0)"):
        svi_of()[0].run(X, OBS, **options)


def test_an_empty_result_can_be_shown():
    assert repr(SVIResult(torch.zeros(0), {}, False, True)).startswith("SVIResult(0 steps")
