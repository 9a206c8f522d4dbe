"""Whole models: gradients against autograd, posterior moments against independent ones."""

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.native import ChainSettings, NativeChains, chain_settings

DOUBLE = torch.float64


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def _normal(x, scale=1.0):
    return -0.5 * ((x / scale) ** 2).sum()


def eight_schools():
    """Rubin (1981), non-centred: mu, log tau, eight standardised effects."""
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=DOUBLE)
    s = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=DOUBLE)

    def density(q):
        mu, log_tau, z = q[0], q[1], q[2:]
        prior = _normal(mu, 5.0) + log_tau - torch.log1p((log_tau.exp() / 5.0) ** 2) + _normal(z)
        return prior + _normal((y - mu - log_tau.exp() * z) / s)

    return density, 10


def logistic_regression(rows=1000, columns=20):
    x, truth = _random(rows, columns, seed=1), 0.7 * _random(columns, seed=2)
    y = (torch.sigmoid(x @ truth + 0.3) > torch.sigmoid(_random(rows, seed=3))).to(DOUBLE)

    def density(q):
        logits = q[0] + x @ q[1:]
        return _normal(q[0], 2.5) + _normal(q[1:]) + (y * logits - F.softplus(logits)).sum()

    return density, columns + 1


def varying_intercepts(groups=85, rows=900):
    """Intercepts and slopes by group, non-centred, with a predictor for the groups."""
    group = torch.randint(groups, (rows,), generator=torch.Generator().manual_seed(4))
    floor = (_random(rows, seed=5) > 0.8).to(DOUBLE)
    u, y = _random(groups, seed=6), _random(rows, seed=7)

    def density(q):
        scales = q[3:6].exp()
        a = q[0] + q[1] * u + scales[0] * q[6 : 6 + groups]
        b = q[2] + scales[1] * q[6 + groups :]
        r = (y - a[group] - b[group] * floor) / scales[2]
        prior = _normal(q[:3], 2.0) + (q[3:6] - 0.5 * scales**2).sum() + _normal(q[6:])
        return prior + _normal(r) - rows * q[5]

    return density, 6 + 2 * groups


def two_parameter_logistic(people=100, items=20):
    y = (_random(people, items, seed=8) > 0.2).to(DOUBLE)

    def density(q):
        ability, mean, log_scale = q[:people], q[people], q[people + 1]
        z, log_slope = q[people + 2 : people + 2 + items], q[people + 2 + items :]
        difficulty = mean + log_scale.exp() * z
        logits = log_slope.exp() * (ability[:, None] - difficulty)
        prior = _normal(ability) + _normal(mean) + log_scale - 0.5 * log_scale.exp() ** 2
        likelihood = (y * F.logsigmoid(logits) + (1 - y) * F.logsigmoid(-logits)).sum()
        return prior + _normal(z) + _normal(log_slope, 0.5) + likelihood

    return density, people + 2 + 2 * items


def mixture(rows=200):
    """Three normals with weights, components ordered by construction."""
    x = torch.cat([_random(rows, seed=9) - 3.0, 0.5 * _random(rows, seed=10) + 2.0])

    def density(q):
        weights = F.log_softmax(q[:3], 0)
        centres, scales = torch.cumsum(torch.cat([q[3:4], q[4:6].exp()]), 0), q[6:9].exp()
        terms = weights - 0.5 * ((x[:, None] - centres) / scales) ** 2 - q[6:9]
        return torch.logsumexp(terms, 1).sum() + _normal(q, 2.0)

    return density, 9


def gaussian_process(points=12):
    """Counts with a log-normal intensity whose covariance is inferred."""
    x = torch.linspace(-2.0, 2.0, points, dtype=DOUBLE)
    counts = torch.arange(points, dtype=DOUBLE) % 5

    def density(q):
        length, scale = q[0].exp(), q[1].exp()
        kernel = scale**2 * torch.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
        factor = torch.linalg.cholesky_ex(kernel + 0.05 * torch.eye(points, dtype=DOUBLE)).L
        f = factor @ q[2:]
        return (counts * f - f.exp() - torch.lgamma(counts + 1.0)).sum() + _normal(q)

    return density, points + 2


def small_network(rows=64):
    """A hidden layer of eight and a beta-binomial output."""
    x = _random(rows, 3, seed=11)
    successes = torch.arange(rows, dtype=DOUBLE) % 7

    def density(q):
        w1, b1, w2, log_size = q[:24].view(8, 3), q[24:32], q[32:40].view(1, 8), q[40]
        p = torch.sigmoid(F.linear(torch.tanh(F.linear(x, w1, b1)), w2).squeeze(-1))
        a, b = p * log_size.exp(), (1 - p) * log_size.exp()
        seen = torch.lgamma(successes + a) + torch.lgamma(7 - successes + b)
        seen = seen - torch.lgamma(7 + a + b) + torch.lgamma(a + b) - torch.lgamma(a)
        return (seen - torch.lgamma(b)).sum() + _normal(q)

    return density, 41


MODELS = (
    eight_schools, logistic_regression, varying_intercepts, two_parameter_logistic, mixture,
    gaussian_process, small_network,
)  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_gradients_agree_with_autograd(model, compiled, reference, error):
    density, dim = model()
    native = compiled(density, 0.1 * _random(dim))
    for seed in range(5):
        q = _random(dim, seed=20 + seed)
        values = zip(native.value_and_grad(q), reference(density, q), strict=True)
        assert all(error(ours, theirs) < 1e-12 for ours, theirs in values)


