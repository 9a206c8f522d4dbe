"""Sequential Monte Carlo: evidence, posterior moments, weights of modes, calibration, and mutants.

Size: all comparisons share the budget's "particles". Evidence is compared in its own standard
error, of independent runs (a t distribution). Power: that error is below 0.05 everywhere, so that a
factor of 1.5 is seen; the prior is seen in each posterior; weights that are squared are seen in the
shares of two modes, and moves at another temperature by calibration.
"""

from math import log, pi
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, SMC, NUTSKernel, SMCResult, calibrate, diagnose
from quivers_nb.inference.smc import run as smc_run
from quivers_nb.inference.smc.weights import next_step
from tests.stats.budget import alpha, critical_z
from tests.stats.test_calibration import DRAWS, GROUPED, GROUPS, LINE, SIMULATIONS, SLOPED
from tests.stats.test_closed_forms import PAIRS, largest_z
from tests.support.posteriordb import draws_of, posterior

F64 = torch.float64
RUNS = 8
CALIBRATIONS = 3  # of GROUPS, and twice of LINE
EVIDENCES = len(PAIRS) + 2
MOMENTS = 2 * sum(len(pair.posterior) for pair in PAIRS.values())
SCHOOLS = posterior("eight_schools-eight_schools_noncentered")
COUNT = EVIDENCES + MOMENTS + 1 + len(SCHOOLS.parameters) + CALIBRATIONS
ALPHA = alpha("particles", COUNT)

SQUARED = """object N : FinSet 5
program squared : N -> N
    sample mu <- Normal(1.0, 4.0)
    let m = mu * mu
    observe y : N <- Normal(m, 2.0)
    observe v <- Normal(mu, 7.0)
    return mu
export squared
"""
SEEN = {
    "y": torch.tensor([15.0, 17.0, 16.0, 18.0, 14.0], dtype=F64),
    "v": torch.tensor(6.0, dtype=F64),
}


def t_score(values: torch.Tensor, truth: float) -> tuple[float, float]:
    """How far the mean of independent runs is off, as a z score of the same size; the error."""
    error = float(values.std()) / len(values) ** 0.5
    t = (float(values.mean()) - truth) / error
    return float(stats.norm.isf(stats.t(len(values) - 1).sf(t))), error


def evidence_is(result: SMCResult, truth: float) -> bool:
    z, error = t_score(result.log_evidences, truth)
    assert error < 0.05
    return abs(z) < critical_z(ALPHA)


@pytest.mark.stats
@pytest.mark.parametrize("name", PAIRS)
def test_conjugate_evidence_and_posterior(name: str) -> None:
    pair = PAIRS[name]
    result = SMC(1000, RUNS, seed=5).run(pair.model(), None, pair.data)
    assert evidence_is(result, pair.evidence)
    assert not evidence_is(result, pair.evidence + log(1.5))
    assert largest_z(result.samples, pair.posterior) < critical_z(ALPHA)
    assert largest_z(result.samples, pair.prior) > critical_z(ALPHA)


@pytest.mark.stats
def test_evidence_of_a_regression_with_known_variance() -> None:
    """All of y is one normal vector, with covariance I + X X'."""
    t = torch.linspace(-2.0, 2.0, 40, dtype=F64)
    y = 1.5 - 0.7 * t + torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=F64)
    model = loads(LINE.replace("FinSet 4", "FinSet 40")).morphism
    result = SMC(1000, RUNS, seed=6).run(model, None, {"t": t, "y": y})
    x = np.stack([np.ones(40), t.numpy()], -1)
    truth = float(stats.multivariate_normal(np.zeros(40), np.eye(40) + x @ x.T).logpdf(y.numpy()))
    assert evidence_is(result, truth)
    assert all(len(stages) > 1 for stages in result.temperatures)


# --- two modes ------------------------------------------------------------------------------


