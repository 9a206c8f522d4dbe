"""Native chains: reproducible, interruptible, and drawing from the right distribution."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.native import (
    ChainSettings,
    NativeChains,
    Unavailable,
    chain_settings,
    toolchain,
)
from quivers_nb.inference.native.emit import header
from quivers_nb.inference.native.program import Refusal

DIM = 5
SCALES = torch.tensor([0.1, 1.0, 3.0, 10.0, 0.5], dtype=torch.float64)


def _normal(q):
    return -0.5 * ((q / SCALES) ** 2).sum()


def _settings(warmup=200, **options) -> ChainSettings:
    found = chain_settings(NUTSKernel(**options), warmup)
    assert isinstance(found, ChainSettings)
    return found


@pytest.fixture(scope="module")
def function():
    from quivers_nb.inference.graph import record
    from quivers_nb.inference.native import compile_graph
    from quivers_nb.inference.simplify import simplify

    def both(q):
        with torch.enable_grad():
            q = q.requires_grad_(True)
            value = _normal(q)
            return value.detach(), torch.autograd.grad(value, q)[0]

    return compile_graph(simplify(record(both, torch.rand(DIM, dtype=torch.float64))))


def _chains(function, *, count=3, seed=1, settings=None, **options) -> NativeChains:
    starts = np.random.default_rng(0).uniform(-1.0, 1.0, (count, DIM))
    numbers = range(count)
    return NativeChains(function, settings or _settings(), starts, seed, numbers, **options)


def _positions(chains: NativeChains) -> np.ndarray:
    return np.stack([chains.draws(c).position for c in range(len(chains.starts))])


def test_the_same_seed_gives_the_same_draws_whatever_the_threads(function):
    runs = []
    for threads in (1, 3):
        chains = _chains(function, threads=threads)
        assert chains.advance(400)
        runs.append(_positions(chains))
    assert np.array_equal(*runs)
    other = _chains(function, seed=2)
    other.advance(400)
    assert not np.array_equal(_positions(other), runs[0])


def test_a_chain_draws_the_same_alone_and_among_others(function):
    together = _chains(function)
    together.advance(300)
    alone = NativeChains(function, _settings(), together.starts[2:], 1, [2])
    alone.advance(300)
    assert np.array_equal(alone.draws(0).position, together.draws(2).position)


def test_a_run_in_pieces_is_the_run_in_one(function):
    whole, pieces = _chains(function), _chains(function)
    whole.advance(350)
    parts = []
    for until in (1, 7, 100, 123, 350):
        assert pieces.advance(until)
        parts.append(_positions(pieces))
    assert np.array_equal(np.concatenate(parts, axis=1), _positions(whole))
    assert np.array_equal(pieces.scale_vectors(), whole.scale_vectors())


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(function):
    whole, stopped = _chains(function, count=1), _chains(function, count=1)
    whole.advance(50_000)
    runner = threading.Thread(target=stopped.advance, args=(50_000,))
    runner.start()
    while stopped.progress().transitions[0] < 100:
        time.sleep(0.0005)
    stopped.stop()
    runner.join()
    first = stopped.draws(0).position
    assert 100 <= len(first) < 50_000
    assert not stopped.advance(50_000)  # still asked to stop
    stopped.resume()
    assert stopped.advance(50_000)
    both = np.concatenate([first, stopped.draws(0).position])
    assert np.array_equal(both, whole.draws(0).position)


def test_a_pause_holds_every_chain_and_a_stop_ends_it(function):
    chains = _chains(function, count=2, threads=2)
    chains.pause()
    runner = threading.Thread(target=chains.advance, args=(1000,))
    runner.start()
    time.sleep(0.05)
    assert chains.progress().transitions == (0, 0)
    chains.resume()
    runner.join()
    assert chains.progress().transitions == (1000, 1000)


def test_polling_sees_progress_and_stops_the_run(function):
    chains = _chains(function, count=2, threads=2)
    seen = []

    def watch(progress):
        seen.append(progress)
        return min(progress.transitions) > 0

    chains.advance(3_000_000, 2_999_000, watch)
    assert seen[-1].leapfrogs[0] >= seen[-1].transitions[0] > 0
    assert max(chains.progress().transitions) < 3_000_000


def test_an_interrupt_stops_the_chains_and_keeps_their_rows(function):
    chains = _chains(function, count=2, threads=2)

    def interrupt(progress):
        if min(progress.transitions) > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chains.advance(3_000_000, 0, interrupt)
    finished = chains.progress().transitions
    time.sleep(0.02)
    assert chains.progress().transitions == finished
    assert 0 < len(chains.draws(0).position) == finished[0] < 3_000_000


def test_rows_begin_where_they_are_asked_to(function):
    every, late = _chains(function, count=1), _chains(function, count=1)
    every.advance(300)
    late.advance(300, 200)
    assert np.array_equal(late.draws(0).position, every.draws(0).position[200:])
    for name, values in late.draws(0).stats.items():
        assert np.array_equal(values, every.draws(0).stats[name][200:])


def test_statistics_describe_the_draws(function):
    chains = _chains(function, count=1)
    chains.advance(400)
    draws, stats = chains.draws(0).position, chains.draws(0).stats
    want = [_normal(torch.from_numpy(row)).item() for row in draws]
    assert np.allclose(stats["log_density"], want, rtol=1e-13)
    assert (stats["leapfrogs"] >= 1).all()
    assert (stats["leapfrogs"] <= 2 ** (stats["depth"] + 1) - 1).all()
    assert ((stats["acceptance"] >= 0) & (stats["acceptance"] <= 1)).all()
    assert not stats["diverged"][200:].any()
    assert stats["leapfrogs"].sum() == chains.progress().leapfrogs[0]
    assert np.ptp(stats["step_size"][200:]) == 0.0
    assert 0.6 < stats["acceptance"][200:].mean() < 0.95  # aimed at 0.8


def _moments_are_right(function) -> bool:
    """Means and variances of 16000 draws against a normal's, at 4.5 standard errors.

    The draws count as 8000 independent ones for means and 4000 for variances, which NUTS beats.
    """
    chains = _chains(function, count=4, settings=_settings(500, target_accept=0.6))
    chains.advance(4500, 500)
    draws = _positions(chains).reshape(-1, DIM) / SCALES.numpy()
    means = np.abs(draws.mean(0)).max() < 4.5 / np.sqrt(8000)
    return bool(means and np.abs(draws.var(0) - 1.0).max() < 4.5 * np.sqrt(2 / 4000))


@pytest.mark.stats
def test_the_moments_of_a_normal_are_found(function):
    assert _moments_are_right(function)


SOURCES = ("random.h", "chain.h", "trajectory.h", "warmup.h")
MUTANTS = {
    "states weigh the same": ("*weight = weight_of(gain);", "*weight = weight_of(0.0);"),
    "the far half is always taken": ("* weight.mass < more.mass", "* 0.0 < more.mass"),
    "the energy forgets a part": ("0.5 * dot(c->here.p", "0.4 * dot(c->here.p"),
    "subtrees prefer their end": ("* weight->mass < more.mass", "* 0.0 < more.mass"),
    "momenta are too small": ("radius * cos(angle);", "0.9 * radius * cos(angle);"),
}


@pytest.mark.stats
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_sampler_is_caught_by_its_moments(function, name, tmp_path, monkeypatch):
    right, wrong = MUTANTS[name]
    assert "".join(map(header, SOURCES)).count(right) == 1
    monkeypatch.setattr(toolchain, "header", lambda file: header(file).replace(right, wrong))
    monkeypatch.setenv("QUIVERS_NB_CACHE", str(tmp_path))
    assert not _moments_are_right(function)


def test_the_metric_is_that_of_the_target(function):
    chains = _chains(function, count=4, settings=_settings(500))
    chains.advance(500)
    ratio = (chains.scale_vectors() / SCALES.numpy()) ** 2
    assert (ratio > 0.4).all()
    assert (ratio < 2.5).all()


def test_a_fixed_step_size_stays(function):
    settings = _settings(50, step_size=0.05, adapt_step_size=False, adapt_mass_matrix=False)
    chains = _chains(function, settings=settings)
    chains.advance(100)
    assert np.all(chains.draws(0).stats["step_size"] == 0.05)
    assert np.all(chains.scale_vectors() == 1.0)


def test_the_tree_is_no_deeper_than_asked(function):
    settings = _settings(
        50, max_tree_depth=3, step_size=1e-3, adapt_step_size=False, adapt_mass_matrix=False
    )
    chains = _chains(function, settings=settings)
    chains.advance(100)
    assert np.all(chains.draws(0).stats["depth"] == 3)
    assert np.all(chains.draws(0).stats["leapfrogs"] == 7)


def test_a_step_far_too_long_diverges_and_leaves_the_chain_where_it_was(compiled):
    steep = compiled(lambda q: -((1e3 * q) ** 4).sum(), torch.full((2,), 1e-3, dtype=torch.float64))
    settings = _settings(0, step_size=10.0, adapt_step_size=False)
    start = np.full((1, 2), 1e-3)
    chains = NativeChains(steep, settings, start, 1, [0])
    chains.advance(50)
    draws = chains.draws(0)
    assert draws.stats["diverged"].all()
    assert np.array_equal(draws.position, np.repeat(start, 50, 0))
    assert chains.progress().divergences == (50,)


def test_a_start_without_a_density_is_named(compiled):
    log = compiled(lambda q: torch.log(q).sum() - q.sum(), torch.ones(2, dtype=torch.float64))
    chains = NativeChains(log, _settings(), np.full((1, 2), -1.0), 1, [0])
    assert not chains.advance(10)
    assert "not finite" in str(chains.failures()[0])


def test_a_density_with_nan_regions_is_sampled_where_it_is_finite(compiled):
    log = compiled(lambda q: torch.log(q).sum() - q.sum(), torch.ones(2, dtype=torch.float64))
    chains = NativeChains(log, _settings(500), np.ones((2, 2)), 1, [0, 1])
    assert chains.advance(4500, 500)
    draws = _positions(chains)  # Gamma(2, 1), without the Jacobian
    assert (draws > 0).all()
    assert abs(draws.mean() - 2.0) < 0.15


def test_chains_of_a_density_in_single_precision_keep_their_state_in_double(compiled):
    single = compiled(lambda q: -0.5 * (q * q).sum(), torch.zeros(2))
    chains = NativeChains(single, _settings(500), np.zeros((4, 2)), 1, [0, 1, 2, 3])
    assert chains.advance(4500, 500)
    draws = _positions(chains)
    assert (draws != draws.astype(np.float32)).any()
    assert abs(draws.std() - 1.0) < 0.05
    for number in range(4):
        rows = chains.draws(number)
        density = -0.5 * (rows.position.astype(np.float32).astype(float) ** 2).sum(-1)
        np.testing.assert_allclose(rows.stats["log_density"], density, rtol=1e-6, atol=1e-7)


def test_kernels_that_the_driver_lacks_are_named():
    class Slice(SimpleNamespace):
        mass_matrix, adapt_from = "identity", "draws"

    refused = chain_settings(Slice(), 100)
    assert isinstance(refused, Unavailable)
    assert "Slice has no native driver" in refused.reason


@pytest.mark.parametrize("count", [1, 31, 32, 100])
def test_many_points_are_evaluated_as_one_by_one(function, count):
    q = torch.randn(count, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values, grads = function.value_and_grad(q)
    each = [function.value_and_grad(row) for row in q]
    assert torch.equal(values, torch.stack([value for value, _ in each]))
    assert torch.equal(grads, torch.stack([grad for _, grad in each]))


def test_points_are_evaluated_where_the_sampler_cannot_be_built(function, monkeypatch):
    def refused():
        raise Refusal("no sampler")

    q = torch.linspace(-1.0, 1.0, 40 * DIM, dtype=torch.float64).reshape(40, DIM)
    wanted = function.value_and_grad(q)
    monkeypatch.setattr("quivers_nb.inference.native.function.driver", refused)
    assert all(map(torch.equal, function.value_and_grad(q), wanted))
