"""Many runs at once: `Model.simulate` is the stack of single traces."""

from typing import Any

import torch

from quivers_nb.dsl import loads

MODEL = """object School : FinSet 8
object Row : FinSet 3
object A : Real 2
morphism f : Row -> A [role=kernel] ~ Normal
program hierarchy : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    let c = 2.0
    let shifted = theta + c
    observe y : School <- Normal(shifted, 1.0)
    return theta
program rows : Row -> A
    sample h <- f
    sample s : 1 <- HalfNormal(1.0)
    observe y <- Normal(h, s)
    return h
export hierarchy
export rows
"""


def exports() -> Any:
    return loads(MODEL).exports


def test_every_site_has_the_runs_in_front() -> None:
    runs = exports()["hierarchy"].simulate(None, 5)
    shapes = {name: tuple(value.shape) for name, value in runs.items()}
    assert shapes == {
        "mu": (5,), "tau": (5,), "theta": (5, 8), "c": (5,), "shifted": (5, 8), "y": (5, 8),
    }  # fmt: skip
    rows = exports()["rows"].simulate(torch.tensor([0, 2, 1, 1]), 6)
    assert {name: tuple(v.shape) for name, v in rows.items()} == {
        "h": (6, 4, 2), "s": (6, 1), "y": (6, 4, 2),
    }  # fmt: skip


def test_given_draws_are_kept_run_by_run_and_lets_follow_them() -> None:
    theta = torch.arange(16.0).reshape(2, 8)
    runs = exports()["hierarchy"].simulate(None, 2, {"theta": theta})
    torch.testing.assert_close(runs["theta"], theta)
    torch.testing.assert_close(runs["shifted"], theta + 2.0)


def test_runs_are_independent_draws_with_the_moments_of_a_trace() -> None:
    """Size: means of 4000 draws within 4.5 standard errors. Power: one shared draw is 60 off."""
    generator = torch.Generator().manual_seed(1)
    runs = exports()["hierarchy"].simulate(
        None, 4000, {"theta": torch.ones(4000, 8)}, generator=generator
    )
    noise = runs["y"] - 3.0
    assert abs(float(noise.mean())) < 4.5 / 32_000**0.5
    assert abs(float(noise.var()) - 1.0) < 4.5 * (2 / 32_000) ** 0.5
    assert abs(float(runs["mu"].mean())) < 4.5 * 5.0 / 4000**0.5
    assert len(runs["mu"].unique()) > 3990
