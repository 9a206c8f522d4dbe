"""Random tensor programs, and how far rounding alone moves their results.

Programs are made of what compiled code could get wrong together: broadcasts, axes of length zero
and one, whole and truth numbers among real ones, places that repeat, views, NaN that is not chosen.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Density = Callable[[Tensor], Tensor]
SIZES = (0, 1, 1, 2, 3, 20, 70)
DIM = 40
LARGEST = 4000  # numbers of one tensor


def _places(rng: random.Random, n: int, *shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    drawn = [rng.randrange(n) for _ in range(count)]
    return torch.tensor(drawn, dtype=torch.int64).reshape(shape)


def _of_any_shape(rng: random.Random) -> list[Callable[[Tensor], Tensor]]:
    c = rng.choice([-1.5, -0.25, 0.0, 0.5, 2.0])
    return [
        torch.tanh, torch.sigmoid, torch.sin, torch.atan, torch.erf, torch.abs, torch.neg,
        F.softplus, F.relu, F.logsigmoid, torch.floor, torch.sign, torch.round,
        lambda t: t * c, lambda t: t - c, lambda t: c - t, lambda t: t * t / (1 + t * t),
        lambda t: (1 + t * t).sqrt(), lambda t: torch.log1p(t * t), lambda t: t.clamp(-1.0, c + 1),
        lambda t: torch.exp(-t * t), lambda t: (t.abs() + 0.5) ** c, lambda t: torch.tanh(t) ** 3,
        lambda t: torch.lgamma(1.5 + t.abs().clamp(max=9.0)), lambda t: t.remainder(1.25),
        lambda t: torch.where(t > c, t, 0.1 * t), lambda t: t.masked_fill(t < c, c),
        lambda t: torch.where(t * t > -1.0, t, (t.detach() - t.detach()) / 0.0),
        lambda t: torch.where(t > 0, torch.where(t > 0, t, 1.0).log(), torch.nan).nan_to_num(0.5),
        lambda t: torch.where(t > 0, t, torch.full_like(t, torch.nan)).nan_to_num(),
        lambda t: torch.xlogy((t > c).to(t.dtype), 1 + t * t), lambda t: t.reshape(-1),
        lambda t: t.unsqueeze(rng.randrange(t.ndim + 1)), lambda t: t[None].expand(3, *t.shape),
    ]  # fmt: skip


def _along(rng: random.Random, axis: int, n: int) -> list[Callable[[Tensor], Tensor]]:
    """What looks along an axis of ``n`` numbers."""
    start = rng.randrange(n + 1)
    length = rng.randrange(n - start + 1)
    flags = torch.tensor([rng.random() < 0.6 for _ in range(n)], dtype=torch.bool)
    found: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.sum(axis), lambda t: t.sum(axis, keepdim=True), lambda t: t.flip(axis),
        lambda t: t.cumsum(axis), lambda t: t.narrow(axis, start, length), lambda t: t.sum(),
        lambda t: torch.cat([t, t.sin()], axis), lambda t: torch.stack([t, t * t], axis),
        lambda t: t.transpose(0, axis), lambda t: t.softmax(axis), lambda t: t.roll(1, axis),
        lambda t: t.repeat(*(2 if d == axis else 1 for d in range(t.ndim))),
        lambda t: F.pad(t, (1, 2), value=0.5), lambda t: torch.tanh(t).cumprod(axis),
        lambda t: t.index_select(axis, flags.nonzero()[:, 0]), torch.diag_embed,
        lambda t: t.sort(dim=axis, stable=True).values, lambda t: t * (t > 0).any(axis).sum(),
        lambda t: t.sort(dim=axis, stable=True, descending=True).values,
        lambda t: t * t.argsort(dim=axis, stable=True), lambda t: t.median().nan_to_num(0.5),
        lambda t: torch.linalg.vector_norm(t, 1, dim=axis),
    ]  # fmt: skip
    if n == 0:
        return found
    place = rng.randrange(n)
    found += [
        lambda t: t.mean(axis), lambda t: t.mean(axis, keepdim=True), lambda t: t.amax(axis),
        lambda t: t.logsumexp(axis), lambda t: t.log_softmax(axis), lambda t: t.amin(axis),
        lambda t: t.max(axis).values, lambda t: t.min(axis, keepdim=True).values,
        lambda t: t.logcumsumexp(axis), lambda t: t.select(axis, place),
        lambda t: t.tanh().prod(axis),
        lambda t: t.var(axis, correction=0),
        lambda t: (t.var(axis, correction=0) + 1.0).sqrt(),
        lambda t: torch.linalg.vector_norm(t, dim=axis),
        lambda t: t.unfold(axis, 1 + place, 1 + n // 3),
        lambda t: t * (t.max(axis, keepdim=True).indices - place),
        lambda t: t.cummax(axis).values, lambda t: t.cummin(axis).values,
        lambda t: t - t.detach().kthvalue(1 + place, axis, keepdim=True).values,
        lambda t: t - t.detach().nanmedian(axis, keepdim=True).values,
        lambda t: t * t.argmin(axis, keepdim=True),
        lambda t: t - (t.detach().quantile(0.3, axis, keepdim=True) if t.numel() else 0.5),
        lambda t: t * torch.bucketize(t.detach(), torch.tensor([-1.0, 0.25, 0.5]).to(t.dtype)),
    ]  # fmt: skip
    return found + _gathering(rng, axis, n)


def _gathering(rng: random.Random, axis: int, n: int) -> list[Callable[[Tensor], Tensor]]:
    """Places that repeat, known or computed."""
    index = _places(rng, n, rng.choice(SIZES))
    few = _places(rng, min(n, 2), n)
    order = torch.tensor(rng.sample(range(n), n))

    def wide(t: Tensor, places: Tensor) -> Tensor:
        return places.reshape([-1 if d == axis else 1 for d in range(t.ndim)])

    def spread(t: Tensor) -> Tensor:
        return wide(t, few).expand(t.shape).contiguous()

    def computed(t: Tensor) -> Tensor:
        return (3.0 * t.detach()).floor().long().clamp(0, n - 1)

    def cut(t: Tensor) -> Tensor:
        return t.index_select(axis, index[:n])

    def put(t: Tensor, places: Tensor, source: Tensor, *, add: bool) -> Tensor:
        moved = t.transpose(0, axis)
        return moved.index_put((places,), source.transpose(0, axis), accumulate=add)

    return [
        lambda t: t.index_select(axis, index), lambda t: t.gather(axis, spread(t)),
        lambda t: t.transpose(0, axis)[index - n], lambda t: t.gather(axis, computed(t)),
        lambda t: torch.zeros_like(t).index_add(axis, few, t),
        lambda t: torch.zeros_like(t).scatter_add(axis, spread(t), t),
        lambda t: torch.ones_like(t).scatter_add(axis, computed(t), t),
        lambda t: t.scatter(axis, wide(t, few[:1]).expand(t.narrow(axis, 0, 1).shape), 0.5),
        lambda t: put(t, index[:n], cut(t), add=True),
        lambda t: put(t, order, t, add=False),
    ]  # fmt: skip


def _unary(rng: random.Random, a: Tensor) -> Tensor:
    if a.ndim == 0 or rng.random() < 0.35:
        return rng.choice(_of_any_shape(rng))(a)
    axis = rng.randrange(a.ndim)
    return rng.choice(_along(rng, axis, a.shape[axis]))(a)


def _binary(rng: random.Random, a: Tensor, b: Tensor) -> Tensor:
    if a.ndim == 2 and b.ndim in (1, 2) and a.shape[1] == b.shape[0]:
        return torch.tanh(a @ b)
    try:
        torch.broadcast_shapes(a.shape, b.shape)
    except RuntimeError:
        return a.sum() * b
    whole = (2.0 * b.detach()).floor().long()
    return rng.choice([
        lambda: a + b, lambda: a * b, lambda: a - 2.5 * b, lambda: torch.maximum(a, b),
        lambda: torch.minimum(a, b), lambda: a / (1.5 + b * b), lambda: torch.atan2(a, 1.5 + b * b),
        lambda: torch.where(a > b, a, torch.sin(b)), lambda: torch.logaddexp(a, b),
        lambda: torch.hypot(a, 1.0 + b * b), lambda: torch.lerp(a, b, 0.3),
        lambda: (0.5 + a * a) ** torch.tanh(b), lambda: torch.addcmul(a, a, b, value=0.5),
        lambda: a * whole, lambda: a + whole.clamp(-1, 1), lambda: a * ((b > 0) & (a < 1)),
        lambda: torch.where(whole.remainder(3) == 1, a, b),
        lambda: a * (whole * whole - 1).clamp(max=9),
        lambda: torch.where((a > 0) | (b > 0), a, torch.nan).nan_to_num(0.25),
        lambda: torch.where((a > 0) != (a <= 0), a + b, torch.log(-1 - b.detach() ** 2)),
        lambda: a.clamp(min=b), lambda: torch.special.xlog1py(a, b * b),
    ])()  # fmt: skip


def program(seed: int, length: int = 25) -> Density:
    """A density of `DIM` variables, the same one for every call."""

    def density(q: Tensor) -> Tensor:
        rng = random.Random(seed)
        pool = [
            q, q[:20], q[20:23], q[0], q[3:9].reshape(2, 3), q.reshape(20, 2), q[:1], q[4:4],
            q[8:12].reshape(1, 4, 1), q[:12].reshape(3, 4)[:, ::2], q[:0].reshape(0, 3),
        ]  # fmt: skip
        for _ in range(length):
            a, b = rng.choice(pool), rng.choice(pool)
            result = _unary(rng, a) if rng.random() < 0.65 else _binary(rng, a, b)
            if result.numel() <= LARGEST and result.ndim <= 3:
                pool.append(result)
        return sum(
            (torch.sin(t).mean() if t.numel() else t.sum()) * (k + 1) for k, t in enumerate(pool)
        )

    return density


# --- rounding ---

_EXACT = frozenset(
    {
        "abs", "amax", "amin", "cat", "clamp", "clone", "copy_", "detach", "empty", "fill_",
        "flip", "floor", "full_like", "gather", "index", "index_select", "masked_fill", "max",
        "maximum", "median", "min", "minimum", "neg", "new_zeros", "ones_like", "relu", "round",
        "scatter", "sign", "stack", "where", "zeros", "zeros_like", "_to_copy",
    }
)  # fmt: skip


class Rounded(TorchDispatchMode):
    """Every result of arithmetic is moved by up to one unit in its last place, at random.

    How far the end moves is what the sum of all roundings can do to it, whoever makes them (Parker,
    Monte Carlo Arithmetic, 1997): a measure of the condition of a program.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if not isinstance(result, Tensor) or func.is_view or name in _EXACT:
            return result
        if result.is_floating_point() and result.numel():
            u = torch.rand(result.shape, generator=self.generator, dtype=result.dtype)
            result.mul_(1 + torch.finfo(result.dtype).eps * (2 * u - 1))
        return result


def rounded(
    reference: Callable[..., Any], density: Density, q: Tensor, times: int
) -> Iterator[Any]:
    """Value and gradient ``times`` over, rounded differently."""
    for seed in range(times):
        with Rounded(seed):
            yield reference(density, q)
