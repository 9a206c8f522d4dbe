"""Composite kernels are chains of hidden sample steps (R3): exact with their middles given."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from quivers_nb.dsl import loads
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

PRELUDE = """\
object X : FinSet 5
object M : FinSet 4
object R2 : Real 2
object R3 : Real 3
object R4 : Real 4
object R6 : Real 6
"""


def text(declarations: str, body: str, dom: str, cod: str = "R3") -> str:
    return f"{PRELUDE}{declarations}\nprogram p : {dom} -> {cod}\n    {body}\nexport p\n"


def program(declarations: str, body: str, dom: str, cod: str = "R3") -> Any:
    model = compiled(text(declarations, body, dom, cod))
    randomize(model, seed=5)
    return model


def run(model: Any, x: torch.Tensor, seed: int = 1) -> tuple[Any, dict[str, torch.Tensor]]:
    """A trace, and the values of all its stochastic sites, declared and internal."""
    traced = model.trace(x, generator=torch.Generator().manual_seed(seed))
    sites = {**traced.stochastic_sites, **traced.internal_sites}
    values = {name: site.value.detach() for name, site in sites.items()}
    return traced, {n: v.double() if v.is_floating_point() else v for n, v in values.items()}


def internal(traced: Any, label: str) -> str:
    """The path of the one internal site whose last segment is ``label``."""
    found = [path for path in traced.internal_sites if path.split("/")[-1] == label]
    assert len(found) == 1, (label, list(traced.internal_sites))
    return found[0]


def own(model: Any, *segments: str) -> dict[str, Array]:
    """The tensors of the kernel whose parameter path holds all ``segments``."""
    return part_of(weights(model), lambda path: set(segments) <= set(path.split(".")))


ROWS = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IDS = torch.tensor([0, 4, 2, 2, 1, 3])
CHAIN = """\
morphism a : R2 -> R4 [role=kernel, hidden_dim=8] ~ Normal
morphism b : R4 -> R4 [role=kernel, param_source=linear] ~ Normal
morphism c : R4 -> R3 [role=kernel, param_source=mlp(5, 7)] ~ Normal
let f = a >> b >> c
"""
STEP = "sample h <- f\n    return h"


def test_a_chain_of_three_kernels_is_the_sum_of_their_densities() -> None:
    model = program(CHAIN, STEP, "R2")
    traced, values = run(model, ROWS)
    assert list(traced.sites) == ["h"]
    assert len(traced.internal_sites) == 2
    x, m1, m2, h = (
        t.numpy()
        for t in (ROWS, values[internal(traced, "a")], values[internal(traced, "b")], values["h"])
    )
    expected = (
        gaussian_kernel(own(model, "a"), x, m1)
        + gaussian_kernel(own(model, "b"), m1, m2)
        + gaussian_kernel(own(model, "c"), m2, h)
    )
    got = model.log_joint(ROWS, values).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    np.testing.assert_allclose(traced.log_joint.detach().numpy(), expected, rtol=1e-5)
    last = gaussian_kernel(own(model, "c"), m2, h)
    np.testing.assert_allclose(traced.sites["h"].log_prob.detach().numpy(), last, rtol=1e-5)


def test_backward_composition_is_the_same_chain() -> None:
    there = program(CHAIN.replace("a >> b >> c", "a >> b"), STEP, "R2", "R4")
    back = program(CHAIN.replace("a >> b >> c", "b << a"), STEP, "R2", "R4")
    _, values = run(there, ROWS)
    for name, parameter in back.storage().items():
        with torch.no_grad():
            parameter.copy_(there.storage()[name])
    torch.testing.assert_close(back.log_joint(ROWS, values), there.log_joint(ROWS, values))


def test_a_parallel_product_splits_its_input_and_adds() -> None:
    declarations = """\
