"""Rows of weights as log probabilities: bounds where a value is given, none in sums (5.10)."""

import numpy as np
import pytest
import torch

from quivers_nb.kernels.finite import EPS, LEAST, KnownTable, drawable, given_log_prob, log_rows

W = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.0, 4.0]], dtype=torch.float64)


def test_rows_are_divided_by_their_sums() -> None:
    found = log_rows(W).exp()
    wanted = np.array([[0.25, 0.75, LEAST], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_given_value_has_at_least_a_little_probability() -> None:
    logs = log_rows(W)
    y = torch.tensor([[0, 1], [2, 2]])
    found = given_log_prob(y, logs).exp()
    np.testing.assert_allclose(found, [[0.25, 0.25], [EPS, 0.5]], rtol=1e-12)
    assert given_log_prob(torch.tensor([3, -1]), logs).tolist() == [-torch.inf, -torch.inf]


def test_what_has_no_weight_is_not_drawn_and_what_has_is_left_alone() -> None:
    logs = log_rows(W)
    found = drawable(logs)
    assert found[0, 2] == -torch.inf
    assert torch.equal(found[1], logs[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_known_table_is_made_once_per_dtype_and_is_finite(dtype: torch.dtype) -> None:
    table = KnownTable(W)
    found = table.log_rows(dtype, torch.device("cpu"))
    assert found.dtype is dtype
    assert bool(found.isfinite().all())
    assert table.log_rows(dtype, torch.device("cpu")) is found
    torch.testing.assert_close(found, log_rows(W).to(dtype))
    assert not bool(drawable(found)[0, 2].isfinite())


def test_a_sum_over_outcomes_without_weight_keeps_its_gradient() -> None:
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    torch.logsumexp(log_rows(W) + shift, -1).sum().backward()
    torch.testing.assert_close(shift.grad, W[0] / 4 + W[1] / 8)
