"""Entries of tables by index: the short way for rows against classes equals the plain one."""

import pytest
import torch

from quivers_nb.kernels import DENSITIES
from quivers_nb.kernels.families.numeric import log_pick, pick

SHAPES = [
    ((), ()), ((3,), ()), ((), (5,)), ((3, 1), (5,)), ((3, 1), (1, 5)), ((1, 5), (3, 1)),
    ((3, 1, 2, 1), (5, 1, 4)), ((5,), (5,)), ((3, 5), (5,)), ((3, 1), (3, 5)), ((1,), (1,)),
    ((2, 1, 1), (3, 4)), ((2, 1, 1, 1), (3, 1, 4)),
]  # fmt: skip


def plain(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    shape = torch.broadcast_shapes(table.shape[:-1], index.shape)
    rows = table.expand(*shape, table.shape[-1])
    return rows.gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)


@pytest.mark.parametrize(("own", "other"), SHAPES)
def test_picking_is_a_gather_from_the_spread_table(
    own: tuple[int, ...], other: tuple[int, ...]
) -> None:
    table = torch.rand(*own, 7, dtype=torch.float64).requires_grad_()
    index = torch.randint(0, 7, other)
    for short, long in (
        (pick(table, index), plain(table, index)),
        (log_pick(table, index), (plain(table / table.sum(-1, keepdim=True), index)).log()),
    ):
        torch.testing.assert_close(short, long)
        weights = torch.rand(long.shape, dtype=torch.float64)
        (a,) = torch.autograd.grad((weights * short).sum(), table, retain_graph=True)
        (b,) = torch.autograd.grad((weights * long).sum(), table, retain_graph=True)
        torch.testing.assert_close(a, b)


def test_entries_of_probability_zero_leave_gradients_finite() -> None:
    """Zeros that are not picked: their slope of the logarithm is infinite."""
    probs = torch.tensor([[0.0, 0.4, 0.6], [0.5, 0.5, 0.0]], dtype=torch.float64)
    table = probs[:, None].clone().requires_grad_()
    y = torch.tensor([1, 1, 1, 1, 1, 1, 1])
    found = DENSITIES["CategoricalProbs"].log_prob(y, table)
    torch.testing.assert_close(found, probs[:, 1].log()[:, None].expand(2, 7))
    (slope,) = torch.autograd.grad(found.sum(), table)
    assert bool(slope.isfinite().all())
    at_zero = DENSITIES["CategoricalProbs"].log_prob(torch.zeros(9), table)
    assert bool((at_zero[0] == -torch.inf).all())
    outside = DENSITIES["CategoricalProbs"].log_prob(torch.full((9,), 3), table)
    assert bool((outside == -torch.inf).all())
