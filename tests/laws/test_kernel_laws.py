"""Laws of kernels: raw vectors land in the parameters' supports, networks are torch's, stacked."""

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels import (
    EPS,
    TRANSFORMS,
    apply_network,
    initial_tensors,
    kernel_density,
    kernel_parameters,
    network_spec,
    raw_cut,
    raw_width,
    scale_start,
    split_blocks,
    start_at_scale,
)
from quivers_nb.kernels.transforms import WIDTHS
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family, Parameter
from quivers_nb.spaces.support import (
    Above,
    Between,
    Counts,
    Increasing,
    LowerCholesky,
    RealLine,
    SimplexSupport,
)
from tests.laws.registry import LOWERED, bound, seeded
from tests.stats.budget import alpha, critical_z

KERNELS = [name for name in LOWERED if FAMILIES[name].kernel]
SCALED = [name for name in KERNELS if FAMILIES[name].scale_block]
BOUNDS = {"low": -1.0, "high": 2.0}
each_kernel = pytest.mark.parametrize("name", KERNELS)


def settings(row: Family) -> dict[str, float]:
    matrix = {"rows": 2, "cols": 3} if row.name == "MatrixNormal" else {}
    return BOUNDS if row.name == "TruncatedNormal" else matrix


def raws(row: Family, axes: tuple[int, ...], d: int = 3, scale: float = 1.0) -> Tensor:
    noise = torch.randn((*axes, raw_width(row, d, settings(row))), generator=seeded(91))
    return scale * noise.double()


# --- raw vectors -------------------------------------------------------------------------------


def test_every_width_and_transform_of_every_row_exists() -> None:
    for row in FAMILIES.values():
        for block in row.kernel or ():
            assert block.width in WIDTHS
            assert block.transform in TRANSFORMS


@each_kernel
@pytest.mark.parametrize("scale", [1.0, 40.0, 1e4])
def test_parameters_lie_in_their_supports(name: str, scale: float) -> None:
    row = FAMILIES[name]
    params = split_blocks(row, raws(row, (50,), scale=scale), 3, settings(row))
    known = dict(zip((p.name for p in kernel_parameters(row)), params, strict=True))
    for parameter in kernel_parameters(row):
        value = known[parameter.name]
        assert bool(value.isfinite().all() if scale < 1e3 else ~value.isnan().any())
        assert bool(member(parameter, value, known).all()), parameter


def member(parameter: Parameter, value: Tensor, known: dict[str, Tensor]) -> Tensor:
    match parameter.support:
        case Above(low):
            return value >= bound(low, known)
        case Between(low, high):
            return (value >= bound(low, known)) & (value <= bound(high, known))
        case SimplexSupport():
            return (value.sum(-1) - 1.0).abs() < 1e-9
        case Increasing():
            return (value.diff(dim=-1) >= 0).all(-1)
        case LowerCholesky():
            return (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1) & (value.triu(1) == 0).all()
        case Counts(low=low):
            return value >= low
    assert isinstance(parameter.support, RealLine)
    return torch.ones(value.shape, dtype=torch.bool)


@each_kernel
@pytest.mark.parametrize("axes", [(), (4,), (2, 4)])
def test_a_kernel_can_be_drawn_from_and_scored_at_every_stacking(
    name: str, axes: tuple[int, ...]
) -> None:
    row = FAMILIES[name]
    params = split_blocks(row, raws(row, axes), 3, settings(row))
    own = max(p.dim() - q.rank for p, q in zip(params, kernel_parameters(row), strict=True))
    batch = (*axes, 3) if own > len(axes) else axes  # elementwise families have d values
    y = kernel_density(row).sample(params, batch, seeded(92), size=3)
    assert y.shape[: len(batch)] == batch
    log_prob = kernel_density(row).log_prob(y, *params)
    assert log_prob.shape == batch
    assert bool(log_prob.isfinite().all())


@each_kernel
def test_stacked_raw_vectors_give_stacked_parameters(name: str) -> None:
    row = FAMILIES[name]
    raw = raws(row, (2, 4))
    cut = raw_cut(row, 3, settings(row))
    whole = cut(raw)
    for place in product(range(2), range(4)):
        for stacked, one in zip(whole, cut(raw[place]), strict=True):
            torch.testing.assert_close(stacked[place] if stacked.dim() else stacked, one)


def test_a_normal_kernel_is_mean_and_log_deviation() -> None:
    raw = torch.tensor([1.0, 2.0, 0.0, -30.0])
    loc, scale = split_blocks(FAMILIES["Normal"], raw, 2)
    assert loc.tolist() == [1.0, 2.0]
    assert scale.tolist() == [1.0, pytest.approx(EPS)]


def test_a_uniform_kernel_is_center_and_width() -> None:
    low, high = split_blocks(FAMILIES["Uniform"], torch.tensor([5.0, 0.5]), 1)
    assert (low + high).item() == pytest.approx(10.0)
    assert (high - low).item() == pytest.approx(torch.log1p(torch.tensor(0.5).exp()).item())


