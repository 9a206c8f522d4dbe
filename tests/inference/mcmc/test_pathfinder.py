"""Pathfinder: exact on normal targets, typical where the mode is not."""

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.gradient import eager
from quivers_nb.inference.mcmc.engine import on_arrays
from quivers_nb.inference.mcmc.pathfinder import HISTORY, Pairs, pathfinder
from quivers_nb.inference.ranges import TIERS
from quivers_nb.inference.target import flat
from tests.support.targets import F64, HandTarget, eight_schools, gaussian

DIM = 5
RNG = np.random.default_rng(0)
SCALES = np.array([0.1, 1.0, 3.0, 0.5, 2.0])
MEAN = np.array([5.0, -2.0, 30.0, 0.0, 1.0])
FACTOR = np.tril(RNG.standard_normal((DIM, DIM))) * 0.3 + np.diag(SCALES)
COVARIANCE = FACTOR @ FACTOR.T


def of(target):
    return on_arrays(eager(flat(target)))


def normal():
    return gaussian(torch.from_numpy(MEAN), torch.from_numpy(COVARIANCE))


def learned(count: int, chains: int = 2) -> Pairs:
    """Pairs of a quadratic with precision inv(COVARIANCE)."""
    pairs = Pairs(np.ones((chains, DIM)))
    for _ in range(count):
        step = RNG.standard_normal((chains, DIM))
        pairs = pairs.learn(step, np.linalg.solve(COVARIANCE, step.T).T)
    return pairs


def matrix(pairs: Pairs, chain: int = 0) -> np.ndarray:
    chains = len(pairs.alpha)
    return np.stack([pairs.times(np.tile(e, (chains, 1)))[chain] for e in np.eye(DIM)], axis=1)


@pytest.mark.parametrize("count", [0, 1, 3, HISTORY + 3])
def test_draws_have_the_covariance_and_the_density_that_the_pairs_say(count):
    pairs = learned(count)
    h = matrix(pairs)
    np.testing.assert_allclose(h, h.T, rtol=1e-8, atol=1e-10)
    basis = np.eye(DIM + HISTORY)[None].repeat(2, 0)
    columns = pairs.draw(basis[..., :DIM], basis[..., DIM:])[
        0
    ].T  # the linear map, column by column
    np.testing.assert_allclose(columns @ columns.T, h, rtol=1e-8, atol=1e-10)
    x = RNG.standard_normal((2, 4, DIM))
    sign, log_det = np.linalg.slogdet(2 * np.pi * h)
    wanted = -0.5 * log_det - 0.5 * np.einsum("kd,de,ke->k", x[0], np.linalg.inv(h), x[0])
    assert sign > 0
    np.testing.assert_allclose(pairs.log_density(x)[0], wanted, rtol=1e-6)


def test_pairs_that_curve_the_wrong_way_are_left_out():
    pairs = learned(2)
    step = RNG.standard_normal((2, DIM))
    change = np.stack([-step[0], np.linalg.solve(COVARIANCE, step[1])])
    more = pairs.learn(step, change)
    assert more.weights[-1][0] == 0.0 < more.weights[-1][1]
    np.testing.assert_allclose(matrix(more, 0), matrix(pairs, 0))
    assert np.abs(matrix(more, 1) - matrix(pairs, 1)).max() > 1e-3
    assert np.isfinite(more.log_density(np.ones((2, 1, DIM)))).all()


@pytest.mark.stats
def test_starts_of_a_normal_are_draws_of_it():
    """200 paths. The approximation of a path need not be exact, so bounds are wide: means within
    half a standard deviation, spreads within a factor of two. A start at the mode, without a draw,
    has no spread at all; a start where the chain was is a hundred standard deviations away.
    """
    rngs = [np.random.default_rng(k) for k in range(200)]
    q = RNG.uniform(-2.0, 2.0, (200, DIM))
    starts = pathfinder(of(normal()), q, rngs)
    z = np.linalg.solve(FACTOR, (starts - MEAN).T)
    assert np.abs(z.mean(1)).max() < 0.5
    assert (z.std(1) > 0.5).all()
    assert (z.std(1) < 2.0).all()


def test_a_start_does_not_depend_on_the_other_chains():
    q = RNG.uniform(-2.0, 2.0, (3, DIM))
    together = pathfinder(of(normal()), q, [np.random.default_rng(k) for k in range(3)])
    alone = pathfinder(of(normal()), q[2:], [np.random.default_rng(2)])
    np.testing.assert_allclose(together[2:], alone, rtol=1e-6)


def test_a_density_with_an_edge_is_not_left():
    """Gamma(2, 1) without its transform: no density at all below zero."""
    gamma = HandTarget({"z": (1,)}, lambda v: (v["z"].log() - v["z"]).sum(-1))
    starts = pathfinder(
        of(gamma), np.array([[0.1], [30.0]]), [np.random.default_rng(k) for k in (0, 1)]
    )
    assert (starts > 0.0).all()
    assert (starts < 10.0).all()


def test_a_flat_density_keeps_its_starts():
    q = RNG.standard_normal((2, 1))
    found = pathfinder(of(HandTarget({"z": (1,)}, lambda v: 0.0 * v["z"].sum(-1))), q, [])
    assert np.array_equal(found, q)


@pytest.mark.parametrize("tier", TIERS)
def test_runs_start_on_the_path_and_reach_the_posterior(tier):
    options = {"num_chains": 2, "seed": 1, "tier": tier}
    far = MCMC(NUTSKernel(), 0, 1, **options)
    near = MCMC(NUTSKernel(), 0, 1, init_strategy="pathfinder", **options)
    target = normal()
    assert near.run_target(target).start_log_densities.min() > -30.0
    assert far.run_target(target).start_log_densities.max() < -100.0
    result = MCMC(NUTSKernel(), 200, 200, init_strategy="pathfinder", **options).run_target(
        eight_schools()
    )
    assert result.tier == tier
    assert float(result.samples["mu"].mean()) == pytest.approx(4.4, abs=1.5)


def test_starts_may_be_jittered():
    values = {"mu": 1.0, "tau": 2.0, "theta_raw": torch.zeros(8)}
    options = {"init_strategy": "value", "init_values": values, "num_chains": 3, "seed": 0}
    still = MCMC(NUTSKernel(), 0, 1, **options).run_target(eight_schools())
    assert len(set(still.start_log_densities.tolist())) == 1
    moved = MCMC(NUTSKernel(), 0, 1, jitter=0.5, **options).run_target(eight_schools())
    assert len(set(moved.start_log_densities.tolist())) == 3
    with pytest.raises(UserError, match=r"`jitter` of `MCMC` is -1\.0"):
        MCMC(NUTSKernel(), 0, 1, jitter=-1.0)


def test_known_scales_are_the_metric_that_warm_up_begins_with():
    scales = {"z": SCALES}
    kernel = NUTSKernel(adapt_mass_matrix=False, max_tree_depth=8)
    target = gaussian(torch.zeros(DIM, dtype=F64), torch.from_numpy(np.diag(SCALES**2)))
    for tier in TIERS:
        plain, scaled = (
            MCMC(kernel, 100, 100, num_chains=2, seed=0, tier=tier, init_scales=s).run_target(
                target
            )
            for s in (None, scales)
        )
        assert scaled.stats["leapfrogs"].sum() < 0.5 * plain.stats["leapfrogs"].sum()
    with pytest.raises(UserError, match=r"init_scales.*nu.*latent sites are z"):
        MCMC(kernel, 1, 1, init_scales={"nu": 1.0}).run_target(target)
