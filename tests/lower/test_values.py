"""Values: own axes align, gather and join as if every chain and row were computed alone (R11)."""

import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.values import AxesClash, Value, gather, join_names, pointwise

STACK, ROWS = 3, 2


@st.composite
def values(draw: st.DrawFn, own: tuple[int, ...], *, integer_below: int | None = None) -> Value:
    """A value with the given own shape that may or may not carry the stack and the rows."""
    stacked, rows = draw(st.booleans()), draw(st.booleans())
    shape = (STACK,) * stacked + (ROWS,) * rows + own
    if not stacked and rows:
        shape = (ROWS, *own)
    seed = draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    if integer_below is None:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        tensor = torch.randint(0, integer_below, shape, generator=generator)
    return Value(tensor, (None,) * len(own), rows, 1)


def alone(value: Value, chain: int, row: int) -> np.ndarray:
    """The own tensor of one chain and one row."""
    tensor = value.tensor
    if value.lead:
        tensor = tensor[chain]
    if value.rows:
        tensor = tensor[row]
    return tensor.numpy()


def shapes(rank: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.sampled_from((1, 4, 5)[k : k + 1]) for k in range(rank)])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_arithmetic_is_that_of_every_chain_and_row_alone(data: st.DataObject) -> None:
    full = (2, 3, 4)
    ranks = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    left = data.draw(values(full[3 - ranks[0] :]))
    right = data.draw(values(full[3 - ranks[1] :]))
    result = pointwise(operator.add, left, right)
    assert isinstance(result, Value)
    for chain in range(STACK):
        for row in range(ROWS):
            wanted = alone(left, chain, row) + alone(right, chain, row)
            np.testing.assert_allclose(alone(result, chain, row), wanted)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_gather_is_that_of_every_chain_and_row_alone(data: st.DataObject) -> None:
    rest = data.draw(st.sampled_from([(), (3,)]))
    count = data.draw(st.integers(1, 2))
    base = data.draw(values((4, 5)[:count] + rest))
    index_shape = data.draw(st.sampled_from([(), (6,), (2, 3)]))
    indices = [data.draw(values(index_shape, integer_below=(4, 5)[k])) for k in range(count)]
    result = gather(base, indices)
    for chain in range(STACK):
        for row in range(ROWS):
            picks = tuple(alone(index, chain, row) for index in indices)
            wanted = alone(base, chain, row)[picks]
            np.testing.assert_array_equal(alone(result, chain, row), wanted)


def test_a_gather_with_literals_selects() -> None:
    base = Value(torch.arange(12.0).reshape(3, 4), ("A", "B"), rows=False, batch_rank=0)
    picked = gather(base, [2, 1])
    assert picked.tensor.item() == 9.0
    assert picked.names == ()
    assert gather(base, [1]).names == ("B",)


def test_indexing_more_axes_than_there_are_names_the_number() -> None:
    base = Value(torch.zeros(2), (), rows=True, batch_rank=1)
    with pytest.raises(UserError, match="one number per row"):
        gather(base, [0])


def test_names_join_from_the_right_and_differing_ones_clash() -> None:
    assert join_names([("A", "B"), (None,)]) == ("A", "B")
    assert join_names([(None,), ("A", None)]) == ("A", None)
    with pytest.raises(AxesClash, match="factor i : B, j : C in"):
        join_names([("A", "B"), ("C",)])


def test_own_shapes_that_do_not_align_are_named() -> None:
    left = Value(torch.zeros(3), (None,), rows=False, batch_rank=0)
    right = Value(torch.zeros(4), (None,), rows=False, batch_rank=0)
    with pytest.raises(AxesClash, match=r"\(3,\) and \(4,\)"):
        pointwise(operator.add, left, right)


def test_a_batch_axis_never_aligns_with_an_own_axis_of_equal_length() -> None:
    rows = Value(torch.tensor([1.0, 2.0]), (), rows=True, batch_rank=1)
    own = Value(torch.tensor([10.0, 20.0]), ("A",), rows=False, batch_rank=1)
    total = pointwise(operator.add, rows, own)
    assert isinstance(total, Value)
    assert total.tensor.tolist() == [[11.0, 21.0], [12.0, 22.0]]


def test_a_unit_axis_is_read_as_a_scalar() -> None:
    unit = Value(torch.tensor([[1.0], [2.0]]), (None,), rows=True, batch_rank=1, unit=True)
    own = Value(torch.tensor([10.0, 20.0, 30.0]), ("A",), rows=False, batch_rank=1)
    total = pointwise(operator.add, unit, own)
    assert isinstance(total, Value)
    assert total.tensor.shape == (2, 3)


def binder(size: int, behind: int, *, span: bool = True) -> Value:
    """0 … size - 1 on a stack axis with ``behind`` others after it, as `factor` binds it."""
    steps = torch.arange(size).reshape((size, *((1,) * behind)))
    return Value(steps, (), rows=False, batch_rank=1, span=span)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_gather_by_whole_binders_is_that_by_any_index(data: st.DataObject) -> None:
    """They move axes and gather nothing, which must not show; shorter binders do gather."""
    base = data.draw(values((3, 4, 5)))
    count = data.draw(st.integers(1, 3))
    behind = data.draw(st.permutations([1, 2, 3]))[:count]
    sizes = [data.draw(st.sampled_from([size, size, size - 1])) for size in (3, 4, 5)[:count]]
    pairs = list(zip(sizes, behind, strict=True))
    moved = gather(base, [binder(n, k) for n, k in pairs])
    picked = gather(base, [binder(n, k, span=False) for n, k in pairs])
    assert moved.names == picked.names
    assert moved.rows == picked.rows
    assert moved.tensor.shape == picked.tensor.shape
    assert torch.equal(moved.tensor, picked.tensor)
    views = moved.tensor.untyped_storage().data_ptr() == base.tensor.untyped_storage().data_ptr()
    assert views or sizes != [3, 4, 5][:count] or count > 1


def test_a_gathered_tensor_remembers_where_it_is_from_and_what_is_made_of_it_does_not() -> None:
    base = Value(torch.randn(2, 4, 3), ("A", None), rows=False, batch_rank=0)
    index = Value(torch.tensor([3, 0, 0, 1, 2]), ("N",), rows=False, batch_rank=0)
    taken = gather(base, [index])
    assert taken.taken is not None
    again = taken.taken.source.index_select(taken.taken.axis, taken.taken.index)
    assert torch.equal(again, taken.tensor)
    assert taken.taken.result is taken.tensor
    made = pointwise(operator.mul, taken, 2.0)
    assert isinstance(made, Value)
    assert made.taken is None