def test_a_coin_kernel_keeps_its_logit() -> None:
    row = FAMILIES["Bernoulli"]
    (logits,) = split_blocks(row, torch.tensor([[80.0]]), 2)
    assert logits.shape == (1,)
    assert kernel_density(row).log_prob(torch.tensor([0]), logits).item() == -80.0


def test_cutpoints_are_the_cumulated_increments() -> None:
    row = FAMILIES["OrderedLogistic"]
    predictor, cutpoints = split_blocks(row, torch.tensor([7.0, -1.0, 0.0, 0.0]), 4)
    log2 = torch.tensor(2.0).log().item()
    assert predictor.item() == 7.0
    assert cutpoints.tolist() == pytest.approx([-1.0, -1.0 + log2, -1.0 + 2 * log2])


def test_settings_replace_those_of_the_row() -> None:
    row = FAMILIES["LowRankMVN"]
    assert raw_width(row, 4) == 4 + 4 * 2 + 4
    assert raw_width(row, 4, {"rank": 3}) == 4 + 4 * 3 + 4
    total, _ = split_blocks(FAMILIES["Binomial"], torch.zeros(3), 3, {"total_count": 9})
    assert total.item() == 9.0


def test_a_parameter_without_block_or_setting_is_named() -> None:
    with pytest.raises(UserError, match="TruncatedNormal needs low"):
        raw_cut(FAMILIES["TruncatedNormal"], 2)


# --- where the scale starts (R5) ---------------------------------------------------------------


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", [1e-3, 0.1, 2.0, 50.0])
def test_the_start_of_the_scale_block_is_the_inverse_of_its_transform(
    name: str, scale: float
) -> None:
    row = FAMILIES[name]
    raw = raws(row, ())
    where, level = scale_start(row, scale, 3, settings(row))
    raw[where] = torch.tensor(level, dtype=torch.float64)
    params = split_blocks(row, raw, 3, settings(row))
    known = dict(zip((p.name for p in row.parameters), params, strict=True))
    got = known[row.scale_block or ""]
    expected = scale * torch.eye(3).double() if got.dim() == 2 else torch.full_like(got, scale)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["mlp", "linear", "attention"])
def test_a_network_that_starts_at_a_scale_has_it_near_every_input(kind: str) -> None:
    row = FAMILIES["Normal"]
    fresh = initial_tensors(network_spec(kind, 8, raw_width(row, 3)), seeded(93))
    scaled = start_at_scale(row, fresh, 0.05, 3)
    x = torch.randn(200, *(4, 8) if kind == "attention" else (8,), generator=seeded(94))
    _, before = split_blocks(row, apply_network(kind, fresh, x), 3)
    loc, after = split_blocks(row, apply_network(kind, scaled, x), 3)
    assert after.log().mean().item() == pytest.approx(torch.tensor(0.05).log().item(), abs=0.05)
    assert after.log().std() < 0.2 * before.log().std()
    torch.testing.assert_close(loc, split_blocks(row, apply_network(kind, fresh, x), 3)[0])


def test_a_table_that_starts_at_a_scale_keeps_a_tenth_of_its_noise() -> None:
    row = FAMILIES["Laplace"]
    fresh = initial_tensors(network_spec("lookup", 1, 6, table_size=500), seeded(95))
    scaled = start_at_scale(row, fresh, 0.05, 3)
    assert torch.equal(scaled["table"][:, :3], fresh["table"][:, :3])
    level = torch.tensor(scale_start(row, 0.05, 3)[1])
    torch.testing.assert_close(scaled["table"][:, 3:], level + 0.1 * fresh["table"][:, 3:])


@pytest.mark.parametrize("name", sorted(set(KERNELS) - set(SCALED)))
def test_a_family_without_scale_refuses_one(name: str) -> None:
    with pytest.raises(UserError, match="has no scale"):
        scale_start(FAMILIES[name], 0.1, 3, settings(FAMILIES[name]))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), 1e-8])
def test_a_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(UserError, match="too small"):
        scale_start(FAMILIES["Normal"], scale, 3)


def test_an_identity_has_nothing_to_scale() -> None:
    with pytest.raises(UserError, match="identity"):
        start_at_scale(FAMILIES["Normal"], {}, 0.1, 3)


# --- networks ----------------------------------------------------------------------------------


def torch_chain(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("kind", "widths", "sizes"),
    [("mlp", (64, 64), (5, 64, 64, 7)), ("mlp", (3,), (5, 3, 7)), ("linear", (), (5, 7))],
)
def test_a_fresh_network_is_the_one_that_torch_makes(
    kind: str, widths: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        ours = initial_tensors(network_spec(kind, 5, 7, widths=widths))
        torch.set_rng_state(state)
        theirs = torch_chain(*sizes)
    expected = [p.detach() for p in theirs.parameters()]
    assert len(ours) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), expected, strict=True))
    x = torch.randn(2, 4, 5, generator=seeded(96))
    torch.testing.assert_close(apply_network(kind, ours, x), theirs(x))


