"""Replayed graphs: operations that are exchanged for faster ones give the same numbers."""

import pytest
import torch

from quivers_nb.inference.graph import aten, record
from quivers_nb.inference.replay import replay, vectorized


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_of_a_lower_clamp_is_the_same_at_below_and_above_its_edge(dtype):
    edge = 0.1

    def slope(x):
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad((3.0 * x.clamp(min=edge)).sum(), x)

    at = torch.tensor(edge, dtype=dtype)
    near = [torch.nextafter(at, at + s) for s in (-1.0, 1.0)]
    x = torch.stack([at, *near, at - 1.0, at + 1.0])
    graph = record(lambda q: [_slope_of_clamp(q, edge)], x)
    operations = [node.op for node in vectorized(graph).nodes]
    assert aten.threshold_backward.default in operations
    assert aten.where.self not in operations
    (got,) = replay(graph)(x)
    assert got.tolist() == [3.0, 0.0, 3.0, 0.0, 3.0]
    assert torch.equal(got, slope(x)[0])


def _slope_of_clamp(q, edge):
    """What autograd runs for the slope of a clamp."""
    return torch.where(q >= edge, torch.full_like(q, 3.0) * (q / q), torch.zeros((), dtype=q.dtype))


def test_a_mask_that_is_read_elsewhere_is_kept():
    def both(q):
        mask = q >= 0.5
        return [torch.where(mask, q * 2.0, torch.zeros(())), mask]

    x = torch.tensor([0.25, 0.5, 0.75])
    got, mask = replay(record(both, x))(x)
    assert got.tolist() == [0.0, 1.0, 1.5]
    assert mask.tolist() == [False, True, True]


def test_a_selection_of_something_else_than_zero_stays():
    x = torch.tensor([0.25, 0.5, 0.75])
    graph = record(lambda q: [torch.where(q >= 0.5, q * 2.0, torch.ones(()))], x)
    assert [n.op for n in vectorized(graph).nodes] == [n.op for n in graph.nodes]
    assert replay(graph)(x)[0].tolist() == [1.0, 1.0, 1.5]
