"""Tables that are given or drawn, through everything a model is for (4.2, 4.4, 5.9, 5.10)."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import dirichlet

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import Predictive, bayesian_lift_parameters
from quivers_nb.lower.module import Module
from tests.support.operations import Counter

W = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
SOURCE = """\
object X : FinSet 2
object Y : FinSet 3
object R : Real 1
data prior : X -> Real 3
morphism f : X -> Y [role=observed] ~ from_data("w")
morphism t : X -> Y [role=latent, over=cod] ~ Dirichlet(prior)
morphism u : X -> X [role=latent, over=cod, replicate=2] ~ Dirichlet(2.0)
morphism b : X -> Y [role=latent] ~ Beta(2.0, 2.0)
morphism e : Y -> R [role=embed]
let walk = u_0 >> u_1
program p(x) : X -> Y
    sample z <- t(x)
    observe r <- e(z)
    observe y <- b(x)
    return z
program q(x) : X -> Y
    sample m <- walk(x)
    observe y <- f(m)
    return m
program rows(t) : X -> Y [effects=[Pure], over=p]
    let first = t[0]
    return first
program choose(k : Mor[X, Y]) : X -> Y
    observe y <- k
    return y
export p
export q
export choose
"""
PRIOR = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])


@pytest.fixture
def module() -> Module:
    torch.manual_seed(0)
    return loads(SOURCE, {"w": W})


def test_sites_have_the_shape_of_their_types_and_say_where_they_lie(module: Module) -> None:
    p, q = module.exports["p"], module.exports["q"]
    found = {d.name: (d.value_shape, d.unconstrained_shape) for d in p.declared_latents({"r", "y"})}
    assert found == {"t": ((2, 3), (2, 2)), "b": ((2, 3), (2, 3))}
    assert {d.name for d in q.declared_latents({"y"})} == {"u_0", "u_1"}
    assert not [name for name, _ in q.named_parameters()]


def test_a_table_is_counted_once_whatever_the_rows(module: Module) -> None:
    p = module.exports["p"].double()
    generator = torch.Generator().manual_seed(1)
    x = torch.tensor([0, 1, 1, 0, 1])
    run = p.trace(x, {"prior": PRIOR}, generator=generator)
    values = {name: site.value for name, site in run.sites.items()}
    t, b = values["t"], values["b"]
    prior = sum(
        dirichlet.logpdf(row / row.sum(), a) for row, a in zip(t.numpy(), PRIOR, strict=True)
    )
    prior += float((6 * b * (1 - b)).log().sum())
    rows = t[x, values["z"]].log() + run.sites["r"].log_prob
    rows = rows + (b[x, values["y"]] / b[x].sum(-1)).log()
    given = {**values, "prior": PRIOR}
    torch.testing.assert_close(p.log_joint(x, given), rows + prior)
    torch.testing.assert_close(p.log_density(x, given), rows.sum() + prior)
    torch.testing.assert_close(run.log_joint, rows + prior)


def test_what_has_no_weight_is_never_drawn(module: Module) -> None:
    choose = module.choose("f").morphism
    drawn = choose.rsample(torch.tensor([0, 1]), (20_000,))
    shares = np.stack([(drawn == k).float().mean(0).numpy() for k in range(3)], 1)
    assert shares[W == 0.0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(shares, W, atol=0.02)


def test_a_template_takes_tables_of_all_kinds(module: Module) -> None:
    y, x = torch.tensor([1, 2]), torch.tensor([0, 1])
    given = module.choose("f").morphism
    assert given.log_joint(x, {"y": y}).exp().tolist() == pytest.approx([0.5, 0.75])
    drawn = module.choose("b").morphism
    assert set(drawn.trace(x).sites) == {"b", "y"}


def test_draws_of_a_table_are_stacked_and_predict(module: Module) -> None:
    q = module.exports["q"].double()
    sites = {"u_0": torch.rand(7, 2, 2), "u_1": torch.rand(7, 2, 2)}
    sites = {name: value / value.sum(-1, keepdim=True) for name, value in sites.items()}
    found = Predictive(q, sites, generator=torch.Generator().manual_seed(0))(
        torch.tensor([0, 1, 1])
    )
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        "u_0": (7, 2, 2), "u_1": (7, 2, 2), "m": (7, 3), "y": (7, 3),
    }  # fmt: skip
    x, y = torch.tensor([0, 1]), torch.tensor([1, 2])
    target = q.target(x, {"y": y}, dtype=torch.float64)
    points = torch.randn(5, target.layout.dim, dtype=torch.float64)
    together = target.terms(points).total()
    apart = torch.stack([target.terms(point).total() for point in points])
    torch.testing.assert_close(together, apart)
    first, second = (target.constrain(points)[name] for name in ("u_0", "u_1"))
    likelihood = torch.einsum("sab,sbc,cy->say", first, second, torch.from_numpy(W))
    assert likelihood.shape == (5, 2, 3)
    jacobian = together - likelihood[:, x, y].log().sum(-1)
    prior = sum((6 * v[..., 0] * v[..., 1]).log().sum(-1) for v in (first, second))
    steps = sum(v.prod(-1).log().sum(-1) for v in (first, second))
    rest = (
        jacobian - prior - steps
    )  # a given value has at least 1e-7 (5.10), a probability here 0.1
    torch.testing.assert_close(rest, torch.zeros_like(rest), atol=1e-5, rtol=0.0)


def test_weights_beside_tables_are_lifted_and_tables_stay_sites(module: Module) -> None:
    p = module.exports["p"]
    x, obs = (
        torch.tensor([0, 1]),
        {"r": torch.zeros(2, 1), "y": torch.tensor([0, 2]), "prior": PRIOR},
    )
    lifted, lx, lobs = bayesian_lift_parameters(p, x, obs)
    target = lifted.target(lx, lobs, dtype=torch.float64)
    names = [coordinate.name for coordinate in target.layout]
    assert names == ["theta__e_centers", "theta__e_log_sigma", "t", "b"]
    q = torch.randn(3, target.layout.dim, dtype=torch.float64)
    assert bool(target.terms(q).total().isfinite().all())


def test_a_posterior_program_reads_a_table(module: Module) -> None:
    draws = torch.rand(4, 2, 3)
    found = module.posteriors["rows"]({"t": draws}, x=torch.tensor([0, 1]))
    torch.testing.assert_close(found, draws[:, 0])


def test_one_pass_whatever_the_number_of_rows(module: Module) -> None:
    q = module.exports["q"]
    tables = {"u_0": torch.full((2, 2), 0.5), "u_1": torch.full((2, 2), 0.5)}
    counts = []
    for n in (2, 3, 300):  # the first run takes the logarithms of the given table
        x = torch.zeros(n, dtype=torch.long)
        values = {**tables, "m": x, "y": x}
        with Counter() as counter:
            q.log_joint(x, values)
        counts.append(counter.count)
    assert counts[0] > counts[1] == counts[2]


def bad(data: dict[str, Any], text: str = SOURCE, **more: Any) -> str:
    with pytest.raises(UserError) as refused:
        loads(text, data, **more)
    return str(refused.value)


def test_data_that_are_no_table_say_what_was_wanted_and_what_came() -> None:
    text = bad({"w": W * np.nan})
    assert text.startswith("data `w` at [0, 0] is nan, which is not a number")
    assert "is infinite" in bad({"w": W + np.inf})
    assert "data `w` at [0, 2] is -1, which is negative" in bad({"w": W - [0.0, 0.0, 1.0]})
    assert "row 1 of data `w` is 0 throughout" in bad({"w": W * [[1.0], [0.0]]})
    assert "data `w` is a ragged list" in bad({"w": [[0.5, 0.5], [1.0]]})
    assert "entries of type <U1" in bad({"w": np.array([["a", "b"]])})
    assert "entries of type complex128" in bad({"w": W * 1j})
    text = bad({"w": W, "wide": W})
    assert text.startswith("data `wide` are read by no `from_data`; `from_data` reads w")
    assert "did you mean `w`?" in bad({"w": W, "W": W})


def test_a_table_over_a_size_that_is_not_known_asks_for_it() -> None:
    late = SOURCE.replace("FinSet 2", "FinSet n").replace("data prior : X -> Real 3\n", "")
    late = late.replace("Dirichlet(prior)", "Dirichlet(1.0)")
    assert "over a set whose size is not known when the module is loaded" in bad({"w": W}, late)
    module = loads(late, {"w": W}, sizes={"n": 2})
    assert module.exports["q"].trace(torch.tensor([0, 1])).sites["u_0"].value.shape == (2, 2)
