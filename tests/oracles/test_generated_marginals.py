"""`marginalize` equals enumeration on 200 generated programs (7.8, R4, R11).

100 programs with groups (product plates, several observes, blocks beside and in each other up to
three deep, every reduction, probabilities and predictors by class, by group and by row), 100
without (per run, per row, per element; five families). Small programs are also enumerated by every
joint assignment of all classes, which knows no order of summation.
"""

from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.lower import collected, marginal
from tests.support.marginal_chains import Chain, generate_chain
from tests.support.marginal_programs import (
    Generated,
    assignments,
    contribution,
    generate,
    joint_contribution,
)
from tests.support.oracles import compiled, tensor, tensors

SEEDS = range(100)
JOINTLY = 500  # most assignments that are enumerated at once


def grouped_error(made: Generated) -> float:
    got = compiled(made.source).log_joint(None, tensors(made.values))
    return abs(float(got) - made.prior - contribution(made.block))


def chain_error(made: Chain) -> float:
    x = None if made.x is None else tensor(made.x)
    got = compiled(made.source).log_joint(x, tensors(made.values)).detach().numpy()
    assert got.shape == np.shape(made.expected)
    return float(np.abs(got - made.expected).max())


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_are_summed_as_by_enumeration(seed: int) -> None:
    made = generate(seed)
    assert grouped_error(made) < 1e-8, made.source


@pytest.mark.parametrize("seed", SEEDS)
def test_sites_are_summed_as_by_enumeration(seed: int) -> None:
    made = generate_chain(seed)
    assert chain_error(made) < 1e-8, made.source


def test_the_oracle_of_groups_equals_the_sum_over_joint_assignments() -> None:
    compared = 0
    for seed in SEEDS:
        made = generate(seed)
        plain = "=sum" not in made.source and "=mean" not in made.source
        if plain and assignments(made.block) <= JOINTLY:
            wanted = joint_contribution(made.block)
            assert contribution(made.block) == pytest.approx(wanted, abs=1e-9), made.source
            compared += 1
    assert compared >= 20


def test_programs_of_every_kind_are_among_them() -> None:
    sources = [generate(seed).source for seed in SEEDS]
    for word in ("over=[", "product(", "reduction=sum", "reduction=mean", "e : ", "Dirichlet"):
        assert sum(word in source for source in sources) >= 5, word
    chains = [generate_chain(seed).source for seed in SEEDS]
    for word in ("OrderedLogistic", "Binomial(", "BernoulliLogit", "CategoricalLogit", "score",
                 "p(a)", "marginalize e"):  # fmt: skip
        assert sum(word in source for source in chains) >= 5, word


def rolled(*args: Any, **options: Any) -> torch.Tensor:
    return true_index(*args, **options).roll(1)


def exchanged(*args: Any) -> torch.Tensor:
    return true_weights(*args).roll(1, 0)


true_index, true_weights = collected.flat_index, marginal._log_weights


def test_rows_in_the_wrong_group_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "flat_index", rolled)
    caught = sum(grouped_error(generate(seed)) > 1e-8 for seed in range(40))
    assert caught >= 12  # one group, and sums over classes, do not tell groups apart


def test_weights_of_the_wrong_values_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marginal, "_log_weights", exchanged)
    caught = sum(chain_error(generate_chain(seed)) > 1e-8 for seed in range(20))
    assert caught >= 15  # where all weights are equal, nothing is exchanged


@pytest.mark.parametrize("seed", range(0, 100, 4))
@pytest.mark.parametrize("make", [generate, generate_chain])
def test_responses_are_drawn_at_every_depth_and_scored_again(seed: int, make: Any) -> None:
    made = make(seed)
    model, values = compiled(made.source), tensors(made.values)
    x = None if getattr(made, "x", None) is None else tensor(made.x)
    data = {name: value for name, value in values.items() if not name.startswith("y")}
    run = model.trace(x, data, generator=torch.Generator().manual_seed(seed))
    drawn = {name: s.value for name, s in run.sites.items() if not s.is_deterministic}
    assert {name: drawn[name].shape for name in values.keys() - data.keys()} == {
        name: torch.as_tensor(values[name]).shape for name in values.keys() - data.keys()
    }
    torch.testing.assert_close(model.log_joint(x, data | drawn), run.log_joint)
    several = model.simulate(x, 3, None, data, generator=torch.Generator().manual_seed(seed))
    assert all(several[name].shape[0] == 3 for name in values.keys() - data.keys())
