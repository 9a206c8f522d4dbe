"""A guide first, then chains."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    AutoDelta,
    AutoNormalGuide,
    FitGuide,
    NUTSKernel,
    WarmupThenHMC,
)
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.mcmc import run as mcmc_run
from tests.support.interrupts import interrupted_once

SOURCE = """object N : FinSet 50
program line : N -> N
    sample a <- Normal(0.0, 100.0)
    sample b <- Normal(0.0, 100.0)
    sample s <- HalfNormal(10.0)
    let m = a + b * t
    observe y : N <- Normal(m, s)
    return a
export line
"""
MODEL = loads(SOURCE).morphism
T = torch.linspace(-0.02, 0.02, 50)
NOISE = torch.randn(50, generator=torch.Generator().manual_seed(0))
DATA = {"t": T, "y": 2.0 - 30.0 * T + 0.5 * NOISE}  # b is two hundred times as wide as a
QUICK = MCMC(NUTSKernel(), 50, 200, num_chains=2, seed=2)
FIT = FitGuide(num_steps=1000, lr=0.3)


def test_chains_start_at_the_guide_and_end_at_the_posterior():
    fitted = WarmupThenHMC(QUICK, FIT).run(MODEL, None, DATA)
    plain = QUICK.run(MODEL, None, DATA)
    assert fitted.start_log_densities.min() > plain.start_log_densities.max()
    assert abs(float(fitted.samples["a"].mean()) - 2.0) < 0.2
    assert float(fitted.r_hat["a"]) < 1.05


def test_the_spread_of_the_guide_is_the_first_metric():
    """Without it steps are as short as the narrowest coordinate wants."""
    mcmc = MCMC(NUTSKernel(adapt_mass_matrix=False), 60, 100, num_chains=2, seed=3)
    with_metric = WarmupThenHMC(mcmc, FIT).run(MODEL, None, DATA)
    starts_only = mcmc.run(MODEL, None, DATA, FIT(MODEL, None, DATA, 3))
    assert with_metric.gradients < 0.5 * starts_only.gradients


def test_a_seed_repeats_it_and_a_point_has_no_spread():
    fit = FitGuide(AutoDelta, num_steps=50)
    first, again = (WarmupThenHMC(QUICK, fit).run(MODEL, None, DATA) for _ in range(2))
    assert torch.equal(first.samples["a"], again.samples["a"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mcmc": NUTSKernel()}, r"mcmc=NUTSKernel.*: a sampler is wanted, such as MCMC\("),
        ({"mcmc": QUICK, "fit": AutoNormalGuide}, r"fit=<class.*such as FitGuide\(AutoNormal"),
    ],
)
def test_what_is_no_sampler_or_no_fit_is_refused_when_it_is_given(options, words):
    with pytest.raises(UserError, match=words):
        WarmupThenHMC(**options)


def test_what_goes_wrong_in_the_fit_is_said_to_be_of_the_fit():
    with pytest.raises(UserError, match=r"fit returned None \(NoneType\), not a guide"):
        WarmupThenHMC(QUICK, lambda *_: None).run(MODEL, None, DATA)
    with pytest.raises(UserError, match="the model is None"):
        WarmupThenHMC(QUICK).run(None, None, DATA)
    root = loads(SOURCE.replace("a + b * t", "sqrt(a) + b * t")).morphism
    words = r"^the guide .* cannot be fitted: .*`y` = .*MCMC\(…\)\.run\(model, x, obs\) needs no"
    with pytest.raises(UserError, match=words):
        WarmupThenHMC(QUICK).run(root, None, DATA)


def test_an_error_on_the_way_is_raised_as_it_is():
    calls = []

    def failing(transition):
        calls.append(transition.transition)
        if transition.transition == QUICK.num_warmup + 70:
            raise RuntimeError("at draw 70")

    with pytest.raises(RuntimeError, match="at draw 70"):
        WarmupThenHMC(QUICK, FIT).run(MODEL, None, DATA, watch=failing)
    assert max(calls) == QUICK.num_warmup + 70


class Cut(ELBO):
    """The bound, until somebody interrupts its evaluation number ``last``."""

    eager_reason = "evaluations are counted"
    last, calls = 60, 0

    def loss(self, *args, **options):
        type(self).calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt
        return super().loss(*args, **options)


def test_an_interrupt_of_the_fit_keeps_the_guide_and_chains_can_start_at_it():
    with pytest.raises(KeyboardInterrupt) as caught:
        WarmupThenHMC(QUICK, FitGuide(num_steps=1000, lr=0.3, objective=Cut())).run(
            MODEL, None, DATA
        )
    error = caught.value
    assert isinstance(error, Interrupted)
    assert "interrupted in step 60 of 1000 of the fit of a guide" in str(error)
    assert "WarmupThenHMC(mcmc, lambda *_: guide)" in str(error)
    loc, _ = error.kept.moments("b")
    assert abs(float(loc.detach())) > 3.0  # 59 steps of 0.3, all in one direction
    assert WarmupThenHMC(QUICK, lambda *_: error.kept).run(MODEL, None, DATA).num_samples == 200
    assert error._render_traceback_() == [f"KeyboardInterrupt: {error}"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Interrupted("while the density was compiled"), "while the density was compiled"),
        (KeyboardInterrupt(), "interrupted after the guide was fitted, and there are no draws"),
    ],
)
def test_an_interrupt_before_the_chains_move_keeps_the_guide(fault, said, monkeypatch):
    fitted = FitGuide(num_steps=3)(MODEL, None, DATA, 0)

    def interrupted(*_):
        raise fault

    monkeypatch.setattr(mcmc_run, "begin", interrupted)
    with pytest.raises(Interrupted, match=f"^{said}.*guide as it was then") as caught:
        WarmupThenHMC(QUICK, lambda *_: fitted).run(MODEL, None, DATA)
    assert caught.value.kept is fitted


def test_an_interrupt_of_the_run_that_keeps_something_is_raised_as_it_is(monkeypatch):
    fault = Interrupted("with some draws", {"a": 1.0})

    def interrupted(*_):
        raise fault

    monkeypatch.setattr(mcmc_run, "begin", interrupted)
    with pytest.raises(Interrupted) as caught:
        WarmupThenHMC(QUICK, FitGuide(num_steps=3)).run(MODEL, None, DATA)
    assert caught.value is fault


def test_an_interrupt_of_chains_in_an_executor_says_so_and_keeps_the_guide(monkeypatch):
    fitted = FitGuide(num_steps=3)(MODEL, None, DATA, 0)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mcmc_run, "spread", interrupted)
    with ThreadPoolExecutor(1) as pool:
        sampler = WarmupThenHMC(replace(QUICK, executor=pool), lambda *_: fitted)
        with pytest.raises(Interrupted, match="before the first of 2 chains was fin") as caught:
            sampler.run(MODEL, None, DATA)
    assert "no chain had moved" not in str(caught.value)
    assert caught.value.kept is fitted


def test_an_interrupt_when_the_draws_are_made_returns_them(monkeypatch):
    fitted = FitGuide(num_steps=3)(MODEL, None, DATA, 0)
    cut, calls = interrupted_once(mcmc_run._result)
    monkeypatch.setattr(mcmc_run, "_result", cut)
    result = WarmupThenHMC(QUICK, lambda *_: fitted).run(MODEL, None, DATA)
    assert len(calls) == 2
    assert result.interrupted
    assert result.num_samples == 200


def test_an_interrupt_of_a_method_that_keeps_nothing_is_raised_as_it_is():
    def method(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        WarmupThenHMC(QUICK, method).run(MODEL, None, DATA)
    assert not isinstance(caught.value, Interrupted)
