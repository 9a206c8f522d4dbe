"""Finite middles are summed, in scores and in targets, over all terms that depend on them (R3)."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from quivers_nb.dsl import loads
from tests.support.oracles import (
    Array,
    compiled,
    gaussian_blocks,
    normal,
    randomize,
    tensor,
    tensors,
    weights,
)

HEAD = """\
object X : FinSet 5
object M : FinSet 4
object R3 : Real 3
morphism a : X -> M [role=kernel] ~ Categorical
morphism b : M -> R3 [role=kernel] ~ Normal
let f = a >> b
"""
IDS = np.array([0, 4, 2, 2])
RNG = np.random.default_rng(6)


def model_of(steps: str, more: str = "") -> Any:
    model = compiled(f"{HEAD}{more}program p(i) : X -> R3\n{steps}export p\n")
    randomize(model, seed=4)
    return model


def tables(model: Any) -> tuple[Array, Array, Array]:
    """log p(m | x), and the mean and spread of b at each m."""
    found = weights(model)
    logits = next(v for k, v in found.items() if v.shape == (5, 4))
    return log_softmax(logits, -1)[IDS], *gaussian_blocks(
        next(v for v in found.values() if v.shape == (4, 6))
    )


def test_the_target_sums_and_takes_the_value_for_its_coordinate() -> None:
    model = model_of(
        "    sample h <- f\n    let m = sum(h)\n    observe y <- Normal(m, 0.5)\n    return h\n"
    )
    log_p, loc, scale = tables(model)
    h, y = RNG.normal(size=(4, 3)), RNG.normal(size=4)
    rows = logsumexp(log_p + normal(h[:, None], loc, scale).sum(-1), -1)
    expected = rows + normal(y, h.sum(-1), 0.5)
    got = model.log_joint(tensor(IDS), tensors({"h": h, "y": y})).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    target = model.target(tensor(IDS), tensors({"y": y}), dtype=torch.float64)
    (coordinate,) = target.layout.coordinates
    assert (coordinate.name, coordinate.shape) == ("h", (4, 3))
    total = target.terms(tensor(h).reshape(-1)).total().item()
    assert total == pytest.approx(expected.sum(), rel=1e-10)


def test_a_finite_middle_before_a_continuous_one() -> None:
    """x -> m (finite) -> z -> h: with z given the sum is exact, along the chain."""
    more = "morphism c : R3 -> R3 [role=kernel, param_source=linear] ~ Normal\nlet g = f >> c\n"
    model = model_of("    sample h <- g\n    return h\n", more)
    log_p, loc, scale = tables(model)
    part = {k.split(".")[-1]: v for k, v in weights(model).items() if k.split(".")[-2] == "c"}
    run = model.trace(tensor(IDS), generator=torch.Generator().manual_seed(0))
    path = next(p for p in run.internal_sites if p.split("/")[-1] == "b")
    z, h = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    rows = logsumexp(log_p + normal(z[:, None], loc, scale).sum(-1), -1)
    rows = rows + normal(h, *gaussian_blocks(z @ part["weight0"].T + part["bias0"])).sum(-1)
    got = model.log_joint(tensor(IDS), tensors({path: z, "h": h})).detach().numpy()
    np.testing.assert_allclose(got, rows, rtol=1e-10)


def test_the_gradient_through_the_sum_reaches_both_tables() -> None:
    model = model_of("    sample h <- f\n    return h\n")
    model.log_joint(tensor(IDS), {"h": torch.zeros(4, 3).double()}).sum().backward()
    for name, parameter in model.storage().items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_long_chain_of_finite_middles_costs_its_length_not_its_power() -> None:
    """Twenty middles of 32: 32^20 paths, summed factor by factor."""
    lines = ["object S : FinSet 32", "object R2 : Real 2"]
    lines += [f"morphism t{k} : S -> S [role=kernel]" for k in range(20)]
    lines += ["morphism e : S -> R2 [role=kernel] ~ Normal"]
    chain = " >> ".join([f"t{k}" for k in range(20)] + ["e"])
    source = "\n".join([*lines, f"let f = {chain}", "program p : S -> R2"])
    model = loads(f"{source}\n    sample h <- f\n    return h\nexport p\n").morphism.double()
    randomize(model, seed=1)
    found = weights(model)
    state = np.zeros((2, 32)) - np.inf
    state[[0, 1], [3, 7]] = 0.0
    for k in range(20):
        table = next(v for n, v in found.items() if n.split(".")[-2] == f"t{k}")
        state = logsumexp(state[:, :, None] + log_softmax(table, -1), axis=1)
    loc, scale = gaussian_blocks(next(v for v in found.values() if v.shape == (32, 4)))
    h = RNG.normal(size=(2, 2))
    expected = logsumexp(state + normal(h[:, None], loc, scale).sum(-1), -1)
    got = model.log_joint(torch.tensor([3, 7]), {"h": tensor(h)}).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10)


SHARED = """\
object X : FinSet 5
object M : FinSet 4
object N : FinSet 3
object R1 : Real 1
object R2 : Real 2
morphism a : X -> M [role=kernel]
morphism e : M -> R2 [role=embed]
morphism n : R2 -> R1 [role=kernel, param_source=linear] ~ Normal
morphism t : M -> N [role=kernel]
morphism u : N -> N [role=kernel]
let f = a >> fan(e >> n, t >> u)
program p(i) : X -> R1 * N
    observe y <- f
    return y
