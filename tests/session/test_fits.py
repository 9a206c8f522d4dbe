"""Fits as runs: the same numbers as without a run, whatever happens on the way; faults."""

import threading
from functools import partial

import pytest
import torch

from quivers_nb import Run, UserError, figures, fit_nuts, fit_svi
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AmortizedNormalGuide,
    AutoMultivariateNormal,
    AutoNormalGuide,
    EmptyGuide,
    NUTSKernel,
    Predictive,
)
from quivers_nb.inference.mcmc.engine import Attentive, _poll
from quivers_nb.session.live import live_runs
from quivers_nb.session.rules import ElboPlateau, EssAbove
from quivers_nb.session.run import State
from quivers_nb.session.state import State as SameState
from tests.session.test_run import LONG, ended, interrupt_main
from tests.support.models import HandModel

X = torch.linspace(-1, 1, 8)[:, None]
DATA = {"y": torch.sin(3 * X[:, 0])}
SMALL = {"chains": 2, "warmup": 60, "draws": 40, "seed": 5}
FEW = {"chains": 2, "warmup": 30, "draws": 15, "seed": 5}
QVR = """object R3 : Real 3
program plain : R3 -> R3
    sample m : 1 <- Normal(0.0, 1.0)
    sample s : 1 <- HalfNormal(1.0)
    observe y <- Normal(m, s)
    return y
export plain
"""

ONLY = """program p : 1 -> 1
    sample z <- {}
    observe y <- Normal(z, 1.0)
    return z
export p
"""


class Counting(HandModel):
    """Calls ``at[n]`` at its n-th evaluation (from 1)."""

    def __init__(self, **at):
        super().__init__()
        self.evaluations = 0
        self.at = {int(key[1:]): call for key, call in at.items()}

    def densities(self, x, values, weights):
        self.evaluations += 1
        self.at.get(self.evaluations, lambda: None)()
        return super().densities(x, values, weights)


def fail():
    raise ZeroDivisionError("the model divided by nothing")


def same(one, two):
    assert list(one) == list(two)
    return all(torch.equal(one[name], two[name]) for name in one)


def mcmc(**options):
    return MCMC(NUTSKernel(), 60, 40, num_chains=2, seed=5, **options)


def fitted(model, guide):
    named = {**dict(guide.named_parameters()), **model.storage()}
    return {name: value.detach().clone() for name, value in named.items()}


# --- the numbers


@pytest.mark.parametrize("tier", ["native", "eager"])
def test_a_run_draws_what_the_sampler_draws_bit_for_bit(tier):
    run = ended(fit_nuts(HandModel(True), X, DATA, tier=tier, **SMALL))
    alone = mcmc(tier=tier).run(HandModel(True), X, DATA)
    assert run.state is State.DONE
    assert run.result.tier == tier
    assert same(run.result.samples, alone.samples)
    assert same(run.partial, alone.samples)
    assert same(run.result.stats, alone.stats)
    assert not run.result.interrupted
    assert run.progress.iteration == 100
    assert run.progress.num_draws == 40
    assert [c.divergences for c in run.progress.chains] == alone.divergence_counts.tolist()
    assert State is SameState


@pytest.mark.parametrize("tier", ["native", "eager"])
def test_pauses_change_no_draw(tier):
    run = fit_nuts(HandModel(True), X, DATA, tier=tier, **FEW)
    while not run.state.over:
        run.pause().wait(0.02)
        run.resume().wait(0.02)
    alone = MCMC(NUTSKernel(), 30, 15, num_chains=2, seed=5, tier=tier)
    assert same(run.result.samples, alone.run(HandModel(True), X, DATA).samples)


