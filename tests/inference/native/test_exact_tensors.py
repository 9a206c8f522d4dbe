"""Every operation on several numbers, at shapes and values where they go wrong, against torch.

Together with `test_exact_functions` these cases use every rule of the registry: a new operation
without a case fails. Sums and products are added up in another order than torch's, so distances are
in ulps of the greatest number of a result.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quivers_nb.inference.native.lowering import RULES
from quivers_nb.inference.native.program import Refusal
from tests.inference.native.exact import Both, edges, spacing
from tests.inference.native.test_exact_functions import CASES as FUNCTIONS

F64, F32 = torch.float64, torch.float32
INF, NAN = math.inf, math.nan
aten = torch.ops.aten
WHOLE = torch.tensor([3, 7, 10, 1, 2])
PLACES = torch.tensor([3, 0, -1, 3, 3])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def pairs() -> tuple[Tensor, Tensor]:
    """Every pair of these numbers, ties and zeros of both kinds of argument included."""
    x = torch.tensor([0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e300, 1e-300, INF, -INF, NAN], dtype=F64)
    return x[:, None].expand(11, 11).reshape(-1), x.expand(11, 11).reshape(-1)


ROWS = torch.stack([
    draw(7), torch.full((7,), 2.0, dtype=F64), torch.full((7,), -INF, dtype=F64),
    torch.tensor([1.0, -INF, 3.0, 3.0, -2.0, 0.0, 3.0], dtype=F64),
    torch.tensor([1.0, INF, 3.0, 3.0, -2.0, 0.0, 3.0], dtype=F64),
    torch.tensor([1.0, 2.0, NAN, 9.0, NAN, 0.0, 3.0], dtype=F64),
    torch.tensor([1000.0, 1000.25, 999.0, 0.0, 1e-8, -1e3, 700.0], dtype=F64),
])  # fmt: skip


def _coded(like: Tensor, *masks: Tensor) -> Tensor:
    return sum((mask.to(like.dtype) * 2.0**k for k, mask in enumerate(masks)), 0.0 * like.detach())


BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "rsub": torch.rsub,
    "maximum": torch.maximum, "minimum": torch.minimum, "max of two": torch.max,
    "min of two": torch.min, "atan2": torch.atan2, "hypot": torch.hypot, "pow": torch.pow,
    "xlogy": torch.xlogy, "xlog1py": torch.special.xlog1py, "logaddexp": torch.logaddexp,
    "lerp": lambda a, b: torch.lerp(a, b, 0.7),
    "lerp far": lambda a, b: torch.lerp(a, b, 0.2),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b, value=0.5),
    "scaled sum": lambda a, b: torch.add(a, b, alpha=2.5),
    "where": lambda a, b: torch.where(a > b, a.detach(), b.exp()),
    "comparisons": lambda a, b: _coded(a, a < b, a <= b, a > b, a >= b, a == b, a != b),
    "logic": lambda a, b: _coded(
        a, torch.logical_and(a > 0, b > 0), torch.logical_or(a > 0, b > 0),
        torch.logical_xor(a > 0, b > 0), torch.logical_not(a > 0),
        (a > 0) & (b > 0), (a > 0) | (b > 0), ~(a > 0),
    ),
    "masked_fill": lambda a, b: a.masked_fill(b > 0, 0.25),
    "clamp by tensors": lambda a, b: a.clamp(min=b),
}  # fmt: skip
SORTED = torch.tensor([-INF, -2.0, 0.0, 1.0, 3.0, 3.0, 700.0], dtype=F64)


def _least_two(a: Tensor) -> Tensor:
    return a.detach().topk(2, largest=False).values


def _running_extremes(a: Tensor) -> Tensor:
    (top, where), (low, there) = a.cummax(-1), a.cummin(-1)
    return top + low * 0.5 + where - 2 * there


def _places_of_extremes(a: Tensor) -> Tensor:
    return (a.argmax(-1) + 10 * a.argmin(-1) + 100 * a.argmax() + 1000 * a.argmin()).to(a.dtype)


OF_ROWS = {
    "softmax": lambda a: a.softmax(-1), "log_softmax": lambda a: a.log_softmax(-1),
    "safe_softmax": lambda a: aten._safe_softmax(a, -1),
    "logsumexp": lambda a: a.logsumexp(-1), "amax": lambda a: a.amax(-1),
    "amin": lambda a: a.amin(-1), "max and place": lambda a: a.max(-1).values,
    "min and place": lambda a: a.min(-1).values, "greatest": lambda a: a.max() * 1.0,
    "least": lambda a: a.min() * 1.0, "sum": lambda a: a.sum(-1), "mean": lambda a: a.mean(-1),
    "prod": lambda a: a.detach().prod(-1), "slopes of prod": lambda a: a.prod(-1),
    "cumsum": lambda a: a.cumsum(-1),
    "cumprod": lambda a: a.cumprod(-1), "logcumsumexp": lambda a: a.logcumsumexp(-1),
    "places": lambda a: (a.max(-1).indices + 10 * a.min(-1).indices).to(a.dtype),
    "lengths": lambda a: a[:2].norm(dim=-1) + torch.linalg.vector_norm(a[:2], dim=-1),
    "norm of all": lambda a: aten.norm.Scalar(a[:2], 2) * 1.0,
    "var": lambda a: a.var(-1), "std": lambda a: a.std(-1, correction=0),
    "sort": lambda a: a.sort(stable=True).values,
    "downwards": lambda a: a.sort(stable=True, descending=True).values,
    "ranks": lambda a: a * (
        a.argsort(stable=True) + 10 * a.sort(stable=True, descending=True).indices),
    "median of all": torch.median, "middle of numbers": torch.nanmedian,
    "medians": lambda a: torch.stack([a.median(-1)[0], a.nanmedian(-1)[0]]).detach(),
    "greatest three": lambda a: a.detach().topk(3).values, "least two": _least_two,
    "third": lambda a: a.detach().kthvalue(3).values, "running extremes": _running_extremes,
    "quantile": lambda a: a.quantile(0.37, -1), "places of extremes": _places_of_extremes,
    "sums of sizes": lambda a: a.norm(1.0, -1), "extreme sizes": lambda a: torch.cat([
        torch.linalg.vector_norm(a, math.inf, -1), torch.linalg.vector_norm(a, -math.inf, -1)]),
    "how many": lambda a: aten.linalg_vector_norm(a.detach(), 0, [-1]) + a.count_nonzero(-1),
    "cubes": lambda a: torch.linalg.vector_norm(a, 3, -1),
    "any and all": lambda a: _coded(a[:, 0], (a > 2).any(-1), (a > 0).all(-1), a.any(1), a.all(1)),
    "extreme truths": lambda a: _coded(
        a[:, 0], (a > 2).amax(-1), (a > 0).amin(-1), (a > 0).min(-1)[0], (a > 0).min(),
    ),
    "among others": lambda a: (
        torch.searchsorted(SORTED.to(a.dtype), a.detach())
        + 10 * torch.bucketize(a.detach(), SORTED.to(a.dtype), right=True)
    ).to(a.dtype),
}  # fmt: skip
# Where there is nothing infinite; torch divides by each factor, and gives NaN for infinite ones.
CHOSEN = {"lengths": [0], "norm of all": [0], "slopes of prod": [0, 1, 6], "cubes": [0, 1, 6]}
# Of log_softmax torch takes the maximum and the logarithm away at once, and the slope of
# logcumsumexp is an exponential of differences: 1000 loses digits (for ours see below).
BOUNDS = {"log_softmax": 100.0, "logcumsumexp": 2000.0}


def _low(a: Tensor) -> Tensor:
    return a[:4].tril(-1) + 3.0 * torch.eye(4, dtype=a.dtype)


def _square(a: Tensor) -> Tensor:
    """A matrix whose rows must be exchanged, of condition number 6."""
    return a[:4] + 4.0 * torch.eye(4, dtype=a.dtype).flip(0)


TABLE = {
    "zero times": lambda a: 0.0 * (a.detach() / 0.0) + (a > 0).to(a.dtype),
    "views": lambda a: (
        a[1:, 1:].t().reshape(-1).view(4, 3).unsqueeze(1).squeeze(1).flip(0).contiguous()
        + a[:, ::2].sum() + a[:4, :3].clone() + a.diagonal()[:3] + a.select(1, 2)[:4, None]
        + a[:1, :1].expand(4, 3)
        + a.permute(1, 0)[:4, :3] + torch.transpose(a, 0, 1)[:4, :3]
    ),
    "unsafe view": lambda a: aten._unsafe_view(a * 1.5, [5, 4]) * 2.0,
    "a view of a copy": lambda a: a.t().contiguous().view(4, 5) + a.reshape(4, 5).to(a.dtype),
    "pieces": lambda a: torch.cat([
        *a.split(3, 1), torch.stack(a.unbind(1), 1)[:, :1], torch.stack([a[:, 0], a[:, 1]], 1),
        *a.split_with_sizes([1, 3], 1), a.roll(2, 1), a.roll(-3), a.repeat(1, 2),
    ], 1),
    "padding": lambda a: F.pad(a, (1, 2, 0, 1)) + F.pad(a, (1, 2, 0, 1), value=3.5),
    "triangles": lambda a: a.tril(-1) + a.triu(1),
    "diagonals": lambda a: torch.diag_embed(a, 1)[..., :4, :4] + a.unfold(1, 2, 1).sum(-1).sum(),
    "fill and copy": lambda a: (
        torch.empty_like(a).copy_(a) + (a * 1.0).fill_(2.5) + a * (a * 1.0).fill_(a[0, 0].detach())
    ),
    "gathers": lambda a: (
        a[PLACES] + a.index_select(0, PLACES % 5) + a.gather(0, (PLACES % 5)[:, None].expand(5, 4))
    ),
    "embedding": lambda a: F.embedding(PLACES % 5, a),
    "sums at duplicates": lambda a: (
        torch.zeros(6, 4, dtype=a.dtype).index_add(0, PLACES % 6, a)
        + torch.zeros(6, 4, dtype=a.dtype).scatter_add(0, (PLACES % 6)[:, None].expand(5, 4), a)
        + torch.zeros(6, 4, dtype=a.dtype).index_put((PLACES,), a, accumulate=True)
        + aten._unsafe_index_put(torch.zeros(6, 4, dtype=a.dtype), [PLACES], a, True)
    ),
    "written places": lambda a: (
        torch.zeros(6, 4, dtype=a.dtype).scatter(0, torch.tensor([[3, 0, 1, 2]]), a[:1])
        + (torch.ones(6, 4, dtype=a.dtype) * a[0]).scatter(0, torch.tensor([[3, 0, 1, 2]]), 7.0)
    ),
    "layer norm": lambda a: F.layer_norm(a, [4], a[0], a[1]),
    "gates": lambda a: F.glu(a) * F.glu(a, 1),
    "products": lambda a: (
        a @ a[:4] + (a @ a[0])[:, None] + torch.dot(a[0], a[1]) + torch.vdot(a[0], a[1])
        + torch.addmm(a, a, a[:4], beta=0.5, alpha=2.0) + torch.addmv(a[:, 0], a, a[1])[:, None]
        + torch.bmm(a[None], a[None, :4])[0] + torch.baddbmm(a[None], a[None], a[None, :4])[0]
    ),
    "factors": lambda a: torch.linalg.cholesky(
        a[:4] @ a[:4].mT + 9.0 * torch.eye(4, dtype=a.dtype)
    ),
    "systems": lambda a: torch.linalg.solve_triangular(
        a[:4].tril(-1) + 3.0 * torch.eye(4, dtype=a.dtype), a[:4], upper=False
    ),
    "systems of factors": lambda a: (
        torch.cholesky_solve(a[:4], _low(a)) + torch.cholesky_solve(a[1:], _low(a).mT, upper=True)
        + torch.cholesky_inverse(_low(a)) + torch.cholesky_inverse(_low(a).mT.contiguous(), True)
    ),
    "general systems": lambda a: (
        torch.linalg.inv(_square(a)) + torch.linalg.solve(_square(a), a[:4])
        + torch.linalg.solve(_square(a), a[1:], left=False) + torch.linalg.solve(_square(a), a[4])
    ) + torch.linalg.slogdet(_square(a)).logabsdet + torch.logdet(_low(a)),
    "nothing": lambda a: a[:, :0].sum() + a[:0].exp().sum(0) + torch.cat([a[:0], a]).sum(0),
    "backwards called by name": lambda a: (
        aten.diagonal_backward(a.detach()[0], [4, 4], 0, 0, 1)
        + aten.embedding_dense_backward(a.detach(), PLACES % 4, 4, -1, False)
        + aten.unfold_backward(a.detach()[:4, :, None], [4, 4], 1, 1, 1)
        + aten.clamp_max.default(a.detach()[:4], 0.3) + aten.clamp_min.default(a.detach()[:4], 0.1)
    ),
    "order": lambda a: (
        a.sort(0).values + a.sort(1, descending=True).values + a.topk(4, 0, largest=False)[0][0]
        + a.kthvalue(2, 0, keepdim=True)[0] + a.median(0)[0] + a.nanmedian(1, keepdim=True)[0]
        + a.cummax(0)[0] + a.median() + a.quantile(0.3)
    ),
    "lifted": lambda a: aten.lift_fresh_copy(a * 2.0),
}  # fmt: skip
SHAPES = [
    ((), ()), ((0,), (1,)), ((1,), (7,)), ((31,), (1,)), ((3, 1), (1, 5)), ((2, 1, 4), (3, 1)),
          ((1000,), (1000,)), ((4, 250), (250,))]  # fmt: skip


def _apart(found: Tensor, wanted: Tensor, *, whole: bool) -> float:
    """The greatest distance in ulps, of each number or of the greatest; NaN and infinity alike."""
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    if bool((same | (found.isfinite() & wanted.isfinite())).logical_not().any()):
        return INF
    size = wanted.nan_to_num(0.0, 0.0, 0.0).abs()
    unit = spacing(size.max().expand_as(size) if whole and size.numel() else size).double()
    apart = torch.where(same, 0.0, (found.double() - wanted.double()).abs() / unit)
    return float(apart.max()) if apart.numel() else 0.0


def _check(both: Both, *arguments: Tensor, bound: float, whole: bool = True) -> None:
    for what, _, ours, theirs, _ in both.compare(*arguments):
        assert _apart(ours, theirs, whole=whole) <= bound, (what, ours, theirs)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_numbers_is_torchs_for_every_pair(name, dtype):
    a, b = (part.to(dtype) for part in pairs())
    _check(Both([BINARY[name]], [a.shape, b.shape]), a, b, bound=5.0, whole=False)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_functions_of_two_numbers_broadcast_at_every_length(shapes):
    functions = [torch.add, torch.mul, torch.div, torch.maximum, torch.logaddexp, torch.where]
    functions[-1] = lambda a, b: torch.where(a > b, a * b, b.exp())
    _check(Both(functions, shapes), *(draw(*s, seed=k) for k, s in enumerate(shapes)), bound=8.0)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("name", OF_ROWS)
def test_a_reduction_is_torchs_for_rows_with_ties_infinities_and_nan(name, dtype):
    rows = ROWS[CHOSEN.get(name, slice(None))]
    bound = BOUNDS.get(name, 12.0)
    for row in rows.to(dtype):
        twice = row.expand(2, 7).contiguous()
        _check(Both([OF_ROWS[name]], [(2, 7)]), twice, bound=bound)


# torch's own vectors give NaN where the quotient is beyond the range of numbers.
REMAINDERS = {
    "remainder": (torch.remainder, np.remainder),
    "fmod": (torch.fmod, np.fmod),
    "floor of a quotient": (lambda a, b: torch.div(a, b, rounding_mode="floor"), np.floor_divide),
    "whole part of a quotient": (
        lambda a, b: torch.div(a, b, rounding_mode="trunc"), lambda a, b: np.trunc(a / b)
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders_are_exact_for_every_pair(name, dtype):
    function, exact = REMAINDERS[name]
    more = torch.tensor([0.7, 7.0, -7.0, 1e16, 123456.789, -0.3], dtype=F64)
    x = torch.cat([pairs()[1][:11], more]).to(dtype)
    a, b = (part.reshape(-1) for part in torch.meshgrid(x, x, indexing="ij"))
    (_, _, ours, _, _), *slopes = Both([function], [a.shape, b.shape]).compare(a, b)
    with np.errstate(all="ignore"):
        wanted = torch.from_numpy(exact(a.numpy(), b.numpy()))
    assert _apart(ours, wanted, whole=False) == 0.0
    for _, _, slope, theirs, _ in slopes:
        seen = torch.cat([function(a, b), a]).isnan() == torch.cat([wanted, a]).isnan()
        assert _apart(slope[seen], theirs[seen], whole=False) <= 1.0


def test_remainders_of_whole_numbers_are_exact_beyond_the_digits_of_real_ones():
    def function(a: Tensor) -> Tensor:
        n = (a * 1.0).long() * (2**31 - 1) + 7
        rests = [n.remainder(1000), n.remainder(-1000), torch.fmod(n, 1000), n % WHOLE]
        return torch.stack(rests).to(a.dtype)

    for dtype in (F64, F32):
        a = torch.tensor([5e6, -5e6, 3.0, 0.0, -1.0], dtype=dtype)
        _check(Both([function], [(5,)]), a, bound=0.0, whole=False)


def test_a_remainder_by_whole_numbers_that_may_be_zero_is_refused():
    def function(a: Tensor) -> Tensor:
        return WHOLE.remainder(a.long()).to(a.dtype)

    with pytest.raises(Refusal, match="by a whole number that may be 0 or -1"):
        Both([function], [(5,)]).compare(torch.ones(5, dtype=F64))


@pytest.mark.parametrize("shape", [(2, 4), (2, 64), (65, 3), (1000, 2)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
def test_log_softmax_keeps_its_digits_far_from_zero(dtype, axis, shape):
    """Moved by a power of two it is the same to the last digit: nothing is added to the shift."""
    base = (64.0 * draw(*shape)).round().to(dtype) / 16.0
    moved = base + 2.0**12
    wanted = base.double().log_softmax(axis).reshape(-1)
    (_, _, near, _, _), *_ = Both([lambda a: a.log_softmax(axis)], [shape]).compare(base)
    (_, _, far, _, _), (_, _, slope, _, _) = Both([lambda a: a.log_softmax(axis)], [shape]).compare(
        moved
    )
    assert _apart(near, wanted.to(dtype), whole=True) <= 4.0
    assert _apart(far, wanted.to(dtype), whole=True) <= 4.0
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("number", [0.7, 0.1, -1e10 / 3, 1e-300])
def test_equal_numbers_have_no_spread_at_all(number, dtype):
    """The slope of a deviation of zero is zero, that of a rounding error would be one."""
    rows = torch.full((4, 7), number, dtype=dtype)
    both = Both([lambda a: a.std(1), lambda a: a.var(0), lambda a: a.std()], [(4, 7)])
    for _, _, ours, _, _ in both.compare(rows):
        assert torch.equal(ours, torch.zeros_like(ours))


def test_products_of_nothing_are_zeros():
    def function(a: Tensor) -> Tensor:
        none, thin = a[:0], a[:, :0]
        return torch.cat([
            (none @ a.mT).reshape(-1), (thin @ thin.mT + a[:, :1]).reshape(-1),
            (none @ a[0]).reshape(-1), (thin @ thin[0]).reshape(-1), (thin[0] @ thin[1])[None],
            (torch.bmm(thin[None], thin.mT[None])[0] * 2.0 + a[:, :1]).reshape(-1),
            torch.addmm(a[:, :1], thin, thin.mT, beta=0.5).reshape(-1), none.logsumexp(1),
            none.amax(1), none.max(1).values, thin.softmax(0).reshape(-1),
            thin.softmax(1).reshape(-1), none.log_softmax(0).reshape(-1), thin.logsumexp(1),
        ])  # fmt: skip

    _check(Both([function], [(5, 4)]), draw(5, 4), bound=2.0)


def test_a_base_that_counts_for_nothing_may_be_nan():
    def function(a: Tensor) -> Tensor:
        base = (a[:, 0] / 0.0 - a[:, 0] / 0.0).detach()
        return torch.addmv(base, a, a[0], beta=0, alpha=0.5)

    _check(Both([function], [(5, 4)]), draw(5, 4), bound=4.0)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["double", "single"])
@pytest.mark.parametrize("name", TABLE)
def test_an_operation_on_a_table_is_torchs(name, dtype):
    _check(Both([TABLE[name]], [(5, 4)]), draw(5, 4).to(dtype), bound=30.0)


def _used(function: object, *arguments: Tensor) -> set[str]:
    both = Both([function], [a.shape for a in arguments])
    found = set()
    for node in both.graph(torch.cat([a.reshape(-1) for a in arguments])).nodes:
        name, overload = node.op._schema.name, node.op._schema.overload_name or "default"
        found.add(next((key for key in (f"{name}.{overload}", name) if key in RULES), name))
    return found


# torch takes these apart before they can be recorded.
TAKEN_APART = {"aten::max.other", "aten::min.other", "aten::reshape", "aten::special_ndtr"}


def test_every_rule_has_a_case():
    x = edges(F64)
    used = set().union(*(_used(case.function, x) for case in FUNCTIONS.values()))
    used |= set().union(*(_used(f, *pairs()) for f in BINARY.values()))
    used |= set().union(*(_used(f, *pairs()) for f, _ in REMAINDERS.values()))
    used |= set().union(*(_used(f, ROWS[:2]) for f in OF_ROWS.values()))
    used |= set().union(*(_used(f, draw(5, 4)) for f in TABLE.values()))
    assert set(RULES) - used == TAKEN_APART
