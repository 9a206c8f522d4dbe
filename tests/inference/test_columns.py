"""Data by name: mappings, frames, arrays with fields; what has no names, or has one twice."""

import numpy as np
import pandas as pd
import pytest

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name


class Eager:
    """What a polars frame shows of itself: no mapping, and no ``items`` (tried with 2.1)."""

    columns = ("x", "y")

    def get_columns(self):
        return [self["x"], self["y"]]

    def __getitem__(self, name):
        return np.array([1.0, 2.0]) if name == "x" else np.array([3.0, 4.0])


class Lazy:
    columns = ("x", "y")

    def collect(self): ...

    def lazy(self): ...


@pytest.mark.parametrize(
    "table",
    [
        {"x": [1.0, 2.0], "y": [3.0, 4.0]},
        pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]}),
        Eager(),
        np.rec.fromarrays([[1.0, 2.0], [3.0, 4.0]], names="x,y"),
        np.array([(1.0, 3.0), (2.0, 4.0)], [("x", float), ("y", float)]),
    ],
    ids=lambda table: type(table).__name__,
)
def test_columns_go_by_their_names(table):
    found = by_name(table)
    assert {name: list(column) for name, column in found.items()} == {"x": [1, 2], "y": [3, 4]}


def test_nothing_is_no_data():
    assert by_name(None) == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0], r"as \{'y': …\} or as the columns of a table, not as list$"),
        (np.ones((2, 2)), "not as ndarray$"),
        (Lazy(), r"not as Lazy: \.collect\(\) gives the table"),
        (pd.DataFrame(np.ones((2, 3)), columns=["x", "y", "y"]), "two columns `y`: rename or drop"),
    ],
    ids=["list", "array", "lazy", "twice"],
)
def test_what_has_no_names_or_one_twice_is_refused(values, words):
    with pytest.raises(UserError, match=words):
        by_name(values)
