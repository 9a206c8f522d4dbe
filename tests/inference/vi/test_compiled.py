"""Variational steps in compiled code: the same arithmetic as torch's, and the same answers."""

import math

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    IWAE,
    SVI,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    RunningMean,
    ScoreFunction,
)
from quivers_nb.inference.native.lowering import RULES
from quivers_nb.inference.vi.compiled import CompiledFit
from tests.inference.vi.conjugate import F64, Conjugate

MODEL = Conjugate(2, 0)
X = torch.tensor([[1.0, 1.2], [0.9, 0.8], [-1.0, -0.7], [1.1, 1.0], [0.5, -0.5]], dtype=F64)
OBS = {"y": MODEL.trace(X, generator=torch.Generator().manual_seed(0)).output}


def rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


GUIDES = {
    "mean field": lambda: AutoNormalGuide(MODEL, {"y"}),
    "full": lambda: AutoMultivariateNormal(MODEL, {"y"}),
    "low rank": lambda: AutoLowRankMultivariateNormal(MODEL, {"y"}, rank=1, generator=rng()),
    "flow": lambda: AutoNormalizingFlow(MODEL, {"y"}, "coupling", hidden=(4,), generator=rng()),
}


def svi(guide=None, objective=None, seed: int = 3, tier: str = "native", **options) -> SVI:
    guide = guide or GUIDES["mean field"]()
    optim = torch.optim.Adam(guide.parameters(), lr=options.pop("lr", 0.01), **options)
    return SVI(MODEL, guide, optim, objective or ELBO(), generator=rng(seed), tier=tier)


def compiled(fit: SVI) -> CompiledFit:
    found = fit._compiled(X, OBS, 10)
    assert isinstance(found, CompiledFit), found
    return found