def _draws(native, dim, *, warmup=1000, draws=4000, chains=4, seed=1) -> np.ndarray:
    settings = chain_settings(NUTSKernel(target_accept=0.9), warmup)
    assert isinstance(settings, ChainSettings)
    starts = np.random.default_rng(seed).uniform(-1.0, 1.0, (chains, dim))
    run = NativeChains(native, settings, starts, seed, range(chains))
    assert run.advance(warmup + draws, warmup)
    return np.stack([run.draws(c).position for c in range(chains)])


SIZE = 1e-4  # of each agreement of means


def _agree(
    draws: np.ndarray, mean: np.ndarray, sd: np.ndarray, error: np.ndarray, freedom: int = 79
) -> None:
    """Every mean within 4.5 standard errors of both sides, all together too, every sd within 15 %.

    Errors of 80 batches: ``z`` is Student's, and the mean of ``z**2`` is F with 79 degrees of
    freedom below (or those of the reference, if it has fewer batches) and ``d**2 / tr(R R)`` above,
    where ``R`` are the correlations of the means (Satterthwaite).
    """
    batches = draws.reshape(draws.shape[0] * 20, -1, draws.shape[-1]).mean(1)
    mcse = batches.std(0, ddof=1) / np.sqrt(len(batches))
    z = (draws.mean((0, 1)) - mean) / np.hypot(mcse, error)
    several = len(mean) ** 2 / (np.corrcoef(batches.T) ** 2).sum()
    assert np.abs(z).max() < 4.5
    assert (z**2).mean() < scipy.stats.f.isf(SIZE, several, freedom)
    assert np.abs(np.log(draws.std((0, 1)) / sd)).max() < 0.15


@pytest.mark.stats
def test_eight_schools_has_its_known_posterior(compiled):
    """Moments by quadrature over tau: given tau everything is normal."""
    density, dim = eight_schools()
    draws = _draws(compiled(density, torch.zeros(dim, dtype=DOUBLE)), dim)
    mu_tau = np.stack([draws[..., 0], draws[..., 1]], -1)
    mean, sd = _eight_schools_moments()
    _agree(mu_tau, mean, sd, np.zeros(2))
    with pytest.raises(AssertionError):  # a tenth of a standard deviation is seen
        _agree(mu_tau, mean + 0.1 * sd, sd, np.zeros(2))


def _eight_schools_moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of mu and log tau."""
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    s = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    log_tau = np.linspace(-14.0, 6.0, 20001)
    variance = np.exp(2 * log_tau)[:, None] + s**2
    precision = (1 / variance).sum(1) + 1 / 25.0
    centre = (y / variance).sum(1) / precision
    # p(y | tau): mu integrated out of N(y; mu, variance) N(mu; 0, 25).
    evidence = -0.5 * (np.log(variance).sum(1) + np.log(precision))
    evidence += 0.5 * (precision * centre**2 - (y**2 / variance).sum(1))
    weight = evidence + log_tau - np.log1p(np.exp(2 * log_tau) / 25.0)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    mu, t = (weight * centre).sum(), (weight * log_tau).sum()
    mu_var = (weight * (1 / precision + centre**2)).sum() - mu**2
    t_var = (weight * log_tau**2).sum() - t**2
    return np.array([mu, t]), np.sqrt([mu_var, t_var])


@pytest.mark.stats
def test_logistic_regression_has_the_posterior_of_importance_sampling(compiled):
    """The reference reweights draws of the normal at the mode: with N = 1000 it nearly fits."""
    density, dim = logistic_regression()
    native = compiled(density, torch.zeros(dim, dtype=DOUBLE))
    mode = torch.zeros(dim, dtype=DOUBLE)
    for _ in range(30):
        hessian = torch.autograd.functional.hessian(density, mode)
        mode = mode - torch.linalg.solve(hessian, native.value_and_grad(mode)[1])
    scale = torch.linalg.cholesky(torch.linalg.inv(-hessian))
    noise = _random(20_000, dim, seed=33)
    points = mode + noise @ scale.t()
    logs = native.value_and_grad(points)[0] + 0.5 * (noise**2).sum(-1)
    weight = torch.softmax(logs, 0)
    mean = weight @ points
    sd = (weight @ (points - mean) ** 2).sqrt()
    error = ((weight**2) @ (points - mean) ** 2).sqrt()
    draws = _draws(native, dim, draws=2000)
    _agree(draws, mean.numpy(), sd.numpy(), error.numpy())


@pytest.mark.stats
def test_a_varying_intercept_model_agrees_with_the_reference_sampler(compiled):
    """The Python sampler of the next tier, on the same density and another random stream."""
    density, dim = varying_intercepts(groups=6, rows=60)
    native = compiled(density, torch.zeros(dim, dtype=DOUBLE))
    ours = _draws(native, dim, draws=3000)
    theirs = _python_draws(native, dim)
    error = theirs.reshape(20, -1, dim).mean(1).std(0, ddof=1) / np.sqrt(20)
    _agree(ours, theirs.mean(0), theirs.std(0), error, freedom=19)


def _python_draws(native, dim: int, warmup=400, draws=2000) -> np.ndarray:
    from quivers_nb.inference.mcmc.chain import Transition
    from quivers_nb.inference.mcmc.integrator import Point

    def evaluate(q):
        values, grads = native.value_and_grad(torch.from_numpy(q))
        return values.numpy(), grads.numpy()

    start = np.zeros((1, dim))
    value, grad = evaluate(start)
    rngs = (np.random.default_rng(5),)
    transition = Transition.of(NUTSKernel(target_accept=0.9), warmup)
    chains = transition.init((Point(start[0], float(value[0]), grad[0]),), rngs)
    rows = []
    while len(rows) < warmup + draws:
        chains = transition.step(chains, evaluate, rngs)
        if chains[0].stats is not None:
            rows.append(chains[0].point.q)
    return np.array(rows[warmup:])
