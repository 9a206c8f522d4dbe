"""Kernels into products of finite sets draw one index; what reads the product sees its factors."""

import torch

from quivers_nb.dsl import loads

TEXT = """object X : FinSet 3
object Y : FinSet 4
object R : Real 2
morphism t : X * Y -> X * Y [role=kernel]
morphism u : X * Y -> Y [role=kernel]
morphism g : R -> X * Y [role=kernel] ~ Categorical
morphism e : Y -> R [role=embed]
let tu = t >> u
program split(a, b) : X * Y -> R
    sample [c, d] <- t(a, b)
    sample z <- e(d)
    return (c, d, z)
program drawn(x) : R -> R
    sample [c, d] <- g(x)
    observe y <- u(c, d)
    return (c, d)
export tu
export stack(t, 2)
export split
export drawn
"""


def tables(module: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of t and u: 12 by 12, and 12 by 4."""
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    split = module.exports["split"]  # type: ignore[attr-defined]
    kernel = module.exports["tu"]  # type: ignore[attr-defined]
    t = torch.stack([
        split.trace(every, {"c": torch.full((12,), k // 4), "d": torch.full((12,), k % 4)})
        .sites["c"].log_prob
        for k in range(12)
    ], 1)  # fmt: skip
    tu = torch.stack([kernel.log_prob(every, torch.full((12,), k)) for k in range(4)], 1)
    return t.exp(), tu.exp()


def test_a_middle_in_a_product_is_summed_over_its_elements() -> None:
    torch.manual_seed(0)
    module = loads(TEXT)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    t, tu = tables(module)
    torch.testing.assert_close(t.sum(1), torch.ones(12))
    torch.testing.assert_close(tu.sum(1), torch.ones(12))
    # one more step: rows of u alone from the program that observes it
    drawn, x = module.exports["drawn"], torch.zeros(12, 2)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    given = {"c": every[:, 0], "d": every[:, 1]}
    u = torch.stack([
        drawn.trace(x, {**given, "y": torch.full((12,), k)}).sites["y"].log_prob for k in range(4)
    ], 1).exp()  # fmt: skip
    torch.testing.assert_close(tu, t @ u)
    stacked = module.exports["stack(t, 2)"]
    twice = torch.stack([stacked.log_prob(every, torch.full((12,), k)) for k in range(12)], 1).exp()
    torch.testing.assert_close(twice.sum(1), torch.ones(12))


def test_components_are_sites_with_indices_of_their_own() -> None:
    module = loads(TEXT)
    split, drawn = module.exports["split"], module.exports["drawn"]
    x = torch.tensor([[0, 1], [2, 3], [1, 0]])
    run = split.trace(x, generator=torch.Generator().manual_seed(1))
    c, d = run.sites["c"].value, run.sites["d"].value
    assert c.shape == d.shape == (3,)
    assert int(c.max()) < 3
    assert int(d.max()) < 4
    again = split.log_joint(x, {name: site.value for name, site in run.sites.items()})
    torch.testing.assert_close(again, run.log_joint)
    many = drawn.simulate(torch.randn(5, 2), 200, generator=torch.Generator().manual_seed(2))
    assert many["c"].shape == many["d"].shape == (200, 5)
    assert set(many["c"].unique().tolist()) == {0, 1, 2}
    assert set(many["d"].unique().tolist()) == {0, 1, 2, 3}


RELATION = """object X : FinSet 3
object Y : FinSet 4
object R : Real 2
morphism f : X -> Y [role=latent{option}]
morphism u : Y -> R [role=embed]
morphism g : X -> R [role=kernel] ~ Normal
program p(a) : X -> Y
    observe y <- f(a)
    return y
export p
export f >> u
export f @ g
"""


def test_a_relation_that_meets_kernels_is_a_kernel_of_its_normalized_rows() -> None:
    torch.manual_seed(0)
    module = loads(RELATION.replace("{option}", ""))
    raw = module.morphism.parameter("f.raw")
    assert raw.shape == (3, 4)
    raw[1, 2] = -40.0  # sigmoid(-40) is far below the floor
    p = torch.sigmoid(raw)
    wanted = (p / p.sum(-1, keepdim=True)).clamp_min(1e-7).log()
    x = torch.arange(3)
    for k in range(4):
        y = torch.full((3,), k)
        torch.testing.assert_close(
            module.morphism.log_joint(x, {"y": y}), wanted[:, k], atol=1e-5, rtol=1e-5
        )
    # the middle of f >> u is summed
    kernel, z = module.exports["f >> u"], torch.randn(3, 2)
    centers, widths = (kernel.get_parameter(name) for name, _ in kernel.named_parameters()
                       if not name.endswith("raw"))  # fmt: skip
    normal = torch.distributions.Normal(centers[:, None], widths.exp()[:, None])
    each = normal.log_prob(z).sum(-1)  # (4, 3)
    torch.testing.assert_close(
        kernel.log_prob(x, z), torch.logsumexp(wanted.T + each, 0), atol=1e-5, rtol=1e-5
    )


def test_an_automatic_start_of_a_relation_is_near_the_level_of_its_algebra() -> None:
    raw = loads(RELATION.replace("{option}", ", init=auto")).morphism.parameter("f.raw")
    level = 0.6931 / 4
    assert bool(((raw.sigmoid() >= 0.49 * level) & (raw.sigmoid() <= 1.51 * level)).all())