morphism e : X -> R2 [role=embed]
morphism k : R2 -> R4 [role=kernel, hidden_dim=8] ~ Normal
let f = e @ k"""
    model = program(declarations, "sample h <- f\n    return h", "X * R2", "R6")
    x = torch.cat([IDS[:, None].double(), ROWS], dim=-1)
    traced, values = run(model, x)
    h = values["h"].numpy()
    assert h.shape == (6, 6)
    expected = embed_density(own(model, "e"), IDS.numpy(), h[:, :2]) + gaussian_kernel(
        own(model, "k"), ROWS.numpy(), h[:, 2:]
    )
    np.testing.assert_allclose(model.log_joint(x, values).detach().numpy(), expected, rtol=1e-10)
    assert not traced.internal_sites


def test_a_fan_gives_one_input_to_all_and_adds() -> None:
    declarations = """\
morphism g : R2 -> R2 [role=kernel, replicate=3, hidden_dim=8] ~ Normal
morphism k : R6 -> R3 [role=kernel, hidden_dim=8] ~ Normal
let f = fan(g) >> k"""
    model = program(declarations, STEP, "R2")
    traced, values = run(model, ROWS)
    x, h = ROWS.numpy(), values["h"].numpy()
    heads = [path for path in traced.internal_sites if "g[" in path or "fan[" in path]
    middle = np.concatenate([values[path].numpy() for path in heads], axis=-1)
    assert middle.shape == (6, 6)
    expected = gaussian_kernel(own(model, "k"), middle, h)
    for i in range(3):
        expected = expected + gaussian_kernel(
            own(model, f"g[{i}]"), x, middle[:, 2 * i : 2 * i + 2]
        )
    np.testing.assert_allclose(model.log_joint(ROWS, values).detach().numpy(), expected, rtol=1e-10)


def test_members_of_a_group_can_be_used_one_by_one() -> None:
    declarations = """\
morphism g : R2 -> R2 [role=kernel, replicate=2, hidden_dim=8] ~ Normal
let f = g_0 >> g_1"""
    model = program(declarations, STEP, "R2", "R2")
    traced, values = run(model, ROWS)
    (middle,) = (values[path].numpy() for path in traced.internal_sites)
    expected = gaussian_kernel(own(model, "g[0]"), ROWS.numpy(), middle) + gaussian_kernel(
        own(model, "g[1]"), middle, values["h"].numpy()
    )
    np.testing.assert_allclose(model.log_joint(ROWS, values).detach().numpy(), expected, rtol=1e-10)


ENDO = """\
morphism k : R3 -> R3 [role=kernel, hidden_dim=8] ~ Normal
let f = {}"""
THREE = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_repeat_shares_its_parameters() -> None:
    once, thrice = (program(ENDO.format(e), STEP, "R3") for e in ("k", "repeat(k, 3)"))
    assert count(once) == count(thrice)
    traced, values = run(thrice, THREE)
    assert len(traced.internal_sites) == 2
    points = [THREE.numpy(), *(values[p].numpy() for p in traced.internal_sites),
              values["h"].numpy()]  # fmt: skip
    part = own(thrice)
    expected = sum(gaussian_kernel(part, a, b) for a, b in pairwise(points))
    np.testing.assert_allclose(
        thrice.log_joint(THREE, values).detach().numpy(), expected, rtol=1e-10
    )


def test_stack_copies_its_parameters_with_equal_starts_that_part_after_a_step() -> None:
    model = loads(text(ENDO.format("stack(k, 3)"), STEP, "R3")).morphism.double()
    assert count(model) == 3 * count(program(ENDO.format("k"), STEP, "R3"))

    def copies() -> list[dict[str, Array]]:
        return [own(model, f"stack[{i}]") for i in range(3)]

    for first, other in zip(copies()[:1] * 2, copies()[1:], strict=True):
        for name, value in first.items():
            np.testing.assert_array_equal(value, other[name])
    before = copies()
    optimizer = torch.optim.SGD(list(model.parameters()), lr=0.1)
    _, values = run(model, THREE)
    (-model.log_joint(THREE, values).mean()).backward()
    optimizer.step()
    for i, j in ((0, 1), (1, 2)):
        assert any((copies()[i][n] != copies()[j][n]).any() for n in before[0])


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_finite_middle_is_summed_exactly(dtype: torch.dtype) -> None:
    declarations = """\
