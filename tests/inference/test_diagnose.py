"""Our diagnostics against ArviZ's, number by number."""

import warnings

import numpy as np
import pytest

from quivers_nb.inference import diagnose

with warnings.catch_warnings():  # ArviZ announces its next major version once a day
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

PAIRS = [
    (diagnose.ess, lambda x: arviz.ess(x, method="bulk")),
    (diagnose.ess_mean, lambda x: arviz.ess(x, method="mean")),
    (diagnose.ess_tail, lambda x: arviz.ess(x, method="tail", prob=(0.05, 0.95))),
    (diagnose.mcse, lambda x: arviz.mcse(x, method="mean")),
    (diagnose.r_hat, arviz.rhat),
]


def autoregressive(chains: int, length: int, coefficient: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.empty((chains, length))
    x[:, 0] = rng.standard_normal(chains)
    for t in range(1, length):
        x[:, t] = coefficient * x[:, t - 1] + rng.standard_normal(chains)
    return x


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
@pytest.mark.parametrize("coefficient", [-0.9, -0.3, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("length", [4, 5, 7, 50, 51, 400])
def test_agrees_with_arviz_on_autoregressions(ours, theirs, coefficient, length):
    for chains in (2, 4):
        x = autoregressive(chains, length, coefficient, seed=length)
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-8)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_agrees_with_arviz_on_ties_shifts_and_heavy_tails(ours, theirs):
    rng = np.random.default_rng(3)
    ties = rng.integers(0, 4, (4, 60)).astype(float)
    shifted = rng.standard_normal((4, 60)) + np.arange(4)[:, None]
    heavy = rng.standard_cauchy((4, 60))
    for x in (ties, shifted, heavy):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-8)


def test_every_scalar_of_a_site_is_diagnosed_on_its_own(monkeypatch):
    x = np.random.default_rng(0).standard_normal((3, 40, 2, 5)).cumsum(1)
    whole = diagnose.ess(x)
    assert whole.shape == (2, 5)
    monkeypatch.setattr(diagnose, "_CHUNK", 3 * 40 * 4)
    np.testing.assert_allclose(diagnose.ess(x), whole, rtol=1e-12)
    np.testing.assert_allclose(diagnose.ess(x[:, :, 1, 3]), whole[1, 3], rtol=1e-12)


def test_one_chain_is_split_too():
    x = autoregressive(1, 200, 0.2, seed=0)
    assert 0.95 < diagnose.r_hat(x) < 1.05
    assert diagnose.r_hat(x + np.linspace(0, 9, 200)) > 1.5


def test_nan_draws_and_too_few_draws_give_nan_and_only_there():
    x = np.random.default_rng(0).standard_normal((2, 10, 3))
    x[0, 0, 1] = np.nan
    assert np.isnan(diagnose.ess(x)).tolist() == [False, True, False]
    assert np.isnan(diagnose.r_hat(x[:, :3])).all()
    assert np.isnan(diagnose.ess(x[:, :0])).all()


def test_a_constant_site_has_all_draws_and_no_r_hat():
    x = np.ones((4, 20))
    assert diagnose.ess(x) == 80
    assert np.isnan(diagnose.r_hat(x))
