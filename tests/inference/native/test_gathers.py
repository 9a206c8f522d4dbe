"""Sums over groups: in lanes where rows that follow each other share a group, and the same sums."""

import pytest
import torch

from quivers_nb.inference.native.ops.gathers import LANES

ROWS, GROUPS = 403, 17


def _random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


SORTED = torch.arange(ROWS) * GROUPS // ROWS
SHUFFLED = SORTED[torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))]
FEW = SHUFFLED % 2
ONE_AHEAD_OF_EACH = (torch.arange(ROWS) % 2) * (SORTED + 1) % GROUPS  # every other row in group 0


def by_group(index, dtype=torch.float64):
    """Rows have means by group: their gradient is summed over the rows of each group."""
    y = _random(ROWS, seed=2).to(dtype)

    def density(q):
        r = y - torch.tanh(q)[index]
        return -0.5 * (r * r).sum() - 0.5 * (q * q).sum()

    return density


def of_a_table(index, dtype=torch.float64):
    """Both places of a table are asked for, and it is itself computed."""
    y = _random(2, ROWS, seed=2).to(dtype)
    row = torch.tensor([[0], [1]])

    def density(q):
        table = torch.stack([q.exp(), q * q])
        return -0.5 * ((y - table[row, index]) ** 2).sum()

    return density


def written_twice(index, dtype=torch.float64):
    """One coordinate is also used by itself, and by groups a second time."""
    y = _random(ROWS, seed=2).to(dtype)

    def density(q):
        r = y - q[index] - 0.5 * q.flip(0)[index] - q[3]
        return -0.5 * (r * r).sum()

    return density


INDICES = {"sorted": SORTED, "shuffled": SHUFFLED, "few": FEW, "every other": ONE_AHEAD_OF_EACH}
MODELS = [by_group, of_a_table, written_twice]


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("model", MODELS)
def test_sums_over_groups_are_those_of_autograd(model, index, compiled, reference, error):
    density, q = model(index), 0.5 * _random(GROUPS, seed=3)
    native = compiled(density, q)
    for point in (q, -q):
        pairs = zip(native.value_and_grad(point), reference(density, point), strict=True)
        assert all(error(ours, theirs) < 1e-12 for ours, theirs in pairs)


@pytest.mark.parametrize("model", MODELS)
def test_single_precision_too(model, compiled, reference, error):
    density, q = model(SORTED, torch.float32), 0.5 * _random(GROUPS, seed=3).float()
    pairs = zip(compiled(density, q).value_and_grad(q), reference(density, q), strict=True)
    assert all(error(ours, theirs) < 1e-5 for ours, theirs in pairs)


def test_every_row_is_counted_once(compiled):
    """Sums of whole numbers are exact, in any order: each group is told how many rows it has."""
    density = lambda q: q[SORTED].sum()  # noqa: E731
    _, grad = compiled(density, _random(GROUPS)).value_and_grad(_random(GROUPS))
    assert torch.equal(grad, torch.bincount(SORTED).double())


def _lanes(native):
    return native.source.count(f"& {LANES - 1})")


@pytest.mark.parametrize("model", MODELS)
def test_rows_sorted_by_group_are_summed_in_lanes(model, compiled):
    assert _lanes(compiled(model(SORTED), 0.5 * _random(GROUPS))) > 0


def test_lanes_are_left_out_where_nothing_would_wait(compiled):
    q = 0.5 * _random(GROUPS)
    assert _lanes(compiled(by_group(SHUFFLED), q)) == 0
    assert _lanes(compiled(by_group(ONE_AHEAD_OF_EACH), q)) == 0


def test_lanes_are_left_out_where_groups_are_small(compiled):
    y, index = _random(60), torch.arange(60) // 2
    native = compiled(lambda q: -0.5 * ((y - q[index]) ** 2).sum(), 0.5 * _random(30))
    assert _lanes(native) == 0
