"""Recording and rewriting change no number: not NaN, not infinity, not memory."""

import math

import pytest
import torch
from torch import Tensor

from quivers_nb.inference.graph import RecordingError, aten, record, record_draws
from quivers_nb.inference.replay import replay, vectorized
from quivers_nb.inference.simplify import _RULES, simplify

F64 = torch.float64
INFO = torch.finfo(F64)
EDGES = torch.tensor(
    [
        math.nan,
        math.inf,
        -math.inf,
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        INFO.tiny,
        INFO.max,
        1.0,
        -2.5,
        3.0,
    ],
    dtype=F64,
).reshape(3, 4)
ONES, ZEROS = torch.ones(3, 4, dtype=F64), torch.zeros(3, 4, dtype=F64)

# By the operation that goes away: functions that are folded to their argument.
FOLDED = {
    "aten::view": [lambda q: q.view(3, 4)],
    "aten::_unsafe_view": [lambda q: aten._unsafe_view(q, [3, 4])],
    "aten::reshape": [lambda q: q.reshape(3, 4)],
    "aten::expand": [lambda q: q.expand(3, 4)],
    "aten::clone": [lambda q: q.clone()],
    "aten::_to_copy": [lambda q: aten._to_copy(q, dtype=F64)],
    "aten::permute": [lambda q: q.permute(0, 1)],
    "aten::slice": [lambda q: q[:, :4]],
    "aten::mul": [lambda q: q * 1.0, lambda q: 1.0 * q, lambda q: q * ONES, lambda q: ONES * q],
    "aten::div": [lambda q: q / 1.0, lambda q: q / ONES],
    "aten::pow": [lambda q: q**1.0, lambda q: q**1],
    "aten::add": [lambda q: q + 0.0, lambda q: 0.0 + q, lambda q: q + ZEROS, lambda q: ZEROS + q],
    "aten::sub": [lambda q: q - 0.0, lambda q: q - ZEROS],
}
KEPT = {
    "times zero": lambda q: q * 0.0,
    "minus itself": lambda q: q - q,
    "over itself": lambda q: q / q,
    "power zero": lambda q: q**0.0,
    "one over": lambda q: 1.0 / q,
    "zero minus": lambda q: 0.0 - q,
    "scaled zero": lambda q: torch.add(q, 1.0, alpha=2) - torch.add(q, ONES, alpha=0),
    "rounded quotient": lambda q: torch.div(q, 1.0, rounding_mode="floor"),
    "wider": lambda q: q[0] + ZEROS,
    "another order": lambda q: q.t().contiguous(),
    "backwards": lambda q: q.permute(1, 0),
    "rounded": lambda q: q.to(torch.float32).to(F64),
    "zeros of two signs": lambda q: (
        torch.copysign(q, torch.mul(ONES, 0.0) * q.abs().clamp(1, 2))
        + torch.where(q > 0, 0.0, -0.0)
    ),
}


def same(a: Tensor, b: Tensor) -> bool:
    """Number by number, NaN equal to itself; 0 and -0 count as one number."""
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def test_every_rule_is_tested():
    assert set(FOLDED) == set(_RULES)


@pytest.mark.parametrize("name", FOLDED)
def test_what_is_folded_returns_its_argument_at_every_edge(name):
    for function in FOLDED[name]:
        graph = simplify(record(lambda q, f=function: (f(q) * 3.0,), EDGES.flip(0)))
        assert [node.op for node in graph.nodes] == [aten.mul.Tensor], graph
        assert same(replay(graph)(EDGES)[0], function(EDGES) * 3.0)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_not_neutral_is_kept(name):
    function = KEPT[name]
    graph = record(lambda q: (function(q),), torch.ones(3, 4, dtype=F64))
    assert same(replay(simplify(graph))(EDGES)[0], function(EDGES))


