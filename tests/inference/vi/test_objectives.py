"""Bounds against the evidence and each other; every estimator's gradient against the same one.

The model is linear and normal, so the evidence, the bound and its gradient are known.
"""

import math
from itertools import pairwise

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import (
    ELBO,
    IWAE,
    SVI,
    VRIWAE,
    AutoMultivariateNormal,
    AutoNormalGuide,
    ClosedFormEntropy,
    DoublyReparameterized,
    LeaveOneOut,
    NoBaseline,
    Renyi,
    Reparameterized,
    RunningMean,
    ScoreFunction,
    StickingTheLanding,
)
from quivers_nb.inference.vi import importance
from tests.inference.vi.conjugate import Conjugate, data
from tests.stats.budget import alpha, critical_z

ROWS, TOTAL = 4, 10
MODEL = Conjugate(1, 1)
X, Y = data(MODEL, ROWS)
OBS = {"y": Y}
BOUND = critical_z(alpha("variational guides", 300))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(model=MODEL) -> AutoNormalGuide:
    guide = AutoNormalGuide(model, {"y"}, init_scale=0.6)
    with torch.no_grad():
        for k, parameter in enumerate(guide.parameters()):
            parameter.add_(0.15 * (k + 1))
    return guide


GUIDE = scattered()
TARGET = MODEL.target(X, OBS, latents="declared")
WEIGHTS = [*GUIDE.parameters(), *MODEL.parameters()]


