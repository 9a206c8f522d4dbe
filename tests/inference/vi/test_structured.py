"""The structured guide: exact on linear normal models whose sites meet as its own do."""

import math

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    IWAE,
    SVI,
    AutoNormalGuide,
    AutoStructured,
    DoublyReparameterized,
    StickingTheLanding,
    khat,
)
from quivers_nb.inference.vi.guides import structured
from quivers_nb.inference.vi.guides.structured import elimination_parents
from quivers_nb.inference.vi.khat import log_weights
from tests.inference.vi.conjugate import Conjugate, data

TREE = """object School : FinSet 6
program tree : School -> School
    sample mu <- Normal(0.0, 2.0)
    sample theta : School <- Normal(mu, 0.7)
    sample eta : School <- Normal(theta, 0.5)
    observe y : School <- Normal(eta, 1.0)
    return theta
export tree
"""
LINE = """object Case : FinSet 6
program line : Case -> Case
    sample a <- Normal(0.0, 2.0)
    sample b <- Normal(0.0, 2.0)
    let at = a + b * x
    observe y : Case <- Normal(at, 1.0)
    return a
export line
"""
CROSSED = """object Case : FinSet 6
object Item : FinSet 2
object Person : FinSet 3
program crossed : Case -> Case
    sample c <- Normal(0.0, 2.0)
    sample person : Person <- Normal(0.0, 1.0)
    let at = c + person[who]
    observe y : Case <- Normal(at, 1.0)
    return c
export crossed
"""
Y = torch.tensor([2.1, 3.0, 1.2, 4.0, 2.5, 3.1])
DATA = {
    TREE: {"y": Y},
    LINE: {"y": Y, "x": torch.arange(6.0)},
    CROSSED: {"y": Y, "who": torch.tensor([0, 0, 1, 1, 2, 2])},
}
ONES, EYE = torch.ones(6, 6, dtype=torch.float64), torch.eye(6, dtype=torch.float64)
WHO = torch.nn.functional.one_hot(DATA[CROSSED]["who"]).double()
COVARIANCE = {  # of y
    TREE: 4.0 * ONES + (0.49 + 0.25 + 1.0) * EYE,
    LINE: 4.0 * ONES + 4.0 * torch.outer(*[torch.arange(6.0).double()] * 2) + EYE,
    CROSSED: 4.0 * ONES + WHO @ WHO.mT + EYE,
}
NAMES = {TREE: "tree", LINE: "line", CROSSED: "crossed"}


def evidence(source: str) -> float:
    zero = torch.zeros(6, dtype=torch.float64)
    return float(
        torch.distributions.MultivariateNormal(zero, COVARIANCE[source]).log_prob(Y.double())
    )


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fitted(model, guide, x, obs, steps: int = 800, particles: int = 4):
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    schedule = lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))  # noqa: E731
    objective = ELBO(particles, StickingTheLanding())
    svi = SVI(model, guide, optim, objective, generator=rng(1), scheduler=schedule)
    svi.run(x, obs, steps)
    assert svi.eager_reason == ""
    return log_weights(model, guide, x, obs, 500, generator=rng(2))


@pytest.mark.parametrize("source", DATA, ids=NAMES.get)
def test_the_guide_is_the_posterior_of_a_linear_normal_program(source):
    """Where a guide is the posterior every weight is the evidence."""
    model = loads(source).morphism
    guide = AutoStructured(model, {"y"})
    weights = fitted(model, guide, None, DATA[source])
    wanted = torch.full_like(weights, evidence(source))
    torch.testing.assert_close(weights, wanted, atol=5e-3, rtol=0.0)


@pytest.mark.parametrize("source", DATA, ids=NAMES.get)
def test_without_its_dependencies_it_is_not(source):
    """The power of the test above: the mean field, fitted alike."""
    model = loads(source).morphism
    guide = AutoStructured(model, {"y"}, dependencies={})
    weights = fitted(model, guide, None, DATA[source])
    assert float((weights - evidence(source)).abs().max()) > 0.3
    assert float(weights.mean()) < evidence(source)


def test_sites_of_one_plate_follow_each_other_element_by_element():
    guide = AutoStructured(loads(TREE).morphism, {"y"})
    assert guide.parents == {"mu": (), "theta": ("mu",), "eta": ("theta",)}
    assert guide.slope("eta", "theta").shape == (6, 1, 1)
    assert guide.slope("theta", "mu").shape == (6, 1)
    crossed = AutoStructured(loads(CROSSED).morphism, {"y"})
    assert crossed.slope("person", "c").shape == (3, 1)


def test_sites_that_met_one_that_is_integrated_out_meet_each_other():
    meets = {"a": {"c"}, "b": {"c"}, "c": {"a", "b"}}
    assert elimination_parents(["a", "b", "c"], meets) == {"a": (), "b": ("a",), "c": ("a", "b")}
    chain = {"a": {"b"}, "b": {"a", "c"}, "c": {"b"}}
    assert elimination_parents(["a", "b", "c"], chain) == {"a": (), "b": ("a",), "c": ("b",)}


ROWS = 5
MODEL = Conjugate(1, 1)
X, YR = data(MODEL, ROWS)
OBS = {"y": YR}


def test_rows_with_parameters_of_their_own_follow_what_is_shared():
    guide = AutoStructured(MODEL, {"y"}, dependencies={"z": ["a"]}, rows=ROWS)
    weights = fitted(MODEL, guide, X, OBS)
    wanted = torch.full_like(weights, float(MODEL.log_evidence(X, YR).detach()))
    torch.testing.assert_close(weights, wanted, atol=1e-3, rtol=0.0)
    assert khat(MODEL, AutoNormalGuide(MODEL, {"y"}), X, OBS, 500, generator=rng()) > 0.5


def test_rows_that_share_parameters_follow_and_are_fitted_by_minibatches():
    guide = AutoStructured(MODEL, {"y"}, dependencies={"z": ["a"]})
    assert guide.slope("z", "a").shape == (1, 1)
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    svi = SVI(MODEL, guide, optim, ELBO(4), total_rows=ROWS, generator=rng())
    losses = [svi.step(X[k : k + 2], {"y": YR[k : k + 2]}) for k in (0, 1, 2, 3) * 40]
    assert sum(losses[-20:]) < sum(losses[:20])
    assert float(guide.slope("z", "a").detach().abs()) > 0.1
    target = MODEL.target(X, OBS)
    objective = IWAE(3, estimator=DoublyReparameterized())
    assert bool(torch.isfinite(objective.loss(target, guide, generator=rng())))
    with pytest.raises(UserError, match="follow shared sites"):
        objective.loss(target, guide, total_rows=9)


@pytest.mark.parametrize(
    ("dependencies", "said"),
    [
        ({"z": ["b"]}, "'b' is not among the sites"),
        ({"a": ["z"]}, r"a cannot follow \['z'\]"),
        ({"a": ["a"]}, r"a cannot follow \['a'\]"),
    ],
)
def test_dependencies_that_cannot_be_are_refused(dependencies, said):
    with pytest.raises(UserError, match=said):
        AutoStructured(MODEL, {"y"}, dependencies=dependencies)


def test_a_slope_that_is_too_large_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(structured, "LARGEST", 5)
    with pytest.raises(UserError, match=r"theta would follow mu by a slope of \(6, 1\)"):
        AutoStructured(loads(TREE).morphism, {"y"})