morphism a : X -> M [role=kernel] ~ Categorical
morphism b : M -> R3 [role=kernel] ~ Normal
let f = a >> b"""
    model = program(declarations, STEP, "X").to(dtype)
    h = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = weights(model)
    logits = next(v for v in weight.values() if v.shape == (5, 4))
    table = next(v for v in weight.values() if v.shape == (4, 6))
    loc, scale = gaussian_blocks(table)
    branches = log_softmax(logits, -1)[IDS.numpy()] + normal(h.numpy()[:, None], loc, scale).sum(-1)
    got = model.log_joint(IDS, {"h": h.to(dtype)}).detach().double().numpy()
    rtol = 1e-10 if dtype == torch.float64 else 1e-6
    np.testing.assert_allclose(got, logsumexp(branches, axis=-1), rtol=rtol)


def test_two_finite_middles_are_summed_along_the_chain() -> None:
    declarations = """\
morphism a : X -> M [role=kernel]
morphism b : M -> X [role=kernel]
morphism c : X -> R3 [role=kernel] ~ Normal
let f = a >> b >> c"""
    model = program(declarations, STEP, "X")
    weight = weights(model)
    first = np.exp(log_softmax(next(v for v in weight.values() if v.shape == (5, 4)), -1))
    second = np.exp(log_softmax(next(v for v in weight.values() if v.shape == (4, 5)), -1))
    loc, scale = gaussian_blocks(next(v for v in weight.values() if v.shape == (5, 6)))
    h = np.random.default_rng(0).normal(size=(6, 3))
    last = normal(h[:, None], loc, scale).sum(-1)
    expected = logsumexp(np.log((first @ second)[IDS.numpy()]) + last, axis=-1)
    got = model.log_joint(IDS, tensors({"h": h})).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_a_given_finite_middle_is_used_and_not_summed() -> None:
    declarations = """\