def test_attention_is_the_one_of_torch() -> None:
    tensors = initial_tensors(network_spec("attention", 8, 3, heads=2), seeded(97))
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    tensors["in_bias"].normal_(generator=seeded(98))
    with torch.no_grad():
        reference.in_proj_weight.copy_(tensors["in_weight"])
        reference.in_proj_bias.copy_(tensors["in_bias"])
        reference.out_proj.weight.copy_(tensors["out_weight"])
        reference.out_proj.bias.copy_(tensors["out_bias"])
    x = torch.randn(4, 6, 8, generator=seeded(99))
    mixed = reference(x, x, x, need_weights=False)[0].mean(1)
    expected = nn.functional.linear(mixed, tensors["weight0"], tensors["bias0"])
    torch.testing.assert_close(apply_network("attention", tensors, x, heads=2), expected)


@pytest.mark.parametrize("kind", ["mlp", "linear", "attention", "lookup"])
@pytest.mark.parametrize("stack", [(3,), (2, 3)])
@pytest.mark.parametrize("shared", [True, False])
def test_stacked_weights_give_stacked_results(
    kind: str, stack: tuple[int, ...], shared: bool
) -> None:
    specs = network_spec(kind, 8, 5, widths=(6, 6), table_size=10)
    generator = seeded(100)
    copies = [initial_tensors(specs, generator) for _ in range(torch.Size(stack).numel())]
    stacked = {
        spec.name: torch.stack([c[spec.name] for c in copies]).reshape(*stack, *spec.shape)
        for spec in specs
    }
    front = (1,) * len(stack) if shared else stack
    x = torch.randn(*front, 4, 7, 8, generator=generator)
    if kind == "lookup":
        x = torch.randint(0, 10, (*front, 4, 7), generator=generator)
    whole = apply_network(kind, stacked, x)
    for number, place in enumerate(product(*map(range, stack))):
        own = x[tuple(0 if shared else i for i in place)]
        torch.testing.assert_close(whole[place], apply_network(kind, copies[number], own))


def test_gradients_reach_every_tensor_of_every_network() -> None:
    for kind in ("mlp", "linear", "attention", "lookup"):
        tensors = initial_tensors(network_spec(kind, 8, 5, table_size=10), seeded(101))
        owned = {key: value.requires_grad_() for key, value in tensors.items()}
        x = torch.randn(4, 6, 8, generator=seeded(102))
        index = torch.arange(10)
        raw = apply_network(kind, owned, index if kind == "lookup" else x)
        grads = torch.autograd.grad(raw.square().sum(), list(owned.values()))
        assert all(bool((g != 0).any()) for g in grads), kind


@pytest.mark.stats
@pytest.mark.parametrize(("explicit", "spread"), [(False, 0.1), (True, 0.01)])
def test_a_table_starts_with_its_noise(explicit: bool, spread: float) -> None:
    specs = network_spec("lookup", 1, 40, table_size=250, explicit=explicit)
    table = initial_tensors(specs, seeded(103))["table"]
    z_bound = critical_z(alpha("network starts", 4))
    n = table.numel()
    assert abs(table.mean().item()) < z_bound * spread / n**0.5
    assert abs(table.std().item() / spread - 1.0) < z_bound / (2 * n) ** 0.5
    assert abs(1.2 * table.std().item() / spread - 1.0) > z_bound / (2 * n) ** 0.5


def test_the_acceptance_program_has_its_number_of_weights() -> None:
    """Section 0: two embeddings, four blocks of four heads and five kernels, cross and lm_head."""
    normal, categorical = FAMILIES["Normal"], FAMILIES["Categorical"]
    heads = 4 * weights(normal, 16, 4)
    block = heads + sum(weights(normal, a, b) for a, b in [*[(16, 16)] * 3, (16, 32), (32, 16)])
    embeddings = 2 * 2 * 32 * 16
    total = embeddings + 4 * block + weights(normal, 32, 32) + weights(categorical, 32, 32)
    assert total == 272_096


def weights(row: Family, in_dim: int, d: int) -> int:
    specs = network_spec("mlp", in_dim, raw_width(row, d))
    assert len(specs) == 6
    return sum(torch.Size(spec.shape).numel() for spec in specs)


def test_an_identity_must_have_the_width_of_the_raw_vector() -> None:
    x = torch.randn(3, 6, generator=seeded(104))
    assert network_spec("identity", 6, 6) == ()
    assert apply_network("identity", {}, x) is x
    with pytest.raises(UserError, match="use param_source=linear"):
        network_spec("identity", 5, 6)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="heads"):
        network_spec("attention", 6, 6, heads=4)
