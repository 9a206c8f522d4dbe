"""Cells that read tables among the user's variables, and notice when these have changed."""

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import CompileError, UserError
from quivers_nb.session import Session

OBJECTS = "object A : FinSet 2\nobject B : FinSet 2\n"
TABLE = OBJECTS + 'morphism t : A -> B [role=observed] ~ from_data("w")\nexport t\n'
USER = """morphism k : B -> B [role=kernel]
let h = t >> k
export h
"""
OTHER = "object C : FinSet 2\nmorphism c : C -> C [role=kernel]\nexport c\n"


def probability(module):
    x = torch.tensor([0, 1])
    return module.morphism.log_prob(x, torch.tensor([1, 1])).exp()


def test_a_variable_is_read_and_its_change_is_noticed_when_the_cell_runs_again() -> None:
    variables = {"w": np.array([[1.0, 3.0], [1.0, 1.0]])}
    session = Session(variables=variables)
    first = session.run_cell(TABLE)
    torch.testing.assert_close(probability(first.module), torch.tensor([0.75, 0.5]))
    assert session.run_cell(TABLE).unchanged
    variables["w"] = np.array([[1.0, 3.0], [0.0, 1.0]])
    again = session.run_cell(TABLE)
    assert not again.unchanged
    torch.testing.assert_close(probability(again.module), torch.tensor([0.75, 1.0]))


def test_cells_that_use_it_are_compiled_anew_with_the_weights_they_had() -> None:
    variables = {"w": np.array([[0.5, 0.5], [0.25, 0.75]])}
    session = Session(variables=variables)
    session.run_cell(TABLE)
    used, other = session.run_cell(USER), session.run_cell(OTHER)
    variables["w"] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    (rebuilt,) = session.run_cell(TABLE).rebuilt
    (logits,) = (p for _, p in rebuilt.module.named_parameters())
    (before,) = (p for _, p in used.module.named_parameters())
    assert torch.equal(logits, before)
    rows = logits.softmax(-1)
    torch.testing.assert_close(probability(rebuilt.module), rows.flip(0)[:, 1])
    assert session.results[-1].module is other.module


def test_what_is_not_there_or_is_no_table_changes_nothing() -> None:
    session = Session(variables=(variables := {"w": np.array([[1.0, 1.0], [1.0, 1.0]])}))
    first = session.run_cell(TABLE)
    variables["w"] = np.array([[1.0, -1.0], [1.0, 1.0]])
    with pytest.raises(UserError, match=r"data `w` at \[0, 1\] is -1, which is negative"):
        session.run_cell(TABLE)
    del variables["w"]
    with pytest.raises(CompileError, match="unknown data key") as refused:
        session.run_cell(TABLE)
    assert "bind a variable `w`" in str(refused.value)
    assert session.results[0].module is first.module
    variables["w"] = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert session.run_cell(TABLE).unchanged


def test_checking_a_cell_reads_it_too() -> None:
    session = Session(variables={"w": np.eye(2)})
    assert session.check(TABLE).data_keys == ("w",)
    assert session.type_of('from_data("w")') == "FinSet 2 -> FinSet 2"
    fresh = session.run_cell(TABLE, fresh=True)
    torch.testing.assert_close(probability(fresh.module), torch.tensor([1e-7, 1.0]))
