"""Guides on compiled programs: shapes, supports and bounds come from the program alone."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    SVI,
    AutoMultivariateNormal,
    AutoNormalGuide,
    Predictive,
    log_likelihood,
)
from tests.support.targets import SCHOOLS

BOUNDS = """object Topic : FinSet 3
object Doc : FinSet 4
object Obs : FinSet 12
program bounds : Obs -> Obs
    sample theta : Doc <- Dirichlet(0.5) [over=Topic]
    sample top <- Uniform(0.0, 2.0)
    sample part <- Uniform(0.0, top)
    let logits = log(theta[doc])
    observe word : Obs <- CategoricalLogit(logits)
    observe y : Obs <- Normal(part, 1.0)
    return top
export bounds
"""
ROWS = """object R3 : Real 3
object R2 : Real 2
morphism f : R3 -> R2 [role=kernel, scale=0.3] ~ Normal
program rows : R3 -> R3
    sample h <- f
    sample s : 1 <- HalfNormal(1.0)
    sample t <- Gamma(2.0, 2.0) [per=row]
    observe y <- Normal(t, s)
    return y
export rows
"""
DOC = {"doc": torch.arange(12) % 4}
DATA = {
    BOUNDS: (None, {**DOC, "word": torch.arange(12) % 3, "y": torch.linspace(-1, 1, 12)}),
    ROWS: (torch.ones(5, 3), {"y": torch.linspace(0.1, 2.0, 5)}),
}
PARAMETERS = {
    BOUNDS: {"loc_theta": (4, 2), "loc_top": (1,), "loc_part": (1,)},
    ROWS: {"loc_h": (2,), "loc_s": (1, 1), "loc_t": (1,)},
}
VALUES = {
    BOUNDS: {"theta": (4, 3), "top": (), "part": ()},
    ROWS: {"h": (5, 2), "s": (1,), "t": (5,)},
}


@pytest.mark.parametrize("source", DATA, ids=["bounds", "rows"])
def test_a_program_is_guided_and_fitted(source):
    model = loads(source).morphism
    x, data = DATA[source]
    guide = AutoNormalGuide(model, model.observed_names)
    shapes = {name: tuple(p.shape) for name, p in guide.named_parameters()}
    assert {name: s for name, s in shapes.items() if name.startswith("loc")} == PARAMETERS[source]
    sites = guide.rsample(x)
    assert {name: tuple(value.shape) for name, value in sites.items()} == VALUES[source]
    assert guide.log_prob(x, sites).shape == model.batch_shape(x)
    parameters = [*model.parameters(), *guide.parameters()]
    svi = SVI(model, guide, torch.optim.Adam(parameters, lr=0.05), ELBO(num_particles=8))
    losses = [svi.step(x, data) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_un_indexed_sites_and_plates_of_a_run_without_rows_are_one_vector():
    """Where the mean moves, the schools do."""
    model = loads(SCHOOLS).morphism
    effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    data = {"se": errors, "y": effects}
    guide = AutoMultivariateNormal(model, {"y"})
    assert guide.shared_block.loc.shape == (10,)
    optim = torch.optim.Adam(guide.parameters(), lr=0.03)
    rng = torch.Generator().manual_seed(0)
    SVI(model, guide, optim, ELBO(8), generator=rng).run(None, data, 1000)
    with torch.no_grad():
        draws = [guide.rsample(None, generator=rng) for _ in range(500)]
    both = torch.stack([torch.stack([d["mu"], d["theta"].mean()]) for d in draws])
    assert float(torch.corrcoef(both.T)[0, 1]) > 0.5
    with pytest.raises(UserError, match=r"mu, tau of a program that never .* rows=3"):
        guide.rsample(torch.zeros(3, 1))


def test_bounds_are_literals_or_earlier_sites():
    guide = AutoNormalGuide(loads(BOUNDS).morphism, {"word", "y"}, init_scale=2.0)
    for _ in range(50):
        sites = guide.rsample(None)
        assert 0.0 < sites["part"] < sites["top"] < 2.0
        torch.testing.assert_close(sites["theta"].sum(-1), torch.ones(4))


def test_draws_of_a_guide_have_the_names_of_their_plates():
    model = loads(SCHOOLS).morphism
    data = {"se": torch.ones(8), "y": torch.arange(8.0)}
    guide = AutoNormalGuide(model, {"y"})
    found = log_likelihood(model, None, data, guide, num_draws=20).to_arviz().posterior["theta"]
    assert found.dims == ("chain", "draw", "School")
    assert found.shape == (1, 20, 8)


PLATED = BOUNDS.replace("sample part <- ", "sample parts : Doc <- ").replace(
    "Normal(part, 1.0)", "Normal(parts[doc], 1.0)"
)


@pytest.mark.parametrize("source", [BOUNDS, PLATED], ids=["scalar", "plate"])
def test_bounds_go_with_their_draw(source):
    guide = AutoNormalGuide(loads(source).morphism, {"word", "y"}, init_scale=2.0)
    sites = guide.draws(None, 200, generator=torch.Generator().manual_seed(0))
    inner = sites["part" if source is BOUNDS else "parts"].reshape(200, -1)
    assert inner.shape[1] == (1 if source is BOUNDS else 4)
    assert bool((inner < sites["top"][:, None]).all())
    assert not bool((inner < sites["top"].flip(0)[:, None]).all())  # of another draw
    torch.testing.assert_close(sites["theta"].sum(-1), torch.ones(200, 4))


def test_the_bound_of_the_fit_is_that_of_the_guide_s_own_density():
    """The flat path of SVI and the public rsample/log_prob describe one density."""
    model = loads(BOUNDS).morphism
    data = DATA[BOUNDS][1]
    guide = AutoNormalGuide(model, {"word", "y"}, init_scale=0.5)
    target = model.target(None, data, latents="declared")
    with torch.no_grad():
        q, terms = guide.draw(target.layout, ())
        sites = target.constrain(q)
        log_p = model.log_density(None, {**data, **sites})
        flat = target.terms(q).total() - terms.total()
        torch.testing.assert_close(flat, log_p - guide.log_prob(None, sites))


def test_predictions_come_from_the_guide():
    model = loads(BOUNDS).morphism
    guide = AutoNormalGuide(model, {"word", "y"})
    found = Predictive(model, guide, 6)(None, DOC)
    assert found["word"].shape == found["y"].shape == (6, 12)
