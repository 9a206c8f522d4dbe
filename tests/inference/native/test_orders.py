"""Orders of rows at every length, with ties, NaN and infinities: the same places as torch's.

Whole models: a posterior of order statistics, from draws of two tiers and from a grid.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.native.program import Refusal
from tests.inference.native.exact import Both

F64, F32 = torch.float64, torch.float32
INF, NAN = math.inf, math.nan
LENGTHS = [1, 2, 17, 159, 160, 1000]  # from 160 on rows are sorted by bytes
DTYPES = pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])


def rows(*shape: int, seed: int = 0, ties: bool = True) -> Tensor:
    """Numbers of every size and sign; with ties also zeros of both signs, NaN and infinities."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=F64)
    if not ties:
        return x * torch.exp(20.0 * torch.randn(shape, generator=generator, dtype=F64))
    odd = torch.tensor([0.0, -0.0, NAN, -NAN, INF, -INF, 1e-310, -3e300])
    which = torch.randint(4 * len(odd), shape, generator=generator)
    return torch.where(which < len(odd), odd[which % len(odd)].to(F64), (2 * x).round() / 2)


def same(both: Both, *arguments: Tensor) -> None:
    """Every number is torch's, to the last bit but the sign of a zero."""
    for what, number, ours, theirs, apart in both.compare(*arguments):
        assert float(apart.max() if apart.numel() else 0.0) == 0.0, (what, number, ours, theirs)


def _places(found: tuple[Tensor, ...], like: Tensor) -> Tensor:
    return found[1].to(like.dtype)


SORTS = [
    lambda a: a.sort(dim=-1, stable=True).values,
    lambda a: a.sort(dim=0, stable=True, descending=True).values,
    lambda a: _places(a.sort(dim=0, stable=True), a),
    lambda a: _places(a.sort(dim=-1, stable=True, descending=True), a),
    lambda a: _places(a.sort(dim=1, stable=True), a) + a.argsort(dim=-1, stable=True).argsort(-1),
]


@DTYPES
@pytest.mark.parametrize("length", LENGTHS)
def test_a_sorted_row_is_torchs_with_its_places(length, dtype):
    for shape in ((length, 3), (3, length), (2, length, 2)):
        same(Both(SORTS, [shape]), rows(*shape).to(dtype))


@DTYPES
def test_rows_of_nothing_and_single_numbers_are_sorted(dtype):
    def function(a: Tensor) -> Tensor:
        none, one = a[:0], a[0, 0]
        return torch.cat([
            none.sort(0).values.sum(0), none.sort(1)[1].sum(0), none.cummax(1)[0].sum(0),
            one.sort().values[None] + one.argsort() + one.median() + one.cummax(0).values,
            (one.topk(1).values + one.kthvalue(1).values + one.nanmedian(0).values)[None],
            none.median()[None].nan_to_num(7.0), none.argsort(0).sum(0), none.topk(2, 1)[0].sum(0),
            torch.searchsorted(a[0, :0], none).sum(0) + torch.searchsorted(a[0, :0], a[1]),
        ])  # fmt: skip

    same(Both([function], [(2, 4)]), rows(2, 4, ties=False).to(dtype))


@DTYPES
@pytest.mark.parametrize("length", LENGTHS)
def test_order_statistics_are_torchs(length, dtype):
    """Of several equal elements torch may take any: places are compared where none are."""
    k = 1 + length // 3
    functions = [
        lambda a: a.kthvalue(k, 1).values, lambda a: a.median(1, keepdim=True).values,
        lambda a: a.nanmedian(1).values, torch.median, torch.nanmedian,
        lambda a: a.topk(k, 1).values, lambda a: a.topk(k, 1, largest=False).values,
    ]  # fmt: skip
    where = [
        lambda a: _places(a.kthvalue(k, 1), a), lambda a: _places(a.median(1), a),
        lambda a: _places(a.topk(k, 1), a), lambda a: _places(a.nanmedian(1, keepdim=True), a),
        lambda a: _places(a.topk(k, 1, largest=False), a),
    ]  # fmt: skip
    distinct = rows(3, length, ties=False).to(dtype)
    same(Both([*functions, *where], [(3, length)]), distinct)
    for seed in range(3):
        tied = rows(3, length, seed=seed).to(dtype)
        same(Both(functions, [(3, length)], slopes=False), tied)
        same(Both([torch.median, torch.nanmedian], [(3, length)]), tied)


@DTYPES
def test_medians_pass_nan_on_or_by(dtype):
    row = torch.tensor([3.0, NAN, 1.0, -1.0, -NAN, 2.0], dtype=dtype)
    some = torch.stack([row, torch.full_like(row, NAN), row.nan_to_num(9.0)])
    functions = [
        lambda a: a.median(1).values, lambda a: _places(a.median(1), a)[:2],
        lambda a: a[::2].nanmedian(1).values, lambda a: a.detach().nanmedian(1).values,
    ]  # fmt: skip
    same(Both(functions, [(3, 6)]), some)