export p
"""


def shared_middle() -> tuple[Any, Array, Array, Array]:
    """A model whose first middle is read by both parts of a fan; values; log p of its rows."""
    model = compiled(SHARED)
    randomize(model, seed=5)
    found = {key.split(".")[-2]: {} for key in weights(model)}
    for key, value in weights(model).items():
        found[key.split(".")[-2]][key.split(".")[-1]] = value
    rng = np.random.default_rng(2)
    middle, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    z = np.array([0, 2, 1, 1])
    log_m = log_softmax(found["a"]["logits"], -1)[IDS]
    centers, spread = found["e"]["centers"], np.exp(found["e"]["log_sigma"])
    first = normal(middle[:, None], centers, spread).sum(-1)
    second = logsumexp(
        log_softmax(found["t"]["logits"], -1)[:, :, None]
        + log_softmax(found["u"]["logits"], -1)[None],
        axis=1,
    )[:, z].T
    loc, scale = gaussian_blocks(middle @ found["n"]["weight0"].T + found["n"]["bias0"])
    rows = logsumexp(log_m + first + second, -1) + normal(y, loc, scale).sum(-1)
    return model, middle, np.concatenate([y, z[:, None]], 1), rows


def test_a_middle_that_two_parts_read_is_summed_once_for_both() -> None:
    model, middle, y, rows = shared_middle()
    path = "y/f/fan[0]/e"
    values = tensors({path: middle, "y": y})
    got = model.log_joint(tensor(IDS), values).detach().numpy()
    np.testing.assert_allclose(got, rows, rtol=1e-10)


def test_a_target_takes_a_middle_after_a_shared_one_for_a_coordinate() -> None:
    """Of a part in the middle of a sum the value itself is the coordinate: one for all branches."""
    model, middle, y, rows = shared_middle()
    target = model.target(tensor(IDS), tensors({"y": y}), dtype=torch.float64)
    (coordinate,) = target.layout.coordinates
    assert (coordinate.shape, coordinate.standard_normal) == ((4, 2), False)
    q = tensor(middle).reshape(-1)
    assert target.terms(q).total().item() == pytest.approx(rows.sum(), rel=1e-10)
    stacked = target.terms(torch.stack([q, q + 0.5, q])).total()
    assert stacked.shape == (3,)
    np.testing.assert_allclose(stacked[[0, 2]].detach(), rows.sum(), rtol=1e-10)
