"""The leapfrog integrator: reversible, volume preserving, of second order."""

import numpy as np
import pytest
import torch

from quivers_nb.inference.gradient import eager
from quivers_nb.inference.mcmc import integrator
from quivers_nb.inference.mcmc.engine import on_arrays
from quivers_nb.inference.mcmc.integrator import Phase, Point, axpy, dot, drift, kick, phase
from quivers_nb.inference.mcmc.metric import Dense, Diagonal, Identity, LowRank, Metric
from quivers_nb.inference.target import flat
from tests.support.targets import F64, HandTarget, eight_schools

DIM = 10
EVALUATE = on_arrays(eager(flat(eight_schools())))
RNG = np.random.default_rng(0)
SPREAD = RNG.uniform(0.5, 2.0, DIM)
FULL = np.diag(SPREAD) + 0.1 * np.ones((DIM, DIM))
TURN, _ = np.linalg.qr(RNG.standard_normal((DIM, 2)))
METRICS = {
    "identity": Identity(),
    "diagonal": Diagonal(SPREAD),
    "dense": Dense.of(FULL),
    "low rank": LowRank(SPREAD, TURN.T.copy(), np.array([4.0, 0.2])),
}


def at(q: np.ndarray, p: np.ndarray, metric: Metric) -> Phase:
    value, grad = EVALUATE(q[None])
    return phase(Point(q, float(value[0]), grad[0]), p, metric)


def leapfrogs(start: Phase, step: float, count: int, metric: Metric) -> Phase:
    for _ in range(count):
        under_way = drift(start, step, metric)
        value, grad = EVALUATE(under_way.q[None])
        start = kick(under_way, float(value[0]), grad[0], metric)
    return start


@pytest.mark.parametrize("name", METRICS)
def test_going_back_with_a_negative_step_returns_to_the_start(name):
    metric = METRICS[name]
    q, p = RNG.standard_normal(DIM), RNG.standard_normal(DIM)
    start = at(q, p, metric)
    end = leapfrogs(start, 0.1, 20, metric)
    assert np.abs(end.q - q).max() > 0.1
    back = leapfrogs(end, -0.1, 20, metric)
    np.testing.assert_allclose(back.q, q, atol=1e-11)
    np.testing.assert_allclose(back.p, p, atol=1e-11)


@pytest.mark.parametrize("name", METRICS)
def test_the_energy_error_is_of_second_order(name):
    metric = METRICS[name]
    q, p = RNG.standard_normal(DIM), RNG.standard_normal(DIM)
    start = at(q, p, metric)
    errors = [leapfrogs(start, 0.4 / n, n, metric).energy - start.energy for n in (16, 32, 64)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("name", METRICS)
def test_volume_in_phase_space_is_preserved(name):
    metric = METRICS[name]
    z = RNG.standard_normal(2 * DIM)

    def move(z: np.ndarray) -> np.ndarray:
        end = leapfrogs(at(z[:DIM], z[DIM:], metric), 0.2, 3, metric)
        return np.concatenate([end.q, end.p])

    h = 1e-5
    columns = [(move(z + h * e) - move(z - h * e)) / (2 * h) for e in np.eye(2 * DIM)]
    assert np.linalg.det(np.stack(columns)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_momenta_have_the_inverse_of_the_metric_as_covariance(name):
    metric = METRICS[name]
    columns = np.stack([metric.momentum(e) for e in np.eye(DIM)], axis=1)
    inverse = np.stack([metric.velocity(e) for e in np.eye(DIM)], axis=1)
    np.testing.assert_allclose(columns @ columns.T, np.linalg.inv(inverse), atol=1e-12)
    np.testing.assert_allclose(metric.scales() ** 2 * np.ones(DIM), np.diagonal(inverse))


def test_an_energy_that_is_not_a_number_is_infinite():
    bad = flat(HandTarget({"z": (1,)}, lambda sites: sites["z"][..., 0].log()))
    value, grad = on_arrays(eager(bad))(np.array([[-1.0]]))
    point = Point(np.array([-1.0]), float(value[0]), grad[0])
    assert phase(point, np.zeros(1), Identity()).energy == np.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_long_and_short_vectors_add_and_multiply_alike(dtype, monkeypatch):
    x, y = torch.randn(100, dtype=dtype).numpy(), torch.randn(100, dtype=dtype).numpy()
    short, short_dot = axpy(0.3, x, y), dot(x, y)
    monkeypatch.setattr(integrator, "_LONG", 1)
    long = axpy(0.3, x, y)
    assert dot(x, y) == pytest.approx(short_dot, rel=1e-5 if dtype is not F64 else 1e-12)
    assert short.dtype == long.dtype == x.dtype
    np.testing.assert_allclose(short, long, atol=1e-6 if dtype is not F64 else 1e-14)
