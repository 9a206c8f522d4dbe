"""Calibration as a call: ranks, statistics, methods, executors, words. Power: tests/stats."""

from concurrent.futures import ThreadPoolExecutor
from math import sqrt

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoNormalGuide,
    FitGuide,
    NUTSKernel,
    bayesian_lift_parameters,
    calibrate,
)
from quivers_nb.inference.ranks import Ranks, Sensitivity, ranks_of, variance_of_ranks

PLATES = """object N : FinSet 4
object G : FinSet 2
program plates : N -> N
    sample mu : G <- Normal(0.0, 2.0)
    sample s <- HalfNormal(1.0)
    observe y : N <- Normal(mu[g], s)
    return mu
export plates
"""
ROWS = """object R3 : Real 3
program rows : R3 -> R3
    sample m : 1 <- Normal(0.0, 1.0)
    sample t <- Normal(m, 1.0)
    observe y <- Normal(t, 1.0)
    return y
export rows
"""
G = {"g": torch.tensor([0, 1, 0, 1])}
X = torch.ones(2, 3)


def from_prior(model, x, obs, seed, count=7):
    """A method that ignores the data."""
    generator = torch.Generator().manual_seed(seed)
    runs = [model.trace(x, G, generator=generator) for _ in range(count)]
    return {n: torch.stack([r.sites[n].value for r in runs]) for n in ("mu", "s")}


def small(fit=from_prior, model=None, x=None, **options):
    options = {"num_simulations": 5, "num_draws": 7, "data": G, **options}
    return calibrate(loads(PLATES).morphism if model is None else model, x, fit, **options)


# --- ranks and their statistics


def test_a_rank_counts_the_draws_below_and_breaks_ties_evenly():
    rng = np.random.default_rng(0)
    draws = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    many = np.stack([ranks_of(np.array([4.0, 2.0]), draws, rng) for _ in range(400)])
    assert (many[:, 0] == 2).all()
    assert stats.chisquare(np.bincount(many[:, 1], minlength=4)).pvalue > 1e-3


def test_uniform_ranks_have_statistics_of_zero():
    ranks = Ranks("a", np.repeat(np.arange(8), 10), 7)
    assert (ranks.z_mean, ranks.z_spread) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert ranks.chi_square == (0.0, 7)
    assert ranks.p_mean == ranks.p_spread == ranks.p_chi_square == pytest.approx(1.0)
    assert ranks.faults(0.05) == []


@pytest.mark.parametrize("num_draws", [1, 7, 10, 63])
def test_statistics_have_the_moments_and_the_tails_they_claim(num_draws):
    rng = np.random.default_rng(1)
    table = rng.integers(0, num_draws + 1, (2000, 100))
    every = [Ranks("", row, num_draws) for row in table]
    scores = np.array([(ranks.z_mean, ranks.z_spread) for ranks in every])
    want = [1.0, 1.0 if num_draws > 1 else 0.0]  # two levels have no spread to differ in
    np.testing.assert_allclose(scores.mean(0), 0.0, atol=4.5 / sqrt(2000))
    np.testing.assert_allclose(scores.var(0), want, atol=4.5 * sqrt(2 / 2000))


@pytest.mark.parametrize("num_draws", [7, 10, 63])
def test_chi_square_is_scipys(num_draws):
    row = np.random.default_rng(2).binomial(num_draws, 0.4, 200)
    ranks = Ranks("", row, num_draws)
    place = np.arange(num_draws + 1) * 8 // (num_draws + 1)
    expected = np.bincount(place) * 200 / (num_draws + 1)
    want = stats.chisquare(np.bincount(place[row], minlength=8), expected)
    assert ranks.chi_square == (pytest.approx(want.statistic), 7)
    assert ranks.p_chi_square == pytest.approx(want.pvalue, rel=1e-9)
    assert ranks.p_mean == pytest.approx(2 * stats.norm.sf(abs(ranks.z_mean)), rel=1e-9)


def test_few_simulations_have_fewer_bins_or_none():
    assert Ranks("", np.arange(20) % 8, 7).chi_square[1] == 3
    assert Ranks("", np.array([0, 1, 2]), 7).chi_square == (0.0, 0)
    assert Ranks("", np.array([0, 1, 2]), 7).p_chi_square == 1.0


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3])
def test_the_variance_of_ranks_is_that_of_the_integral(factor):
    def integrand(z):
        return (stats.norm.cdf(z / factor) - 0.5) ** 2 * stats.norm.pdf(z)

    assert variance_of_ranks(factor) == pytest.approx(integrate.quad(integrand, -9, 9)[0], abs=1e-9)


