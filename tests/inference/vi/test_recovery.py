"""A guide whose family contains the posterior finds it; one whose family does not, does not.

The model is linear and normal. Where a guide is the posterior, every log weight ``log p - log q``
is the log evidence, whatever the draw.
"""

import math

import pytest
import torch

from quivers_nb.inference import (
    ELBO,
    SVI,
    AmortizedNormalGuide,
    AutoDelta,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    Reparameterized,
    StickingTheLanding,
    khat,
)
from quivers_nb.inference.vi.khat import log_weights
from tests.inference.vi.conjugate import F64, Conjugate, data

ROWS = 6
BOTH = Conjugate(2, 1)  # shared, correlated sites, and one per row
SHARED = Conjugate(2, 0)
ROW = Conjugate(0, 1)  # rows know nothing of each other
WIDE = Conjugate(0, 2)  # two correlated coordinates in every row


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def observed_y(x, obs):
    return obs["y"][:, None]


def parts(model):
    return AutoGuideList(model, {"y"}, [(["a"], AutoMultivariateNormal), (["z"], AutoNormalGuide)])


CONTAINS = {
    "full": (BOTH, lambda m: AutoMultivariateNormal(m, {"y"}, rows=ROWS)),
    "full, shared": (SHARED, lambda m: AutoMultivariateNormal(m, {"y"})),
    "low rank": (
        SHARED,
        lambda m: AutoLowRankMultivariateNormal(m, {"y"}, rank=2, generator=rng()),
    ),
    "mean field, rows": (ROW, lambda m: AutoNormalGuide(m, {"y"}, rows=ROWS)),
    "amortized": (
        ROW,
        lambda m: AmortizedNormalGuide(
            m, {"y"}, in_features=1, hidden=(), features=observed_y, generator=rng()
        ),
    ),
}
LACKS = {
    "mean field": (SHARED, lambda m: AutoNormalGuide(m, {"y"})),
    "mean field, rows": (BOTH, lambda m: AutoNormalGuide(m, {"y"}, rows=ROWS)),
    "shared over rows": (ROW, lambda m: AutoNormalGuide(m, {"y"})),
    "amortized": (
        WIDE,
        lambda m: AmortizedNormalGuide(m, {"y"}, in_features=1, features=observed_y),
    ),
    "parts": (BOTH, parts),
}
FLOWS = ("coupling", "maf", "iaf", "spline")


STL = StickingTheLanding()


def fitted(model, guide, steps: int = 600, particles: int = 8, lr: float = 0.05, estimator=STL):
    x, y = data(model, ROWS)
    optim = torch.optim.Adam(guide.parameters(), lr=lr)
    svi = SVI(
        model,
        guide,
        optim,
        ELBO(particles, estimator),
        generator=rng(1),
        scheduler=lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))),
    )
    svi.run(x, {"y": y}, steps)
    assert svi.eager_reason == ""
    return x, {"y": y}


