"""Warm-up: Stan's windows, dual averaging, the metric's shrinkage."""

import numpy as np
import pytest

from quivers_nb.inference.mcmc.adaptation import metric_kind
from quivers_nb.inference.mcmc.warmup import DualAveraging, Warmup, initial_tuning, schedule


def test_a_thousand_draws_have_the_windows_that_stan_documents():
    windows = schedule(1000)
    assert windows.first == 75
    assert sorted(windows.ends) == [100, 150, 250, 450, 950]
    assert windows.stop == 950


@pytest.mark.parametrize(
    ("draws", "first", "ends"),
    [
        (0, 0, []),
        (10, 10, []),
        (19, 19, []),
        (20, 3, [18]),
        (100, 15, [90]),
        (149, 22, [135]),
        (150, 75, [100]),
        (151, 75, [101]),
        (200, 75, [100, 150]),
        (300, 75, [100, 150, 250]),
        (500, 75, [100, 150, 250, 450]),
        (2000, 75, [100, 150, 250, 450, 850, 1950]),
    ],
)
def test_shorter_and_longer_warm_ups(draws, first, ends):
    windows = schedule(draws)
    assert (windows.first, sorted(windows.ends)) == (first, ends)


def test_no_window_is_ever_too_short_for_a_variance():
    for draws in range(20, 1200):
        windows = schedule(draws)
        ends = sorted(windows.ends)
        lengths = np.diff([windows.first, *ends])
        assert lengths.min() >= 15
        assert ends[-1] == windows.stop < draws


def test_dual_averaging_finds_the_step_size_of_the_target():
    """Acceptance falls as exp(-step): a target of 0.8 asks for a step of -log 0.8."""
    averaging = DualAveraging.start(1.0)
    rng = np.random.default_rng(0)
    for _ in range(4000):
        noise = 0.02 * rng.standard_normal()
        averaging = averaging.update(np.exp(-np.exp(averaging.log_step)) + noise, 0.8)
    assert np.exp(averaging.log_average) == pytest.approx(-np.log(0.8), rel=0.03)


def test_the_first_update_is_the_papers_by_hand():
    averaging = DualAveraging.start(0.5).update(0.3, 0.8)
    error = (0.8 - 0.3) / 11
    assert averaging.log_step == pytest.approx(np.log(5.0) - error / 0.05)
    assert averaging.log_average == averaging.log_step


@pytest.mark.parametrize("name", ["diagonal", "dense"])
def test_moments_and_shrinkage_are_those_of_the_whole_window(name):
    kind = metric_kind(name)
    x = np.random.default_rng(1).standard_normal((30, 3)) * [1.0, 10.0, 0.1]
    window = kind.window(3, np.float64)
    for q in x:
        window = window.add(q, -q)
    covariance = np.cov(x.T)
    wanted = 30 / 35 * covariance + 1e-3 * 5 / 35 * np.eye(3)
    metric = window.metric()
    if name == "diagonal":
        np.testing.assert_allclose(metric.variance, np.diagonal(wanted), rtol=1e-12)
    else:
        np.testing.assert_allclose(metric.covariance, wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("draws", "caution"), [(10, 2.0), (20, 2.0), (100, 2.0), (150, 1.0)])
def test_the_last_warm_up_draw_sets_the_averaged_step_size(draws, caution):
    warmup = Warmup(schedule(draws), metric_kind("diagonal"), 0.8, True, True)
    tuning = initial_tuning(0.1, warmup.kind, 2, np.float64)
    for draw in range(draws):
        tuning = warmup.learn(tuning, draw, np.zeros(2), np.zeros(2), 0.75)
    assert tuning.step_size == pytest.approx(np.exp(tuning.averaging.log_average) / caution)
    assert tuning.step_size != pytest.approx(np.exp(tuning.averaging.log_step))


def test_a_window_forgets_the_one_before():
    warmup = Warmup(schedule(200), metric_kind("diagonal"), 0.8, False, True)
    tuning = initial_tuning(0.1, warmup.kind, 1, np.float64)
    rng = np.random.default_rng(0)
    for draw in range(200):
        scale = 100.0 if draw < 100 else 1.0
        q = scale * rng.standard_normal(1)
        tuning = warmup.learn(tuning, draw, q, -q, 0.8)
        if warmup.closes(draw):
            tuning = warmup.renew(tuning, np.zeros(1))
    assert 0.3 < float(tuning.metric.variance[0]) < 3.0