def test_what_would_be_seen_shrinks_with_the_number_of_simulations():
    few, many = Sensitivity.of(100, 1e-3), Sensitivity.of(10_000, 1e-3)
    assert many.bias == pytest.approx(few.bias / 10, rel=0.15)
    assert few.too_narrow < 0.8 < many.too_narrow < 1.0
    assert Sensitivity.of(2, 1e-3).too_narrow == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        (np.full(50, 7), "the draws are too small (mean of ranks: z = +"),
        (np.full(50, 0), "the draws are too large (mean of ranks: z = -"),
        (
            np.tile([0, 7], 25),
            "the draws are spread too little: too narrow (spread of ranks: ",
        ),
        (np.tile([3, 4], 25), "the draws are spread too much: too wide (spread of ranks: z = -"),
    ],
)
def test_faults_are_said_in_words(ranks, words):
    assert Ranks("a", ranks, 7).faults(1e-4)[0].startswith(words)


def test_other_shapes_are_seen_by_chi_square_alone():
    ranks = Ranks("a", np.repeat([0, 2, 5, 7], 50), 7)
    (fault,) = Ranks("a", np.repeat([1, 1, 3, 4, 6, 6], 40), 7).faults(1e-4)
    assert fault.startswith("the ranks are not uniform (chi-square ")
    assert ranks.z_mean == pytest.approx(0.0, abs=1e-12)


# --- the call


def test_quantities_are_scalars_by_name_and_index_and_the_likelihood():
    found = small()
    assert [q.name for q in found.quantities] == ["mu[0]", "mu[1]", "s", "log-likelihood"]
    assert all(q.ranks.shape == (5,) and q.num_draws == 7 for q in found.quantities)
    assert all((q.ranks >= 0).all() and (q.ranks <= 7).all() for q in found.quantities)
    assert [q.name for q in small(sites={"s"}).quantities] == ["s"]


def test_row_wise_sites_have_a_quantity_for_each_row():
    model = loads(ROWS).morphism
    fit = FitGuide(num_steps=5)
    found = small(fit, model, X, data=None)
    assert [q.name for q in found.quantities] == ["m[0]", "t[0]", "t[1]", "log-likelihood"]


def test_a_seed_repeats_it_and_an_executor_changes_nothing():
    first, again, other = small(), small(), small(seed=1)
    with ThreadPoolExecutor(2) as pool:
        spread = small(executor=pool)
    for same in (again, spread):
        for a, b in zip(first.quantities, same.quantities, strict=True):
            assert np.array_equal(a.ranks, b.ranks)
    assert any(
        not np.array_equal(a.ranks, b.ranks)
        for a, b in zip(first.quantities, other.quantities, strict=True)
    )


def test_more_draws_are_thinned_evenly():
    seen = {}

    def fit(model, x, obs, seed):
        draws = {"mu": torch.arange(40.0).reshape(20, 2), "s": torch.arange(20.0)}
        seen.update(obs)
        return draws

    found = small(fit, num_draws=4, num_simulations=1, sites={"s"})
    assert int(found.quantities[0].ranks[0]) == 1  # of the draws 0, 5, 10, 15
    assert set(seen) == {"g", "y"}
    assert seen["y"].shape == (4,)


def test_chains_are_run_with_a_seed_each_and_tell_their_effective_size():
    mcmc = MCMC(NUTSKernel(), 50, 20, num_chains=2, seed=7)
    found = small(mcmc, num_simulations=3)
    assert found.ess.shape == (3,)
    assert (found.ess > 0).all()
    one = small(mcmc, num_simulations=1, num_draws=1)
    assert "draws of a run are correlated" not in one.report()
    short = MCMC(NUTSKernel(step_size=0.01, adapt_step_size=False), 0, 20, num_chains=1)
    assert "half of the runs have an effective" in small(short, num_draws=20).report()