def test_a_fit_of_a_guide_is_that_of_svi():
    model, run = HandModel(), None
    run = ended(fit_svi(model, X, DATA, steps=150, seed=3, lr=0.02))
    other = HandModel()
    guide = AutoNormalGuide(other, {"y"})
    optim = torch.optim.Adam([*guide.parameters(), *other.parameters()], lr=0.02)
    svi = SVI(other, guide, optim, ELBO(), generator=torch.Generator().manual_seed(3))
    alone = svi.run(X, DATA, 150)
    assert torch.equal(run.result.losses, alone.losses)
    assert torch.equal(run.partial, alone.losses)
    assert same(run.result.params, alone.params)
    assert same(fitted(model, run.guide), fitted(other, guide))


def test_what_is_no_guide_is_named() -> None:
    with pytest.raises(UserError, match=r"guide='normal': a guide, .* such as `AutoNormalGuide`"):
        fit_svi(HandModel(), X, DATA, guide="normal")


def test_an_amortized_guide_is_made_in_one_line():
    run = fit_svi(HandModel(), X, DATA, guide=AmortizedNormalGuide, steps=5, seed=0, block=True)
    assert sorted(run.guide.networks["moments_z"].layers[0].weight.shape) == [1, 32]
    wide = torch.cat([X, X * X, X**3], -1)
    run = fit_svi(HandModel(), wide, DATA, guide=AmortizedNormalGuide, steps=2, seed=0, block=True)
    assert 3 in run.guide.networks["moments_z"].layers[0].weight.shape
    of_y = partial(AmortizedNormalGuide, hidden=(3,), features=lambda x, obs: obs["y"][:, None])
    run = fit_svi(HandModel(), X, DATA, guide=of_y, steps=5, seed=0, block=True)
    assert sorted(run.guide.networks["moments_z"].layers[0].weight.shape) == [1, 3]
    given = partial(AmortizedNormalGuide, in_features=X.shape[-1])
    assert fit_svi(HandModel(), X, DATA, guide=given, steps=5, seed=0, block=True).result
    alone = AmortizedNormalGuide(HandModel(), {"y"}, in_features=X.shape[-1])
    assert fit_svi(HandModel(), X, DATA, guide=alone, steps=5, seed=0, block=True).guide is alone
    with pytest.raises(UserError, match=r"in_features=x.shape\[-1\]. fit_svi"):
        AmortizedNormalGuide(HandModel(), {"y"})
    flat = partial(AmortizedNormalGuide, features=lambda x, obs: obs["y"])
    with pytest.raises(UserError, match=r"shape \(8,\).*\(8, 'in_features'\).* are wanted: give"):
        fit_svi(HandModel(), X, DATA, guide=flat)


@pytest.mark.parametrize(
    "fit",
    [
        lambda model, data: fit_svi(model, None, data),
        lambda model, data: fit_svi(model, None, data, guide=AutoMultivariateNormal),
        lambda model, data: fit_nuts(model, None, data, block=True),
    ],
)
def test_a_count_without_an_end_is_refused_by_name_in_every_fit(fit):
    model = loads(ONLY.format("Poisson(2.0)")).morphism
    with pytest.raises(UserError, match=r"`z` is a discrete latent .Poisson.*no end to be summed"):
        fit(model, {"y": 1.0})
    assert EmptyGuide(model, {"y", "z"}).covered.latents == ()


def test_a_model_of_summed_sites_alone_has_nothing_to_fit():
    model = loads(ONLY.format("Bernoulli(0.3)")).morphism
    with pytest.raises(UserError, match=r"there is nothing to fit: .* summed exactly, and need no"):
        fit_svi(model, None, {"y": 1.0})
    with pytest.raises(UserError, match="no other site but those that are summed"):
        fit_svi(model, None, {"y": 1.0}, guide=AutoNormalGuide)


