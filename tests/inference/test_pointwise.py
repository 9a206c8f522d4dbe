"""Log densities of observations one by one: against scipy, against sums, and through ArviZ."""

import warnings

import numpy as np
import pytest
import torch
from scipy import special, stats

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoNormalGuide,
    NUTSKernel,
    Predictive,
    bayesian_lift_parameters,
    blocks,
    condition,
    log_likelihood,
    pointwise,
)
from tests.support.arviz_versions import elpd_of, groups_of
from tests.support.models import HandModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

F64 = torch.float64
PLATES = """object Obs : FinSet 6
object G : FinSet 2
program plates : Obs -> Obs
    sample mu : G <- Normal(0.0, 2.0)
    sample s <- HalfNormal(1.0)
    observe n : Obs <- Poisson(3.0)
    observe y : Obs <- Normal(mu[g], s)
    return mu
export plates
"""
ROWS = """object R3 : Real 3
object R2 : Real 2
morphism f : R3 -> R2 [role=kernel, scale=0.3] ~ Normal
program rows : R3 -> R3
    sample h <- f
    sample s : 1 <- HalfNormal(1.0)
    let m = sum(h)
    observe y <- Normal(m, s)
    return y
export rows
"""
MIDDLE = """object R3 : Real 3
object R2 : Real 2
morphism f : R3 -> R2 [role=kernel, scale=0.3] ~ Normal
morphism k : R2 -> R2 [role=kernel, scale=0.3] ~ Normal
let fk = f >> k
program deep : R3 -> R3
    sample h <- fk
    let m = sum(h)
    observe y <- Normal(m, 1.0)
    return y
export deep
"""
MIXTURE = """object N : FinSet 5
program mix : N -> N
    sample a <- Normal(0.0, 1.0)
    marginalize z : N <- Bernoulli(0.3)
        let m = a + 2.0 * z
        observe y : N <- Normal(m, 1.0)
    return a
export mix
"""
GROUPED = """object G : FinSet 2
object N : FinSet 5
object K : FinSet 2
data w : K -> Real 1
program grouped : G -> G
    sample mu : K <- Normal(0.0, 1.0)
    marginalize c : K <- CategoricalProbs(w) [over=G]
        observe y : N <- Normal(mu[c], 1.0) [via=g]
    return mu
export grouped
"""
G = torch.arange(6) % 2
Y = torch.linspace(-1.0, 2.0, 6, dtype=F64)
X = torch.linspace(-1.0, 1.0, 12).reshape(4, 3)


def normal(value, loc, scale):
    return torch.from_numpy(stats.norm(np.asarray(loc), np.asarray(scale)).logpdf(value))


def drawn(model, x, obs, **options):
    mcmc = MCMC(NUTSKernel(), 15, 7, num_chains=2, seed=0, tier="eager")
    return mcmc.run(model, x, obs, **options)


def test_plates_have_one_density_per_element():
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    run = drawn(model, None, obs)
    found = log_likelihood(model, None, obs, run)
    assert list(found) == ["n", "y"]
    mu, s = run.samples["mu"], run.samples["s"]
    torch.testing.assert_close(found["y"], normal(Y, mu[..., G], s[..., None]))
    poisson = torch.from_numpy(stats.poisson(3.0).logpmf(np.arange(6)))
    torch.testing.assert_close(found["n"], poisson.expand(2, 7, 6))
    assert torch.equal(log_likelihood(model, None, obs, run.samples)["y"], found["y"])


def test_rows_have_one_density_per_row():
    model = loads(ROWS).morphism
    obs = {"y": torch.tensor([0.5, 0.1, -0.3, 2.0])}
    run = drawn(model, X, obs)
    found = log_likelihood(model, X, obs, run)["y"]
    assert found.shape == (2, 7, 4)
    y = obs["y"].double()
    torch.testing.assert_close(found, normal(y, run.samples["h"].sum(-1), run.samples["s"]))


@pytest.mark.parametrize("source", [PLATES, ROWS])
def test_they_add_up_to_the_density_less_that_of_the_latents(source):
    model = loads(source).morphism
    rows = source is ROWS
    x = X if rows else None
    obs = {"y": Y[:4].float()} if rows else {"y": Y, "n": torch.arange(6), "g": G}
    run = drawn(model, x, obs)
    found = log_likelihood(model, x, obs, run)
    total = sum(value.sum(-1) for value in found.values())
    values = {**obs, **{name: draws[1, 3] for name, draws in run.samples.items()}}
    sites = model.trace(x, values).sites
    latent = sum(sites[name].log_prob.sum() for name in run.samples)
    whole = model.log_density(x, values)
    torch.testing.assert_close(total[1, 3], whole - latent)


