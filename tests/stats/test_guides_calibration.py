"""Simulation-based calibration of guides whose family contains the posterior, and of two others.

The model is linear and normal with one design for all simulations, so the posterior covariance is
the same in each and only the mean moves: a guide is fitted once, and then its location alone to
every simulated data set, by noiseless gradients (`StickingTheLanding`). The amortized guide is
fitted once and reads each data set.

Size: 200 simulations of 63 draws, 1,000 in the slow tests; power: every guide with 0.7 times its
scale is seen in 200 simulations, a mean field on a correlated posterior in 1,000.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from quivers_nb.inference import (
    ELBO,
    SVI,
    AmortizedNormalGuide,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMixture,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    AutoStructured,
    StickingTheLanding,
)
from quivers_nb.inference.calibration import calibrate
from tests.inference.vi.conjugate import F64, Conjugate
from tests.stats.budget import alpha
from tests.support.models import normal

DRAWS = 63
SHARED = Conjugate(2, 0)
X_SHARED = torch.tensor([[1.0, 1.2], [0.9, 0.8], [-1.0, -0.7], [1.1, 1.0], [0.5, -0.5]], dtype=F64)
ROW = Conjugate(0, 1)
X_ROW = torch.zeros(4, 1, dtype=F64)


class TwoPriors(Conjugate):
    """The prior of ``a`` is a mixture of two normals, and so is the posterior."""

    shares = torch.tensor([0.3, 0.7], dtype=F64)
    centres = torch.tensor([[-1.5, -1.0], [1.5, 1.0]], dtype=F64)

    def densities(self, x, y, values):
        row, _ = super().densities(x, y, values)
        each = normal(values["a"].unsqueeze(-2), self.centres, 1.0).sum(-1)
        return row, torch.logsumexp(self.shares.log() + each, -1)

    def trace(self, x, observations=None, *, generator=None):
        given = dict(observations or {})
        at = self.centres[torch.multinomial(self.shares, 1, generator=generator)[0]]
        drawn = at + torch.randn(2, dtype=F64, generator=generator)
        run = super().trace(x, {"a": drawn, **given}, generator=generator)
        site = replace(run.sites["a"], is_observed="a" in given)
        return replace(run, sites={**run.sites, "a": site})

    def components(self, x, y):
        """Shares ``(2,)`` and centres ``(2, 2)`` of the posterior's parts, and their covariance."""
        covariance = torch.linalg.inv(torch.eye(2, dtype=F64) + x.mT @ x / self.noise**2)
        off = y - self.intercept
        centres = (self.centres + x.mT @ off / self.noise**2) @ covariance
        spread = x @ x.mT + self.noise**2 * torch.eye(len(x), dtype=F64)
        each = torch.distributions.MultivariateNormal(self.centres @ x.mT, spread).log_prob(off)
        return torch.softmax(self.shares.log() + each, 0), centres, covariance


TWO_PRIORS = TwoPriors(2, 0)
BOTH = Conjugate(1, 1)
X_BOTH = torch.tensor([[1.2], [0.8], [-1.0], [1.1]], dtype=F64)
SIZE = alpha("guide calibration", 16)
STEPS = 30  # noiseless ones, of a location; each leaves a fixed share of its distance


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


def located(make, parts, factor: float = 1.0):
    """Fitted once, then the location alone to each data set.

    ``parts`` gives locations and log scales of a guide; its draws are ``factor`` times as wide.
    """

    def of(model, x):
        guide = make(model)
        fit(model, guide, x, simulated(model, x))
        locs, log_scales = parts(guide)
        precision = torch.linalg.inv(model.posterior(x, torch.zeros(len(x), dtype=F64))[1])
        low, *_, high = torch.linalg.eigvalsh(precision).tolist()
        optim = torch.optim.SGD(locs, lr=2 * len(x) / (low + high))
        right = [log_scale.detach().clone() for log_scale in log_scales]
        rng = torch.Generator()
        svi = SVI(model, guide, optim, ELBO(1, StickingTheLanding()), generator=rng)

        def method(model, x, obs, seed):
            rng.manual_seed(0)
            for _ in range(STEPS):
                svi.step(x, obs)
            with torch.no_grad():
                for log_scale, start in zip(log_scales, right, strict=True):
                    log_scale.copy_(start + math.log(factor))
                draws = drawn(guide, model, x, obs, seed)
                for log_scale, start in zip(log_scales, right, strict=True):
                    log_scale.copy_(start)
            return draws

        return method

    return of


def amortized(factor: float = 1.0):
    def of(model, x):
        guide = AmortizedNormalGuide(model, {"y"}, in_features=1, hidden=(), features=of_y)
        wide = torch.zeros(40, 1, dtype=F64)
        fit(model, guide, wide, simulated(model, wide))
        guide._start += math.log(factor)
        return lambda model, x, obs, seed: drawn(guide.at(x, obs), model, x, obs, seed)

    return of


def block(guide):
    return [guide.shared_block.loc], [guide.shared_block.log_scale]


def full(model):
    return AutoMultivariateNormal(model, {"y"})


def low_rank(model):
    rng = torch.Generator().manual_seed(0)
    return AutoLowRankMultivariateNormal(model, {"y"}, rank=2, generator=rng)