def moments() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the guide in the flat vector."""
    (a, log_a), (z, log_z) = GUIDE.moments("a"), GUIDE.moments("z")
    return torch.cat((a, z.expand(ROWS))), torch.cat((log_a, log_z.expand(ROWS))).exp()


def exact_elbo() -> float:
    mean, sd = moments()
    guide = torch.distributions.MultivariateNormal(mean, torch.diag(sd**2))
    posterior = torch.distributions.MultivariateNormal(*MODEL.posterior(X, Y))
    gap = torch.distributions.kl_divergence(guide, posterior)
    return float((MODEL.log_evidence(X, Y) - gap).detach())


def repeated(objective, count: int, seed: int = 0) -> torch.Tensor:
    """Bounds of the whole data, ``(count,)``."""
    generator = rng(seed)
    with torch.no_grad():
        losses = [objective.loss(TARGET, GUIDE, generator=generator) for _ in range(count)]
    return -ROWS * torch.stack(losses)


def z_of(difference: torch.Tensor) -> float:
    return float(difference.mean() / (difference.std() / math.sqrt(len(difference))))


def ordered(bounds: list[torch.Tensor], evidence: float) -> bool:
    """Each bound significantly above the one before, none significantly above the evidence."""
    ups = [
        float((b.mean() - a.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b))) > BOUND
        for a, b in pairwise(bounds)
    ]
    return all(ups) and all(z_of(bound - evidence) < BOUND for bound in bounds)


def test_the_bounds_are_ordered_and_below_the_evidence():
    """Size: 600 repetitions of each bound; power: the mutant below is seen."""
    evidence = float(MODEL.log_evidence(X, Y).detach())
    objectives = (ELBO(), IWAE(3), VRIWAE(0.5, 30), IWAE(30))
    bounds = [repeated(objective, 600) for objective in objectives]
    assert ordered(bounds, evidence)
    assert abs(z_of(bounds[0] - exact_elbo())) < BOUND
    assert evidence - float(bounds[3].mean()) < 0.5 * (evidence - exact_elbo())


def exact_renyi(power: float) -> float:
    """The log evidence less the Rényi divergence of two normals (Gil et al. 2013, table 2)."""
    mean, sd = (part.reshape(-1).detach() for part in moments())
    centre, covariance = MODEL.posterior(X, Y)
    mixed = (1.0 - power) * torch.diag(sd**2) + power * covariance
    quadratic = (mean - centre) @ torch.linalg.solve(mixed, mean - centre)
    logs = mixed.logdet() - power * covariance.logdet() - 2 * (1.0 - power) * sd.log().sum()
    divergence = 0.5 * power * quadratic + 0.5 * logs / (1.0 - power)
    return float(MODEL.log_evidence(X, Y).detach() - divergence)


@pytest.mark.parametrize("power", [0.3, 0.7])
def test_a_vr_iwae_bound_reaches_the_renyi_bound_from_below(power):
    bounds = repeated(VRIWAE(power, 20_000), 10)
    assert float(bounds.mean()) == pytest.approx(exact_renyi(power), abs=0.02)
    assert z_of(repeated(VRIWAE(power, 5), 600) - exact_renyi(power)) < -BOUND


def test_a_vr_iwae_bound_is_iwae_at_nought_and_renyi_at_its_alpha():
    assert torch.equal(repeated(VRIWAE(0.0, 7), 3), repeated(IWAE(7), 3))
    assert torch.equal(repeated(VRIWAE(0.4, 7), 3), repeated(Renyi(0.4, 7), 3))


def test_a_bound_that_forgets_to_divide_by_the_particles_is_seen(monkeypatch):
    evidence = float(MODEL.log_evidence(X, Y).detach())
    monkeypatch.setattr(importance, "power_mean", lambda w, alpha, counts: torch.logsumexp(w, 0))
    assert not ordered([repeated(IWAE(k), 200) for k in (3, 30)], evidence)


def test_many_particles_reach_the_evidence():
    evidence = float(MODEL.log_evidence(X, Y).detach())
    bounds = repeated(IWAE(20_000), 10)
    assert float(bounds.mean()) == pytest.approx(evidence, abs=0.05)


def test_renyi_bounds_fall_with_alpha_through_iwae_and_elbo():
    values = [float(repeated(Renyi(a, 50), 1)) for a in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values, reverse=True)
    assert values[1] == pytest.approx(float(repeated(IWAE(50), 1)), abs=1e-12)
    assert values[3] == pytest.approx(float(repeated(ELBO(50), 1)), abs=1e-12)
    near = float(repeated(Renyi(1.0 - 1e-6, 50), 1))
    assert near == pytest.approx(values[3], abs=1e-3)


def test_rows_weighted_one_by_one_give_a_tighter_bound():
    model = Conjugate(0, 1)
    x, y = data(model, 8)
    guide = scattered(model)
    target = model.target(x, {"y": y}, latents="declared")
    evidence = float(model.log_evidence(x, y).detach())
    with torch.no_grad():
        bound = {
            per_row: -8 * IWAE(200, per_row=per_row).loss(target, guide, generator=rng())
            for per_row in (False, True)
        }
    assert float(bound[False]) < float(bound[True]) < evidence + 0.1
    with torch.no_grad():
        part = IWAE(500, per_row=True).loss(target, guide, total_rows=80, generator=rng())
        whole = IWAE(500, per_row=True).loss(target, guide, generator=rng())
    torch.testing.assert_close(part, whole)  # all terms are row terms: per row, nothing changes


def gradients(objective, count: int, seed: int = 1, total_rows: int | None = TOTAL):
    """``count`` estimates of the gradient in guide and model, ``(count, parameters)``."""
    generator = rng(seed)
    found = []
    for _ in range(count):
        loss = objective.loss(TARGET, GUIDE, total_rows=total_rows, generator=generator)
        parts = torch.autograd.grad(loss, WEIGHTS, allow_unused=True, materialize_grads=True)
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found)


def exact_gradient() -> torch.Tensor:
    """Of the loss with weighted rows: every expectation is of a square."""
    mean, sd = (part.reshape(-1) for part in moments())
    weight = TOTAL / ROWS
    a, z = slice(0, 1), slice(1, None)
    residual = Y - MODEL.intercept - MODEL.design(X) @ mean
    spread = MODEL.design(X).square() @ sd.square()
    row = -(residual.square() + spread) / (2 * MODEL.noise**2)
    row = row - 0.5 * (mean[z] ** 2 + sd[z] ** 2) + sd[z].log()
    shared = (-0.5 * (mean[a] ** 2 + sd[a] ** 2) + sd[a].log()).sum()
    loss = -(weight * row.sum() + shared) / TOTAL
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, WEIGHTS)])


def worst_z(found: torch.Tensor, exact: torch.Tensor) -> float:
    error = found.std(0) / math.sqrt(len(found)) + 1e-10
    return float(((found.mean(0) - exact) / error).abs().max())


ESTIMATORS = {
    "reparameterized": Reparameterized(),
    "closed entropy": ClosedFormEntropy(),
    "sticking the landing": StickingTheLanding(),
    "score, none": ScoreFunction(NoBaseline()),
    "score, leave one out": ScoreFunction(LeaveOneOut()),
    "score, running mean": ScoreFunction(RunningMean()),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_the_same_mean_gradient(name):
    """Size: 60 rounds of 1,000 particles, five parameters; total_rows weights the rows (R4)."""
    found = gradients(ELBO(1000, ESTIMATORS[name]), 60)
    assert worst_z(found, exact_gradient()) < BOUND


def test_a_baseline_that_sees_its_own_particle_is_biased():
    class Whole(LeaveOneOut):
        def guess(self, name, signal):
            return signal.mean(0, keepdim=True)

    found = gradients(ELBO(2, ScoreFunction(Whole())), 800)
    assert worst_z(found, exact_gradient()) > BOUND


def test_two_particles_with_a_leave_one_out_baseline_are_unbiased():
    found = gradients(ELBO(2, ScoreFunction(LeaveOneOut())), 800)
    assert worst_z(found, exact_gradient()) < BOUND


def test_baselines_lower_the_variance():
    spread = {
        name: float(gradients(ELBO(20, ESTIMATORS[name]), 200).var(0)[:4].sum())
        for name in ESTIMATORS
    }
    assert spread["score, leave one out"] < 0.7 * spread["score, none"]
    assert spread["score, running mean"] < 0.7 * spread["score, none"]
    assert spread["reparameterized"] < spread["score, leave one out"]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far two means of gradients are apart, at worst, in standard errors."""
    error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()
    return float(((one.mean(0) - other.mean(0)) / error).abs().max())


