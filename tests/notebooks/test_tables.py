"""The tables for users of PyMC and Stan: what stands in their last column runs, in its order."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import arviz
import pytest
import torch

from quivers_nb import Predictive, fit_nuts, fit_svi
from quivers_nb.dsl import loads

TEXT = (Path(__file__).parents[2] / "notebooks" / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## From PyMC or Stan")[2].partition("\n## ")[0]
MARGIN = ("object", "data", "program", "export")
SMALL = """object Obs : FinSet n
program small : Obs -> Obs
    sample a <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(a, 1.0)
    return a
export small
"""
ROWS = 30


def last_columns(head: str) -> list[str]:
    """The pieces of code in the last column of the table with this last heading, in order."""
    lines = SECTION.splitlines()
    start = next(k for k, line in enumerate(lines) if line.endswith(f"| {head} |"))
    found: list[str] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found += re.findall(r"`([^`]+)`", line.rstrip(" |").rpartition("| ")[2])
    return found


def cell(pieces: list[str]) -> str:
    """Steps are indented, and what is said to be inside a `marginalize` further."""
    lines, inside = [], False
    for piece in pieces:
        margin = piece.startswith(MARGIN)
        lines.append(piece if margin else "        " + piece if inside else "    " + piece)
        inside = piece.startswith("marginalize")
    return "\n".join(lines) + "\n"


def data() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, generator=generator)
    ones = torch.arange(ROWS) % 2
    return {
        "x": x, "X": torch.randn(ROWS, 3, generator=generator), "g": torch.arange(ROWS) % 8,
        "y": x + 0.3, "k": ones, "c": ones + 1, "o": torch.arange(ROWS) % 3, "v": x - 0.2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Any:
    pieces = last_columns("in QVR")
    assert len(pieces) > 20
    return loads(cell(pieces)).exports["model"]


def test_the_lines_of_the_first_table_are_one_program(model: Any) -> None:
    given = data()
    drawn = model.trace(None, given)
    assert set(model.observed_names) == {"y", "k", "c", "o", "v"}
    assert torch.isfinite(drawn.log_joint)
    assert drawn.sites["b"].value.shape == (3,)


def test_the_python_lines_run_in_their_order(model: Any) -> None:
    given = data()
    new = {name: given[name] for name in ("x", "X", "g")}
    names: dict[str, Any] = {
        "model": model, "data": given, "new": new, "small": loads(SMALL).morphism,
        "Predictive": Predictive, "fit_svi": partial(fit_svi, steps=50),
        "fit_nuts": partial(fit_nuts, chains=2, warmup=100, draws=100, seed=1),
    }  # fmt: skip
    values = {}
    for line in last_columns("here, in Python"):
        if line.isidentifier() or "=" in line.partition("(")[0]:
            exec(line, names)
        else:
            values[line] = eval(line, names)
    assert names["svi"].wait(60)
    assert values["run.wait()"]
    assert values['run.result.samples["a"]'].shape == (2, 100)
    assert values["Predictive(model, run.result)(None, new)"]["y"].shape == (200, ROWS)
    assert values["Predictive(model, num_samples=100)(None, new)"]["k"].shape == (100, ROWS)
    (small,) = (value for line, value in values.items() if "sizes" in line)
    assert small["y"].shape == (100, 50)
    assert isinstance(values["run.result.to_arviz()"], arviz.InferenceData)