def test_whole_numbers_are_ordered_beyond_the_digits_of_real_ones():
    ends = torch.tensor([2**63 - 1, -(2**63), 2**62 + 1, 2**62, -1, 0, 0, 255, 256])

    def function(a: Tensor) -> Tensor:
        n = ends + (a > 1e9).long()  # none is, but that is not known before
        downwards = n.sort(descending=True, stable=True)
        places = [n.sort(stable=True).indices, downwards.indices, n.cummin(0)[1], n.cummax(0)[1]]
        kth = torch.stack([n.kthvalue(k).indices for k in range(1, 6)])
        values = downwards.values == ends.sort(descending=True).values
        middle = n.median().expand(2) + n.median(0).values
        truth = (a > 0).sort(stable=True, descending=True)
        found = torch.searchsorted(n.sort().values, ends - 1)
        return torch.cat([*places, kth, values, middle, *truth, found]).to(a.dtype)

    for dtype in (F64, F32):
        same(Both([function], [(9,)]), rows(9, ties=False).to(dtype))


@DTYPES
@pytest.mark.parametrize("length", LENGTHS)
def test_running_extremes_are_torchs(length, dtype):
    functions = [
        lambda a: a.cummax(1).values, lambda a: a.cummin(1).values,
        lambda a: _places(a.cummax(1), a), lambda a: _places(a.cummin(0), a),
        lambda a: _places(a.cummin(-1), a),
    ]  # fmt: skip
    same(Both(functions, [(2, length, 3)], slopes=False), rows(2, length, 3).to(dtype))
    same(Both(functions[:1], [(2, length, 1)], slopes=False), rows(2, length, 1).to(dtype))


@DTYPES
@pytest.mark.parametrize("right", [False, True])
def test_places_among_sorted_numbers_are_torchs(right, dtype):
    table = torch.tensor([-INF, -1.0, -0.5, -0.5, 0.0, 2.0, INF, NAN], dtype=dtype)

    def function(a: Tensor) -> Tensor:
        own = a.sort(1).values
        among = torch.searchsorted(table, a, right=right, out_int32=True)
        each = torch.searchsorted(own, a, side="right" if right else "left")
        return (among + 100 * each + 10**4 * torch.bucketize(a, table, right=right)).to(a.dtype)

    same(Both([lambda a: function(a.detach())], [(3, 40)]), rows(3, 40).to(dtype))


def test_a_search_by_an_order_is_refused(compiled):
    def density(q: Tensor) -> Tensor:
        order = torch.argsort(q)
        return (q * torch.searchsorted(q.detach(), q.detach(), sorter=order)).sum()

    with pytest.raises(Refusal, match="with a sorter has no native form"):
        compiled(density, rows(5, ties=False))


def test_a_trimmed_mean_of_computed_numbers_agrees_with_autograd(agrees):
    """What is sorted is made in loops and goes on in loops, twice over."""

    def trimmed(a: Tensor, b: Tensor) -> Tensor:
        spread = (a * b.exp()).sort(0).values[2:-2]
        ranks = a.argsort(0).argsort(0)
        return spread.mean(0) + (a * ranks).sin().sum(0) + spread.quantile(0.3, dim=0)

    agrees(trimmed, [(30, 3), (3,)], tolerance=1e-11)


# --- a posterior ---

PAIR = """
object Place : FinSet 2
program pair : Place -> Place
    sample z : Place <- Normal(0.0, 2.0)
    let c = {order}
    observe y : Place <- Normal(c, 0.7)
    return z
export pair
"""
SEEN = np.array([1.0, -0.5])  # the wrong way round, which an order does not allow


def drawn(order: str, tier: str, draws: int) -> tuple[object, np.ndarray]:
    """The result, and its draws in order: (draws, 2)."""
    mcmc = MCMC(NUTSKernel(), 200, draws, num_chains=2, seed=3, tier=tier)
    result = mcmc.run(loads(PAIR.format(order=order)).morphism, None, {"y": SEEN.tolist()})
    return result, np.sort(result.samples["z"].numpy().reshape(-1, 2))


def on_a_grid() -> np.ndarray:
    """Means, mean squares and the mean product of two ordered numbers given `SEEN`."""
    line = np.linspace(-6.0, 6.0, 1201)
    low, high = np.meshgrid(line, line, indexing="ij")
    misfit = ((SEEN[0] - low) ** 2 + (SEEN[1] - high) ** 2) / 0.7**2
    weight = np.exp(-0.5 * ((low**2 + high**2) / 4.0 + misfit)) * (low < high)
    return np.array([(f * weight).sum() for f in _moments(low, high)]) / weight.sum()


def _moments(low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    return [low, high, low**2, high**2, low * high]


def _off(ordered: np.ndarray, share: float) -> float:
    """The greatest distance of moments from the grid's, in standard errors of independent draws.

    ``share``: how many of the draws count as independent.
    """
    found = np.stack(_moments(*ordered.T))
    errors = found.std(1) / math.sqrt(share * found.shape[1])
    return float((np.abs(found.mean(1) - on_a_grid()) / errors).max())


def test_order_statistics_are_sampled_by_compiled_code():
    """Five moments, 5 standard errors each, a fifth of 8000 draws counted: size below 1e-5."""
    result, ordered = drawn("sort(z)", "auto", 4000)
    assert (result.tier, result.tier_reason) == ("native", "")
    assert _off(ordered, 0.2) < 5.0


def test_the_traced_tier_draws_the_same():
    result, ordered = drawn("sort(z)", "traced", 400)
    assert result.tier == "traced"
    assert _off(ordered, 0.2) < 5.0


def test_draws_of_numbers_that_were_not_sorted_are_seen():
    """The power of the two: without the order the means are far off."""
    assert _off(drawn("z", "auto", 400)[1], 0.2) > 10.0