def test_a_run_in_the_background_leaves_the_global_generator_alone():
    kept = torch.get_rng_state()
    try:
        runs = [fit_svi(HandModel(), X, DATA, steps=30), fit_nuts(HandModel(), X, DATA, **SMALL)]
        after = torch.get_rng_state()
        assert not torch.equal(kept, after)  # a seed was taken, at once
        for run in runs:
            ended(run)
        assert torch.equal(torch.get_rng_state(), after)
        torch.set_rng_state(kept)
        again = ended(fit_svi(HandModel(), X, DATA, steps=30))
        assert torch.equal(again.result.losses, runs[0].result.losses)
        seeded = torch.get_rng_state()
        ended(fit_nuts(HandModel(), X, DATA, init="prior", **SMALL))
        assert torch.equal(torch.get_rng_state(), seeded)
    finally:
        torch.set_rng_state(kept)


def test_a_compiled_program_is_fitted_and_then_drawn_from():
    model = loads(QVR).morphism
    data = {"y": torch.linspace(0.1, 2.0, 5)}
    svi = fit_svi(model, torch.ones(5, 3), data, steps=300, seed=0)
    nuts = svi.then_nuts(chains=2, warmup=200, draws=200, seed=1)
    assert isinstance(nuts, Run)
    assert ended(nuts).state is State.DONE
    assert svi.state is State.DONE
    assert abs(float(nuts.result.samples["m"].mean()) - 0.9) < 0.5
    assert set(nuts.partial) == {"m", "s"}


# --- options


def test_guides_and_optimisers_can_be_made_by_what_is_given():
    run = fit_svi(
        HandModel(), X, DATA,
        guide=AutoMultivariateNormal,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
        steps=5, seed=0,
    )  # fmt: skip
    assert isinstance(run.guide, AutoMultivariateNormal)
    assert ended(run).result.num_steps == 5
    model = HandModel()
    guide = AutoNormalGuide(model, {"y"})
    optim = torch.optim.Adam(guide.parameters(), lr=0.1)
    before = fitted(model, guide)
    ended(fit_svi(model, X, DATA, guide=guide, optimizer=optim, steps=5, seed=0))
    changed = {name for name, v in fitted(model, guide).items() if not torch.equal(v, before[name])}
    assert changed == {name for name, _ in guide.named_parameters()}


@pytest.mark.parametrize(
    "fit",
    [
        lambda: fit_nuts(HandModel(), X, DATA, draws=0),
        lambda: fit_nuts(HandModel(), X, DATA, max_tree_depth=0),
        lambda: fit_nuts(None, X, DATA),
        lambda: fit_svi(HandModel(), X, DATA, steps=0),
        lambda: fit_svi(HandModel(), X, DATA, lr=0.0),
        lambda: fit_svi(None, X, DATA),
    ],
)
def test_options_out_of_range_are_refused_at_once(fit):
    with pytest.raises(UserError):
        fit()
    assert live_runs() == ()


def test_what_is_found_out_in_the_worker_is_raised_by_the_result():
    run = ended(fit_nuts(HandModel(), X, DATA, keep={"nonsense"}, **SMALL))
    assert run.state is State.FAILED
    with pytest.raises(UserError, match="nonsense"):
        run.result  # noqa: B018


# --- ending early


def test_a_stop_rule_ends_chains_at_the_same_draw_every_time():
    options = {**SMALL, "draws": 5000, "until": EssAbove(100, every=50)}
    one, two = (ended(fit_nuts(HandModel(), X, DATA, **options)) for _ in range(2))
    assert one.state is State.DONE
    assert "effective sample size" in one.reason
    assert 50 <= one.result.num_samples < 1000
    assert not one.result.interrupted
    assert same(one.result.samples, two.result.samples)
    assert float(one.result.ess["m"].min()) > 50


def test_a_settled_loss_ends_a_fit():
    run = fit_svi(HandModel(), X, DATA, steps=50_000, seed=0, until=ElboPlateau(100, 0.05))
    assert ended(run).state is State.DONE
    assert run.result.num_steps < 5000
    assert run.result.num_steps % 100 == 0
    assert not run.result.interrupted