@pytest.mark.parametrize("case", CONTAINS)
def test_a_family_that_contains_the_posterior_finds_it(case):
    model, make = CONTAINS[case]
    guide = make(model)
    x, obs = fitted(model, guide)
    weights = log_weights(model, guide, x, obs, 300, generator=rng(2))
    evidence = float(model.log_evidence(x, obs["y"]).detach())
    torch.testing.assert_close(weights, torch.full_like(weights, evidence), atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("case", LACKS)
def test_a_family_without_the_posterior_does_not(case):
    """The power of the test above: the same fit, the same statistic."""
    model, make = LACKS[case]
    guide = make(model)
    x, obs = fitted(model, guide, 400)
    weights = log_weights(model, guide, x, obs, 300, generator=rng(2))
    evidence = float(model.log_evidence(x, obs["y"]).detach())
    assert float((weights - evidence).abs().max()) > 0.3
    assert float(weights.mean()) < evidence


def test_moments_are_those_of_the_posterior():
    x, y = data(BOTH, ROWS)
    mean, covariance = BOTH.posterior(x, y)
    full = AutoMultivariateNormal(BOTH, {"y"}, rows=ROWS)
    fitted(BOTH, full)
    tril = full.shared_block.scale_tril.detach()
    torch.testing.assert_close(full.shared_block.loc.detach(), mean, atol=5e-3, rtol=0.0)
    torch.testing.assert_close(tril @ tril.mT, covariance, atol=5e-3, rtol=0.0)


def test_the_mean_field_misses_the_correlation_by_the_divergence_that_theory_says():
    """The best factorised normal has the conditional variances (Bishop 2006, section 10.1.2)."""
    x, y = data(SHARED, ROWS)
    mean, covariance = SHARED.posterior(x, y)
    assert abs(float(covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt())) > 0.4
    guide = AutoNormalGuide(SHARED, {"y"})
    fitted(SHARED, guide, particles=64)
    precision = torch.linalg.inv(covariance)
    torch.testing.assert_close(guide.loc_a[:, 0].detach(), mean, atol=0.01, rtol=0.0)
    torch.testing.assert_close(
        (2 * guide.log_scale_a[:, 0]).exp().detach(), 1 / precision.diagonal(), atol=0.0, rtol=0.05
    )
    marginal_sd = covariance.diagonal().sqrt()
    assert (guide.log_scale_a[:, 0].exp() < 0.9 * marginal_sd).all()


@pytest.mark.parametrize("kind", FLOWS)
def test_flows_come_near_a_correlated_posterior(kind):
    guide = AutoNormalizingFlow(SHARED, {"y"}, kind, hidden=(16,), init_scale=0.5, generator=rng())
    x, obs = fitted(SHARED, guide, particles=16, lr=0.02, estimator=Reparameterized())
    weights = log_weights(SHARED, guide, x, obs, 2000, generator=rng(2))
    evidence = float(SHARED.log_evidence(x, obs["y"]).detach())
    _, covariance = SHARED.posterior(x, obs["y"])
    gap = 0.5 * float(torch.linalg.inv(covariance).diagonal().log().sum() + covariance.logdet())
    assert abs(evidence - float(weights.mean())) < 0.2 * gap  # that of the best mean field


def test_laplace_is_exact_on_a_normal_posterior_and_knows_the_evidence():
    x, y = data(BOTH, ROWS)
    guide = AutoLaplaceApproximation(BOTH, {"y"})
    fit = guide.fit(x, {"y": y})
    mean, covariance = BOTH.posterior(x, y)
    torch.testing.assert_close(guide.loc, mean)
    torch.testing.assert_close(guide.scale_tril @ guide.scale_tril.mT, covariance)
    assert fit.log_evidence == pytest.approx(float(BOTH.log_evidence(x, y).detach()), abs=1e-9)
    assert fit.gradient < 1e-6


def test_the_point_guide_finds_the_mode():
    x, y = data(SHARED, ROWS)
    guide = AutoDelta(SHARED, {"y"})
    fitted(SHARED, guide)
    torch.testing.assert_close(
        guide.loc_a[:, 0].detach(), SHARED.posterior(x, y)[0], atol=1e-3, rtol=0.0
    )


def test_khat_tells_a_good_guide_from_a_bad_one():
    """Near zero weights have no tail; a guide of a fifth of the width has a heavy one."""
    x, y = data(SHARED, ROWS)
    guide = AutoLaplaceApproximation(SHARED, {"y"})
    guide.fit(x, {"y": y})
    narrow = AutoLaplaceApproximation(SHARED, {"y"})
    narrow.loc, narrow.scale_tril = guide.loc, guide.scale_tril / 5
    wide = AutoLaplaceApproximation(SHARED, {"y"})
    wide.loc, wide.scale_tril = guide.loc, guide.scale_tril * 1.3
    assert khat(SHARED, wide, x, {"y": y}, 2000, generator=rng()) < 0.5
    assert khat(SHARED, narrow, x, {"y": y}, 1000, generator=rng()) > 0.7


@pytest.mark.parametrize("rows", [1, 40])
def test_minibatches_count_as_the_whole_for_a_laplace_guide(rows):
    """Four copies of the data are the data with every row counted four times."""
    x, y = data(SHARED, rows)
    whole, part = AutoLaplaceApproximation(SHARED, {"y"}), AutoLaplaceApproximation(SHARED, {"y"})
    whole.fit(x.repeat(4, 1), {"y": y.repeat(4)})
    part.fit(x, {"y": y}, total_rows=4 * rows)
    torch.testing.assert_close(part.loc, whole.loc)
    torch.testing.assert_close(part.scale_tril, whole.scale_tril)
    assert part.loc.dtype is F64