def flow(kind, rows=None):
    """Linear conditioners make every affine flow a full normal, and a spline may be the identity.

    The last layer is the location and a scale.
    """

    def make(model):
        rng = torch.Generator().manual_seed(0)
        return AutoNormalizingFlow(
            model, {"y"}, kind, num_layers=2, hidden=(), init_scale=0.5, rows=rows, generator=rng
        )

    def last(guide):
        affine = guide.shared_block.bijector.parts[-1]
        return [affine.loc], [affine.log_scale]

    return partial(located, make, last)


def listed(model):
    return AutoGuideList(model, {"y"}, [(["a"], AutoMultivariateNormal)])


def rows(model):
    return AutoNormalGuide(model, {"y"}, rows=len(X_ROW))


def mixture(factor: float = 1.0, *, shared_alike: bool = False):
    """Put where the posterior is, and held there by noiseless steps in every parameter."""

    def of(model, x):
        rng = torch.Generator().manual_seed(0)
        guide = AutoMixture(model, {"y"}, 2, "full", generator=rng)
        block = guide.shared_block
        optim = torch.optim.SGD(guide.parameters(), lr=0.5)
        svi = SVI(model, guide, optim, ELBO(2, StickingTheLanding()), generator=rng)

        def method(model, x, obs, seed):
            with torch.no_grad():
                shares, centres, covariance = model.components(x, obs["y"])
                tril = torch.linalg.cholesky(covariance)
                scale = tril.diagonal()
                block.loc.copy_(centres)
                block.log_scale.copy_(scale.log())
                block.lower.copy_((tril / scale[:, None]).tril(-1))
                block.logits.copy_(shares.log())
            for _ in range(5):
                svi.step(x, obs)
            with torch.no_grad():
                block.log_scale.add_(math.log(factor))
                block.logits.mul_(0.0 if shared_alike else 1.0)
            return drawn(guide, model, x, obs, seed)

        return method

    return of


def structured(parents):
    """A row's site follows the shared one: so it does in the posterior, by a slope of its own."""

    def make(model):
        return AutoStructured(
            model, {"y"}, dependencies={"z": parents} if parents else {}, rows=len(X_BOTH)
        )

    def each(guide):
        return [guide.loc_a, guide.loc_z], [guide.log_scale_a, guide.log_scale_z]

    return partial(located, make, each)


# Model, input, and a method for a factor on its scale.
EXACT = {
    "coupling flow": (SHARED, X_SHARED, flow("coupling")),
    "masked flow": (SHARED, X_SHARED, flow("maf")),
    "inverse flow": (SHARED, X_SHARED, flow("iaf")),
    "spline flow, rows": (ROW, X_ROW, flow("spline", len(X_ROW))),
    "list": (SHARED, X_SHARED, partial(located, listed, lambda guide: block(guide.parts[0]))),
    "laplace": (SHARED, X_SHARED, laplace),
    "full": (SHARED, X_SHARED, partial(located, full, block)),
    "low rank": (SHARED, X_SHARED, partial(located, low_rank, block)),
    "mixture": (TWO_PRIORS, X_SHARED, mixture),
    "structured, rows": (BOTH, X_BOTH, structured(["a"])),
    "mean field, rows": (
        ROW,
        X_ROW,
        partial(located, rows, lambda g: ([g.loc_z], [g.log_scale_z])),
    ),
    "amortized": (ROW, X_ROW, amortized),
}
FAST = ("laplace", "full", "amortized")


def mean_field(factor: float = 1.0):
    return located(
        lambda m: AutoNormalGuide(m, {"y"}), lambda g: ([g.loc_a], [g.log_scale_a]), factor
    )


def calibrated(case, simulations: int, factor: float = 1.0) -> bool:
    model, x, method = case
    result = calibrate(
        model, x, method(factor)(model, x), num_simulations=simulations, num_draws=DRAWS, seed=1
    )
    return result.calibrated(SIZE)


@pytest.mark.stats
@pytest.mark.parametrize("name", FAST)
def test_exact_guides_are_calibrated(name):
    assert calibrated(EXACT[name], 200)


@pytest.mark.stats
def test_a_guide_that_is_too_narrow_is_not():
    assert not calibrated(EXACT["laplace"], 200, 0.7)


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("name", EXACT)
def test_exact_guides_are_calibrated_in_a_thousand_simulations(name):
    assert calibrated(EXACT[name], 1000)


@pytest.mark.slow
@pytest.mark.stats
@pytest.mark.parametrize("name", EXACT)
def test_guides_that_are_too_narrow_are_not_in_two_hundred(name):
    assert not calibrated(EXACT[name], 200, 0.7)


@pytest.mark.slow
@pytest.mark.stats
def test_a_mean_field_is_not_where_the_posterior_is_correlated():
    assert not calibrated((SHARED, X_SHARED, mean_field), 1000)


@pytest.mark.slow
@pytest.mark.stats
def test_a_structure_without_the_dependence_of_the_posterior_is_not():
    assert not calibrated((BOTH, X_BOTH, structured([])), 1000)


@pytest.mark.slow
@pytest.mark.stats
def test_a_mixture_of_equal_shares_is_not():
    assert not calibrated((TWO_PRIORS, X_SHARED, partial(mixture, shared_alike=True)), 1000)
