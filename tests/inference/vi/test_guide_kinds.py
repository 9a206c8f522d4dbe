"""What is particular to one guide: what it reads, how it is put together, what it refuses."""

from dataclasses import dataclass

import pytest
import torch

from quivers_nb.diagnostics.errors import MissingExtra, UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AmortizedNormalGuide,
    AutoDelta,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    NUTSKernel,
    Predictive,
    inference_data,
    khat,
)
from quivers_nb.inference.model import Terms
from quivers_nb.inference.vi.guides.laplace import HESSIAN_BATCH, NOISE_SEED
from tests.inference.vi.conjugate import F64, Conjugate, OpenConjugate, data
from tests.support.models import HandModel

MODEL = Conjugate(2, 1)
X, Y = data(MODEL, 5)
OBS = {"y": Y}


def of_y(x, obs):
    return obs["y"][:, None]


def amortized(**options):
    options = {"in_features": 2, "hidden": (4,), **options}
    return AmortizedNormalGuide(MODEL, {"y"}, **options)


def test_an_amortized_guide_has_the_moments_that_its_input_says():
    guide = amortized()
    with torch.no_grad():
        guide.networks["moments_z"].layers[-1].weight.normal_()
    bound = guide.at(X, OBS)
    loc, log_scale = bound.moments("z")
    assert loc.shape == log_scale.shape == (5, 1)
    assert loc.unique().numel() == 5
    again, _ = guide.at(X.flip(0), OBS).moments("z")
    torch.testing.assert_close(again, loc.flip(0))
    assert bound.moments("a")[0] is not None
    assert bound.loc_a is guide.loc_a  # the parameters are shared
    torch.testing.assert_close(
        guide.rsample(X, generator=torch.Generator().manual_seed(0))["z"],
        bound.rsample(X, generator=torch.Generator().manual_seed(0))["z"],
    )
    sites = bound.rsample(X)
    torch.testing.assert_close(guide.log_prob(X, sites), bound.log_prob(X, sites))


def test_an_amortized_guide_fits_minibatches_and_serves_unseen_rows():
    guide = amortized(features=of_y, in_features=1)
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    svi = SVI(MODEL, guide, optim, ELBO(4), total_rows=5)
    losses = [svi.step(X[k : k + 2], {"y": Y[k : k + 2]}) for k in (0, 1, 2, 3) * 40]
    assert sum(losses[-20:]) < sum(losses[:20])
    assert svi.eager_reason == ""
    x, y = data(MODEL, 9, seed=4)
    assert guide.at(x, {"y": y}).rsample(x)["z"].shape == (9,)
    run = MCMC(NUTSKernel(), 3, 2, num_chains=1, seed=0, tier="eager")
    assert run.run(MODEL, x, {"y": y}, guide=guide.at(x, {"y": y})).num_samples == 2
    assert Predictive(MODEL, guide.at(x, {"y": y}), 4)(x)["y"].shape == (4, 9)


def test_an_amortized_guide_says_what_it_lacks():
    layout = MODEL.target(X, OBS).layout
    with pytest.raises(UserError, match=r"bind it first, guide.at\(x, obs\)"):
        amortized().draw(layout, ())
    with pytest.raises(UserError, match="features of the guide read 'y'"):
        amortized(features=of_y, in_features=1).rsample(X)
    with pytest.raises(UserError, match=r"shape \(5, 2\); the guide was made for \(5, 3\)"):
        amortized(in_features=3).rsample(X)
    with pytest.raises(UserError, match="bound to rows"):
        amortized().at(X, OBS).draw(MODEL.target(X[:3], {"y": Y[:3]}).layout, ())
    with pytest.raises(UserError, match="reads x, which is None"):
        amortized().at(None)
    with pytest.raises(UserError, match="`in_features` of `AmortizedNormalGuide` is 0"):
        amortized(in_features=0)
    with pytest.raises(UserError, match="nothing to amortize"):
        AmortizedNormalGuide(Conjugate(2, 0), {"y"}, in_features=2)