def test_a_stop_keeps_the_draws_so_far():
    seen = threading.Event()
    run = fit_nuts(HandModel(), X, DATA, **{**SMALL, "draws": 10**6})
    run.subscribe(lambda message: seen.set() if message.progress.num_draws > 50 else None)
    assert seen.wait(LONG)
    assert ended(run.stop()).state is State.STOPPED
    assert run.result.interrupted
    alone = MCMC(NUTSKernel(), 60, 200, num_chains=2, seed=5).run(HandModel(), X, DATA)
    count = min(run.result.num_samples, 200)
    assert count > 50
    for name, draws in alone.samples.items():
        assert torch.equal(run.result.samples[name][:, :count], draws[:, :count])


def test_a_stop_in_the_warm_up_ends_with_no_draws():
    model = Counting()
    run = fit_nuts(model, X, DATA, tier="eager", **{**SMALL, "warmup": 10**6})
    seen = threading.Event()
    run.subscribe(lambda message: seen.set() if message.progress.iteration > 2 else None)
    assert seen.wait(LONG)
    assert ended(run.stop()).state is State.STOPPED
    assert run.result.num_samples == 0
    assert run.partial == {}
    assert State.RUNNING not in [event.state for event in run.events]


@pytest.mark.parametrize("number", range(200, 206))
def test_a_stop_is_heard_within_a_transition(number):
    """Wherever in a transition it comes: no gradient is computed after it."""
    runs = []
    ready = threading.Event()

    def stop():
        assert ready.wait(LONG)
        runs[0].stop()

    model = Counting(**{f"n{number}": stop})
    runs.append(fit_nuts(model, X, DATA, tier="eager", **SMALL))
    ready.set()
    assert ended(runs[0]).state is State.STOPPED
    assert model.evaluations == number


def test_a_stop_within_a_piece_of_native_chains_keeps_all_that_is_finished(monkeypatch):
    """All transitions are one piece here: no end of a piece comes to the rescue."""
    monkeypatch.setattr("quivers_nb.inference.mcmc.engine._WATCHED_PIECE", 10**7)
    heard = threading.Event()

    def poll(watch, chains):
        inner = _poll(watch, chains)

        def look(progress):
            if min(progress.transitions) > 260:
                heard.set()
                assert stopped.wait(LONG)
            return inner(progress)

        return look

    stopped = threading.Event()
    monkeypatch.setattr("quivers_nb.inference.mcmc.engine._poll", poll)
    run = fit_nuts(HandModel(), X, DATA, **{**SMALL, "chains": 1, "draws": 500_000})
    assert heard.wait(LONG)
    run.stop()
    stopped.set()
    assert ended(run).state is State.STOPPED
    assert 200 < run.result.num_samples < 500_000
    monkeypatch.undo()
    alone = MCMC(NUTSKernel(), 60, 200, num_chains=1, seed=5).run(HandModel(), X, DATA)
    for name, draws in alone.samples.items():
        assert torch.equal(run.result.samples[name][:, :200], draws)


def test_native_chains_rest_while_the_run_is_paused_and_stop_when_it_stops():
    calls = []

    class Chains:
        def pause(self):
            calls.append("pause")

        def resume(self):
            calls.append("resume")

    class Watch:
        wish = None

        def asked(self):
            return self.wish is not None

        def hold(self):
            calls.append("hold")
            return self.wish == "stop"

    watch = Watch()
    assert isinstance(watch, Attentive)
    poll = _poll(watch, Chains())
    assert poll(None) is False
    assert calls == []
    watch.wish = "pause"
    assert poll(None) is False
    assert calls == ["pause", "hold", "resume"]
    watch.wish = "stop"
    assert poll(None) is True
    assert _poll(lambda progress: None, Chains()) is None


# --- from one to the next