morphism a : X -> M [role=kernel] ~ Categorical
morphism b : M -> R3 [role=kernel] ~ Normal
let f = a >> b"""
    model = program(declarations, STEP, "X")
    traced, values = run(model, IDS)
    weight = weights(model)
    logits = log_softmax(next(v for v in weight.values() if v.shape == (5, 4)), -1)
    loc, scale = gaussian_blocks(next(v for v in weight.values() if v.shape == (4, 6)))
    m, h = values[internal(traced, "a")].numpy(), values["h"].numpy()
    expected = logits[IDS.numpy(), m] + normal(h, loc[m], scale[m]).sum(-1)
    np.testing.assert_allclose(model.log_joint(IDS, values).detach().numpy(), expected, rtol=1e-10)


SCAN = """\
object A : Real 2
object H : Real 3
morphism cell : A * H -> H [role=kernel, hidden_dim=8] ~ Normal
let f = scan(cell{})
"""


@pytest.mark.parametrize("init", ["", ", init=learned"])
def test_scan_is_a_chain_whose_states_are_internal_sites(init: str) -> None:
    model = program(SCAN.format(init), "sample h <- f\n    return h", "A", "H")
    x = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    traced, values = run(model, x)
    assert values["h"].shape == (4, 3)
    states = [values[path].numpy() for path in traced.internal_sites]
    if len(states) == 1:
        states = list(np.moveaxis(states[0], -2, 0))
    assert len(states) == 4
    weight = weights(model)
    start = next((v for v in weight.values() if v.shape == (3,)), np.zeros(3)) if init else 0.0
    part = own_cell(weight)
    before, expected = np.broadcast_to(start, (4, 3)), 0.0
    for t, after in enumerate([*states, values["h"].numpy()]):
        pair = np.concatenate([x[:, t].numpy(), before], axis=-1)
        expected, before = expected + gaussian_kernel(part, pair, after), after
    np.testing.assert_allclose(model.log_joint(x, values).detach().numpy(), expected, rtol=1e-10)


def own_cell(weight: Mapping[str, Array]) -> dict[str, Array]:
    return part_of(weight, lambda path: path.endswith("cell"))


def test_a_sequence_input_without_its_axis_is_one_step_long() -> None:
    model = program(SCAN.format(""), "sample h <- f\n    return h", "A", "H")
    traced, values = run(model, ROWS)
    assert not traced.internal_sites
    pair = np.concatenate([ROWS.numpy(), np.zeros((6, 3))], axis=-1)
    expected = gaussian_kernel(own_cell(weights(model)), pair, values["h"].numpy())
    np.testing.assert_allclose(model.log_joint(ROWS, values).detach().numpy(), expected, rtol=1e-10)


def test_kernels_of_a_step_take_several_arguments_concatenated() -> None:
    declarations = "morphism k : R2 * R4 -> R3 [role=kernel, hidden_dim=8] ~ Normal"
    body = "sample z : R4 <- Normal(0.0, 1.0)\n    sample h <- k(u, z)\n    return h"
    source = f"{PRELUDE}{declarations}\nprogram p(u) : R2 -> R3\n    {body}\nexport p\n"
    model = compiled(source)
    _, values = run(model, ROWS)
    z, h = values["z"].numpy(), values["h"].numpy()
    joined = np.concatenate([ROWS.numpy(), z], axis=-1)
    expected = normal(z, 0, 1).sum(-1) + gaussian_kernel(own(model), joined, h)
    np.testing.assert_allclose(model.log_joint(ROWS, values).detach().numpy(), expected, rtol=1e-10)


BOTH_ENDS = [
    ("chain", CHAIN, "R2", ROWS),
    ("stack", ENDO.format("stack(k, 2)"), "R3", THREE),
    ("repeat", ENDO.format("repeat(k, 2)"), "R3", THREE),
    ("scan", SCAN.format(", init=learned"), "A", ROWS[:, None, :].expand(6, 3, 2)),
]
each_composite = pytest.mark.parametrize(
    ("declarations", "dom", "x"), [c[1:] for c in BOTH_ENDS], ids=[c[0] for c in BOTH_ENDS]
)


@each_composite
@pytest.mark.parametrize("given", ["all middles", "no middle"])
def test_gradients_reach_every_parameter_on_the_path(
    declarations: str, dom: str, x: torch.Tensor, given: str
) -> None:
    model = program(declarations, STEP, dom)
    _, values = run(model, x)
    if given == "no middle":
        values = {"h": values["h"]}
    model.log_joint(x, values).sum().backward()
    for name, parameter in model.storage().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@each_composite
def test_equal_arguments_give_equal_values_bit_for_bit(
    declarations: str, dom: str, x: torch.Tensor
) -> None:
    model = program(declarations, STEP, dom)
    _, values = run(model, x)
    only_h = {"h": values["h"]}
    state = torch.random.get_rng_state()
    first, second = model.log_joint(x, only_h), model.log_joint(x, only_h)
    assert torch.equal(first, second)
    assert torch.equal(model.log_density(x, only_h), model.log_density(x, only_h))
    assert torch.equal(state, torch.random.get_rng_state())


@each_composite
def test_a_sliced_evaluation_equals_the_whole(declarations: str, dom: str, x: torch.Tensor) -> None:
    """Noise is a function of path, row number and own shape: row 0 alone keeps its noise."""
    model = program(declarations, STEP, dom)
    _, values = run(model, x)
    whole = model.log_joint(x, {"h": values["h"]})
    for rows in (1, 3):
        part = model.log_joint(x[:rows], {"h": values["h"][:rows]})
        torch.testing.assert_close(part, whole[:rows], rtol=1e-10, atol=1e-12)


def test_the_density_without_middles_is_a_lower_bound_in_expectation() -> None:
    """Linear Gaussian ``R2 -> R2 -> R2``: the marginal is Gaussian, the bound averages below it."""
    declarations = """\
