"""Simulation-based calibration of recentred runs of hierarchical programs written centred.

Size: the budget's "recentred calibration", shared evenly. Power: the mutant leaves out the
log-Jacobian of the coordinates, which draws scales too small by a factor of tau for every effect
that is not centred (`quivers_nb.inference.ranks.Sensitivity` of 60 simulations: half a posterior
standard deviation is seen).
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, calibrate
from quivers_nb.lower import centering
from tests.stats.budget import alpha

DRAWS = 63
EFFECTS = """object N : FinSet 12
object G : FinSet 4
program effects : N -> N
    sample mu <- Normal(0.0, 2.0)
    sample tau <- LogNormal(0.0, 0.7)
    sample a : G <- Normal(mu, tau)
    let m = a[g]
    observe y : N <- Normal(m, 1.0)
    return mu
export effects
"""
NESTED = """object N : FinSet 12
object G : FinSet 4
program nested : N -> N
    sample tau <- HalfNormal(1.0)
    sample s : G <- HalfNormal(tau)
    sample a : G <- StudentT(4.0, tau, s)
    let m = a[g]
    observe y : N <- Normal(m, 1.0)
    return tau
export nested
"""
SLOPES = """object N : FinSet 12
object G : FinSet 4
object K : FinSet 2
data design : N -> Real 2
program slopes : N -> N
    sample mu : K <- Normal(0.0, 2.0)
    sample tau <- LogNormal(0.0, 0.7)
    sample C : CholeskyFactor 2 <- LKJCholesky(2.0)
    let L = tau * C
    sample b : G <- MultivariateNormal(mu, L)
    let of_group = b[g]
    let m = dot(of_group, design)
    observe y : N <- Normal(m, 1.0)
    return mu
export slopes
"""
PROGRAMS = {"effects": EFFECTS, "nested": NESTED, "slopes": SLOPES}
GROUPS = {"g": torch.tensor([0, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3])}
DESIGN = {"design": torch.stack([torch.ones(12), torch.linspace(-1.0, 1.0, 12)], 1)}
RANKED = {"slopes": ("mu", "tau", "b")}  # the entries of C that are 0 or 1 have no rank
RUN = MCMC(NUTSKernel(target_accept=0.9), 150, 2 * DRAWS, num_chains=1, recenter=True)
ALPHA = alpha("recentred calibration", 1 + len(PROGRAMS))


def ranked(name: str, simulations: int) -> Any:
    data = GROUPS | (DESIGN if name == "slopes" else {})
    return calibrate(
        loads(PROGRAMS[name]).morphism, None, RUN, num_simulations=simulations, num_draws=DRAWS,
        data=data, sites=RANKED.get(name), seed=1,
    )  # fmt: skip


class Forgetful(centering.Recentred):
    """The mutant: no log-Jacobian of its own."""

    def answer(self, site: Any, dist: Any, stack: tuple[int, ...]) -> Any:
        found = super().answer(site, dist, stack)
        if found is None:
            return None
        place = centering.place_of(dist)
        assert place is not None
        return replace(found, term=found.term - self.centerings[site.path].log_det(place))


@pytest.mark.stats
def test_a_short_calibration_passes() -> None:
    found = ranked("effects", 60)
    assert found.calibrated(ALPHA), found.report(ALPHA)


@pytest.mark.stats
def test_a_run_without_the_jacobian_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quivers_nb.lower.target.Recentred", Forgetful)
    assert not ranked("effects", 60).calibrated(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_recentred_runs_are_calibrated(name: str) -> None:
    found = ranked(name, 200)
    assert found.calibrated(ALPHA), found.report(ALPHA)


def test_coordinates_were_changed_at_all() -> None:
    model = loads(EFFECTS).morphism
    data = {**GROUPS, "y": torch.zeros(12)}
    (found,) = replace(RUN, seed=0).run(model, None, data).centering.values()
    assert isinstance(found, torch.Tensor)
    assert float(found.min()) < 1.0
