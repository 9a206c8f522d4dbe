"""Long loops in segments: autograd's numbers, and the same ones for any number of threads."""

import ctypes
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quivers_nb.inference.executors import spread
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.native import NativeChains, blocks, chain_settings, segments
from quivers_nb.inference.native.chains import Team
from quivers_nb.inference.native.program import Refusal

DOUBLE, SINGLE = torch.float64, torch.float32
ROWS, GROUPS = 3000, 11
TOLERANCE = {DOUBLE: 1e-12, SINGLE: 2e-5}


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT", 1500)
    monkeypatch.setattr(blocks, "BLOCK", 1)


def _random(*shape, seed=0, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=DOUBLE).to(dtype)


def logistic(dtype):
    x, y = _random(ROWS, 3, dtype=dtype), (_random(ROWS, seed=1) > 0).to(dtype)

    def density(q):
        logits = q[0] + x @ q[1:]
        return (y * logits - F.softplus(logits)).sum() - 0.5 * (q * q).sum()

    return density, 4


def columns_apart(dtype):
    """Loops in stages, which are calls of functions."""
    x, y = _random(30, ROWS, dtype=dtype), _random(ROWS, seed=1, dtype=dtype)

    def density(q):
        mean = sum(b * column for b, column in zip(q.unbind(), x.unbind(), strict=True))
        return -0.5 * ((y - mean) ** 2).sum() - 0.5 * (q * q).sum()

    return density, 30


def _grouped(dtype, group):
    y = _random(ROWS, seed=1, dtype=dtype)

    def density(q):
        scale = q[0].exp()
        return (-0.5 * ((y - q[1:][group]) / scale) ** 2 - q[0]).sum() - 0.5 * (q * q).sum()

    return density, 1 + GROUPS


def scattered_groups(dtype):
    return _grouped(dtype, torch.arange(ROWS) * 7 % GROUPS)


def sorted_groups(dtype):
    return _grouped(dtype, torch.arange(ROWS) * GROUPS // ROWS)


def rows_of_their_own(dtype):
    """Gradients by row, and what two axes are summed to."""
    y = _random(ROWS, 4, seed=1, dtype=dtype)

    def density(q):
        row, column = q[:ROWS, None], q[ROWS:]
        return -0.5 * ((y - row * column) ** 2).sum() - 0.5 * (q * q).sum()

    return density, ROWS + 4


def a_long_inner_axis(dtype):
    y = _random(5, ROWS, seed=1, dtype=dtype)

    def density(q):
        return -torch.cosh(0.1 * (y - q[:, None])).sum()

    return density, 5


def extremes(dtype):
    y = _random(ROWS, seed=1, dtype=dtype)

    def density(q):
        z = torch.sin(y * q[0] + q[1])
        return z.amax() - z.amin() - torch.logsumexp(q[2] * y, 0) - 0.5 * (q * q).sum()

    return density, 3


def scalar_functions(dtype):
    """A loop that has no vector form, and reads a single number made before."""
    y = _random(ROWS, seed=1, dtype=dtype).abs()

    def density(q):
        return torch.lgamma(y + q[0].exp()).sum() - q[1] * q[1]

    return density, 2


def computed_places(dtype):
    """Whole numbers and truth values pass between stages, in memory for some rows."""
    x, y = _random(30, ROWS, dtype=dtype), _random(ROWS, seed=1, dtype=dtype)
    table = _random(7, seed=2, dtype=dtype)

    def density(q):
        b, columns = q.unbind(), x.unbind()
        mean = sum(weight * column for weight, column in zip(b, columns, strict=True))
        place = (b[0] * columns[0] + b[1] * columns[1]).detach() * 2
        other = (b[3] * columns[0] + b[4] * columns[1]).detach() * 2
        at = (place.floor().long() + 2 * other.floor().long()).clamp(0, 6)
        r = (y - torch.where(place > other, mean, mean.sin())) * table[at].exp()
        s = (y - r.sin()) * (at.to(q.dtype) + q[5]) * table[(at + 1).clamp(0, 6)]
        return -0.5 * (r * r).sum() - 0.5 * (s * s).sum() - 0.5 * (q * q).sum()

    return density, 30


MODELS = (
    logistic, columns_apart, scattered_groups, sorted_groups, rows_of_their_own, a_long_inner_axis,
    extremes, scalar_functions, computed_places,
)  # fmt: skip


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])
@pytest.mark.parametrize("model", MODELS)
def test_segments_agree_with_autograd(model, dtype, compiled, reference, error):
    density, dim = model(dtype)
    function = compiled(density, 0.3 * _random(dim, seed=2, dtype=dtype))
    assert function.segments > 2
    for seed in range(3):
        q = 0.3 * _random(dim, seed=seed, dtype=dtype)
        value, grad = function.value_and_grad(q)
        exact, slope = (t.to(DOUBLE) for t in reference(model(DOUBLE)[0], q.to(DOUBLE)))
        assert error(value.to(DOUBLE), exact) < TOLERANCE[dtype]
        assert error(grad.to(DOUBLE), slope) < TOLERANCE[dtype]


