"""Conditioning and prediction on a model written by hand."""

import pytest
import torch

from quivers_nb.diagnostics.errors import QuiversWarning, UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoNormalGuide,
    NUTSKernel,
    Predictive,
    bayesian_lift_parameters,
    condition,
    predictive,
)
from quivers_nb.inference import blocks as blocks_module
from quivers_nb.session.fits import fit_svi
from tests.support.models import HandModel

X = torch.linspace(-1, 1, 5)[:, None]
Y = torch.tensor([0.3, -0.2, 0.5, 0.9, 1.1])


def test_conditioned_sites_are_clamped_everywhere():
    model = HandModel()
    z = torch.linspace(0, 1, 5)
    fixed = condition(model, {"z": z})
    run = fixed.trace(X, {"y": Y})
    assert torch.equal(run.sites["z"].value, z)
    assert run.sites["z"].is_observed
    assert [c.name for c in fixed.target(X, {"y": Y}).layout] == ["m"]
    assert [latent.name for latent in fixed.declared_latents({"y"})] == ["m"]
    m = torch.tensor([0.2, 0.1])
    whole = model.log_joint(X, {"z": z, "y": Y, "m": m})
    assert torch.equal(fixed.log_joint(X, {"y": Y, "m": m}), whole)
    torch.testing.assert_close(
        fixed.log_density(X, {"y": Y, "m": m}), model.log_density(X, {"z": z, "y": Y, "m": m})
    )
    assert list(fixed.parameters()) == list(model.parameters())


def test_prior_draws_are_repeatable_by_their_generator():
    draws = [
        Predictive(HandModel(), None, 7, generator=torch.Generator().manual_seed(0))(X)
        for _ in range(2)
    ]
    assert {name: tuple(v.shape) for name, v in draws[0].items()} == {
        "m": (7, 2), "z": (7, 5), "y": (7, 5),
    }  # fmt: skip
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[0])
    assert not any(value.requires_grad for value in draws[0].values())


def test_posterior_draws_are_used_one_by_one():
    latents = {"m": torch.arange(8.0).reshape(4, 2), "z": torch.arange(20.0).reshape(4, 5)}
    found = Predictive(HandModel(), latents)(X)
    assert torch.equal(found["m"], latents["m"])
    assert torch.equal(found["z"], latents["z"])
    assert found["y"].shape == (4, 5)
    half = Predictive(HandModel(), latents, num_samples=2)(X)
    assert torch.equal(half["m"], latents["m"][[0, 2]])


def test_an_mcmc_result_gives_its_chains_after_one_another():
    model = HandModel()
    result = MCMC(NUTSKernel(), 30, 10, num_chains=2, seed=0).run(model, X, {"y": Y})
    found = Predictive(model, result)(X)
    torch.testing.assert_close(found["m"], result.samples["m"].reshape(20, 2))


def test_a_guide_is_drawn_from():
    model = HandModel()
    found = Predictive(model, AutoNormalGuide(model, {"y"}), 6)(X, {"y": Y})
    assert found["z"].shape == (6, 5)
    assert torch.equal(found["y"][3], Y)


def test_what_cannot_be_predicted_is_said():
    model = HandModel()
    with pytest.raises(UserError, match="num_samples is needed"):
        Predictive(model)
    with pytest.raises(UserError, match="num_samples=9, but the posterior has 4 draws"):
        Predictive(model, {"m": torch.zeros(4, 2)}, 9)
    with pytest.raises(UserError, match="different numbers of draws"):
        Predictive(model, {"m": torch.zeros(4, 2), "z": torch.zeros(3, 5)})
    with pytest.raises(UserError, match="no sites"):
        Predictive(model, {})
    lifted, x, obs = bayesian_lift_parameters(model, X, {"y": Y})
    result = MCMC(NUTSKernel(), 5, 5, num_chains=1, seed=0).run(lifted, x, obs)
    with pytest.raises(UserError, match=r"theta__.* is a lifted weight"):
        Predictive(lifted, result)