@pytest.mark.parametrize("objective", [ELBO(), ELBO(4), IWAE(3)], ids=repr)
@pytest.mark.parametrize("name", GUIDES)
def test_steps_are_those_of_torchs_adam_at_the_same_noise(name, objective, monkeypatch):
    """Twenty steps of each; the eager ones are given the noise that the compiled ones drew."""
    fast, slow = svi(GUIDES[name](), objective), svi(GUIDES[name](), objective, tier="eager")
    fit = compiled(fast)
    noise = torch.randn((20, fit.step.noise), generator=rng(), dtype=F64)
    losses = fit.advance(20)
    wanted = []
    for row in noise:
        pieces = iter(row.split([math.prod(shape) for shape in fit.step.draws]))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randn", lambda *s, p=pieces, **_: next(p).reshape(_shape(s)))
            wanted.append(slow.step(X, OBS))
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(wanted), rtol=1e-7, atol=1e-9)
    for a, b in zip(fast.guide.parameters(), slow.guide.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    for a, b in zip(fast.optim.state.values(), slow.optim.state.values(), strict=True):
        assert int(a["step"]) == int(b["step"]) == 20
        torch.testing.assert_close(a["exp_avg_sq"], b["exp_avg_sq"], rtol=1e-6, atol=1e-12)


def _shape(given) -> tuple[int, ...]:
    return tuple(given[0]) if given and not isinstance(given[0], int) else tuple(given)


def test_a_fit_finds_the_posterior():
    fit = svi(GUIDES["full"](), ELBO(8), lr=0.02)
    result = fit.run(X, OBS, 4000)
    assert (result.tier, result.tier_reason, result.converged) == ("native", "", True)
    mean, covariance = MODEL.posterior(X, OBS["y"])
    q, _ = fit.guide.draw(MODEL.target(X, OBS, latents="declared").layout, (20_000,), rng())
    torch.testing.assert_close(q.mean(0), mean, atol=0.05, rtol=0.0)
    torch.testing.assert_close(q.T.cov(), covariance, atol=0.05, rtol=0.1)


def test_a_seed_repeats_a_run_and_a_run_goes_on_where_it_stopped():
    whole, again, parts = svi(), svi(), svi()
    losses = whole.run(X, OBS, 300).losses
    assert torch.equal(losses, again.run(X, OBS, 300).losses)
    assert not torch.equal(losses, svi(seed=4).run(X, OBS, 300).losses)
    both = [parts.run(X, OBS, 100).losses, parts.run(X, OBS, 200).losses]
    assert torch.equal(torch.cat(both), losses)


def test_steps_after_a_compiled_run_go_on_with_its_state():
    fit = svi()
    fit.run(X, OBS, 100)
    fit.step(X, OBS)
    assert {int(state["step"]) for state in fit.optim.state.values()} == {101}


def test_progress_is_told_of_every_step_and_may_stop_the_run():
    seen = []
    result = svi().run(X, OBS, 500, progress=lambda step, loss: seen.append(step) or step < 42)
    assert seen == list(range(1, 51))  # the batch in which it was asked to stop is finished
    assert result.interrupted
    assert result.num_steps == 50


LINE = """object N : FinSet 4
program line : N -> N
    sample a <- Normal(0.0, 1.0)
    sample s <- HalfNormal(1.0)
    let m = a + t
    observe y : N <- Normal(m, s)
    return a
export line
"""


def test_programs_are_fitted_in_single_precision():
    model = loads(LINE).morphism
    guide = AutoNormalGuide(model, {"y"})
    data = {"t": torch.arange(4.0), "y": 1.5 + torch.arange(4.0) + 0.1 * torch.ones(4)}
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    result = SVI(model, guide, optim, ELBO(4), generator=rng()).run(None, data, 1000)
    assert guide.loc_a.dtype is torch.float32
    assert result.tier == "native"
    assert abs(float(guide.loc_a.detach()) - 1.5) < 0.3


def test_a_loss_that_is_not_finite_leaves_the_parameters_before_the_step():
    fit = svi(lr=1e300)
    with pytest.raises(UserError, match="the loss is"):
        fit.run(X, OBS, 50)
    assert all(int(state["step"]) < 50 for state in fit.optim.state.values())


@pytest.mark.parametrize(
    ("make", "tier", "reason"),
    [
        (
            lambda: svi(weight_decay=0.1),
            "native",
            "each step alone: weight_decay of Adam is not compiled",
        ),
        (lambda: svi(objective=ELBO(2, ScoreFunction(RunningMean()))), "eager", "running mean"),
        (lambda: svi(tier="traced"), "traced", "tier='traced' was asked for"),
        (lambda: svi(tier="auto"), "traced", "5 steps do not pay for compiling"),
    ],
)
def test_what_is_not_compiled_is_said(make, tier, reason):
    result = make().run(X, OBS, 5)
    assert result.tier == tier
    assert reason in result.tier_reason


def test_without_a_compiler_steps_are_traced(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    result = svi().run(X, OBS, 20)
    assert result.tier == "traced"
    assert "cannot be run" in result.tier_reason


def test_an_unknown_tier_is_named():
    with pytest.raises(UserError, match="`tier` of `SVI` is 'fast': one of"):
        svi(tier="fast")


def test_a_run_that_goes_on_is_compiled_once_and_a_changed_weight_compiles_anew():
    model = Conjugate(2, 0)
    guide = AutoNormalGuide(model, {"y"})
    optim = torch.optim.Adam(guide.parameters(), lr=0.01)
    fit = SVI(model, guide, optim, ELBO(), generator=rng(), tier="native")
    first = fit._compiled(X, OBS, 10)
    assert isinstance(first, CompiledFit)
    fit.run(X, OBS, 20)
    assert fit._compiled(X, OBS, 10) is first
    with torch.no_grad():
        model.intercept.add_(3.0)  # not fitted: a number in the compiled code
    second = fit._compiled(X, OBS, 10)
    assert second is not first
    fit.objective = ELBO(4)
    assert fit._compiled(X, OBS, 10) is not second


def _wrong_beyond(threshold: float, rule):
    """``rule``, off by half where its first argument is beyond a threshold."""

    def mutant(work, node):
        x = work.algebra
        value, argument = rule(work, node), work.value(node.args[0])

        def body(right, a):
            far = x.compare("gt", x.call("fabs", a), x.number(threshold))
            return x.mul(right, x.where(far, x.number(1.5), x.number(1.0)))

        return work.pointwise(value.shape, "real", body, value, argument)

    return mutant


def test_a_loss_that_is_wrong_only_away_from_the_start_is_refused(monkeypatch):
    """The wrong exponential is not met at the start, which alone was looked at once."""
    fits = {"right": svi(), "mutant": svi(), "unseen": svi()}
    assert fits["right"].run(X, OBS, 20).tier == "native"
    start = [p.detach().clone() for p in fits["mutant"].guide.parameters()]
    beyond = 1.0 + max(float(p.abs().max()) for p in start)
    monkeypatch.setitem(RULES, "aten::exp", _wrong_beyond(beyond, RULES["aten::exp"]))
    with monkeypatch.context() as patch:
        patch.setattr("quivers_nb.inference.vi.nearby.SPREADS", ())
        assert fits["unseen"].run(X, OBS, 1).tier == "native"  # invisible at the start
    refused = fits["mutant"]._compiled(X, OBS, 10)
    assert refused == "not native: the compiled loss differs from the eager one away from the start"
    assert all(map(torch.equal, start, fits["mutant"].guide.parameters()))
    result = fits["mutant"].run(X, OBS, 5)
    assert result.tier == "traced"
    assert "the compiled loss differs" in result.tier_reason
    assert "the compiled step differs from the replayed one" in result.tier_reason