morphism a : R2 -> R2 [role=kernel, param_source=linear] ~ Normal
morphism b : R2 -> R2 [role=kernel, param_source=linear] ~ Normal
let f = a >> b"""
    model = program(declarations, STEP, "R2", "R2")
    x = ROWS[:1].expand(4000, 2)
    _, values = run(model, ROWS)
    h = values["h"][:1].expand(4000, 2)
    estimates = model.log_joint(x, {"h": h}).detach().numpy()
    assert estimates.std() > 0.01, "every row has noise of its own"
    exact = linear_gaussian_marginal(model, ROWS[0].numpy(), values["h"][0].numpy())
    error = estimates.std() / np.sqrt(estimates.size)
    assert estimates.mean() < exact + 5 * error
    weights_ = logsumexp(estimates) - np.log(estimates.size)
    spread = np.exp(estimates - exact).std() / np.sqrt(estimates.size)
    assert abs(np.exp(weights_ - exact) - 1) < 5 * spread


def linear_gaussian_marginal(model: Any, x: Array, h: Array) -> float | None:
    """log density of ``h`` where only the mean of b's scale block may depend on the middle."""
    grid = np.linspace(-8, 8, 401)
    loc, scale = gaussian_blocks(mlp_raw(own(model, "a"), x[None])[0])
    z = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    middle = loc + scale * z
    area = 2 * np.log(grid[1] - grid[0])
    return float(
        logsumexp(normal(z, 0, 1).sum(-1) + area + gaussian_kernel(own(model, "b"), middle, h))
    )


def test_num_inner_tightens_the_bound() -> None:
    model = program(CHAIN, STEP, "R2")
    _, values = run(model, ROWS)
    x, h = ROWS[:1].expand(500, 2), values["h"][:1].expand(500, 3)
    one = model.log_joint(x, {"h": h}).mean()
    many = model.log_joint(x, {"h": h}, num_inner=20).mean()
    assert many > one


def test_a_kernel_with_one_category_axis_reads_products_of_finite_sets_row_major() -> None:
    declarations = "morphism k : X * M -> R3 [role=kernel] ~ Normal"
    model = program(declarations, "sample h <- k\n    return h", "X * M")
    x = torch.tensor([[0, 3], [4, 0], [2, 2]])
    _, values = run(model, x)
    table = next(iter(weights(model).values()))
    assert table.shape == (20, 6)
    flat = (4 * x[:, 0] + x[:, 1]).numpy()
    loc, scale = gaussian_blocks(table[flat])
    expected = normal(values["h"].numpy(), loc, scale).sum(-1)
    np.testing.assert_allclose(model.log_joint(x, values).detach().numpy(), expected, rtol=1e-10)


def test_scale_sets_the_starting_scale_of_a_kernel() -> None:
    declarations = "morphism k : R2 -> R3 [role=kernel, scale=0.1] ~ Normal"
    source = text(declarations, "sample h <- k\n    return h", "R2")
    model = loads(source).morphism.double()
    _, scale = gaussian_blocks(mlp_raw(own(model), ROWS.numpy()))
    np.testing.assert_allclose(scale, 0.1, rtol=0.15)
    plain = loads(source.replace(", scale=0.1", "")).morphism.double()
    _, scale = gaussian_blocks(mlp_raw(own(plain), ROWS.numpy()))
    assert (scale > 0.5).all()


def test_embed_with_scale_starts_there() -> None:
    declarations = "morphism e : X -> R3 [role=embed, scale=0.2]"
    source = text(declarations, "sample h <- e\n    return h", "X")
    np.testing.assert_allclose(np.exp(own(loads(source).morphism)["log_sigma"]), 0.2, rtol=1e-6)


def test_middles_given_as_numpy_serve_as_well() -> None:
    model = program(CHAIN, STEP, "R2")
    _, values = run(model, ROWS)
    plain = {name: value.numpy() for name, value in values.items()}
    assert torch.equal(model.log_joint(ROWS, plain), model.log_joint(ROWS, values))


def test_log_joint_of_a_finite_observation_after_a_chain() -> None:
    declarations = """\
morphism a : R2 -> R4 [role=kernel, hidden_dim=8] ~ Normal
morphism b : R4 -> M [role=kernel, hidden_dim=8] ~ Categorical"""
    body = "sample z <- a\n    observe y : M <- b(z)\n    return y"
    model = program(declarations, body, "R2", "M")
    z = np.random.default_rng(1).normal(size=(6, 4))
    y = np.array([0, 1, 2, 3, 0, 2])
    logits = log_softmax(mlp_raw(own(model, "b"), z), -1)
    expected = gaussian_kernel(own(model, "a"), ROWS.numpy(), z) + logits[np.arange(6), y]
    got = model.log_joint(ROWS, {"z": tensor(z), "y": tensor(y)}).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-10)
