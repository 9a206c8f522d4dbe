"""Marginalize blocks at run time: what a trace shows, and responses drawn with z put back (7.8)."""

from math import sqrt
from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads

GROUPED = """object G : FinSet 2000
object N : FinSet 4000
object K : FinSet 2
data probs : K -> Real 1
program p : G -> G
    sample mu : K <- Normal(0.0, 10.0)
    let w = 1.0 * probs
    marginalize c : K <- CategoricalProbs(w) [over=G]
        observe y : N <- Normal(mu[c], 1.0) [via=g]
    return mu
export p
"""
PER_ELEMENT = """object N : FinSet 50
program p : N -> N
    sample a <- Normal(0.0, 1.0)
    marginalize z : N <- Bernoulli(0.3)
        let m = a + 20.0 * z
        observe y : N <- Normal(m, 1.0)
    return a
export p
"""


def grouped(share: float) -> tuple[Any, torch.Tensor]:
    model = loads(GROUPED).morphism
    groups = torch.arange(2000).repeat_interleave(2)
    values = {"probs": [share, 1.0 - share], "g": groups, "mu": torch.tensor([-10.0, 10.0])}
    trace = model.trace(None, values, generator=torch.Generator().manual_seed(3))
    return trace, groups


def low_share(y: torch.Tensor) -> float:
    return float((y.reshape(-1, 2) < 0).all(1).double().mean())


def test_drawn_responses_follow_their_group_s_class() -> None:
    """Size: a share of 2000 groups within 4.5 sd (1e-5). Power: a share off by 0.1 is 10 sd off."""
    spread = 4.5 * sqrt(0.25 * 0.75 / 2000)
    trace, _ = grouped(0.25)
    y = trace.sites["y"].value
    assert y.shape == (4000,)
    pairs = y.reshape(-1, 2) < 0
    assert bool((pairs[:, 0] == pairs[:, 1]).all())  # one class per group
    assert abs(low_share(y) - 0.25) < spread
    mutant, _ = grouped(0.35)
    assert abs(low_share(mutant.sites["y"].value) - 0.25) > spread


def test_a_trace_scores_what_it_drew_with_z_summed_out() -> None:
    model = loads(PER_ELEMENT).morphism
    trace = model.trace(None, generator=torch.Generator().manual_seed(1))
    assert list(trace.sites) == ["a", "y", "_marg_z"]
    assert trace.sites["_marg_z"].is_deterministic
    assert not trace.sites["y"].is_observed
    values = {"a": trace.sites["a"].value, "y": trace.sites["y"].value}
    torch.testing.assert_close(model.log_joint(None, values), trace.log_joint)
    jumped = (trace.sites["y"].value - trace.sites["a"].value) > 10
    assert 0 < int(jumped.sum()) < 50


def test_faults_name_the_index_and_the_sizes() -> None:
    model = loads(GROUPED).morphism
    base = {"probs": [0.5, 0.5], "mu": torch.zeros(2), "y": torch.zeros(4000)}
    with pytest.raises(UserError, match=r"holds 2000, outside 0 … 1999"):
        model.log_joint(None, base | {"g": torch.full((4000,), 2000)})
    with pytest.raises(UserError, match="has 3 entries, but its response has 4000"):
        model.log_joint(None, base | {"g": torch.zeros(3, dtype=torch.int64)})