DOUBLY = DoublyReparameterized()
POWERS = [0.0, 0.5]


@pytest.mark.parametrize("power", POWERS)
def test_doubly_reparameterized_gradients_agree_in_the_mean(power):
    """Size: 800 rounds of 4 particles each; power: the two mutants below."""
    plain = gradients(VRIWAE(power, 4), 800, seed=1)
    doubly = gradients(VRIWAE(power, 4, estimator=DOUBLY), 800, seed=2)
    assert apart(plain, doubly) < BOUND
    same = [
        float(VRIWAE(power, 4, estimator=e).loss(TARGET, GUIDE, generator=rng()).detach())
        for e in (Reparameterized(), DOUBLY)
    ]
    assert same[0] == pytest.approx(same[1], abs=1e-12)


@pytest.mark.parametrize("power", POWERS)
def test_dropping_the_score_of_several_particles_would_be_biased(power, monkeypatch):
    def once(problem, normalised, alpha, *, rows):
        return torch.ones(1, dtype=normalised.dtype)

    monkeypatch.setattr(importance, "_second_factor", once)
    plain = gradients(VRIWAE(power, 4), 800, seed=1)
    wrong = gradients(VRIWAE(power, 4, estimator=DOUBLY), 800, seed=2)
    assert apart(plain, wrong) > BOUND


def test_the_rule_of_another_alpha_would_be_biased(monkeypatch):
    right = importance._second_factor
    monkeypatch.setattr(
        importance, "_second_factor", lambda p, v, a, rows: right(p, v, 0.0, rows=rows)
    )
    plain = gradients(VRIWAE(0.5, 4), 800, seed=1)
    wrong = gradients(VRIWAE(0.5, 4, estimator=DOUBLY), 800, seed=2)
    assert apart(plain, wrong) > BOUND


def signal_to_noise(estimator, particles: int) -> float:
    """Of the guide's gradient: its mean over its standard deviation, on average."""
    found = gradients(IWAE(particles, estimator=estimator), 400, total_rows=None)[:, :4]
    return float((found.mean(0).abs() / found.std(0)).mean())


@pytest.mark.parametrize(("estimator", "drowns"), [(Reparameterized(), True), (DOUBLY, False)])
def test_more_particles_drown_the_signal_of_plain_gradients_alone(estimator, drowns):
    """Rainforth et al. (2018), theorem 1. Size: a ratio is known to 5 %; it falls to a fifth."""
    few, many = (signal_to_noise(estimator, particles) for particles in (4, 400))
    assert (many < 0.5 * few) == drowns
    assert (many > few) == (not drowns)


