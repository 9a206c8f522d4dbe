"""Divergences of a density that is not a number: the place and the sites are named."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.mcmc.undefined import STEPS, _followed, undefined
from quivers_nb.inference.problem import Problem
from quivers_nb.inference.target import Target
from tests.support.targets import F64, HandTarget

DATA = {"y": [0.3, -0.1, 0.8, 0.2, 0.5]}
ROOT = """
object N : FinSet 5
program root : N -> N
    sample nu <- Normal(0.0, 3.0)
    sample mu <- Normal(0.0, 1.0)
    let r = {formula}
    observe y : N <- Normal(r, 1.0)
    return mu
export root
"""
SCHOOLS = """
object School : FinSet 8
program schools : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    observe y : School <- Normal(theta, 12.0)
    return theta
export schools
"""
FIXED = NUTSKernel(step_size=3.0, adapt_step_size=False, adapt_mass_matrix=False)
Y = [28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]


def run(text, data, tier="native", kernel=NUTSKernel(), **options):  # noqa: B008  (frozen)
    mcmc = MCMC(kernel, 100, 100, num_chains=2, seed=0, tier=tier)
    return mcmc.run(loads(text).morphism, None, data, **options)


@pytest.mark.parametrize("tier", ["native", "eager"])
def test_the_place_and_the_site_are_named(tier):
    result = run(ROOT.format(formula="sqrt(mu + 0.5)"), DATA, tier)
    assert int(result.divergence_counts.sum()) > 0
    finding = undefined(result)
    assert finding is not None
    assert finding.code == "Q1012"
    assert finding.fact.startswith("the log density is not a number where")
    mu = float(finding.fact.split("mu = ")[1].split(":")[0])
    assert mu < -0.5
    assert "`y` = [0.3, -0.1, 0.8, 0.2, …] (log density [nan" in finding.fact
    assert "`nu`" not in finding.fact  # its density is finite there
    assert result.warnings[0] == finding
    assert undefined(result) == finding  # the same trajectories every time


def test_divergences_of_a_narrow_place_are_something_else():
    result = run(SCHOOLS, {"y": Y}, kernel=FIXED)
    assert int(result.divergence_counts.sum()) > 0
    assert undefined(result) is None


def test_nothing_is_said_where_places_are_not_known():
    text = ROOT.format(formula="sqrt(mu + 0.5)")
    assert undefined(run(text, DATA, keep=["mu"])) is None
    assert undefined(replace(run(text, DATA), problem=None)) is None


def test_a_density_that_is_defined_everywhere_is_not_looked_at(monkeypatch):
    result = run(ROOT.format(formula="abs(mu)"), DATA)
    still = replace(result, stats=dict(result.stats) | {"diverged": torch.zeros(2, 100).bool()})
    monkeypatch.setattr("quivers_nb.inference.mcmc.undefined.flat", None)
    assert undefined(still) is None


def test_a_gradient_that_is_not_a_number_counts():
    """The branch that is not taken has no slope: ``where(z > 0, sqrt(z), 0)`` below zero."""
    hand = HandTarget(
        {"z": (1,)},
        lambda v: torch.where(v["z"] > 0, v["z"].sqrt(), 0.0)[..., 0] - v["z"][..., 0] ** 2,
    )
    result = MCMC(NUTSKernel(), 100, 100, num_chains=2, seed=0, tier="eager").run_target(hand)
    assert int(result.divergence_counts.sum()) > 0
    model = SimpleNamespace(target=lambda *_, **__: hand)
    finding = undefined(replace(result, problem=Problem(model, None, None)))
    assert finding is not None
    assert finding.fact.startswith("the gradient of the log density is not a number where")


def test_paths_that_meet_nothing_are_as_long_as_may_be():
    calls = []

    def density(v):
        calls.append(len(v["z"]))
        return -0.5 * v["z"][..., 0] ** 2

    target = Target(HandTarget({"z": (1,)}, density))
    q = torch.zeros(3, 1, dtype=F64)
    assert not len(_followed(target, q, torch.full((1,), 0.1, dtype=F64), STEPS))
    assert calls == [3] * (STEPS + 1)
