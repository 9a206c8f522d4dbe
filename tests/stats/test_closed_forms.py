"""Conjugate models: chains and guides against the posterior in closed form.

Size: means and mean squares of ``statistics`` of chains, two for each, share the budget's "closed
forms". Power: the prior alone is seen in each. Guides of other shapes than the posterior have a
bound below the log evidence, by no more than is said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log, pi, sqrt
from typing import Any

import pytest
import torch
from scipy import stats

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, MCMC, SVI, AutoMultivariateNormal, NUTSKernel, diagnose
from tests.stats.budget import alpha, critical_z

HEAD = "object N : FinSet 6\nobject P : Simplex 3\nprogram p : 1 -> 1\n"
TAIL = "    return %s\nexport p\n"
F64 = torch.float64
COUNTS = [3, 1, 4, 1, 5, 2]
REAL = [0.4, -1.2, 2.1, 0.3, 1.7, 0.9]
WAITS = [0.4, 1.2, 2.1, 0.3, 1.7, 0.9]
BITS = [1, 0, 1, 1, 1, 0]
CLASSES = [0, 2, 2, 1, 2, 0]


@dataclass(frozen=True)
class Pair:
    """A program, its data, the marginal posteriors by site, and the log evidence."""

    steps: str
    y: list[Any]
    posterior: dict[str, Callable[[], Any]]  # site (or first element) -> a law of scipy
    prior: dict[str, Callable[[], Any]]
    evidence: float

    def model(self) -> Any:
        return loads(HEAD + self.steps + TAIL % next(iter(self.posterior))).morphism.double()

    @property
    def data(self) -> dict[str, torch.Tensor]:
        whole = isinstance(self.y[0], int)
        return {"y": torch.tensor(self.y, dtype=torch.int64 if whole else F64)}


def log_beta(*a: float) -> float:
    return sum(map(lgamma, a)) - lgamma(sum(a))


def normal_normal() -> Pair:
    """mu ~ N(1, 2), y ~ N(mu, 0.5)."""
    n, total = len(REAL), sum(REAL)
    precision = 1 / 4 + n / 0.25
    mean, sd = (1 / 4 + total / 0.25) / precision, sqrt(1 / precision)
    at = stats.norm(REAL, 0.5).logpdf(mean).sum() + stats.norm(1.0, 2.0).logpdf(mean)
    return Pair(
        "    sample a <- Normal(1.0, 2.0)\n    observe y : N <- Normal(a, 0.5)\n",
        REAL,
        {"a": lambda: stats.norm(mean, sd)},
        {"a": lambda: stats.norm(1.0, 2.0)},
        float(at - stats.norm(mean, sd).logpdf(mean)),
    )


def beta_bernoulli() -> Pair:
    n, k = len(BITS), sum(BITS)
    return Pair(
        "    sample a <- Beta(2.0, 3.0)\n    observe y : N <- Bernoulli(a)\n",
        BITS,
        {"a": lambda: stats.beta(2 + k, 3 + n - k)},
        {"a": lambda: stats.beta(2, 3)},
        log_beta(2 + k, 3 + n - k) - log_beta(2, 3),
    )


def gamma_poisson() -> Pair:
    n, k = len(COUNTS), sum(COUNTS)
    constant = -sum(lgamma(y + 1) for y in COUNTS)
    known = 2 * log(0.5) - lgamma(2) + lgamma(2 + k) - (2 + k) * log(0.5 + n)
    return Pair(
        "    sample a <- Gamma(2.0, 0.5)\n    observe y : N <- Poisson(a)\n",
        COUNTS,
        {"a": lambda: stats.gamma(2 + k, scale=1 / (0.5 + n))},
        {"a": lambda: stats.gamma(2, scale=2.0)},
        known + constant,
    )


def gamma_exponential() -> Pair:
    n, total = len(WAITS), sum(WAITS)
    return Pair(
        "    sample a <- Gamma(2.0, 3.0)\n    observe y : N <- Exponential(a)\n",
        WAITS,
        {"a": lambda: stats.gamma(2 + n, scale=1 / (3 + total))},
        {"a": lambda: stats.gamma(2, scale=1 / 3)},
        2 * log(3) - lgamma(2) + lgamma(2 + n) - (2 + n) * log(3 + total),
    )


def dirichlet_categorical() -> Pair:
    found = [CLASSES.count(k) for k in range(3)]
    prior = [2.0, 3.0, 4.0]
    after = [a + k for a, k in zip(prior, found, strict=True)]
    return Pair(
        "    sample a : P <- Dirichlet(2.0, 3.0, 4.0)\n    observe y : N <- Categorical(a)\n",
        CLASSES,
        {"a": lambda: stats.beta(after[0], sum(after[1:]))},
        {"a": lambda: stats.beta(2.0, 7.0)},
        log_beta(*after) - log_beta(*prior),
    )


def normal_inverse_gamma() -> Pair:
    """v ~ InverseGamma(3, 2), mu ~ N(0, sqrt(2 v)), y ~ N(mu, sqrt(v))."""
    n, total = len(REAL), sum(REAL)
    k = 0.5 + n
    mean = total / k
    shape = 3 + n / 2
    scale = 2 + 0.5 * (sum(y * y for y in REAL) - k * mean * mean)
    known = lgamma(shape) - lgamma(3) + 3 * log(2) - shape * log(scale)
    return Pair(
        "    sample v <- InverseGamma(3.0, 2.0)\n    let w = sqrt(2.0 * v)\n    let s = sqrt(v)\n"
        "    sample a <- Normal(0.0, w)\n    observe y : N <- Normal(a, s)\n",
        REAL,
        {
            "a": lambda: stats.t(2 * shape, mean, sqrt(scale / (shape * k))),
            "v": lambda: stats.invgamma(shape, scale=scale),
        },
        {"a": lambda: stats.t(6, 0.0, sqrt(2 * 2 / 3)), "v": lambda: stats.invgamma(3, scale=2)},
        known + 0.5 * log(0.5 / k) - 0.5 * n * log(2 * pi),
    )


PAIRS = {
    make.__name__.replace("_", "-"): make()
    for make in (
        normal_normal,
        beta_bernoulli,
        gamma_poisson,
        gamma_exponential,
        dirichlet_categorical,
        normal_inverse_gamma,
    )
}
COUNT = 2 * sum(len(pair.posterior) for pair in PAIRS.values())
BOUND = critical_z(alpha("closed forms", COUNT))


def largest_z(draws: Any, laws: dict[str, Callable[[], Any]]) -> float:
    """z scores of mean and mean square of the probability transform, whose law is uniform."""
    found = []
    for site, law in laws.items():
        value = draws[site]
        u = law().cdf((value[..., 0] if value.ndim > 2 else value).numpy())
        found.append(abs(u.mean() - 1 / 2) / diagnose.mcse(u))
        found.append(abs((u**2).mean() - 1 / 3) / diagnose.mcse(u**2))
    return float(max(found))


@pytest.mark.stats
@pytest.mark.parametrize("name", PAIRS)
def test_chains_reach_the_closed_form_and_the_prior_is_seen(name: str) -> None:
    pair = PAIRS[name]
    draws = MCMC(NUTSKernel(), 500, 1000, seed=2).run(pair.model(), None, pair.data).samples
    assert largest_z(draws, pair.posterior) < BOUND
    assert largest_z(draws, pair.prior) > BOUND


@pytest.mark.stats
@pytest.mark.parametrize("name", PAIRS)
def test_a_full_guide_comes_near_the_evidence_from_below(name: str) -> None:
    pair = PAIRS[name]
    model = pair.model()
    guide = AutoMultivariateNormal(model, {"y"}).double()
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    rng = torch.Generator().manual_seed(0)
    SVI(model, guide, optim, ELBO(10), generator=rng).run(None, pair.data, 1500)
    target = model.target(None, pair.data, latents="declared", dtype=F64)
    with torch.no_grad():
        q, density = guide.draw(target.layout, (20_000,), rng)
        bounds = target.terms(q).total() - density.total()
    error = float(bounds.std()) / sqrt(20_000)
    bound = float(bounds.mean())
    assert pair.evidence - 0.1 < bound < pair.evidence + 4.0 * error + 1e-9
