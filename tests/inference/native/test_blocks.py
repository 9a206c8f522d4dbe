"""Rows in blocks: the same numbers as autograd, and only where nobody else needs the rows."""

import pytest
import torch
import torch.nn.functional as F

from quivers_nb.inference.native import blocks

DOUBLE = torch.float64
COLUMNS = 3


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1)  # so that a block has LEAST_ROWS rows


def _random(*shape, seed=0, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=DOUBLE).to(dtype)


def logistic(rows, dtype):
    x, y = _random(rows, COLUMNS, dtype=dtype), (_random(rows, seed=1) > 0).to(dtype)

    def density(q):
        logits = q[0] + x @ q[1:]
        return (y * logits - F.softplus(logits)).sum() - 0.5 * (q * q).sum()

    return density, 1 + COLUMNS


def location_and_scale(rows, dtype):
    """Two products with one matrix lead to the rows, and two sums follow."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        mean, log_sd = x @ q[:COLUMNS], 0.3 * (x @ q[COLUMNS:])
        return (-0.5 * ((y - mean) * (-log_sd).exp()) ** 2 - log_sd).sum()

    return density, 2 * COLUMNS


def offsets(rows, dtype):
    """Rows have parameters of their own beside the product."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        r = y - q[:rows] - x @ q[rows:]
        return -0.5 * (r * r).sum() - 0.5 * (q * q).sum()

    return density, rows + COLUMNS


def a_weighted_sum(rows, dtype):
    """A product with a matrix of one row follows too, and makes a single number."""
    x, z = _random(rows, COLUMNS, dtype=dtype), _random(1, rows, seed=1, dtype=dtype)

    def density(q):
        r = torch.tanh(x @ q)
        return (z @ r[:, None]).sum() - 0.5 * (r * r).sum()

    return density, COLUMNS


def read_again(rows, dtype):
    """The rows are also read outside of the blocks, afterwards."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        eta = x @ q
        r = y - eta
        return -0.5 * (r * r).sum() + torch.cumsum(eta.detach(), 0)[rows // 2]

    return density, COLUMNS


BLOCKED = [logistic, location_and_scale, offsets, a_weighted_sum, read_again]


def running_sum(rows, dtype):
    """A row needs those before it."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        r = y - 0.1 * torch.cumsum(x @ q, 0)
        return -0.5 * (r * r).sum()

    return density, COLUMNS


def turned_around(rows, dtype):
    """A row needs another one."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        eta = x @ q
        r = y - eta * eta.flip(0)
        return -0.5 * (r * r).sum()

    return density, COLUMNS


def of_all_rows(rows, dtype):
    """A row needs a sum over all of them."""
    x, y = _random(rows, COLUMNS, dtype=dtype), _random(rows, seed=1, dtype=dtype)

    def density(q):
        eta = x @ q
        r = y - eta - eta.mean() ** 2
        return -0.5 * (r * r).sum()

    return density, COLUMNS


@pytest.mark.parametrize("rows", [65, 128, 300])
@pytest.mark.parametrize("model", [*BLOCKED, running_sum, turned_around, of_all_rows])
def test_blocks_give_the_numbers_of_autograd(model, rows, compiled, reference, error):
    density, dim = model(rows, DOUBLE)
    q = 0.3 * _random(dim, seed=2)
    native = compiled(density, q)
    for point in (q, -2.0 * q):
        pairs = zip(native.value_and_grad(point), reference(density, point), strict=True)
        assert all(error(ours, theirs) < 1e-12 for ours, theirs in pairs)


@pytest.mark.parametrize("model", BLOCKED)
def test_single_precision_too(model, compiled, reference, error):
    density, dim = model(300, torch.float32)
    q = 0.3 * _random(dim, seed=2, dtype=torch.float32)
    native = compiled(density, q)
    pairs = zip(native.value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-4 for ours, theirs in pairs)


def _is_blocked(native):
    return "row += " in native.source


@pytest.mark.parametrize("model", BLOCKED)
def test_a_regression_is_blocked_and_its_matrix_is_there_once(model, compiled):
    density, dim = model(300, DOUBLE)
    native = compiled(density, 0.3 * _random(dim, seed=2))
    assert _is_blocked(native)
    assert sum(array.size == 300 * COLUMNS for array in native.data) == 1


@pytest.mark.parametrize("model", [logistic, location_and_scale])
def test_what_is_made_for_a_row_has_memory_for_one_block(model, compiled):
    few, many = (
        compiled(density, 0.3 * _random(dim, seed=2))
        for density, dim in (model(rows, DOUBLE) for rows in (130, 1300))
    )
    assert few.scratch == many.scratch


def test_rows_that_are_read_outside_are_all_kept(compiled):
    density, dim = read_again(1300, DOUBLE)
    assert compiled(density, 0.3 * _random(dim, seed=2)).scratch > 2 * 1300  # eta and its sums


@pytest.mark.parametrize("model", [running_sum, turned_around])
def test_rows_that_need_others_are_not_blocked(model, compiled):
    density, dim = model(300, DOUBLE)
    assert not _is_blocked(compiled(density, 0.3 * _random(dim, seed=2)))


def test_what_fits_into_a_block_is_left_alone(compiled):
    density, dim = logistic(64, DOUBLE)
    assert not _is_blocked(compiled(density, 0.3 * _random(dim, seed=2)))