def test_zeros_of_two_signs_are_two_numbers():
    def function(q: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 / torch.clamp_max(q, 0.0), 1.0 / torch.clamp_max(q, -0.0)

    q = torch.full((3,), 2.0, dtype=F64)
    graph = simplify(record(function, q))
    assert sum(node.op is aten.clamp_max.default for node in graph.nodes) == 2
    for got, wanted in zip(replay(graph)(q), function(q), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("edge", [-math.inf, math.inf, 0.0, -0.0, 5e-324, 1.5, INFO.max])
def test_the_slope_of_a_clamp_is_autograds_at_its_edge(edge):
    def slope(q: Tensor) -> tuple[Tensor, ...]:
        q = q.detach().requires_grad_(True)
        return torch.autograd.grad((q.clamp(min=edge) * 3.0).sum(), q)

    graph = vectorized(record(slope, torch.ones(3, 4, dtype=F64)))
    q = EDGES.nan_to_num(0.5, math.inf, -math.inf)
    assert same(replay(graph)(q)[0], slope(q)[0])


def written_under_a_view(q: Tensor) -> Tensor:
    buffer = torch.zeros(4, dtype=q.dtype)
    row = buffer[1:3]
    before = q + row
    buffer.add_(5.0)
    return before * (q + row)


def written_through_a_view(q: Tensor) -> Tensor:
    buffer = torch.zeros(2, dtype=q.dtype)
    before = q + buffer
    buffer.view(1, 2)[0].copy_(torch.tensor([3.0, 4.0], dtype=q.dtype))
    return before * (q + buffer)


@pytest.mark.parametrize("function", [written_under_a_view, written_through_a_view])
def test_constants_are_what_they_were_when_they_were_read(function):
    q = torch.tensor([1.0, -2.0], dtype=F64)
    graph = simplify(record(lambda q: (function(q),), q))
    assert torch.equal(replay(graph)(3.0 * q)[0], function(3.0 * q))


DRAWS = {
    "randn": lambda g: torch.randn(3, generator=g, dtype=F64),
    "rand": lambda g: torch.rand(3, generator=g, dtype=F64),
    "normal_": lambda g: torch.empty(3, dtype=F64).normal_(0.5, 2.0, generator=g),
    "uniform_": lambda g: torch.empty(3, dtype=F64).uniform_(-1.0, 2.0, generator=g),
    "exponential_": lambda g: torch.empty(3, dtype=F64).exponential_(2.0, generator=g),
    "cauchy_": lambda g: torch.empty(3, dtype=F64).cauchy_(generator=g),
    "log_normal_": lambda g: torch.empty(3, dtype=F64).log_normal_(generator=g),
    "geometric_": lambda g: torch.empty(3, dtype=F64).geometric_(0.3, generator=g),
    "bernoulli_": lambda g: torch.empty(3, dtype=F64).bernoulli_(0.4, generator=g),
    "bernoulli": lambda g: torch.bernoulli(torch.full((3,), 0.4, dtype=F64), generator=g),
    "gamma": lambda g: torch._standard_gamma(torch.full((3,), 1.4, dtype=F64), generator=g),
    "poisson": lambda g: torch.poisson(torch.full((3,), 4.0, dtype=F64), generator=g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_is_drawn_anew_in_every_replay(name):
    draw, q = DRAWS[name], torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    ours, theirs = (torch.Generator().manual_seed(5) for _ in range(2))
    graph = simplify(record_draws(lambda: (q * draw(ours),), [q]))
    assert torch.equal(q * draw(theirs), q * draw(torch.Generator().manual_seed(5)))
    run, seen = replay(graph), []
    for _ in range(4):
        seen.append(run(q)[0])
        assert torch.equal(seen[-1], q * draw(theirs))
    assert len({tuple(values.tolist()) for values in seen}) > 1


@pytest.mark.parametrize("name", DRAWS)
def test_a_density_that_draws_is_refused_by_name(name):
    q = torch.ones(3, dtype=F64)
    with pytest.raises(RecordingError, match="draws random numbers"):
        record(lambda q: (q * DRAWS[name](None),), q)