def test_a_list_puts_parts_in_the_target_s_order_and_binds_them():
    guide = AutoGuideList(
        MODEL,
        {"y"},
        [
            (["z"], lambda model, rest: AmortizedNormalGuide(model, rest, in_features=2)),
            (["a"], AutoMultivariateNormal),
        ],
    )
    target = MODEL.target(X, OBS)
    q, terms = guide.at(X, OBS).draw(target.layout, (3,))
    assert q.shape == (3, 7)
    assert terms.row.shape == (3, 5)
    a = target.layout["a"].slice(q)
    inner = guide.parts[1].shared_block.density(a)
    torch.testing.assert_close(terms.shared, inner)
    assert len(list(guide.parameters())) == len(list(guide.at(X).parameters()))
    svi = SVI(MODEL, guide, torch.optim.Adam(guide.parameters(), lr=0.01), ELBO(2))
    svi.run(X, OBS, 5)
    assert svi.eager_reason == ""


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([(["a"], AutoDelta)], r"\['z'\] are in no part"),
        ([(["a", "z"], AutoDelta), (["a"], AutoDelta)], r"\['a'\] are in two parts"),
        ([(["a", "z", "b"], AutoDelta)], r"\['b'\] are not sites to guide"),
    ],
)
def test_a_list_must_cover_every_site_once(parts, said):
    with pytest.raises(UserError, match=said):
        AutoGuideList(MODEL, {"y"}, parts)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_low_rank_density_is_torch_s(rank):
    guide = AutoLowRankMultivariateNormal(Conjugate(4, 0), {"y"}, rank=rank, init_scale=0.7)
    block = guide.shared_block
    with torch.no_grad():
        block.factor.normal_()
    u, said = block.sample((50,), None)
    reference = torch.distributions.MultivariateNormal(block.loc, block.covariance)
    torch.testing.assert_close(said, reference.log_prob(u))
    torch.testing.assert_close(block.entropy(), reference.entropy())
    with pytest.raises(UserError, match="`rank` of `AutoLowRankMultivariateNormal` is 0"):
        AutoLowRankMultivariateNormal(MODEL, {"y"}, rank=0)
    with pytest.raises(UserError, match=r"`init_scale` of `AutoMultivariateNormal` is -1\.0"):
        AutoMultivariateNormal(MODEL, {"y"}, init_scale=-1.0)


class Scale(HandModel):
    """Only ``s`` is left: LogNormal(0, 1) prior, no likelihood."""

    def __init__(self):
        super().__init__(with_scale=True)
        self.double()

    def target(self, x, observations=None, **_):
        given = {"y": torch.zeros(1), "m": torch.zeros(2), "z": torch.zeros(1)}
        return super().target(x, given, dtype=F64)

    def densities(self, x, values, weights):
        row, shared = super().densities(x, values, weights)
        return 0.0 * row, shared


def test_the_two_modes_of_a_positive_site_differ_as_they_should():
    """A LogNormal(0, 1) has its mode at 1/e; its logarithm has it at 0."""
    model, x = Scale(), torch.zeros(1, 1, dtype=F64)
    obs = dict.fromkeys(("y", "m", "z"), 0)
    point = AutoDelta(model, set(obs))
    SVI(model, point, torch.optim.Adam(point.parameters(), lr=0.05), ELBO()).run(x, obs, 600)
    assert float(point.rsample(x)["s"].detach()) == pytest.approx(
        float(torch.tensor(-1.0).exp()), abs=1e-3
    )
    laplace = AutoLaplaceApproximation(model, set(obs))
    laplace.fit(x, obs)
    assert float(laplace.loc) == pytest.approx(0.0, abs=1e-6)
    assert float(laplace.scale_tril) == pytest.approx(1.0, abs=1e-6)


def test_a_hessian_of_several_batches_is_that_of_autograd():
    model = Conjugate(3, 1)
    x, y = data(model, HESSIAN_BATCH + 9)
    guide = AutoLaplaceApproximation(model, {"y"})
    guide.fit(x, {"y": y})
    torch.testing.assert_close(
        guide.scale_tril @ guide.scale_tril.mT, model.posterior(x, y)[1], rtol=1e-6, atol=1e-8
    )


@dataclass(frozen=True)
class OpenNoisy(OpenConjugate):
    """The curvature in ``a[0]`` depends on noise that has no coordinate."""

    def terms(self, q, *, parameters=None, generator=None):
        noise = torch.randn(q.shape[:-1], dtype=F64, generator=generator)
        terms = super().terms(q)
        return Terms(terms.row, terms.shared - noise.square() * q[..., 0] ** 2, 1)


class Noisy(Conjugate):
    def target(self, x, observations=None, **_):
        opened = super().target(x, observations)
        return OpenNoisy(opened.model, opened.x, opened.y, opened.layout)


