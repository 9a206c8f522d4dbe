"""The program input: rows, widths, dtypes (R1), and noise that is a function of its place (R6)."""

from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.lower.noise import fixed_noise

READING = """object X : FinSet 3
object A : Real 2
morphism f : X * A -> A [role=kernel] ~ Normal
program p : X * A -> A
    sample z <- f
    return z
export p
"""
WIDTH_ONE = """object R1 : Real 1
program p(a) : R1 -> R1
    sample s : 1 <- HalfNormal(1.0)
    observe y <- Normal(a, s)
    return s
export p
"""
NEVER = """object Obs : FinSet 4
program p : Obs -> Obs
    sample mu <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(mu, 1.0)
    return mu
export p
"""


def model(text: str) -> Any:
    return loads(text).morphism


def test_a_program_that_reads_its_input_refuses_none_by_name() -> None:
    with pytest.raises(UserError, match="`p` reads its input"):
        model(READING).trace(None)


def test_a_wrong_width_names_both() -> None:
    with pytest.raises(UserError, match=r"shape \(5, 2\), but its domain has 3 columns"):
        model(READING).trace(torch.zeros(5, 2))


def test_an_index_outside_the_domain_is_named() -> None:
    with pytest.raises(UserError, match="column 0 of the input of `p` holds 3, outside 0 … 2"):
        model(READING).trace(torch.tensor([[3.0, 0.0, 0.0]]))


def test_nan_in_the_input_is_refused() -> None:
    with pytest.raises(UserError, match="holds NaN"):
        model(READING).trace(torch.tensor([[1.0, float("nan"), 0.0]]))


@pytest.mark.parametrize("shape", [(), (4,), (2, 5)])
def test_the_batch_is_what_stands_before_the_columns(shape: tuple[int, ...]) -> None:
    x = torch.zeros(*shape, 3)
    trace = model(READING).trace(x)
    assert trace.sites["z"].value.shape == (*shape, 2)
    assert trace.sites["z"].log_prob.shape == shape
    assert trace.log_joint.shape == shape


def test_one_dimension_is_a_batch_where_the_width_is_one() -> None:
    flat = model(WIDTH_ONE).trace(torch.zeros(4), {"s": torch.tensor([1.0])})
    column = model(WIDTH_ONE).trace(torch.zeros(4, 1), {"s": torch.tensor([1.0])})
    assert flat.sites["y"].value.shape == column.sites["y"].value.shape == (4,)


def test_a_program_that_never_reads_has_no_rows_for_none_and_reports_one_row_as_such() -> None:
    values = {"mu": 0.3, "y": [0.1, 0.2, 0.3, 0.4]}
    never = model(NEVER)
    plain, one = never.log_joint(None, values), never.log_joint(torch.zeros(1, 1), values)
    assert plain.shape == ()
    assert one.shape == (1,)
    torch.testing.assert_close(one, plain.reshape(1))
    assert never.trace(None).sites["mu"].value.shape == ()
    assert never.trace(torch.zeros(1, 1)).sites["mu"].value.shape == (1,)
    given = {"mu": torch.tensor([0.3]), "y": values["y"]}
    torch.testing.assert_close(never.log_joint(torch.zeros(1, 1), given), one)


def test_many_rows_draw_unindexed_sites_per_row_and_observe_one_number_each() -> None:
    trace = model(NEVER).trace(torch.zeros(3, 1), {"y": [0.1, 0.2, 0.3]})
    assert trace.sites["mu"].value.shape == (3,)
    assert trace.log_joint.shape == (3,)
    with pytest.raises(UserError, match=r"`y` has shape \(4,\), but shape \(3,\)"):
        model(NEVER).trace(torch.zeros(3, 1), {"y": [0.1, 0.2, 0.3, 0.4]})


def test_a_response_unlike_the_rows_of_an_input_never_read_is_told_to_leave_it_out() -> None:
    with pytest.raises(UserError, match=r"shape \(4,\).*x=None runs it once for all data"):
        model(NEVER).target(torch.zeros(3, 1), {"y": torch.zeros(4)})


def test_fixed_noise_of_a_row_does_not_depend_on_how_many_rows_there_are() -> None:
    place = {"dtype": torch.float64, "device": torch.device("cpu")}
    long = fixed_noise("h/a/b", (50, 7), **place)
    short = fixed_noise("h/a/b", (3, 7), **place)
    torch.testing.assert_close(long[:3], short, rtol=0, atol=0)
    assert not torch.equal(fixed_noise("h/a/c", (3, 7), **place), short)
    assert not torch.equal(fixed_noise("h/a/b", (3, 7), draw=1, **place), short)


def test_fixed_noise_is_standard_normal() -> None:
    noise = fixed_noise("h/a/b", (2000, 5), dtype=torch.float64, device=torch.device("cpu"))
    assert abs(float(noise.mean())) < 4.5 / np.sqrt(10_000)
    assert abs(float(noise.var()) - 1.0) < 4.5 * np.sqrt(2 / 10_000)
