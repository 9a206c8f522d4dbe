"""Metrics learned from windows: exact where theory says so, the same in every tier."""

import numpy as np
import pytest
import torch

from quivers_nb.inference.mcmc.adaptation import NAMES, SOURCES, balance, metric_kind
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.native import NativeTarget, chain_settings, prepare
from quivers_nb.inference.target import flat
from tests.support.targets import F64, gaussian

DIM = 12
RNG = np.random.default_rng(3)
SCALES = RNG.uniform(0.1, 10.0, DIM)
# One direction is stretched sixty-fold, one is squeezed; the rest is round in units of SCALES.
TURN, _ = np.linalg.qr(RNG.standard_normal((DIM, 2)))
STRETCHED = np.eye(DIM) + TURN @ np.diag([59.0, -0.9]) @ TURN.T
COVARIANCE = STRETCHED * SCALES[:, None] * SCALES


def window(n: int, covariance: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws of a normal and their gradients, (n, D) each."""
    rng = np.random.default_rng(seed)
    q = rng.multivariate_normal(np.ones(len(covariance)), covariance, size=n)
    return q, -np.linalg.solve(covariance, (q - 1.0).T).T


def learned(name: str, source: str, q: np.ndarray, grad: np.ndarray):
    empty = metric_kind(name, source).window(q.shape[1], q.dtype)
    for pair in zip(q, grad, strict=True):
        empty = empty.add(*pair)
    assert empty.size == len(q)
    return empty.metric()


def matrix(metric) -> np.ndarray:
    return np.stack([metric.velocity(e) for e in np.eye(DIM)], axis=1)


def condition_after(metric, covariance: np.ndarray) -> float:
    """The condition number of the posterior in the coordinates of the metric."""
    sizes = np.linalg.eigvals(np.linalg.solve(matrix(metric), covariance)).real
    return float(sizes.max() / sizes.min())


def test_gradients_give_independent_variances_exactly_from_three_draws():
    q, grad = window(3, np.diag(SCALES**2))
    np.testing.assert_allclose(learned("diagonal", "gradients", q, grad).variance, SCALES**2)
    assert np.abs(learned("diagonal", "draws", q, grad).variance / SCALES**2 - 1).max() > 0.3


def test_gradients_give_a_covariance_exactly_once_there_are_more_draws_than_dimensions():
    q, grad = window(2 * DIM, COVARIANCE)
    np.testing.assert_allclose(
        matrix(learned("dense", "gradients", q, grad)), COVARIANCE, rtol=1e-2, atol=1e-2
    )
    assert condition_after(learned("dense", "draws", q, grad), COVARIANCE) > 5.0


def test_a_low_rank_metric_keeps_the_directions_that_scales_cannot_round():
    q, grad = window(100, COVARIANCE)
    metric = learned("low_rank", "gradients", q, grad)
    assert 1 <= len(metric.stretch) <= DIM
    before = condition_after(learned("diagonal", "gradients", q, grad), COVARIANCE)
    assert condition_after(metric, COVARIANCE) < 5.0 < 50.0 < before


def test_a_low_rank_metric_of_a_round_posterior_has_no_directions():
    metric = learned("low_rank", "gradients", *window(40, np.diag(SCALES**2)))
    assert metric.stretch.size == 0
    np.testing.assert_allclose(matrix(metric), np.diag(SCALES**2), rtol=1e-9)


@pytest.mark.parametrize("name", ["dense", "low_rank", "diagonal"])
def test_fewer_draws_than_dimensions_still_give_a_metric(name):
    metric = learned(name, "gradients", *window(4, COVARIANCE))
    assert (np.linalg.eigvalsh(0.5 * (matrix(metric) + matrix(metric).T)) > 0).all()


def test_coordinates_that_do_not_move_keep_the_unit_scale():
    zero, one = np.zeros(1), np.ones(1)
    pairs = [(zero, one), (one, zero), (zero, zero), (np.array([np.inf]), one)]
    assert all(balance(*pair) == 1.0 for pair in pairs)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_compiled_chains_learn_what_the_rows_of_their_window_say(name, source):
    """The scales of a native chain after its last window are those of the draws that it made."""
    open_target = gaussian(torch.ones(DIM, dtype=F64), torch.from_numpy(COVARIANCE))
    target = flat(open_target)
    native = prepare(target, torch.zeros(DIM, dtype=F64))
    assert isinstance(native, NativeTarget)
    settings = chain_settings(NUTSKernel(mass_matrix=name, adapt_from=source), 100)
    chains = native.chains(settings, np.zeros((1, DIM)), 1, [0])
    assert chains.advance(100)
    q = chains.draws(0).position[settings.first : settings.stop]
    q = q[settings.window_ends[-2] - settings.first :] if len(settings.window_ends) > 1 else q
    _, grad = native.evaluate(torch.from_numpy(q.copy()))
    metric = metric_kind(name, source).estimate(q, grad.numpy()) if name != "diagonal" else None
    metric = metric or learned(name, source, q, grad.numpy())
    scale = metric.scale if name == "low_rank" else metric.scales()
    np.testing.assert_allclose(chains.scale_vectors()[0], scale, rtol=1e-8)