def test_elements_of_a_marginalized_block_are_summed_over_it():
    model = loads(MIXTURE).morphism
    y = Y[:5]
    a = torch.tensor([0.0, 1.0, -2.0], dtype=F64)
    found = log_likelihood(model, None, {"y": y}, {"a": a})["y"]
    parts = [np.log(p) + normal(y, a[:, None] + 2.0 * z, 1.0) for z, p in ((0, 0.7), (1, 0.3))]
    want = torch.from_numpy(special.logsumexp(np.stack(parts), 0))
    torch.testing.assert_close(found, want[None], atol=1e-6, rtol=1e-6)


def test_groups_of_a_marginalized_block_are_the_units():
    model = loads(GROUPED).morphism
    y, g = Y[:5], torch.tensor([0, 1, 0, 1, 1])
    mu = torch.tensor([[0.0, 1.0], [-1.0, 2.0], [0.5, 0.5]], dtype=F64)
    found = log_likelihood(model, None, {"y": y, "g": g, "w": [0.25, 0.75]}, {"mu": mu})["y"]
    assert found.shape == (1, 3, 2)
    for group in range(2):
        parts = [
            np.log(p) + normal(y[g == group], mu[:, k : k + 1], 1.0).sum(-1)
            for k, p in ((0, 0.25), (1, 0.75))
        ]
        want = torch.from_numpy(special.logsumexp(np.stack(parts), 0))
        torch.testing.assert_close(found[0, :, group], want, atol=1e-6, rtol=1e-6)


def test_lifted_weights_of_every_draw_are_used():
    """The noise of the middle is the same in every draw, so that only weights make a difference."""
    model = loads(MIDDLE).morphism
    obs = {"y": torch.tensor([0.5, 0.1, -0.3, 2.0])}
    lifted, x, data = bayesian_lift_parameters(model, X, obs)
    target = lifted.target(x, data, dtype=F64)
    q = target.unconstrain({}).expand(3, -1).clone()
    count = target.weights.numel()
    generator = torch.Generator().manual_seed(0)
    q[:, :count] += 0.3 * torch.randn(3, count, dtype=F64, generator=generator)
    draws = target.constrain(q, internal=True)
    found = log_likelihood(lifted, x, data, draws)["y"]
    want = normal(obs["y"].double(), draws["h"].sum(-1), 1.0)
    torch.testing.assert_close(found, want[None])


def test_kept_internal_sites_are_used():
    model = loads(MIDDLE).morphism
    obs = {"y": torch.tensor([0.5, 0.1, -0.3, 2.0])}
    run = drawn(model, X, obs, keep_internal=True)
    found = log_likelihood(model, X, obs, run)["y"]
    torch.testing.assert_close(
        found, normal(obs["y"].double(), run.samples["h"].sum(-1), 1.0), atol=1e-6, rtol=1e-6
    )


def test_internal_sites_must_be_kept_or_drawn():
    model = loads(MIDDLE).morphism
    obs = {"y": torch.tensor([0.5, 0.1, -0.3, 2.0])}
    run = drawn(model, X, obs)
    with pytest.raises(UserError, match=r"internal site .*keep_internal=True"):
        log_likelihood(model, X, obs, run)
    generator = torch.Generator().manual_seed(0)
    found = log_likelihood(model, X, obs, run, generator=generator)["y"]
    assert found.shape == (2, 7, 4)  # h is among the draws, so that the noise before it is not


def test_a_guide_gives_one_chain():
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    guide = AutoNormalGuide(model, model.observed_names)
    generator = torch.Generator().manual_seed(1)
    found = log_likelihood(model, None, obs, guide, num_draws=5, generator=generator)
    assert found["y"].shape == (1, 5, 6)
    mu, s = (found.posterior[name].double() for name in ("mu", "s"))
    torch.testing.assert_close(found["y"], normal(Y, mu[..., G], s[..., None]))


def test_conditioned_models_know_their_data():
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    run = drawn(model, None, obs)
    fixed = condition(model, {"y": Y})
    found = log_likelihood(fixed, None, {"n": torch.arange(6), "g": G}, run)
    assert torch.equal(found["y"], log_likelihood(model, None, obs, run)["y"])
    assert set(found.observed) == {"y", "n"}


def test_blocks_of_draws_change_nothing(monkeypatch):
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    run = drawn(model, None, obs)
    whole = log_likelihood(model, None, obs, run)
    monkeypatch.setattr(pointwise, "_BLOCK", 36)  # three draws at a time
    torch.testing.assert_close(log_likelihood(model, None, obs, run)["y"], whole["y"])
    monkeypatch.setattr(blocks, "available_memory", lambda: 100)
    with pytest.raises(UserError, match="the log-likelihood of 14 draws would take"):
        log_likelihood(model, None, obs, run)


