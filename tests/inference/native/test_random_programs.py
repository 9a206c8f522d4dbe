"""Random tensor programs agree with autograd: joining loops must never change a result."""

import random

import pytest
import torch
from torch import Tensor

SIZES = (1, 2, 3, 20, 70)


def _front(t: Tensor, axis: int, index: Tensor) -> Tensor:
    return t.narrow(axis, 0, min(t.shape[axis], len(index)))


def _unary(rng: random.Random, a: Tensor) -> Tensor:
    axis = rng.randrange(a.ndim) if a.ndim else 0
    choices = [
        torch.tanh, torch.sigmoid, torch.sin, lambda t: t * 0.5, lambda t: t * t / (1 + t * t),
        torch.nn.functional.softplus, lambda t: torch.where(t > 0, t, 0.1 * t),
    ]  # fmt: skip
    if a.ndim:
        n = a.shape[axis]
        index = torch.tensor([rng.randrange(n) for _ in range(rng.choice(SIZES))])
        start = rng.randrange(n)
        choices += [
            lambda t: t.sum(axis), lambda t: t.mean(axis, keepdim=True), lambda t: t.flip(axis),
            lambda t: t.softmax(axis), lambda t: t.logsumexp(axis), lambda t: t.cumsum(axis) / n,
            lambda t: t.index_select(axis, index), lambda t: t.narrow(axis, start, n - start),
            lambda t: t.select(axis, start), lambda t: t.reshape(-1),
            lambda t: t.unsqueeze(axis), lambda t: t.transpose(0, axis),
            lambda t: torch.zeros_like(t).index_add(axis, index[:n] % n, _front(t, axis, index)),
        ]  # fmt: skip
    return rng.choice(choices)(a)


def _binary(rng: random.Random, a: Tensor, b: Tensor) -> Tensor:
    if a.ndim == 2 and b.ndim >= 1 and a.shape[1] == b.shape[0] and b.ndim < 3:
        return torch.tanh(a @ b)
    try:
        torch.broadcast_shapes(a.shape, b.shape)
    except RuntimeError:
        return a.sum() * b
    return rng.choice([
        lambda p, q: p + q, lambda p, q: p * q, lambda p, q: p - 2.5 * q, torch.maximum,
        lambda p, q: p / (1.5 + q * q), lambda p, q: torch.where(p > q, p, torch.sin(q)),
    ])(a, b)  # fmt: skip


def program(seed: int, length: int = 25):
    """A density of 40 variables, the same one for every call."""

    def density(q: Tensor) -> Tensor:
        rng = random.Random(seed)
        pool = [q, q[:20], q[20:23], q[0], q[3:9].reshape(2, 3), q[:40].reshape(20, 2)]
        for _ in range(length):
            a, b = rng.choice(pool), rng.choice(pool)
            result = _unary(rng, a) if rng.random() < 0.6 else _binary(rng, a, b)
            if 0 < result.numel() <= 6000 and result.ndim <= 3:
                pool.append(result)
        return sum(torch.sin(t).mean() * (k + 1) for k, t in enumerate(pool))

    return density


@pytest.mark.parametrize("seed", range(16))
def test_a_random_program_agrees_with_autograd(seed, compiled, reference, error):
    density = program(seed)
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    native = compiled(density, points[0])
    for q in points[1:]:
        values = zip(native.value_and_grad(q), reference(density, q), strict=True)
        assert all(error(ours, theirs) < 1e-11 for ours, theirs in values)


def _steps(density, compiled) -> str:
    q = torch.randn(70, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    native = compiled(density, q)
    return native.source[native.source.index("double density(") :]


def test_sums_into_overlapping_places_do_not_share_a_vectorised_loop(compiled, reference, error):
    """The gradient of differences: g[i + 1] += d and g[i] -= d must not be overlapped."""

    def walk(q: Tensor) -> Tensor:
        return (-0.5 * (q[1:] - 0.9 * q[:-1]) ** 2).sum() + (q[2:] * q[:-2]).sum()

    for q in torch.randn(3, 70, generator=torch.Generator().manual_seed(2), dtype=torch.float64):
        values = zip(compiled(walk, q).value_and_grad(q), reference(walk, q), strict=True)
        assert all(error(ours, theirs) < 1e-13 for ours, theirs in values)
    for loop in _steps(walk, compiled).split("INDEPENDENT")[1:]:
        body = loop[: loop.index("\n}")]
        assert len({line.split(" += ")[0] for line in body.splitlines() if line[:2] == "g["}) < 2


def test_sums_into_places_apart_share_a_loop(compiled):
    def pairs(q: Tensor) -> Tensor:
        return (q[:35].sin() * q[35:]).sum()

    source = _steps(pairs, compiled)
    assert source.count("for (") == 1