def two_modes() -> tuple[float, float]:
    """The share of the right mode, and the log evidence, by quadrature."""
    mu = np.linspace(-12.0, 12.0, 400_001)
    logs = -0.5 * ((mu - 1.0) / 4.0) ** 2 - log(4.0) - 0.5 * log(2.0 * pi)
    for y in SEEN["y"].tolist():
        logs = logs - 0.5 * ((y - mu * mu) / 2.0) ** 2 - log(2.0) - 0.5 * log(2.0 * pi)
    logs = logs - 0.5 * ((6.0 - mu) / 7.0) ** 2 - log(7.0) - 0.5 * log(2.0 * pi)
    weights = np.exp(logs) * (mu[1] - mu[0])
    return float(weights[mu > 0.0].sum() / weights.sum()), log(float(weights.sum()))


def right_mode(result: Any) -> torch.Tensor:
    return (result.samples["mu"] > 0.0).double().mean(-1)


@pytest.mark.stats
def test_two_modes_have_their_shares_where_a_chain_stays_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share, evidence = two_modes()
    model = loads(SQUARED).morphism
    chains = MCMC(NUTSKernel(), 300, 300, num_chains=4, seed=0).run(model, None, SEEN)
    assert set(right_mode(chains).tolist()) <= {0.0, 1.0}
    sampler = SMC(500, RUNS, seed=7)
    result = sampler.run(model, None, SEEN)
    z, error = t_score(right_mode(result), share)
    assert abs(z) < critical_z(ALPHA)
    assert error < 0.03
    assert evidence_is(result, evidence)
    monkeypatch.setattr(smc_run, "next_step", squared_weights)
    mutant = sampler.run(model, None, SEEN)
    assert abs(float(right_mode(mutant).mean()) - share) > critical_z(ALPHA) * error


def squared_weights(log_likelihood: torch.Tensor, beta: float, share: float) -> Any:
    step = next_step(log_likelihood, beta, share)
    weights = step.weights.square()
    return step._replace(weights=weights / weights.sum())


# --- a published posterior ---------------------------------------------------------------------


@pytest.mark.stats
def test_eight_schools_are_those_of_the_reference() -> None:
    result = SMC(1000, 4, seed=8).run(loads(SCHOOLS.program).morphism, None, SCHOOLS.data)
    for name, x in draws_of(SCHOOLS, result.samples).items():
        reference = SCHOOLS.reference[name]
        error = float(np.hypot(diagnose.mcse(x), reference["mcse_mean"]))
        assert abs(x.mean() - reference["mean"]) < critical_z(ALPHA) * error, name
        assert abs(x.std() / reference["sd"] - 1.0) < 0.1, name
    assert result.warnings == ()


# --- calibration --------------------------------------------------------------------------------


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves at a fifth of the temperature that particles are weighed for."""
    settle = smc_run.settle

    def mutant(path: Any, start: Any, beta: float, *rest: Any) -> Any:
        return settle(path, start, 0.2 * beta, *rest)

    monkeypatch.setattr(smc_run, "settle", mutant)


PROGRAMS = {"line": (LINE, SLOPED), "groups": (GROUPS, GROUPED)}


def calibration(name: str, simulations: int) -> Any:
    source, data = PROGRAMS[name]
    sampler = SMC(2 * DRAWS, 1, tier="traced")
    model = loads(source).morphism
    return calibrate(
        model, None, sampler, num_simulations=simulations, num_draws=DRAWS, data=data, seed=1
    )


@pytest.mark.stats
def test_particles_are_calibrated() -> None:
    """The quick version."""
    found = calibration("line", 60)
    assert found.calibrated(ALPHA), found.report(ALPHA)


@pytest.mark.stats
@pytest.mark.usefixtures("warm")
def test_particles_that_move_at_another_temperature_are_not_calibrated() -> None:
    assert not calibration("line", 60).calibrated(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_particles_are_calibrated_in_full(name: str) -> None:
    found = calibration(name, SIMULATIONS)
    assert found.calibrated(ALPHA), found.report(ALPHA)


@pytest.mark.stats
@pytest.mark.slow
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("name", PROGRAMS)
def test_mutants_are_not_calibrated_in_full(name: str) -> None:
    assert not calibration(name, SIMULATIONS // 4).calibrated(ALPHA)