def test_faults_are_said():
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    with pytest.raises(UserError, match="`n` has no value"):
        log_likelihood(model, None, {"y": Y, "g": G}, {"mu": torch.zeros(1, 2)})
    with pytest.raises(UserError, match="no value for `s`"):
        log_likelihood(model, None, obs, {"mu": torch.zeros(1, 2)})
    with pytest.raises(UserError, match="mu has 3, s has 2"):
        log_likelihood(model, None, obs, {"mu": torch.zeros(3, 2), "s": torch.ones(2)})
    with pytest.raises(UserError, match="say how many"):
        log_likelihood(model, None, obs, AutoNormalGuide(model, model.observed_names))
    with pytest.raises(UserError, match="HandModel has no density per observation"):
        log_likelihood(HandModel(), X, {"y": torch.zeros(4)}, {"m": torch.zeros(1, 2)})
    known, mu = loads(NORMAL).morphism, torch.zeros(1)
    with pytest.raises(UserError, match="nothing is observed"):
        log_likelihood(known, None, {}, {"mu": mu, "y": torch.zeros(1, 40)}, missing={"y"})


# --- ArviZ

NORMAL = """object N : FinSet 40
program known : N -> N
    sample mu <- Normal(0.0, 10.0)
    observe y : N <- Normal(mu, 1.0)
    return mu
export known
"""


def exact_loo(y: np.ndarray) -> float:
    """Sum of log p(y_i | y_-i) of NORMAL, in closed form."""
    total = 0.0
    for i in range(len(y)):
        rest = np.delete(y, i)
        variance = 1 / (1 / 100 + len(rest))
        total += stats.norm(variance * rest.sum(), np.sqrt(1 + variance)).logpdf(y[i])
    return total


def test_leave_one_out_is_the_exact_one():
    """Exact draws of the posterior; the error of 4000 is below 0.05 (measured 0.004)."""
    rng = np.random.default_rng(0)
    y = rng.normal(0.3, 1.0, 40)
    variance = 1 / (1 / 100 + 40)
    mu = rng.normal(variance * y.sum(), np.sqrt(variance), 4000)
    found = log_likelihood(loads(NORMAL).morphism, None, {"y": y}, {"mu": mu})
    loo = arviz.loo(found.to_arviz(), reff=1.0)
    assert abs(elpd_of(loo) - exact_loo(y)) < 0.05


def test_models_are_compared_by_arviz():
    y = np.random.default_rng(1).normal(0.0, 1.0, 40)
    models = {
        "right": loads(NORMAL).morphism,
        "wide": loads(NORMAL.replace("Normal(mu, 1.0)", "Normal(mu, 9.0)")).morphism,
    }
    mu = np.random.default_rng(2).normal(y.mean(), 1 / np.sqrt(40), 500)
    data = {
        name: log_likelihood(model, None, {"y": y}, {"mu": mu}).to_arviz()
        for name, model in models.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = arviz.compare(data)
    assert list(table.index) == ["right", "wide"]


def test_every_group_is_handed_over():
    model = loads(PLATES).morphism
    obs = {"y": Y, "n": torch.arange(6), "g": G}
    run = drawn(model, None, obs)
    predicted = Predictive(model, run)(None, {"g": G})
    data = log_likelihood(model, None, obs, run).to_arviz(predicted)
    assert groups_of(data) == {
        "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data",
    }  # fmt: skip
    assert data.posterior_predictive["y"].shape == (2, 7, 6)
    assert set(data.observed_data) == {"y", "n"}
    np.testing.assert_array_equal(data.posterior["mu"], run.samples["mu"])
    np.testing.assert_array_equal(
        data.posterior_predictive["y"].values[1, 0], predicted["y"][7].numpy()
    )
    some = Predictive(model, run, num_samples=5)(None, {"g": G})
    few = log_likelihood(model, None, obs, run).to_arviz(some)
    assert few.posterior_predictive["y"].shape == (1, 5, 6)
    other = {"y": torch.zeros(14, 3)}
    with pytest.raises(
        UserError, match=r"`y` have shape \(3,\) per draw, its data \(6,\): predict"
    ):
        log_likelihood(model, None, obs, run).to_arviz(other)
    with pytest.raises(UserError, match="predictive has none of n, y"):
        log_likelihood(model, None, obs, run).to_arviz({"mu": torch.zeros(1, 2)})
