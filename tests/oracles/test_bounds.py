"""Evidence bounds against closed forms (R4): at the exact posterior every draw gives the evidence.

With a guide equal to the posterior, log joint minus log q is the log evidence whatever is drawn, so
these are exact equalities without a Monte Carlo error.
"""

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide

POOLED = """\
object Obs : FinSet 5
program pooled : Obs -> Obs
    sample mu <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(mu, 1.0)
    return mu
export pooled
"""
ROWS = """\
object R1 : Real 1
program rows(a) : R1 -> R1
    sample u <- Normal(a, 1.0)
    observe y <- Normal(u, 1.0)
    return u
export rows
"""
SHARED = """\
object R1 : Real 1
object Obs : FinSet 6
program shared(a) : R1 -> R1
    sample b : 1 <- Normal(0.0, 1.0)
    let mu = a + b
    observe y : Obs <- Normal(mu, 1.0)
    return b
export shared
"""


def svi_at(model: Any, names: set[str], loc: float, scale: float, **options: Any) -> Any:
    """An `SVI` whose guide is Normal(loc, scale²) and whose optimizer stands still."""
    guide = AutoNormalGuide(model, observed_names=names)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            parameter.fill_(log(scale) if name.startswith("log_scale") else loc)
    return SVI(model, guide, torch.optim.SGD(list(guide.parameters()), lr=0.0), **options)


def evidence(y: np.ndarray) -> float:
    """log p(y) for a standard normal mean and unit noise."""
    n = len(y)
    return float(stats.multivariate_normal.logpdf(y, np.zeros(n), np.eye(n) + np.ones((n, n))))


@pytest.mark.parametrize("particles", [1, 4])
def test_without_rows_the_loss_is_minus_the_log_evidence(particles: int) -> None:
    y = np.array([0.3, -1.2, 0.8, 0.1, 2.0])
    svi = svi_at(
        loads(POOLED).morphism, {"y"}, y.sum() / 6, 6**-0.5, objective=ELBO(num_particles=particles)
    )
    for _ in range(3):
        assert svi.step(None, {"y": y}) == pytest.approx(-evidence(y), abs=2e-5)


def test_with_rows_the_loss_is_minus_the_log_evidence_of_one_row() -> None:
    """Rows that are alike, so that the guide's shared parameters can be every row's posterior."""
    svi = svi_at(loads(ROWS).morphism, {"y"}, 0.9, 0.5**0.5, objective=ELBO())
    loss = svi.step(torch.full((4, 1), 0.5), {"y": np.full(4, 1.3)})
    assert loss == pytest.approx(-stats.norm.logpdf(1.3, 0.5, 2**0.5), abs=2e-5)


def test_a_shared_latent_is_counted_once_over_all_rows() -> None:
    y = np.array([0.3, -1.2, 0.8, 0.1, 2.0, 0.4])
    svi = svi_at(loads(SHARED).morphism, {"y"}, y.sum() / 7, 7**-0.5, objective=ELBO())
    assert svi.step(torch.zeros(6, 1), {"y": y}) == pytest.approx(-evidence(y) / 6, abs=2e-5)


def test_a_minibatch_stands_for_all_rows() -> None:
    """Two of six equal rows with ``total_rows=6`` give the loss of all six."""
    y = np.full(6, 0.7)
    svi = svi_at(
        loads(SHARED).morphism, {"y"}, y.sum() / 7, 7**-0.5, objective=ELBO(), total_rows=6
    )
    assert svi.step(torch.zeros(2, 1), {"y": y[:2]}) == pytest.approx(-evidence(y) / 6, abs=2e-5)


def test_a_guide_beside_the_posterior_pays_the_divergence() -> None:
    """The mutant of this file: a guide 10 % too wide loses KL(q, posterior) = 0.0047 on average."""
    y = np.array([0.3, -1.2, 0.8, 0.1, 2.0])
    svi = svi_at(loads(POOLED).morphism, {"y"}, y.sum() / 6, 1.1 * 6**-0.5, objective=ELBO(2000))
    torch.random.default_generator.manual_seed(0)
    divergence = 0.5 * (1.1**2 - 1) - log(1.1)
    assert svi.step(None, {"y": y}) == pytest.approx(-evidence(y) + divergence, abs=0.01)
    assert abs(svi.step(None, {"y": y}) + evidence(y)) > 1e-3