def test_sticking_the_landing_has_no_noise_at_the_posterior():
    model = Conjugate(2, 0)
    x, y = data(model, 6)
    mean, covariance = model.posterior(x, y)
    guide = AutoMultivariateNormal(model, {"y"})
    tril = torch.linalg.cholesky(covariance)
    with torch.no_grad():
        guide.shared_block.loc.copy_(mean)
        guide.shared_block.log_scale.copy_(tril.diagonal().log())
        guide.shared_block.lower.copy_(tril / tril.diagonal()[:, None])
    target = model.target(x, {"y": y}, latents="declared")
    for estimator, noisy in ((StickingTheLanding(), False), (Reparameterized(), True)):
        loss = ELBO(3, estimator).loss(target, guide, generator=rng())
        loss.backward()
        size = max(float(p.grad.abs().max()) for p in guide.parameters())
        assert (size > 1e-3) if noisy else (size < 1e-9)
        guide.zero_grad()


OBJECTIVES = {
    "iwae": IWAE(3),
    "iwae, doubly": IWAE(3, estimator=DoublyReparameterized()),
    "vr-iwae": VRIWAE(0.5, 3),
    "vr-iwae, doubly": VRIWAE(0.5, 3, estimator=DoublyReparameterized()),
    "renyi": Renyi(0.5, 3),
    "closed entropy": ELBO(2, ClosedFormEntropy()),
    "sticking": ELBO(2, StickingTheLanding()),
    "score": ELBO(2, ScoreFunction()),
    "score, running mean": ELBO(1, ScoreFunction(RunningMean())),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_traced_steps_are_the_eager_ones(name):
    """The same losses from the same generator, whichever way steps run."""
    losses = []
    for trace in (True, False):
        guide = scattered()
        optim = torch.optim.SGD(guide.parameters(), lr=0.01)
        tier = "auto" if trace else "eager"
        svi = SVI(MODEL, guide, optim, OBJECTIVES[name], TOTAL, rng(), tier=tier)
        losses.append(svi.run(X, OBS, 12).losses)
        if trace:
            reason = OBJECTIVES[name].estimator.eager_reason if "mean" in name else ""
            assert svi.eager_reason == reason
            assert (svi._traced is None) == bool(reason)
    if "mean" not in name:  # a running mean remembers the first run
        torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: IWAE(0), "`num_particles` of `IWAE` is 0"),
        (lambda: Renyi(0.5, 0), "`num_particles` of `Renyi` is 0"),
        (lambda: Renyi(float("nan"), 2), "`alpha` of `Renyi` is nan"),
        (lambda: VRIWAE(1.0, 2), r"`alpha` of `VRIWAE` is 1\.0: ELBO\(\) is alpha 1"),
        (lambda: VRIWAE(-0.1, 2), r"`alpha` of `VRIWAE` is -0\.1"),
        (lambda: VRIWAE(0.5, 2, True, DoublyReparameterized()), "per_row=False"),
        (lambda: RunningMean(1.0), r"`decay` of `RunningMean` is 1\.0"),
        (lambda: IWAE(2, estimator=StickingTheLanding()), "biased"),
        (lambda: IWAE(2, True, DoublyReparameterized()), "per_row=False"),
        (lambda: ELBO(1, ScoreFunction()).loss(TARGET, GUIDE), "at least 2"),
        (
            lambda: ELBO().loss(TARGET, AutoNormalGuide(MODEL, {"y"}, rows=ROWS), total_rows=9),
            "4 rows cannot stand for 9 .*was made for the rows of its data",
        ),
        (
            lambda: ELBO().loss(MODEL.target(X[:0], {"y": Y[:0]}), GUIDE),
            r"no rows \(batch shape \(0,\)\)",
        ),
        (lambda: IWAE(2, per_row=True).loss(TARGET, GUIDE), r"\['a'\] is common to the rows"),
    ],
)
def test_options_that_mean_nothing_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_shared_terms_that_depend_on_rows_are_refused_row_by_row():
    class Grouped(Conjugate):
        def densities(self, x, y, values):
            row, shared = super().densities(x, y, values)
            return row, shared + values["z"].square().sum((-1, -2))

    model = Grouped(0, 1)
    x, y = data(Conjugate(0, 1), 3)
    target = model.target(x, {"y": y}, latents="declared")
    for grad in (True, False):
        with torch.set_grad_enabled(grad), pytest.raises(UserError, match="grouped marginalize"):
            IWAE(2, per_row=True).loss(target, scattered(model))
