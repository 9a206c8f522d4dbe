"""Tables given as data: what is taken, what is refused, and which are Markov tables."""

import numpy as np
import pandas as pd
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.spaces.table import TOLERANCE
from quivers_nb.spaces.table_data import as_tables, described

ROWS = [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize(
    "value",
    [ROWS, np.array(ROWS, dtype=np.float32), torch.tensor(ROWS, requires_grad=True),
     pd.DataFrame(ROWS)],
    ids=["list", "array", "tensor", "frame"],
)  # fmt: skip
def test_whatever_holds_numbers_is_a_table(value: object) -> None:
    found = as_tables({"w": value})["w"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, ROWS)


def test_a_table_is_a_copy() -> None:
    value = np.array(ROWS)
    found = as_tables({"w": value})["w"]
    value[0, 0] = 7.0
    assert found[0, 0] == 0.5


def test_whole_numbers_and_truth_values_are_weights() -> None:
    assert as_tables({"w": [[1, 2]]})["w"].tolist() == [[1.0, 2.0]]
    assert as_tables({"w": [[True, False]]})["w"].tolist() == [[1.0, 0.0]]


def test_rows_that_miss_one_by_more_than_the_tolerance_are_told() -> None:
    almost = np.array(ROWS)
    almost[1, 1] += 0.9 * TOLERANCE
    assert described(almost).uneven is None
    almost[1, 1] += 0.2 * TOLERANCE
    row, total = described(almost).uneven or (0, 0.0)
    assert (row, total) == (1, pytest.approx(1.0 + 1.1 * TOLERANCE))


def test_rows_of_more_axes_are_summed_over_all_of_them() -> None:
    cube = np.full((2, 2, 2), 0.25)
    assert described(cube).uneven is None
    assert described(cube).shape == (2, 2, 2)
    assert described(np.float64(2.0) * np.ones(())).uneven is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[0.5, -0.5]], r"at \[0, 1\] is -0.5, which is negative"),
        ([[0.5, np.nan]], "is not a number"),
        ([[np.inf, 1.0]], "is infinite"),
        ([[1.0, 1.0], [0.0, 0.0]], "row 1 of data `w` is 0 throughout"),
        ([1.0, 0.0], "row 1 of data `w` is 0 throughout"),
        ([["a"]], "entries of type <U1"),
        ([[1.0], [1.0, 2.0]], "ragged"),
        ([[None]], "entries of type object"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        as_tables({"w": value})