def test_sites_that_a_run_did_not_keep_are_drawn_from_the_model_and_said_to_be():
    model = HandModel()
    run = MCMC(NUTSKernel(), 5, 5, num_chains=1, seed=0).run(model, X, {"y": Y}, keep=["m"])
    with pytest.warns(QuiversWarning, match=r"no draws of `z`, .*fit without keep=.*Q1013") as said:
        found = Predictive(model, run)(X)
    assert said[0].filename == __file__  # the line of the call
    assert found["z"].shape[0] == 5
    Predictive(model, {"m": run.samples["m"].flatten(0, 1)})(X)  # meant: no warning
    Predictive(model, run)(X, {"z": torch.zeros(5)})  # given: nothing is drawn


@pytest.mark.parametrize("strategy", ["prior", "guide"])
def test_chains_start_at_draws_of_the_prior_or_of_a_guide(strategy):
    model = HandModel()
    guide = AutoNormalGuide(model, {"y"}, init_scale=1e-6)
    with torch.no_grad():
        guide.loc_m.copy_(torch.tensor([[5.0], [-5.0]]))
    still = NUTSKernel(step_size=1e-9, adapt_step_size=False)
    mcmc = MCMC(still, 0, 1, num_chains=200, seed=0,
                init_strategy="prior" if strategy == "prior" else "uniform")  # fmt: skip
    result = mcmc.run(model, X, {"y": Y}, guide if strategy == "guide" else None)
    m = result.samples["m"][:, 0]
    if strategy == "guide":
        torch.testing.assert_close(
            m, torch.tensor([5.0, -5.0], dtype=m.dtype).expand(200, 2), atol=1e-4, rtol=0
        )
    else:
        assert 0.8 < float(m.std()) < 1.2  # N(0, 1), not uniform(-2, 2)
        assert float(m.abs().max()) > 2.0


LINE = """object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 1.0)
    let mu = slope * x
    observe y : Obs <- Normal(mu, 0.001)
    return mu
export line
"""


def test_many_predictions_are_made_in_blocks_that_fit(monkeypatch):
    model, slopes = loads(LINE).morphism, torch.linspace(-1.0, 1.0, 50)
    data, seeded = {"x": torch.ones(30)}, torch.Generator().manual_seed

    def predicted():
        return Predictive(model, {"slope": slopes}, generator=seeded(3))(None, data)["y"]

    whole = predicted()
    sizes, simulate = [], type(model).simulate

    def counted(self, x, count, *rest, **options):
        sizes.append(count)
        return simulate(self, x, count, *rest, **options)

    monkeypatch.setattr(type(model), "simulate", counted)
    monkeypatch.setattr(predictive, "_BLOCK", 500)
    blocks = predicted()
    assert max(sizes) * 30 <= 500
    assert sum(sizes) == 50 + 1  # one to see how large they are
    assert whole.shape == blocks.shape == (50, 30)
    torch.testing.assert_close(blocks, slopes[:, None].expand(50, 30), atol=0.01, rtol=0.0)
    assert len({float(row[0] - slope) for row, slope in zip(blocks, slopes, strict=True)}) == 50
    monkeypatch.setattr(blocks_module, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"predictions of 50 draws would take .*num_samples=100"):
        predicted()


def test_predictions_leave_the_global_stream_where_they_would():
    model, draws = loads(LINE).morphism, {"slope": torch.zeros(4)}
    torch.manual_seed(5)
    plain = model.simulate(None, 4, draws, {"x": torch.ones(3)})["y"]
    torch.manual_seed(5)
    assert torch.equal(Predictive(model, draws)(None, {"x": torch.ones(3)})["y"], plain)


LATE = """object Obs : FinSet n
data x : Obs -> Real 1
program late : Obs -> Obs
    sample mu <- Normal(0.0, 1.0)
    sample a : Obs <- Normal(mu, 1.0)
    let m = a + x
    observe y : Obs <- Normal(m, 1.0)
    return m
export late
"""


def test_a_conditioned_model_has_the_sizes_of_its_data():
    model = condition(loads(LATE).morphism, {"mu": 0.5})
    x, y = torch.linspace(0.0, 1.0, 6), torch.ones(6)
    run = MCMC(NUTSKernel(), 10, 10, num_chains=1, seed=0).run(model, None, {"x": x, "y": y})
    assert Predictive(model, run)(None, {"x": x})["y"].shape == (10, 6)  # a warning is an error
    fit = fit_svi(model, None, {"x": x, "y": y}, steps=5, seed=0, block=True)
    assert Predictive(model, fit.guide, 4)(None, {"x": x})["a"].shape == (4, 6)