def test_guides_are_drawn_from():
    model = loads(PLATES).morphism

    def fit(model, x, obs, seed):
        return AutoNormalGuide(model, model.observed_names)

    assert small(fit).num_simulations == 5
    fitted = FitGuide(num_steps=200, lr=0.1)(model, None, {**G, "y": torch.full((4,), 3.0)}, seed=0)
    assert float(fitted.loc_mu.detach().mean()) > 1.5


def test_the_report_says_what_is_wrong_and_what_would_have_been_seen():
    found = small(num_simulations=100)
    assert found.faults() == {"log-likelihood": found.by_name["log-likelihood"].faults(0.01 / 12)}
    assert not found.calibrated()
    text = found.report()
    assert "100 simulations, 7 draws each, 4 quantities." in text
    assert "NOT CALIBRATED: 1 of 4 fail at level 0.01." in text
    assert "log-likelihood: the draws are too small" in text
    assert "Seen with probability 0.95 by this run: a bias of 0." in text
    fine = small(num_simulations=100, sites={"mu"})
    assert fine.calibrated()
    assert "Nothing is wrong: no test fails at level 0.05, shared by all." in fine.report(0.05)
    assert text in repr(found)


# --- faults


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"num_simulations": 0}, "`num_simulations` of `calibrate` is 0"),
        ({"num_draws": 0}, "`num_draws` of `calibrate` is 0"),
        ({"num_draws": 8}, r"draws of `mu` have shape \(7, 2\), but \(8 or more, 2\) is wanted"),
        ({"sites": {"nu"}}, r"sites=\['nu'\]: the latent sites are mu, s"),
        ({"fit": lambda *_: {"mu": torch.zeros(7, 2)}}, "no draws of `s`: it has mu; choose"),
        ({"fit": MCMC(NUTSKernel(), 5, 3, num_chains=2)}, "2 chains of 3 draws are fewer than"),
        ({"data": {**G, "y": torch.zeros(4)}}, "no observed site"),
    ],
)
def test_what_cannot_be_done_is_said(options, fact):
    with pytest.raises(UserError, match=fact):
        small(**options)


def test_an_error_tells_its_simulation():
    def fit(model, x, obs, seed):
        raise ValueError("no posterior today")

    with pytest.raises(ValueError, match="no posterior today") as caught:
        small(fit, seed=3)
    assert caught.value.__notes__ == ["in simulation 0 of calibrate(seed=3)"]


def test_an_interrupt_stops_it_though_a_run_would_keep_its_draws():
    model = loads(PLATES).morphism
    calls = []

    def fit(model, x, obs, seed):
        calls.append(seed)
        mcmc = MCMC(NUTSKernel(), 5, 20, num_chains=1, seed=seed)
        return mcmc.run(model, x, obs, watch=lambda progress: progress.transition == 15)

    with pytest.raises(KeyboardInterrupt, match="before the first of 5 simulations"):
        small(fit, model)
    assert len(calls) == 1


def interrupted_at(number):
    """A method that somebody interrupts in the midst of a simulation, from 0."""
    calls = []

    def fit(model, x, obs, seed):
        calls.append(seed)
        if len(calls) > number:
            raise KeyboardInterrupt
        return from_prior(model, x, obs, seed)

    return fit


def test_an_interrupt_keeps_the_simulations_that_were_finished():
    kept, whole = small(interrupted_at(3)), small(num_simulations=3)
    assert kept.interrupted
    assert not whole.interrupted
    assert "3 simulations of 5, then interrupted, 7 draws" in kept.report()
    assert "interrupted" not in whole.report()
    for one, two in zip(kept.quantities, whole.quantities, strict=True):
        np.testing.assert_array_equal(one.ranks, two.ranks)
    with ThreadPoolExecutor(1) as pool:
        assert small(interrupted_at(3), executor=pool).num_simulations == 3


def test_lifted_models_and_levels_out_of_range_are_refused():
    rows = """object R3 : Real 3
morphism f : R3 -> R3 [role=kernel, scale=0.3] ~ Normal
program p : R3 -> R3
    sample h <- f
    observe y <- Normal(h, 1.0)
    return y
export p
"""
    lifted, _, _ = bayesian_lift_parameters(loads(rows).morphism, X)
    with pytest.raises(UserError, match="lifted weights have no truth"):
        small(model=lifted)
    with pytest.raises(UserError, match=r"alpha=1\.0 must be between 0 and 1"):
        small().faults(1.0)