def test_the_cuts_follow_from_the_shape(compiled):
    """Every row once: the segments of a loop are equal but for the last, and end where it ends."""
    density, dim = logistic(DOUBLE)
    source = compiled(density, _random(dim)).source
    (rows, end), count = (
        re.search(r"first \+ (\d+) < (\d+)", source).groups(),
        int(re.search(r"&task, (\d+)\)", source)[1]),
    )
    assert (int(count) - 1) * int(rows) < int(end) == ROWS <= int(count) * int(rows)
    assert int(rows) % blocks.LEAST_ROWS == 0


@pytest.mark.parametrize("model", MODELS)
def test_short_loops_are_printed_whole(model, compiled, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sys.modules[__name__], "ROWS", 500)
    density, dim = model(DOUBLE)
    function = compiled(density, _random(dim))
    assert function.segments == 1
    assert "q_share" not in function.source


@pytest.mark.parametrize("model", [columns_apart, computed_places])
def test_a_segment_can_be_in_stages(model, compiled):
    density, dim = model(DOUBLE)
    source = compiled(density, _random(dim)).source
    assert "stage0(" in source[source.index("static void segment_") :]


def test_loops_whose_rows_meet_are_not_cut(compiled, monkeypatch):
    """Each segment would want a vector of its own as long as the loop."""
    many = torch.arange(ROWS) * 7 % (ROWS - 1)

    def density(q):
        return -(q[many] ** 2).sum()

    def cut() -> int:
        return compiled(density, _random(ROWS)).source.count("static void segment_")

    assert cut() == 1  # the sum, not what goes back to the places
    monkeypatch.setattr(segments, "SUMMING", 1e-3)
    assert cut() == 2


# --- chains ---


def _chains(function, *, count=1, threads=None) -> NativeChains:
    starts = np.random.default_rng(0).uniform(-0.1, 0.1, (count, function.dim))
    settings = chain_settings(NUTSKernel(), 30)
    return NativeChains(function, settings, starts, 1, range(count), threads=threads)


def _draws(chains) -> np.ndarray:
    return np.stack([chains.draws(c).position for c in range(len(chains.starts))])


@pytest.fixture(params=[logistic, scattered_groups])
def function(request, compiled):
    density, dim = request.param(DOUBLE)
    return compiled(density, 0.1 * _random(dim))


@pytest.mark.parametrize("count", [1, 3])
def test_draws_are_the_same_for_any_number_of_threads(function, count):
    found = []
    for threads in (1, 2, 3, 16):
        chains = _chains(function, count=count, threads=threads)
        assert chains.advance(80)
        found.append(_draws(chains))
    assert all(np.array_equal(each, found[0]) for each in found)


def test_a_gradient_by_hand_is_that_of_chains_with_helpers(function):
    chains = _chains(function, threads=4)
    chains.advance(60)
    draws = chains.draws(0)
    values, _ = function.value_and_grad(torch.from_numpy(draws.position.copy()))
    assert np.array_equal(values.numpy(), draws.stats["log_density"])