def test_nuts_begins_when_svi_is_stopped():
    svi = fit_svi(HandModel(), X, DATA, steps=10**7, seed=0)
    nuts = svi.then_nuts(**SMALL)
    assert nuts.state is State.CREATED
    svi.stop()
    assert ended(nuts).state is State.DONE
    assert svi.state is State.STOPPED
    assert svi.result.interrupted
    warm = mcmc().run(svi.model, X, DATA, svi.guide)
    assert same(nuts.result.samples, warm.samples)


def test_nuts_fails_if_svi_was_aborted_and_can_be_called_off():
    svi = fit_svi(HandModel(), X, DATA, steps=10**7, seed=0)
    nuts, off = svi.then_nuts(**SMALL), svi.then_nuts(**SMALL)
    off.stop()
    svi.abort()
    assert ended(nuts).state is State.FAILED
    with pytest.raises(UserError, match="aborted"):
        nuts.result  # noqa: B018
    assert off.state is State.STOPPED


# --- faults


def test_an_exception_in_the_model_keeps_the_draws_before_it():
    model = Counting(n2000=fail)
    run = ended(fit_nuts(model, X, DATA, tier="eager", **{**SMALL, "draws": 10**4}))
    assert run.state is State.FAILED
    assert run.reason == "ZeroDivisionError: the model divided by nothing"
    with pytest.raises(ZeroDivisionError) as caught:
        run.result  # noqa: B018
    iterations = run.progress.iteration
    assert caught.value.__notes__ == [f"in run NUTS, after {iterations} iterations"]
    model.at = {}
    alone = mcmc(tier="eager").run(HandModel(), X, DATA)
    kept = run.partial
    count = min(40, iterations - 60)
    assert count > 10
    for name, draws in alone.samples.items():
        assert kept[name].shape[1] == iterations - 60
        assert torch.equal(kept[name][:, :count], draws[:, :count])
    assert ended(fit_nuts(model, X, DATA, **SMALL)).state is State.DONE


def test_an_exception_in_the_model_keeps_the_losses_before_it():
    model = Counting(n2=fail)
    run = ended(fit_svi(model, X, DATA, steps=700, seed=0))
    assert run.state is State.FAILED
    assert len(run.partial) == 1
    with pytest.raises(ZeroDivisionError):
        run.result  # noqa: B018


def test_a_loss_that_is_not_finite_names_the_step_and_the_parameters_which_are_put_back():
    model, short = HandModel(), HandModel()
    bad_rate = lambda steps: float("nan") if steps == 250 else 1.0  # noqa: E731
    run = ended(fit_svi(model, X, DATA, steps=700, seed=0, scheduler=bad_rate))
    with pytest.raises(UserError, match="at step 252: the loss is nan") as caught:
        run.result  # noqa: B018
    message = str(caught.value)
    assert "Parameters that were not finite: loc_m, log_scale_m" in message
    assert "model.a.halves, model.b.offset; all parameters are back to those of step 200" in message
    assert len(run.partial) == 251
    good = ended(fit_svi(short, X, DATA, steps=200, seed=0, scheduler=lambda steps: 1.0))
    assert same(fitted(model, run.guide), fitted(short, good.guide))


def test_a_density_that_is_not_finite_is_told_from_parameters_that_are_not():
    class Nowhere(HandModel):
        def densities(self, x, values, weights):
            row, shared = super().densities(x, values, weights)
            return row, shared * float("nan")

    run = ended(fit_svi(Nowhere(), X, DATA, steps=5, seed=0))
    with pytest.raises(UserError, match=r"^the loss is nan: the log density is not finite"):
        run.result  # noqa: B018


def test_a_model_has_one_fit_at_a_time():
    model = HandModel()
    run = fit_svi(model, X, DATA, steps=10**7, seed=0)
    with pytest.raises(UserError, match="in another run"):
        fit_nuts(model, X, DATA, **SMALL)
    ended(run.stop())
    assert ended(fit_nuts(model, X, DATA, **SMALL)).state is State.DONE


