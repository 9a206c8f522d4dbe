"""The annealed guide: its weights have the evidence as their mean, and its bounds are below it.

Size: 100,000 paths for a mean of weights, whose noise is then below 1 %; the mutants are seen.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    IWAE,
    MCMC,
    SVI,
    AutoDAIS,
    AutoDelta,
    AutoMultivariateNormal,
    AutoNormalGuide,
    DoublyReparameterized,
    NUTSKernel,
    Predictive,
    ScoreFunction,
    StickingTheLanding,
    khat,
)
from quivers_nb.inference.model import Terms
from quivers_nb.inference.vi.khat import log_weights
from tests.inference.vi.conjugate import F64, Conjugate, OpenConjugate, data
from tests.stats.budget import alpha, critical_z
from tests.support.models import normal
from tests.support.targets import SCHOOLS

BOUND = critical_z(alpha("variational guides", 300))
X = torch.tensor([[1.0, 1.2], [0.9, 0.8], [-1.0, -0.7], [1.1, 1.0], [0.5, -0.5]], dtype=F64)
MODEL = Conjugate(2, 0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OBS = {"y": MODEL.trace(X, generator=rng(3)).output}
EVIDENCE = float(MODEL.log_evidence(X, OBS["y"]).detach())


def scattered(model=MODEL, K: int = 3, **options) -> AutoDAIS:
    """Wide enough that weights have a small variance, and different in every parameter."""
    guide = AutoDAIS(model, {"y"}, K, 0.7, 0.5, 0.6, **options)
    with torch.no_grad():
        for k, parameter in enumerate(guide.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=F64, generator=rng(k)))
    return guide


def weights(guide, model=MODEL, x=X, obs=OBS, count: int = 100_000, seed: int = 5):
    target = model.target(x, obs, latents="declared")
    with torch.no_grad():
        q, said = guide.at(x, obs).draw(target.layout, (count,), rng(seed))
        return target.terms(q, generator=rng(seed + 1)).total() - said.total()


def mean_z(log_w: torch.Tensor, log_evidence: float) -> float:
    """How far the mean weight is from the evidence."""
    w = (log_w - log_evidence).exp()
    return abs(float((w.mean() - 1.0) / (w.std() / math.sqrt(len(w)))))


@pytest.mark.parametrize("K", [1, 3, 8])
def test_weights_have_the_evidence_as_their_mean(K):
    log_w = weights(scattered(K=K))
    assert mean_z(log_w, EVIDENCE) < BOUND
    assert float((log_w - EVIDENCE).exp().std()) < 3.0  # so the mean is known to 1 %
    assert float(log_w.mean()) < EVIDENCE


def test_so_have_those_on_another_base():
    base = AutoMultivariateNormal(MODEL, {"y"}, 0.7)
    with torch.no_grad():
        base.shared_block.lower.fill_(-0.3)
    guide = scattered(base=base)
    assert {name.split(".")[0] for name, _ in guide.named_parameters()} >= {"base", "log_mass_a"}
    assert mean_z(weights(guide), EVIDENCE) < BOUND


@dataclass(frozen=True)
class OpenNoisy(OpenConjugate):
    """With a middle in front of every y, which is drawn at every evaluation (R3)."""

    def terms(self, q, *, parameters=None, generator=None):
        middle = torch.randn((*q.shape[:-1], len(self.y)), dtype=q.dtype, generator=generator)
        loc = 0.2 + (self.x * self.layout.split(q)["a"].unsqueeze(-2)).sum(-1) + 0.5 * middle
        shared = normal(self.layout.split(q)["a"], 0.0, 1.0).sum(-1)
        return Terms(normal(self.y, loc, math.sqrt(0.75)), shared, 1)


class Noisy(Conjugate):
    def target(self, x, observations=None, **options):
        opened = super().target(x, observations)
        return OpenNoisy(self, opened.x, opened.y, opened.layout)


def test_noise_in_the_gradients_leaves_the_mean_where_it_is():
    """The two models are one, the middles of the second summed by the first."""
    assert mean_z(weights(scattered(Noisy(2, 0)), Noisy(2, 0)), EVIDENCE) < BOUND


def forgets_momenta(self, target, q, generator):
    moved, gained = ORIGINAL(self, target, q, generator)
    return moved, torch.zeros_like(gained)


def refreshes_too_much(self, momentum, noise, step):
    return torch.sigmoid(self.damping_logit[step - 1]) * momentum + noise


def shrinks(self, target, q, generator):
    moved, gained = ORIGINAL(self, target, q, generator)
    return 0.9 * moved, gained


ORIGINAL = AutoDAIS._moved
MUTANTS = {
    "momenta have no density": ("_moved", forgets_momenta),
    "momenta grow as they are refreshed": ("_refreshed", refreshes_too_much),
    "steps lose volume": ("_moved", shrinks),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_paths_of_another_density_are_seen(mutant, monkeypatch):
    monkeypatch.setattr(AutoDAIS, *MUTANTS[mutant])
    assert mean_z(weights(scattered()), EVIDENCE) > BOUND


def fitted(model, x, obs, guide, steps: int = 1500, lr: float = 0.03):
    optim = torch.optim.Adam(guide.parameters(), lr=lr)
    svi = SVI(model, guide, optim, ELBO(4), generator=rng(1))
    result = svi.run(x, obs, steps)
    assert result.tier == "native", result.tier_reason
    for group in optim.param_groups:
        group["lr"] = lr / 6
    svi.run(x, obs, steps)
    return guide


def bound(model, x, obs, guide) -> tuple[float, float]:
    """The mean log weight, and its noise."""
    log_w = log_weights(model, guide, x, obs, 20_000, generator=rng(2))
    return float(log_w.mean()), BOUND * float(log_w.std()) / math.sqrt(len(log_w))


def test_fitted_bounds_rise_to_the_evidence_and_draws_are_correlated():
    mean, covariance = (part.detach() for part in MODEL.posterior(X, OBS["y"]))
    found, apart = {}, {}
    for K in (0, 4):
        guide = AutoDAIS(MODEL, {"y"}, K) if K else AutoNormalGuide(MODEL, {"y"})
        fitted(MODEL, X, OBS, guide)
        found[K], noise = bound(MODEL, X, OBS, guide)
        assert found[K] < EVIDENCE + noise
        draws = guide.at(X, OBS).draws(X, 50_000, generator=rng(4))["a"].detach()
        apart[K] = float((draws.T.cov() - covariance).norm() / covariance.norm())
        assert float((draws.mean(0) - mean).abs().max()) < 0.05
    assert found[0] < EVIDENCE - 0.25
    assert found[4] > EVIDENCE - 0.02
    assert apart[0] > 0.5
    assert apart[4] < 0.1


@pytest.mark.slow
def test_more_steps_make_a_tighter_bound():
    """On nearly collinear data, which 4 steps do not master; by fits of the same length."""
    x = X + torch.tensor([4.0, 4.0])
    obs = {"y": MODEL.trace(x, generator=rng(3)).output}
    evidence = float(MODEL.log_evidence(x, obs["y"]).detach())
    guides = [fitted(MODEL, x, obs, AutoDAIS(MODEL, {"y"}, K)) for K in (1, 4, 16)]
    found = [bound(MODEL, x, obs, guide) for guide in guides]
    assert all(mean < evidence + noise for mean, noise in found)
    assert found[0][0] < found[1][0] < found[2][0] + found[2][1]


def test_a_mutant_without_densities_of_momenta_exceeds_the_evidence(monkeypatch):
    monkeypatch.setattr(AutoDAIS, *MUTANTS["momenta have no density"])
    guide = fitted(MODEL, X, OBS, AutoDAIS(MODEL, {"y"}, 2), 1000)
    mean, noise = bound(MODEL, X, OBS, guide)
    assert mean > EVIDENCE + noise


@pytest.mark.parametrize("objective", [ELBO(3), IWAE(3)], ids=["ELBO", "IWAE"])
def test_gradients_are_those_of_finite_differences(objective):
    """In every parameter of guide and model, through the gradients of the model."""
    guide, target = scattered(), MODEL.target(X, OBS)
    parameters = [*guide.parameters(), MODEL.intercept]

    def loss() -> torch.Tensor:
        return objective.loss(target, guide.at(X, OBS), generator=rng(6))

    exact = torch.autograd.grad(loss(), parameters)
    step = 1e-5
    for parameter, gradient in zip(parameters, exact, strict=True):
        flat = parameter.detach().view(-1)
        for place in range(len(flat)):
            start, ends = float(flat[place]), []
            for at in (start + step, start - step):
                flat[place] = at
                ends.append(float(loss().detach()))
            flat[place] = start
            slope = (ends[0] - ends[1]) / (2 * step)
            assert float(gradient.reshape(-1)[place]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_bounds_of_several_paths_are_ordered():
    guide, target = scattered(K=2), MODEL.target(X, OBS)
    values = []
    for objective in (ELBO(400), IWAE(4), IWAE(400)):
        rounds = 1600 // objective.num_particles
        with torch.no_grad():
            losses = [
                objective.loss(target, guide.at(X, OBS), generator=rng(k)) for k in range(rounds)
            ]
        values.append(-len(X) * float(torch.stack(losses).mean()))
    assert values == sorted(values)
    assert values[0] < EVIDENCE - 0.1
    assert EVIDENCE - 0.05 < values[-1] < EVIDENCE + 0.01


@pytest.mark.parametrize("stack", [(), (50,), (2, 3)])
def test_particles_go_together_whatever_their_number(stack, monkeypatch):
    calls = []
    terms = OpenConjugate.terms

    def counted(self, q, **options):
        calls.append(tuple(q.shape))
        return terms(self, q, **options)

    monkeypatch.setattr(OpenConjugate, "terms", counted)
    guide = scattered(K=5).at(X, OBS)
    guide.draw(MODEL.target(X, OBS).layout, stack, rng())
    assert calls == [(*stack, 2)] * 5


ROWS = Conjugate(0, 2)
X_ROWS, Y_ROWS = data(ROWS, 6)
OBS_ROWS = {"y": Y_ROWS}


def test_rows_alone_have_paths_and_weights_of_their_own():
    guide, layout = scattered(ROWS), ROWS.target(X_ROWS, OBS_ROWS).layout
    other = {"y": torch.cat([Y_ROWS[:1], Y_ROWS[1:] + 3.0])}
    drawn = [guide.at(X_ROWS, obs).draw(layout, (4,), rng()) for obs in (OBS_ROWS, other)]
    (q, said), (q_other, said_other) = drawn
    torch.testing.assert_close(q[:, :2], q_other[:, :2])
    torch.testing.assert_close(said.row[:, 0], said_other.row[:, 0])
    assert not torch.allclose(said.row[:, 1:], said_other.row[:, 1:])
    target = ROWS.target(X_ROWS, OBS_ROWS)
    evidence = float(ROWS.log_evidence(X_ROWS, Y_ROWS).detach())
    with torch.no_grad():
        whole, by_row, part = (
            -6 * objective.loss(target, guide.at(X_ROWS, OBS_ROWS), total_rows=n, generator=rng())
            for objective, n in (
                (IWAE(2000), None),
                (IWAE(2000, per_row=True), None),
                (IWAE(2000, per_row=True), 60),
            )
        )
    assert float(whole) < float(by_row)
    assert evidence - 0.3 < float(by_row) < evidence + 0.1
    torch.testing.assert_close(by_row, part)  # row terms alone: per row nothing changes


def test_minibatches_are_refused_where_rows_have_a_site_in_common():
    target = MODEL.target(X, OBS)
    with pytest.raises(UserError, match=r"5 rows cannot stand for 50 .* moves `a`, common to the"):
        ELBO().loss(target, scattered().at(X, OBS), total_rows=50)
    guide = scattered(ROWS, rows=6)
    with pytest.raises(UserError, match="was made for the rows of its data"):
        ELBO().loss(ROWS.target(X_ROWS, OBS_ROWS), guide.at(X_ROWS, OBS_ROWS), total_rows=60)


def test_paths_follow_data_and_have_no_density_of_their_ends():
    guide, target = scattered(), MODEL.target(X, OBS)
    unbound = (
        lambda: guide.draw(target.layout, ()),
        lambda: guide.rsample(X),
        lambda: Predictive(MODEL, guide, 3)(X, {}),
    )
    for use in unbound:
        with pytest.raises(UserError, match=r"bind the guide to them first, guide\.at\(x, obs\)"):
            use()
    bound = guide.at(X, OBS)
    assert Predictive(MODEL, bound, 3)(X[:2], {})["y"].shape == (3, 2)
    for objective in (
        ELBO(2, StickingTheLanding()), ELBO(2, ScoreFunction()),
        IWAE(2, estimator=DoublyReparameterized()),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"density of paths, not of .* Reparameterized\(\)"):
            objective.loss(target, bound)
    with pytest.raises(UserError, match="density of paths"):
        bound.log_prob(X, bound.rsample(X))
    rows = scattered(ROWS).at(X_ROWS, OBS_ROWS)
    with pytest.raises(UserError, match=r"bound to rows \(6,\), asked for \(2,\)"):
        rows.rsample(X_ROWS[:2])


def test_chains_start_at_ends_of_paths_and_khat_weighs_them():
    run = MCMC(NUTSKernel(), 5, 3, num_chains=2, seed=0, tier="eager")
    assert run.run(MODEL, X, OBS, guide=scattered()).num_samples == 3
    assert khat(MODEL, scattered(), X, OBS, 2000, generator=rng()) < 0.7
    narrow = AutoDAIS(MODEL, {"y"}, 1, 0.05, 0.01)
    assert khat(MODEL, narrow, X, OBS, 2000, generator=rng()) > 0.7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"K": 0}, "`K` of `AutoDAIS` is 0"),
        ({"init_scale": 0.0}, r"`init_scale` of `AutoDAIS` is 0\.0"),
        ({"step_size": 0.0}, r"`step_size` of `AutoDAIS` is 0\.0"),
        ({"damping": 1.0}, r"`damping` of `AutoDAIS` is 1\.0"),
        ({"base": AutoDelta(MODEL, {"y"})}, "made of AutoDelta, which has no density"),
        ({"base": AutoDAIS(MODEL, {"y"}, 1)}, "made of AutoDAIS, which has no density"),
        ({"base": AutoNormalGuide(ROWS, {"y"})}, r"the base guides \['z'\], .* leave \['a'\]"),
    ],
    ids=str,
)
def test_what_makes_no_path_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        AutoDAIS(MODEL, {"y"}, **options)


def test_temperatures_rise_to_one_and_one_step_has_none():
    beta = scattered(K=6).temperatures.detach()
    assert bool((beta.diff(prepend=beta.new_zeros(1)) > 0).all())
    assert float(beta[-1]) == pytest.approx(1.0)
    names = {name for name, _ in AutoDAIS(MODEL, {"y"}, 1).named_parameters()}
    assert names == {"base.loc_a", "base.log_scale_a", "log_mass_a", "log_step_size"}
    assert AutoDAIS(MODEL, {"y"}, 1).temperatures.tolist() == [1.0]


FUNNEL = """object N : FinSet 4
program funnel : N -> N
    sample v <- Normal(0.0, 1.5)
    let s = exp(v)
    sample theta : N <- Normal(0.0, s)
    observe y : N <- Normal(theta, 1.0)
    return theta
export funnel
"""
EFFECTS = {
    "y": torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    "se": torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
}
PROGRAMS = {
    "funnel": (FUNNEL, {"y": torch.tensor([0.5, -0.3, 2.0, 0.1])}, 0.25),
    "schools": (SCHOOLS, EFFECTS, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_fitted_tighter_than_by_a_mean_field(name):
    """In compiled code, derivatives of their gradients included."""
    source, obs, gap = PROGRAMS[name]
    model = loads(source).morphism
    found = [
        bound(model, None, obs, fitted(model, None, obs, guide))[0]
        for guide in (AutoNormalGuide(model, {"y"}), AutoDAIS(model, {"y"}, 4))
    ]
    assert found[1] > found[0] + gap
