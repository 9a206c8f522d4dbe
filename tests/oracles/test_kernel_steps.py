"""Declared morphisms in steps: over data, over plates, per row, from sites (7.3, R4, R11)."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import CompileError, loads
from tests.support.oracles import (
    Array,
    compiled,
    embed_density,
    gaussian_blocks,
    gaussian_kernel,
    mlp_raw,
    normal,
    part_of,
    randomize,
    tensor,
    tensors,
    weights,
)

RNG = np.random.default_rng(9)
OBJECTS = """\
object Obs : FinSet 7
object K : FinSet 4
object R1 : Real 1
object R2 : Real 2
object R3 : Real 3
morphism k : R2 -> R3 [role=kernel, hidden_dim=5] ~ Normal
morphism c : R2 -> K [role=kernel, hidden_dim=5] ~ Categorical
morphism e : K -> R2 [role=embed]
morphism t : K -> R3 [role=kernel] ~ Normal
"""


def model_of(body: str, header: str = "program p : Obs -> Obs", more: str = "") -> Any:
    steps = "".join(f"    {line}\n" for line in body.split("; "))
    model = compiled(f"{OBJECTS}{more}{header}\n{steps}export p\n")
    randomize(model, seed=2)
    return model


def own(model: Any, name: str) -> dict[str, Array]:
    return part_of(weights(model), lambda path: path.split(".")[-1] == name)


def check(
    model: Any, x: Any, values: dict[str, Any], rows: Any, total: float | None = None
) -> None:
    at = None if x is None else tensor(x)
    got = model.log_joint(at, tensors(values)).detach().numpy()
    assert got.shape == np.shape(rows)
    np.testing.assert_allclose(got, rows, rtol=1e-10)
    whole = model.log_density(at, tensors(values)).item()
    assert whole == pytest.approx(np.sum(rows) if total is None else total, rel=1e-10)


def test_a_kernel_over_declared_data_is_row_independent() -> None:
    model = model_of("observe y : Obs <- k(X); return y", more="data X : Obs -> Real 2\n")
    X, y = RNG.normal(size=(7, 2)), RNG.normal(size=(7, 3))
    check(model, None, {"X": X, "y": y}, gaussian_kernel(own(model, "k"), X, y).sum())


def test_the_response_decides_how_many_rows_there_are() -> None:
    """The set after the colon names the plate; a sample without data has |Obs| rows (7.6)."""
    model = model_of("sample z : R2 <- Normal(0.0, 1.0); observe y : Obs <- c(z); return z")
    z, y = RNG.normal(size=2), RNG.integers(0, 4, 7)
    mass = log_softmax(mlp_raw(own(model, "c"), z), -1)
    check(model, None, {"z": z, "y": y}, normal(z, 0, 1).sum() + mass[y].sum())


PLATES = (
    "sample v : Obs <- Normal(0.0, 1.0); sample w : Obs <- Normal(v, 2.0);"
    " observe y : Obs <- {}(v, w); return v"
)


def test_a_kernel_over_a_plate_maps_over_it() -> None:
    pair = "morphism pair : R1 * R1 -> R3 [role=kernel, hidden_dim=5] ~ Normal\n"
    model = model_of(PLATES.format("pair"), more=pair)
    v, w, y = RNG.normal(size=7), RNG.normal(size=7), RNG.normal(size=(7, 3))
    joined = np.stack([v, w], -1)
    rows = normal(v, 0, 1).sum() + normal(w, v, 2).sum()
    check(
        model, None, {"v": v, "w": w, "y": y},
        rows + gaussian_kernel(own(model, "pair"), joined, y).sum(),
    )  # fmt: skip


def test_a_gathered_category_enters_a_table() -> None:
    model = model_of("let j = group[of]; observe y : Obs <- t(j); return j")
    group, of, y = np.array([3, 1, 0]), np.array([0, 2, 1, 1, 0, 2, 2]), RNG.normal(size=(7, 3))
    loc, scale = gaussian_blocks(own(model, "t")["table"][group[of]])
    check(model, None, {"group": group, "of": of, "y": y}, normal(y, loc, scale).sum())


def test_a_site_per_row_feeds_the_next() -> None:
    model = model_of(
        "sample u <- e(i); sample h <- k(u); observe y : K <- c(u); return h",
        header="program p(i) : K -> R3",
    )
    x, u, h = np.array([0, 3, 3, 1, 2]), RNG.normal(size=(5, 2)), RNG.normal(size=(5, 3))
    y = np.array([1, 0, 2, 3, 3])
    rows = (
        embed_density(own(model, "e"), x, u)
        + gaussian_kernel(own(model, "k"), u, h)
        + np.take_along_axis(log_softmax(mlp_raw(own(model, "c"), u), -1), y[:, None], -1)[:, 0]
    )
    check(model, x, {"u": u, "h": h, "y": y}, rows)


def test_a_shared_vector_beside_a_row_broadcasts() -> None:
    model = model_of(
        "sample s : 1 <- Normal(0.0, 1.0); sample h <- k(a, s); return h",
        header="program p(a) : R1 -> R3",
    )
    a, s, h = RNG.normal(size=(5, 1)), RNG.normal(size=1), RNG.normal(size=(5, 3))
    pair = np.concatenate([a, np.broadcast_to(s, (5, 1))], -1)
    row, shared = gaussian_kernel(own(model, "k"), pair, h), normal(s, 0, 1).item()
    check(model, a, {"s": s, "h": h}, row + shared, float(row.sum() + shared))


def test_two_inputs_are_named_in_order() -> None:
    model = model_of(
        "sample u <- e(i); let m = u + v; observe h : R2 <- Normal(m, 1.0); return h",
        header="program p(i, v) : K * R2 -> R2",
    )
    i, v = RNG.integers(0, 4, 5), RNG.normal(size=(5, 2))
    u, h = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    x = np.concatenate([i[:, None], v], -1)
    rows = embed_density(own(model, "e"), i, u) + normal(h, u + v, 1).sum(-1)
    check(model, x, {"u": u, "h": h}, rows)


def test_a_program_composed_with_a_kernel() -> None:
    more = (
        "program inner(a) : R2 -> R2\n    sample z : R2 <- Normal(0.0, 1.0)\n    let b = a + z\n"
        "    return b\nlet f = inner >> k\n"
    )
    model = model_of("sample h <- f; return h", header="program p : R2 -> R3", more=more)
    x, h = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 3))
    run = model.trace(tensor(x), generator=torch.Generator().manual_seed(0))
    (path,) = [path for path, site in run.internal_sites.items() if not site.is_deterministic]
    assert path == "h/f/inner/z"
    z = RNG.normal(size=(5, 2))
    rows = normal(z, 0, 1).sum(-1) + gaussian_kernel(own(model, "k"), x + z, h)
    check(model, x, {path: z, "h": h}, rows)


def test_two_steps_through_one_program_have_middles_of_their_own() -> None:
    more = "program inner(a) : R2 -> R2\n    sample z : R2 <- Normal(a, 1.0)\n    return z\n"
    model = model_of(
        "sample g <- inner >> k; sample h <- inner >> k; return h".replace("inner >> k", "f"),
        header="program p : R2 -> R3",
        more=more + "let f = inner >> k\n",
    )
    x, z1, z2 = (RNG.normal(size=(5, 2)) for _ in range(3))
    g, h = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
    part = own(model, "k")
    rows = normal(z1, x, 1).sum(-1) + gaussian_kernel(part, z1, g)
    rows = rows + normal(z2, x, 1).sum(-1) + gaussian_kernel(part, z2, h)
    check(model, x, {"g/f/inner/z": z1, "h/f/inner/z": z2, "g": g, "h": h}, rows)


def test_two_uses_of_a_morphism_share_its_weights() -> None:
    model = model_of(
        "sample u : R2 <- Normal(0.0, 1.0); sample a <- k(u); sample b <- k(u); return a"
    )
    u, a, b = RNG.normal(size=2), RNG.normal(size=3), RNG.normal(size=3)
    part = own(model, "k")
    rows = normal(u, 0, 1).sum() + gaussian_kernel(part, u, a) + gaussian_kernel(part, u, b)
    check(model, None, {"u": u, "a": a, "b": b}, rows)


def test_vectors_that_are_too_wide_together_are_refused() -> None:
    """Two plates of seven are concatenated (7.3): 14 numbers do not fit where 2 are read."""
    values = tensors({"v": np.zeros(7), "w": np.zeros(7), "y": np.zeros((7, 3))})
    with pytest.raises((CompileError, UserError)) as caught:
        model_of(PLATES.format("k")).log_joint(None, values)
    assert "2" in str(caught.value)


def test_an_argument_of_the_wrong_width_is_refused() -> None:
    with pytest.raises((CompileError, UserError)) as caught:
        model_of("sample u : R3 <- Normal(0.0, 1.0); sample h <- k(u); return h").trace(None)
    assert "3" in str(caught.value)
    assert "2" in str(caught.value)


def test_a_continuous_value_is_no_category() -> None:
    with pytest.raises(CompileError) as caught:
        loads(
            f"{OBJECTS}program p : Obs -> Obs\n    sample u : R2 <- Normal(0.0, 1.0)\n"
            "    sample h <- t(u)\n    return h\nexport p\n"
        )
    assert "t" in str(caught.value)