def test_noise_without_coordinates_is_the_same_in_every_column_of_the_hessian():
    model = Noisy(2, 0)
    guide = AutoLaplaceApproximation(model, {"y"})
    guide.fit(X, OBS)
    noise = torch.randn((), dtype=F64, generator=torch.Generator().manual_seed(NOISE_SEED))
    precision = torch.linalg.inv(model.posterior(X, Y)[1])
    precision[0, 0] += 2 * noise.square()
    tril = guide.scale_tril
    torch.testing.assert_close(torch.linalg.inv(tril @ tril.mT), precision)


class Flat(Conjugate):
    def densities(self, x, y, values):
        row, shared = super().densities(x, y, values)
        return 0.0 * row, 0.0 * shared - values["a"][..., 0] ** 2


class Nowhere(Conjugate):
    def densities(self, x, y, values):
        row, shared = super().densities(x, y, values)
        return row, shared + (values["a"][..., 0] - 1.0).log()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Flat(2, 1), "flat, rising or undefined along a, z"),
        (Nowhere(2, 1), r"not finite at the start: a = \[0\.0, 0\.0\]"),
    ],
)
def test_a_posterior_without_a_mode_is_refused(model, said):
    guide = AutoLaplaceApproximation(model, {"y"})
    with pytest.raises(UserError, match=said):
        guide.fit(X, OBS)


def test_a_start_helps_where_the_origin_is_impossible():
    guide = AutoLaplaceApproximation(Nowhere(2, 0), {"y"})
    fit = guide.fit(X, OBS, start=torch.tensor([2.0, 0.0]))
    assert fit.gradient < 1e-3
    assert float(guide.loc[0]) > 1.0


def test_khat_says_what_it_needs(monkeypatch):
    guide = AutoNormalGuide(MODEL, {"y"})
    with pytest.raises(UserError, match=r"`num_draws` of `khat` is 50: .* at least 100"):
        khat(MODEL, guide, X, OBS, 50)
    with pytest.raises(UserError, match="draws of the guide have a log weight"):
        khat(Nowhere(2, 1), guide, X, OBS, 100)

    def missing(name, **_):
        raise MissingExtra(name)

    monkeypatch.setattr(inference_data, "require", missing)
    with pytest.raises(MissingExtra, match="arviz"):
        khat(MODEL, guide, X, OBS, 100)


PROGRAM = """object Topic : FinSet 3
object Doc : FinSet 4
object R2 : Real 2
object Obs : FinSet 12
program prog : Obs -> Obs
    sample theta : Doc <- Dirichlet(1.5) [over=Topic]
    sample top <- Uniform(0.0, 2.0)
    sample part <- Uniform(0.0, top)
    let logits = log(theta[doc])
    observe word : Obs <- CategoricalLogit(logits)
    observe y : Obs <- Normal(part, 1.0)
    return top
export prog
"""
DATA = {
    "doc": torch.arange(12) % 4,
    "word": torch.arange(12) % 3,
    "y": torch.linspace(-1, 1, 12),
}
ON_PROGRAMS = {
    "delta": AutoDelta,
    "full": AutoMultivariateNormal,
    "low rank": AutoLowRankMultivariateNormal,
    "flow": AutoNormalizingFlow,
    "parts": lambda model, names: AutoGuideList(
        model, names, [(["theta"], AutoNormalGuide), (["top", "part"], AutoMultivariateNormal)]
    ),
}


@pytest.mark.parametrize("name", ON_PROGRAMS)
def test_a_program_with_simplexes_and_bounds_is_fitted(name):
    model = loads(PROGRAM).morphism
    guide = ON_PROGRAMS[name](model, model.observed_names)
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters(), lr=0.03), ELBO(8))
    losses = svi.run(None, DATA, 60).losses
    assert float(losses[-10:].mean()) < float(losses[:10].mean())
    assert svi.eager_reason == ""
    sites = guide.rsample(None)
    torch.testing.assert_close(sites["theta"].sum(-1).detach(), torch.ones(4))
    assert bool(sites["part"] > 0)
    assert bool(sites["part"] < sites["top"])
    assert guide.log_prob(None, sites).shape == ()


def test_laplace_fits_a_program():
    model = loads(PROGRAM).morphism
    guide = AutoLaplaceApproximation(model, model.observed_names)
    fit = guide.fit(None, DATA)
    assert fit.gradient < 1e-3
    assert guide.loc.shape == (10,)
    assert khat(model, guide, None, DATA, 500, generator=torch.Generator().manual_seed(0)) < 1.0
