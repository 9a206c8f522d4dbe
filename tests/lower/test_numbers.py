"""Columns of tables and other arrays: what they say of missing rows and of order is heard."""

import sys
from decimal import Decimal
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.lower.numbers import as_numbers, refuse_reordered

CPU = torch.device("cpu")
HOLES = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, True])


class Polars:
    """A column of texts as polars has them (tried with 2.1)."""

    dtype = "String"

    def __init__(self, *texts):
        self.texts = texts

    def __array__(self, dtype=None, copy=None):
        return np.array(self.texts, dtype)

    def to_physical(self): ...


def numbers(value, *, finite=True):
    return as_numbers("y", value, torch.float32, CPU, finite=finite)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2], (1.0, 2.0), np.array([1, 2], np.uint8), torch.tensor([1, 2], dtype=torch.int16),
        pd.Series([1, 2], dtype="Int64"), pd.Series([1.0, 2.0], dtype="Float64"),
        pd.Series([1.0, 2], dtype=object), pd.Series([1, 2], index=[7, 3]),
        np.ma.masked_array([1.0, 2.0], mask=False), torch.tensor([1.0, 2.0], dtype=torch.float64),
        np.array([1.0, 2.0], np.float16), range(1, 3),
    ],
)  # fmt: skip
def test_what_holds_numbers_is_numbers(value):
    found = numbers(value)
    assert found.tolist() == [1.0, 2.0]
    assert found.dtype in (torch.float32, torch.int64)


def test_data_are_read_while_another_thread_imports_masked_arrays(monkeypatch):
    """A module is found before it is whole: fits failed in their last step when that happened."""
    monkeypatch.setitem(sys.modules, "numpy.ma", ModuleType("numpy.ma"))
    assert numbers([1.0, 2.0]).tolist() == [1.0, 2.0]


def test_truth_values_are_zeros_and_ones():
    for value in ([True, False], np.array([True, False]), pd.array([True, False], "boolean")):
        assert numbers(value).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (HOLES, r"`y` holds 2 masked values \(first at \[1\]\): drop those rows"),
        (pd.Series([1, None], dtype="Int64"), r"`y` holds 1 NaN \(first at \[1\]\): drop"),
        (pd.Series([1.0, None], dtype="Float64"), r"`y` holds 1 NaN \(first at \[1\]\): drop"),
        (["1.5", "2"], r"its texts are numbers: convert it with \.astype\(float\)"),
        (["a", "2"], r"codes, for example with pandas\.factorize"),
        (pd.Series(["a", "b"], dtype="category"), r"such as its `\.cat\.codes` \(-1 is missing"),
        (pd.date_range("2020", periods=2), r"turn times into numbers, such as days since"),
        ([Decimal(1)], r"not numeric \(dtype object\): its objects are numbers: convert it"),
        (
            Polars("a", "b"),
            r"turn categories into integer codes, such as its `\.rank\(\"dense\"\) - 1`",
        ),
        (Polars("1", "2"), r"its texts are numbers: convert it with \.cast\(pl\.Float64\)"),
        ((v for v in [1, 2]), r"`y` is a generator, not numbers: give a list"),
        (None, r"`y` is a NoneType, not numbers"),
        ([np.inf, 1.0], r"`y` is infinite at \[0\]"),
        (np.nan, r"`y` holds 1 NaN: drop"),
    ],
)
def test_what_does_not_is_refused_with_the_way_to_numbers(value, words):
    with pytest.raises(UserError, match=words):
        numbers(value)


def test_infinite_bounds_may_be_host_data():
    assert numbers([np.inf, 1.0], finite=False)[0] == np.inf
    assert bool(numbers(torch.full((2,), 3e38)).sum() == torch.inf)  # large, and finite


def test_the_same_rows_in_two_orders_are_refused_and_other_rows_are_not():
    x = pd.Series([1.0, 2.0, 3.0])
    with pytest.raises(UserError, match=r"`y` has the row labels of `x` in another order, but .*"):
        refuse_reordered({"x": x, "y": x.sort_values(ascending=False)})
    fine = [x.copy(), x.set_axis([5, 6, 7]), x[:2], x.to_numpy(), [3.0, 2.0, 1.0]]
    fine += [pd.Series([1, 2, 3], index=[2, 2, 0])]  # labels that do not tell the rows apart
    for y in fine:
        refuse_reordered({"x": x, "y": y})


MODEL = """object Obs : FinSet n
object G : FinSet 3
data x : Obs -> Real 1
data g : Obs -> G
program line : Obs -> Obs
    sample a : G <- Normal(0.0, 2.0)
    let mu = a[g] + x
    observe y : Obs <- Normal(mu, 1.0)
    return mu
export line
"""
GOOD = {"x": [0.1, 0.2, 0.3], "g": [0, 1, 2], "y": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"g": [0, 1, 3]},
            r"`g` holds 3, outside 0 … 2 of FinSet 3 \(at \[2\]\): codes count from",
        ),
        ({"g": [0, -1, 2]}, r"`g` holds -1.* \(at \[1\]\): pandas codes missing values as -1"),
        ({"g": [0, 1, 1.5]}, r"holds fractions \(first 1\.5 at \[2\]\)"),
        ({"y": [1.0, 2.0]}, r"`y` has length 2, but the size `n` is already 3, that of `x`"),
        ({"z": 1.0}, r"`z` is used by no site"),
    ],
)
def test_a_wrong_column_is_named_with_its_value_and_place(wrong, words):
    model = loads(MODEL).morphism
    assert model.log_density(None, {**GOOD, "a": [0.0, 0.0, 0.0]}).isfinite()
    with pytest.raises(UserError, match=words):
        model.target(None, {**GOOD, **wrong})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log_prob", r"model\.log_joint\(x, values\)"),
        ("sample", r"model\.trace\(x, data\)"),
        ("fit", r"fit_nuts\(model, x, data\)"),
        ("nonsense", "no attribute 'nonsense'"),
    ],
)
def test_names_of_other_systems_say_where_the_thing_is(name, words):
    with pytest.raises(AttributeError, match=words):
        getattr(loads(MODEL).morphism, name)


LINE = """object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 1.0)
    let mu = slope * x
    observe y : Obs <- Normal(mu, 1.0)
    return mu
export line
"""


@pytest.mark.parametrize("column", [pd.Series([], dtype=float), np.empty(0), torch.empty(0)])
def test_no_rows_leave_the_prior(column):
    model = loads(LINE).morphism
    run = MCMC(NUTSKernel(), 200, 500, seed=0).run(model, None, {"x": column, "y": column})
    assert 0.9 < float(run.samples["slope"].std()) < 1.1  # 2000 draws: off by 0.03 at most, mostly


@pytest.mark.parametrize("value", [{1.0, 2.0}, {"a": 1.0}, object()])
def test_declared_data_that_are_no_numbers_are_refused_by_name(value):
    with pytest.raises(UserError, match=r"`x` is a \w+, not numbers: give a list, an array"):
        loads(LINE).morphism.log_density(None, {"slope": 1.0, "x": value, "y": [1.0, 2.0]})