# --- blocking


def test_a_blocking_fit_returns_when_it_is_over_and_shows_its_progress(capsys):
    run = fit_nuts(HandModel(), X, DATA, block=True, **SMALL)
    assert run.state is State.DONE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("NUTS: done 100/100, ")
    svi = fit_svi(HandModel(), X, DATA, steps=20, seed=0, block=True)
    assert svi.then_nuts(block=True, **SMALL).state is State.DONE


def test_an_interrupted_blocking_fit_keeps_its_draws(capsys):
    model = Counting(n1500=interrupt_main)
    run = fit_nuts(model, X, DATA, tier="eager", block=True, **{**SMALL, "draws": 10**6})
    assert (run.state, run.reason) == (State.STOPPED, "interrupted")
    assert run.result.interrupted
    assert run.result.num_samples > 10
    assert live_runs() == ()


def test_a_blocking_fit_raises_what_the_model_raises(capsys):
    with pytest.raises(ZeroDivisionError):
        fit_nuts(Counting(n9=fail), X, DATA, tier="eager", block=True, **SMALL)
    assert live_runs() == ()


LATE = """object Obs : FinSet n
data x : Obs -> Real 1
program local : Obs -> Obs
    sample tau <- HalfNormal(1.0)
    sample slope <- Normal(0.0, 1.0)
    sample level : Obs <- Normal(0.0, tau)
    let m = level + slope * x
    observe y : Obs <- Normal(m, 1.0)
    return m
export local
"""


def _table():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"x": torch.arange(6.0).numpy(), "y": torch.ones(6).numpy()})


def test_a_frame_of_pandas_is_its_columns():
    frame, model = _table(), loads(LATE).morphism
    drawn = [fit_nuts(model, None, data, block=True, **FEW).result for data in (frame, dict(frame))]
    assert torch.equal(drawn[0].samples["slope"], drawn[1].samples["slope"])
    lost = [
        fit_svi(model, None, data, steps=5, seed=1, block=True).result.losses
        for data in (frame, dict(frame))
    ]
    assert torch.equal(*lost)
    new = Predictive(model, {"tau": torch.ones(3), "slope": torch.ones(3)})(None, frame[["x"]])
    assert new["y"].shape == (3, 6)


def test_data_without_names_are_refused():
    model = loads(LATE).morphism
    with pytest.raises(UserError, match="not as list"):
        fit_nuts(model, None, [1.0, 2.0])
    with pytest.raises(UserError, match="not named columns: data go by name in the argument after"):
        MCMC(NUTSKernel(), 5, 5, 1).run(model, {"x": [1.0], "y": [1.0]})
    with pytest.raises(UserError, match="`y` holds None"):
        MCMC(NUTSKernel(), 5, 5, 1).run(model, None, {"x": [1.0, 2.0], "y": [None, 1.0]})


def test_a_guide_has_the_sizes_that_its_data_fix():
    model = loads(LATE).morphism
    run = fit_svi(model, None, _table(), steps=3, seed=1, block=True)
    assert run.guide.rsample(None)["level"].shape == (6,)
    assert run.guide.origin == model.origin
    assert model.sizes == {}


def test_a_run_or_a_name_in_the_place_of_a_result_or_a_model_is_named():
    model = loads(LATE).morphism
    with pytest.raises(UserError, match="a model is wanted, such as an exported program, not 'lo"):
        fit_nuts("local", None, {})
    run = fit_svi(model, None, _table(), steps=3, seed=1, block=True)
    for wrong in (run, run.result):
        with pytest.raises(UserError, match=r"a guide \(`run.guide`\)"):
            Predictive(model, wrong, num_samples=2)
        with pytest.raises(UserError, match=r"give `run\.result`"):
            figures.trace(wrong)
    assert Predictive(model, run.guide, num_samples=2)(None, _table())["level"].shape == (2, 6)
