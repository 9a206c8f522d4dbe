"""Simulation-based calibration of guides whose family contains the posterior, and of two others.

The model is linear and normal with one design for all simulations, so the posterior covariance is
the same in each and only the mean moves: a guide is fitted once, and then its location alone to
every simulated data set, by noiseless gradients (`StickingTheLanding`). The amortized guide is
fitted once and reads each data set.

Size: 200 simulations of 63 draws, 1,000 in the slow tests; power: a guide with 0.7 times the right
scale is seen by both, a mean field on a correlated posterior by the slow ones.
"""

import math

import pytest
import torch

from quivers_nb.inference import (
    ELBO,
    SVI,
    AmortizedNormalGuide,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    StickingTheLanding,
)
from quivers_nb.inference.calibration import calibrate
from tests.inference.vi.conjugate import F64, Conjugate
from tests.stats.budget import alpha

DRAWS = 63
SHARED = Conjugate(2, 0)
X_SHARED = torch.tensor([[1.0, 1.2], [0.9, 0.8], [-1.0, -0.7], [1.1, 1.0], [0.5, -0.5]], dtype=F64)
ROW = Conjugate(0, 1)
X_ROW = torch.zeros(4, 1, dtype=F64)
SIZE = alpha("guide calibration", 16)


def of_y(x, obs):
    return torch.as_tensor(obs["y"], dtype=F64)[:, None]


def drawn(guide, model, x, obs, seed: int):
    target = model.target(x, obs, latents="declared")
    with torch.no_grad():
        q, _ = guide.draw(target.layout, (DRAWS,), torch.Generator().manual_seed(seed))
    return target.constrain(q)


def fit(model, guide, x, obs, steps: int = 800) -> None:
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    rng = torch.Generator().manual_seed(0)
    objective = ELBO(8, StickingTheLanding())
    schedule = lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))  # noqa: E731
    SVI(model, guide, optim, objective, generator=rng, scheduler=schedule).run(x, obs, steps)


def simulated(model, x, seed: int = 0):
    return {"y": model.trace(x, generator=torch.Generator().manual_seed(seed)).output}


def laplace(factor: float = 1.0):
    def method(model, x, obs, seed):
        guide = AutoLaplaceApproximation(model, {"y"})
        guide.fit(x, obs)
        guide.scale_tril = factor * guide.scale_tril
        return drawn(guide, model, x, obs, seed)

    return lambda model, x: method


def located(make, location):
    """Fitted once, then the location alone to each data set."""

    def of(model, x):
        guide = make(model)
        fit(model, guide, x, simulated(model, x))
        loc = location(guide)
        precision = torch.linalg.inv(model.posterior(x, torch.zeros(len(x), dtype=F64))[1])
        low, *_, high = torch.linalg.eigvalsh(precision).tolist()
        optim = torch.optim.SGD([loc], lr=2 * len(x) / (low + high))

        def method(model, x, obs, seed):
            rng = torch.Generator().manual_seed(0)
            svi = SVI(model, guide, optim, ELBO(1, StickingTheLanding()), generator=rng)
            svi.run(x, obs, 30)
            return drawn(guide, model, x, obs, seed)

        return method

    return of


def amortized(model, x):
    guide = AmortizedNormalGuide(model, {"y"}, in_features=1, hidden=(), features=of_y)
    wide = torch.zeros(40, 1, dtype=F64)
    fit(model, guide, wide, simulated(model, wide))
    return lambda model, x, obs, seed: drawn(guide.at(x, obs), model, x, obs, seed)


def block(guide):
    return guide.shared_block.loc


def full(model):
    return AutoMultivariateNormal(model, {"y"})


def low_rank(model):
    rng = torch.Generator().manual_seed(0)
    return AutoLowRankMultivariateNormal(model, {"y"}, rank=2, generator=rng)


def flow(kind):
    """Linear conditioners make every affine flow a full normal; its last layer is the location."""

    def make(model):
        rng = torch.Generator().manual_seed(0)
        return AutoNormalizingFlow(
            model, {"y"}, kind, num_layers=2, hidden=(), init_scale=0.5, generator=rng
        )

    return located(make, lambda guide: guide.shared_block.bijector.parts[-1].loc)


def listed(model):
    return AutoGuideList(model, {"y"}, [(["a"], AutoMultivariateNormal)])


EXACT = {
    "coupling flow": (SHARED, X_SHARED, flow("coupling")),
    "masked flow": (SHARED, X_SHARED, flow("maf")),
    "inverse flow": (SHARED, X_SHARED, flow("iaf")),
    "list": (SHARED, X_SHARED, located(listed, lambda guide: block(guide.parts[0]))),
    "laplace": (SHARED, X_SHARED, laplace()),
    "full": (SHARED, X_SHARED, located(full, block)),
    "low rank": (SHARED, X_SHARED, located(low_rank, block)),
    "mean field, rows": (
        ROW,
        X_ROW,
        located(lambda m: AutoNormalGuide(m, {"y"}, rows=len(X_ROW)), lambda g: g.loc_z),
    ),
    "amortized": (ROW, X_ROW, amortized),
}
WRONG = {
    "too narrow": (SHARED, X_SHARED, laplace(0.7)),
    "mean field": (
        SHARED,
        X_SHARED,
        located(lambda m: AutoNormalGuide(m, {"y"}), lambda g: g.loc_a),
    ),
}


def calibrated(case, simulations: int, size: float) -> bool:
    model, x, method = case
    result = calibrate(
        model, x, method(model, x), num_simulations=simulations, num_draws=DRAWS, seed=1
    )
    return result.calibrated(size)


@pytest.mark.stats
@pytest.mark.parametrize("name", ["laplace", "full", "amortized"])
def test_exact_guides_are_calibrated(name):
    assert calibrated(EXACT[name], 200, SIZE)


@pytest.mark.stats
def test_a_wrong_guide_is_not():
    assert not calibrated(WRONG["too narrow"], 200, SIZE)


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("name", EXACT)
def test_exact_guides_are_calibrated_in_a_thousand_simulations(name):
    assert calibrated(EXACT[name], 1000, SIZE)


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("name", WRONG)
def test_wrong_guides_are_not_in_a_thousand_simulations(name):
    assert not calibrated(WRONG[name], 1000, SIZE)