def test_pieces_pauses_and_stops_change_no_draw(function):
    whole = _chains(function, threads=1)
    whole.advance(120)
    pieces, parts, pauses = _chains(function, threads=3), [], []

    def look(progress):
        pieces.pause()
        pauses.append(progress)
        time.sleep(0.01)
        pieces.resume()
        return len(pauses) == 1  # stop at the first look

    for until in (50, 50, 51, 120):
        pieces.resume()
        pieces.advance(until, 0, look)
        parts.append(_draws(pieces))
    pieces.resume()
    pieces.advance(120)
    parts.append(_draws(pieces))
    assert pauses
    assert np.array_equal(np.concatenate(parts, axis=1), _draws(whole))


def test_an_interrupt_ends_chains_and_helpers(function):
    before = set(threading.enumerate())
    chains = _chains(function, count=2, threads=4)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chains.advance(1_000_000, 999_999, interrupt)
    assert set(threading.enumerate()) <= before
    assert 0 < max(chains.progress().transitions) < 1_000_000


def test_chains_do_without_threads_that_cannot_be_had(function, monkeypatch):
    submit = ThreadPoolExecutor.submit

    def refuse(pool, work, *arguments):
        if work.__name__ == "_serve":
            raise RuntimeError("can't start new thread")
        return submit(pool, work, *arguments)

    alone = _chains(function, threads=1)
    alone.advance(60)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    chains = _chains(function, threads=3)
    assert chains.advance(60)
    assert np.array_equal(_draws(chains), _draws(alone))


def test_chains_do_without_a_team_that_cannot_be_built(function, monkeypatch):
    def refuse():
        raise Refusal("the cache folder cannot be written")

    alone = _chains(function, threads=1)
    alone.advance(60)
    monkeypatch.setattr("quivers_nb.inference.native.team.team", refuse)
    chains = _chains(function, threads=3)
    assert chains.advance(60)
    assert np.array_equal(_draws(chains), _draws(alone))


def _served(function, monkeypatch) -> int:
    """How many threads come to help one chain where there are three."""
    came = []
    serve = Team._serve
    monkeypatch.setattr(Team, "_serve", lambda team: came.append(1) or serve(team))
    monkeypatch.setattr("quivers_nb.inference.native.chains.chain_threads", lambda: 3)
    _chains(function).advance(30)
    return len(came)


def test_a_job_of_an_executor_keeps_to_its_thread(function, monkeypatch):
    assert _served(function, monkeypatch) == 3
    with ThreadPoolExecutor(1) as pool:
        assert spread(pool, _served, [(function, monkeypatch)]) == [0]
    assert _served(function, monkeypatch) > 0


# --- the team ---

SEGMENT_FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)


def _share(desk, run, count):
    """What an emitted density does: the first word of a desk is the function to call."""
    address = ctypes.c_void_p.from_address(desk).value
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    kind(address)(desk, ctypes.cast(run, ctypes.c_void_p), None, count)


def test_segments_are_run_at_the_same_time_and_once():
    """Two segments that wait for each other: one thread alone would never be through."""
    team, meeting = Team.of(1), threading.Barrier(2)
    met = []

    @SEGMENT_FN
    def meet(_, number):
        with suppress(threading.BrokenBarrierError):  # nobody has come to help yet
            meeting.wait(0.5)
            met.append((number, threading.get_ident()))

    with ThreadPoolExecutor(1) as pool:
        team.helped_by(pool, 1)
        with team.desk(0) as desk:
            for _ in range(60):
                meeting.reset()
                _share(desk, meet, 2)
                if met:
                    break
    assert sorted(number for number, _ in met) == [0, 1]
    assert len({thread for _, thread in met}) == 2


@pytest.mark.parametrize("helpers", [0, 1, 3])
def test_every_segment_is_run_once_however_many_there_are(helpers):
    team = Team.of(2)
    with ThreadPoolExecutor(helpers + 1) as pool:
        team.helped_by(pool, helpers)
        for chain in range(2):
            with team.desk(chain) as desk:
                for count in (1, 2, 7, 64):
                    ran = []
                    run = SEGMENT_FN(lambda _, number, ran=ran: ran.append(number))
                    _share(desk, run, count)
                    assert sorted(ran) == list(range(count))
