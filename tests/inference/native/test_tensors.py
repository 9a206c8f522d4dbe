"""Views, gathers, reductions, products and factorizations agree with autograd."""

import pytest
import torch
from torch import Tensor

from quivers_nb.inference.native.program import Refusal


def _data(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


VIEWS = {
    "select and slice": lambda a: a[1] * a[:, 1:4:2].sum() + a[-1] * a[0, 2],
    "nested slices": lambda a: a[1:][:, 1:3][0] * a[0, :2],
    "transposes": lambda a: a.t().reshape(2, 10) * a.t().contiguous().view(2, 10),
    "reshape of computed": lambda a: (a.exp() * 2).reshape(5, 4) + (a * a).flatten().view(5, 4),
    "permute of three": lambda a: a.view(2, 2, 5).permute(2, 0, 1).exp().reshape(5, 4),
    "expand": lambda a: a[:, :1].expand(4, 7).exp() + a[0, 0].expand(4, 7),
    "squeeze": lambda a: a.unsqueeze(1).exp().squeeze(1) * a[None].squeeze(0),
    "flip": lambda a: a.flip(0, 1) * a + a.exp().flip(1),
    "diagonal": lambda a: a.diagonal() * a.diagonal(1)[:4] + torch.diagonal(a.exp(), -1).sum(),
    "tril and triu": lambda a: torch.tril(a.exp()) + torch.triu(a, 1) * 2 + torch.tril(a, -1),
    "cat and stack": lambda a: torch.cat([a, a.exp()[:2], a[:1] * 2]).sum(0)
    + torch.stack([a[0], a[1] * a[2]], 1).prod(1),
    "split and unbind": lambda a: sum((k + 1) * p for k, p in enumerate(a.unbind(0)))
    * a.split(2)[1].prod(0) + a.chunk(2, 1)[0].sum(),
    "repeat": lambda a: a.exp().repeat(2, 3) * 1.5 + a[0].repeat(8, 3),
    "pad": lambda a: torch.nn.functional.pad(a.exp(), (1, 2, 0, 1)).cumsum(0),
    "pad by ones": lambda a: torch.nn.functional.pad(a.exp(), (1, 0), value=1.5).prod(1),
    "cut by negative pads": lambda a: torch.nn.functional.pad(a, (-1, 2, 1, -2)) * 2.0,
    "roll": lambda a: a.roll(1, 0) * a + a.exp().roll(-2) + a.roll((1, 2), (0, 1)),
    "windows": lambda a: a.unfold(1, 3, 1).prod(-1) + a.exp().unfold(0, 2, 2).sum(),
    "diagonal matrices": lambda a: torch.diag_embed(a.exp()).cumsum(-1) + torch.diag(a[0]),
    "in-place writes": lambda a: torch.zeros(4, 5, dtype=a.dtype).add_(a).mul_(a),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views_and_their_backwards_agree_with_autograd(agrees, name):
    agrees(VIEWS[name], [(4, 5)])


ROWS = torch.tensor([2, 0, -1, 2, 1, 0])
GRID = torch.tensor([[0, 2, 1, 3], [3, 3, 0, 1]])
MASK = torch.tensor([True, False, True, True])
GATHERS = {
    "index": lambda a: a[ROWS] * a[ROWS, 1:2],
    "index of computed": lambda a: (a.exp() * 2 + 1)[ROWS],
    "two indices": lambda a: a[ROWS, torch.tensor([0, 1, 2, 4, -1, 2])],
    "index behind a slice": lambda a: a[:, ROWS[:4]].exp(),
    "grid of indices": lambda a: a[GRID] * 2,
    "equal steps": lambda a: (
        a[torch.tensor([0, 2]), :2] * a[torch.arange(2), torch.tensor([[4], [1]])]
    ),
    "steps back": lambda a: (
        a[:, torch.tensor([3, 2, 1, 0])].exp() * a[torch.tensor([1, 1, 1])][:1, :4]
    ),
    "added in steps": lambda a: a.index_put(
        (torch.arange(0, 4, 2),), a[:2].exp(), accumulate=True
    ).index_add(1, torch.tensor([2, 2, 2]), a[:, :3]),
    "mask": lambda a: a[MASK] * a[MASK].sum(),
    "split indices": lambda a: a.view(4, 5, 1)[ROWS[:3], :, torch.zeros(3, dtype=torch.int64)],
    "index_select": lambda a: a.index_select(1, ROWS.clamp_min(0)).exp(),
    "gather": lambda a: a.exp().gather(0, GRID) + a.gather(1, GRID.t() % 5)[:2, :2].sum(),
    "take along": lambda a: torch.take_along_dim(a, GRID.t()[:, :1], 1),
    "scatter_add": lambda a: torch.zeros(4, 5, dtype=a.dtype).scatter_add(0, GRID, (a * a)[:2, :4]),
    "scatter": lambda a: a.scatter(1, torch.tensor([[0], [3], [1], [2]]), a[:, :1] * 3),
    "index_add": lambda a: a.index_add(0, torch.tensor([1, 1, 3]), a[:3].exp()),
    "index_put": lambda a: a.index_put((torch.tensor([0, 2]),), a[:2] * a[2:]),
    "accumulate": lambda a: a.index_put((ROWS[:2],), a[:2].exp(), accumulate=True),
    "embedding": lambda a: torch.nn.functional.embedding(GRID, a) ** 2,
}


@pytest.mark.parametrize("name", GATHERS)
def test_gathers_and_scatters_agree_with_autograd(agrees, name):
    agrees(GATHERS[name], [(4, 5)])


REDUCTIONS = {
    "sums": lambda a: a.exp().sum(0) * a.sum((0, 2), keepdim=True) + a.sum(-1, keepdim=True),
    "sum of all": lambda a: a.sum() * a[0] + (a > 0).sum(),
    "sum of broadcast": lambda a: a[:1].expand(4, 3, 5).sum((0, 1)) * a.sum(),
    "means": lambda a: a.mean((1, 2)) * a.mean() + a.mean(0).sum(),
    "products": lambda a: a.prod() + a.prod(1).exp(),
    "extremes": lambda a: a.amax((0, 2)) * a.amin(1).sum() + a.max() - a.min(),
    "logsumexp": lambda a: a.logsumexp(1) + a.logsumexp((0, 2)).sum() + a.exp().logsumexp(0).sum(),
    "softmax": lambda a: a.softmax(-1) * a.log_softmax(1) + a.exp().log_softmax(0),
    "norms": lambda a: a.norm() + torch.linalg.vector_norm(a, dim=1).sum() + a.var((0, 1)).sum(),
    "deviations": lambda a: a.std(0) + a.var() + a.var(1, correction=0).sum(),
    "cumulative": lambda a: a.cumsum(1) * a.exp().cumsum(-1) + a.logcumsumexp(0),
    "running product": lambda a: a.cumprod(2),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_agree_with_autograd(agrees, name):
    agrees(REDUCTIONS[name], [(4, 3, 5)])


@pytest.mark.parametrize("shape", [(1,), (1, 1), (7,), (1, 6), (6, 1), (2, 1, 3)])
def test_reductions_of_every_shape_agree_with_autograd(agrees, shape):
    agrees(lambda a: a.exp().sum(0) * a.logsumexp(-1).sum() + a.softmax(0).amax(), [shape])


def test_a_scalar_alone_agrees_with_autograd(agrees):
    agrees(lambda a, b: a * b.exp() + a.sum() + a.softmax(0) + b[None].cumsum(0)[0], [(), ()])


TALL, SQUARE = _data(40, 3), _data(6, 6)
PRODUCTS = {
    "constant matrix by vector": (lambda a: (TALL @ a).exp(), [(3,)]),
    "wide constant by vector": (lambda a: TALL.t() @ a, [(40,)]),
    "vector by constant": (lambda a: a @ TALL, [(40,)]),
    "matrix by vector": (lambda a, b: a @ b, [(5, 4), (4,)]),
    "dot": (lambda a, b: (a @ b) * a, [(9,), (9,)]),
    "matrix by matrix": (lambda a, b: (a.exp() @ b).exp(), [(5, 4), (4, 3)]),
    "constant by matrix": (lambda a: (TALL @ a).tanh(), [(3, 4)]),
    "transposed": (lambda a, b: a.t() @ b.t() @ a.t(), [(4, 5), (5, 4)]),
    "one column": (lambda a, b: a @ b, [(5, 4), (4, 1)]),
    "one row": (lambda a, b: a @ b, [(1, 4), (4, 6)]),
    "batches": (lambda a, b: a @ b, [(3, 2, 4), (3, 4, 5)]),
    "broadcast batches": (lambda a, b: a @ b, [(3, 2, 4), (4, 5)]),
    "long inner axis": (lambda a: a @ a.t(), [(4, 33)]),
    "affine": (lambda a, b, c: torch.addmm(c, a, b, beta=0.5, alpha=2.0), [(4, 3), (3, 5), (5,)]),
    "linear": (lambda a, b: torch.nn.functional.linear(TALL, a, b).sin(), [(2, 3), (2,)]),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), [(3, 5), (2, 5)]),
    "outer": (lambda a, b: torch.outer(a, b.exp()), [(3,), (4,)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_agree_with_autograd(agrees, name):
    agrees(*PRODUCTS[name])


def test_layer_norms_agree_with_autograd(agrees):
    norm = torch.nn.functional.layer_norm
    agrees(lambda a: norm(a, (5,)).exp() + norm(a, (3, 5)), [(2, 3, 5)])
    agrees(lambda a, w, b: norm(a, (5,), w, b) * a, [(2, 3, 5), (5,), (5,)])


def test_attention_agrees_with_autograd(agrees):
    attend = torch.nn.functional.scaled_dot_product_attention
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    agrees(lambda q, k, x: attend(q, k, x) + attend(q, k, x, mask), [(2, 4, 3)] * 3)


def test_triangular_systems_agree_with_autograd(agrees):
    def solve(a: Tensor, b: Tensor) -> Tensor:
        low = torch.tril(a) + 4.0 * torch.eye(5, dtype=a.dtype)
        left = torch.linalg.solve_triangular(low, b, upper=False)
        right = torch.linalg.solve_triangular(low.t(), b.t(), upper=True, left=False)
        return left + right.t()

    agrees(solve, [(5, 5), (5, 3)])


def test_cholesky_factors_agree_with_autograd(agrees):
    def factor(a: Tensor) -> Tensor:
        matrix = a @ a.t() + 3.0 * torch.eye(6, dtype=a.dtype)
        return torch.linalg.cholesky(matrix) + torch.linalg.cholesky_ex(matrix, upper=True).L

    agrees(factor, [(6, 6)])


def test_a_matrix_without_a_factor_gives_nan(compiled):
    def density(q: Tensor) -> Tensor:
        return torch.linalg.cholesky(torch.diag(q)).sum()

    native = compiled(density, torch.ones(3, dtype=torch.float64))
    value, _ = native.value_and_grad(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    assert value.isnan()


NOTHING = torch.zeros(0, dtype=torch.float64)
NOWHERE = torch.zeros(0, dtype=torch.int64)


def test_empty_tensors_agree_with_autograd(agrees):
    def mixed(a: Tensor) -> Tensor:
        sums = a[2:2].sum() + (a[0] * NOTHING).sum() + a[NOWHERE].exp().sum()
        joined = torch.cat([a[:0], a.exp(), NOTHING]) * a[:0].prod()
        spread = torch.zeros_like(a).index_add(0, NOWHERE, a[:0])
        return joined + sums + spread + a[:0].cumsum(0).sum() + torch.stack([a[:0]] * 2).sum()

    agrees(mixed, [(4,)])


def test_an_operation_without_a_rule_is_refused_by_name(compiled):
    q = torch.rand(4, dtype=torch.float64)
    with pytest.raises(Refusal, match=r"aten\.mode"):
        compiled(lambda q: (torch.mode(q)[0] * q).sum(), q)


def test_a_product_too_large_for_plain_loops_is_refused(compiled):
    q = torch.rand(300 * 300, dtype=torch.float64)
    with pytest.raises(Refusal, match="300 x 300 by 300 x 300"):
        compiled(lambda q: (q.view(300, 300) @ q.view(300, 300)).sum(), q)
