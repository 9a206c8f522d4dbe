"""Facts 1 to 9 of the acceptance program (section 0), and its density against numpy."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.dsl import load, loads
from quivers_nb.inference import (
    ELBO,
    SVI,
    AutoNormalGuide,
    bayesian_lift_parameters,
)
from quivers_nb.inference.trace import trace
from tests.support.oracles import (
    Array,
    categorical_kernel,
    embed_density,
    gaussian_kernel,
    part_of,
    randomize,
    weights,
)
from tests.support.seed import MODULE

B = 16
LAYER = ["enc_attn_proj", "enc_residual_attn", "enc_ff_up", "enc_ff_down", "enc_residual_ff"]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return load(str(MODULE)).morphism


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randint(0, 32, (B, 2), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def run(model: Any, x: torch.Tensor) -> Any:
    return trace(model, x, generator=torch.Generator().manual_seed(6))


@pytest.fixture(scope="module")
def obs(run: Any) -> dict[str, torch.Tensor]:
    return {name: site.value.detach() for name, site in run.sites.items()}


def test_there_are_272096_scalar_parameters_under_232_paths(model: Any) -> None:
    assert sum(p.numel() for p in model.parameters()) == 272_096
    sites = model.parameter_sites()
    assert len(sites) == 232
    assert len({site.path for site in sites}) == 232
    assert sum(v.size for v in weights(model).values()) == 272_096


def test_every_parameter_path_names_its_place(model: Any) -> None:
    paths = {site.path for site in model.parameter_sites()}
    assert "backbone.encoder.stack[0].enc_head[2].weight0" in paths
    assert "backbone.decoder.stack[1].dec_residual_ff.bias2" in paths
    assert "backbone.cross.weight0" in paths
    assert "lm_head.weight0" in paths
    assert {"backbone.encoder.src_embed.centers", "backbone.encoder.src_embed.log_sigma"} <= paths
    assert not {path for path in paths if path.startswith(("enc_", "dec_"))}, "stack copies"


def test_shapes_by_path_are_those_of_the_layers(model: Any) -> None:
    shape = {path: value.shape for path, value in weights(model).items()}
    head = "backbone.encoder.stack[0].enc_head[2]."
    assert [shape[head + name] for name in ("weight0", "weight1", "weight2")] == [
        (64, 16),
        (64, 64),
        (8, 64),
    ]
    assert shape["backbone.encoder.src_embed.centers"] == (32, 16)
    assert shape["backbone.cross.weight0"] == (64, 32)
    assert shape["lm_head.weight2"] == (32, 64)


def test_layers_of_a_stack_start_equal_and_heads_of_a_group_do_not(model: Any) -> None:
    value = weights(model)
    path = "backbone.encoder.stack[{}].enc_head[{}].weight0"
    np.testing.assert_array_equal(value[path.format(0, 2)], value[path.format(1, 2)])
    assert (value[path.format(0, 2)] != value[path.format(0, 1)]).any()


def test_exactly_two_declared_sites_with_shapes_and_types(run: Any) -> None:
    assert list(run.sites) == ["h", "next_token"]
    h, token = run.sites["h"], run.sites["next_token"]
    assert tuple(h.value.shape) == (B, 32)
    assert h.value.dtype == torch.float32
    assert tuple(h.log_prob.shape) == (B,)
    assert tuple(token.value.shape) == (B,)
    assert token.value.dtype == torch.int64
    assert 0 <= int(token.value.min()) <= int(token.value.max()) < 32
    assert tuple(token.log_prob.shape) == (B,)
    assert tuple(run.log_joint.shape) == (B,)
    h.value.detach()
    token.value.detach()


def test_a_run_without_observations_observes_nothing(run: Any) -> None:
    assert not run.sites["next_token"].is_observed
    assert not run.sites["h"].is_observed


def test_a_given_token_is_clamped_and_observed(model: Any, x: torch.Tensor) -> None:
    y = torch.arange(B)
    site = trace(model, x, {"next_token": y}).sites["next_token"]
    assert site.is_observed
    assert torch.equal(site.value, y)


def test_the_output_is_the_token(run: Any) -> None:
    assert torch.equal(run.output, run.sites["next_token"].value)


def test_the_program_is_the_module_s_morphism_and_types_are_equal_by_size() -> None:
    source = MODULE.read_text(encoding="utf-8")
    assert loads(source).morphism is not None
    swapped = source.replace("program seq2seq : Source * Target -> Target",
                             "program seq2seq : Target * Source -> Source")  # fmt: skip
    assert loads(swapped).morphism is not None


def test_the_middles_are_internal_sites_and_480_numbers_per_row(run: Any) -> None:
    middles = [site.value for site in run.internal_sites.values()]
    assert sum(value[0].numel() for value in middles) == 480
    assert all(value.shape[0] == B for value in middles)


def test_log_joint_of_all_values_is_the_sum_of_the_kernels_densities(
    x: torch.Tensor,
) -> None:
    model = load(str(MODULE)).morphism.double()
    randomize(model, seed=1, scale=0.05)
    run = trace(model, x, generator=torch.Generator().manual_seed(6))
    values = {
        name: site.value.detach().double() if site.value.is_floating_point() else site.value
        for sites in (run.sites, run.internal_sites)
        for name, site in sites.items()
    }
    got = model.log_joint(x, values).detach().numpy()
    np.testing.assert_allclose(got, numpy_density(weights(model), values, x.numpy()), rtol=1e-10)
    np.testing.assert_allclose(run.log_joint.detach().numpy(), got, rtol=1e-6)


def numpy_density(weight: dict[str, Array], values: dict[str, Any], x: Any) -> Array:
    """The program written out: two towers of two layers each, merged, then scored."""
    total = np.zeros(len(x))
    tops = []
    for column, tower, side in ((0, "encoder", "enc"), (1, "decoder", "dec")):
        embed = "src_embed" if side == "enc" else "tgt_embed"
        at = middle(values, tower, embed)
        total += embed_density(kernel(weight, tower, embed), x[:, column], at)
        for layer in range(2):
            stack = f"stack[{layer}]"
            heads = [middle(values, tower, stack, f"{side}_head[{i}]") for i in range(4)]
            for i, head in enumerate(heads):
                total += gaussian_kernel(
                    kernel(weight, tower, stack, f"{side}_head[{i}]"), at, head
                )
            at = np.concatenate(heads, -1)
            for name in LAYER:
                name = name.replace("enc", side)  # noqa: PLW2901
                after = middle(values, tower, stack, name)
                total += gaussian_kernel(kernel(weight, tower, stack, name), at, after)
                at = after
        tops.append(at)
    h = values["h"].numpy()
    total += gaussian_kernel(kernel(weight, "cross"), np.concatenate(tops, -1), h)
    return total + categorical_kernel(kernel(weight, "lm_head"), h, values["next_token"].numpy())


def kernel(weight: dict[str, Array], *segments: str) -> dict[str, Array]:
    return part_of(weight, lambda path: set(segments) <= set(path.split(".")))


def middle(values: dict[str, Any], *segments: str) -> Array:
    found = [path for path in values if set(segments) <= set(path.split("/"))]
    assert len(found) == 1, (segments, found)
    return values[found[0]].numpy()


def test_two_calls_agree_bit_for_bit(model: Any, x: torch.Tensor, obs: Any) -> None:
    first, second = model.log_joint(x, obs), model.log_joint(x, obs)
    assert tuple(first.shape) == (B,)
    assert torch.equal(first, second)


def test_gradients_reach_every_weight(x: torch.Tensor, obs: Any) -> None:
    model = load(str(MODULE)).morphism
    model.log_joint(x, obs).sum().backward()
    for site in model.parameter_sites():
        grad = model.storage()[site.key].grad
        part = grad if site.index is None else grad[site.index]
        used = part.abs().sum()
        assert torch.isfinite(used), site.path
        assert used > 0, site.path


def test_the_guide_has_one_site_of_shape_32(model: Any, x: torch.Tensor) -> None:
    guide = AutoNormalGuide(model, observed_names={"next_token"})
    shapes = {name: tuple(p.shape) for name, p in guide.named_parameters()}
    assert shapes == {"loc_h": (32,), "log_scale_h": (32,)}
    drawn = guide.rsample(x)
    assert tuple(drawn["h"].shape) == (B, 32)
    assert tuple(guide.log_prob(x, drawn).shape) == (B,)


def test_an_svi_step_returns_a_float_and_moves_model_and_guide(x: torch.Tensor, obs: Any) -> None:
    model = load(str(MODULE)).morphism
    guide = AutoNormalGuide(model, observed_names={"next_token"})
    both = list(model.parameters()) + list(guide.parameters())
    before = [p.detach().clone() for p in both]
    svi = SVI(model, guide, torch.optim.Adam(both, lr=2e-2), ELBO())
    loss = svi.step(x, {"next_token": obs["next_token"]})
    assert isinstance(loss, float)
    assert np.isfinite(loss)
    assert all((p != q).any() for p, q in zip(both, before, strict=True))


def test_lifting_gives_232_weight_sites_and_7680_noise_numbers(
    model: Any, x: torch.Tensor, obs: Any
) -> None:
    lifted, lx, lobs = bayesian_lift_parameters(model, x, obs, prior_scale=1.0)
    layout = lifted.target(lx, lobs).layout
    theta = [c for c in layout if c.name.startswith("theta__")]
    rest = [c for c in layout if not c.name.startswith("theta__")]
    assert len(theta) == 232
    assert sum(c.size for c in theta) == 272_096
    assert sum(c.size for c in rest) == 7_680
    assert all(c.internal and c.standard_normal for c in rest)
    assert layout.dim == 272_096 + 7_680
    names = {c.name for c in theta}
    assert not {name for name in names if "." in name}
    assert sum(bool(re.search(r"enc_head", name)) for name in names) == 2 * 4 * 6


def test_the_lifted_density_is_prior_plus_density_at_the_moved_weights(
    x: torch.Tensor, obs: Any
) -> None:
    model = load(str(MODULE)).morphism
    scale = 0.7
    lifted, lx, lobs = bayesian_lift_parameters(model, x, obs, prior_scale=scale)
    target = lifted.target(lx, lobs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    q = 0.05 * torch.randn(target.layout.dim, generator=generator, dtype=torch.float64)
    got = target.terms(q).total().item()

    named = {c.name: c.slice(q) for c in target.layout}
    theta = {n: v for n, v in named.items() if n.startswith("theta__")}
    prior = sum(
        (-0.5 * (v / scale) ** 2).sum().item()
        - v.numel() * (np.log(scale) + 0.5 * np.log(2 * np.pi))
        for v in theta.values()
    )
    moved = load(str(MODULE)).morphism.double()
    with torch.no_grad():
        for site in moved.parameter_sites():
            whole = moved.storage()[site.key]
            part = whole if site.index is None else whole[site.index]
            part.copy_(theta["theta__" + site.path.replace(".", "_")].reshape(part.shape))
    inner = moved.target(x, obs, dtype=torch.float64)
    noise = torch.cat([v.reshape(-1) for n, v in named.items() if n not in theta])
    assert inner.layout.dim == noise.numel()
    expected = prior + inner.terms(noise).total().item()
    assert got == pytest.approx(expected, rel=1e-9)


def test_lifting_leaves_the_module_as_it_was(x: torch.Tensor, obs: Any) -> None:
    model = load(str(MODULE)).morphism
    before = {name: value.copy() for name, value in weights(model).items()}
    lifted, lx, lobs = bayesian_lift_parameters(model, x, obs, prior_scale=1.0)
    target = lifted.target(lx, lobs)
    target.terms(torch.zeros(target.layout.dim, dtype=target.dtype))
    for name, value in weights(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_the_noise_coordinates_describe_the_same_density_as_the_values(
    x: torch.Tensor, obs: Any
) -> None:
    """In noise coordinates the middles are standard normal, the declared terms as ever."""
    model = load(str(MODULE)).morphism.double()
    target = model.target(x, obs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(target.layout.dim, generator=generator, dtype=torch.float64)
    values = target.constrain(q, internal=True)
    by_noise = target.terms(q).total().item()
    standard = -0.5 * (q**2).sum().item() - q.numel() * 0.5 * np.log(2 * np.pi)
    declared = declared_terms(model, x, {**obs, **values})
    assert by_noise == pytest.approx(standard + declared, rel=1e-9)


def declared_terms(model: Any, x: torch.Tensor, values: dict[str, Any]) -> float:
    """The terms of the two declared sites, given the middles."""
    traced = model.trace(x, values)
    return sum(site.log_prob.double().sum().item() for site in traced.sites.values())
