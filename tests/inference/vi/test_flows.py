"""The laws of `quivers_nb.inference.vi.flows.bijector`, for every kind of layer."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import AutoNormalizingFlow
from quivers_nb.inference.vi.flows.autoregressive import autoregressive_masks
from quivers_nb.inference.vi.flows.bijector import Affine, Chain, Reversed
from quivers_nb.inference.vi.flows.spline import rational_quadratic
from quivers_nb.inference.vi.guides.flow import FLOWS
from quivers_nb.inference.vi.network import Network
from tests.inference.vi.conjugate import Conjugate

F64 = torch.float64


def layer(kind: str, dim: int, scattered: bool = True):
    rng = torch.Generator().manual_seed(dim)
    if kind == "chain":
        parts = [layer("spline", dim), Reversed(), layer("maf", dim), layer("affine", dim)]
        return Chain(parts)
    if kind == "affine":
        return Affine(*torch.randn(2, dim, dtype=F64, generator=rng))
    if kind == "reversed":
        return Reversed()
    made = FLOWS[kind](dim, (7, 6), F64, rng)
    with torch.no_grad():
        for parameter in made.parameters() if scattered else ():
            parameter.add_(0.4 * torch.randn(parameter.shape, dtype=F64, generator=rng))
    return made


KINDS = [*FLOWS, "affine", "reversed", "chain"]


def numerical_log_det(function, point: torch.Tensor, step: float = 1e-5) -> float:
    moves = step * torch.eye(len(point), dtype=F64)
    columns = (function(point + moves)[0] - function(point - moves)[0]) / (2 * step)
    return float(torch.linalg.slogdet(columns)[1])


@torch.no_grad()
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_log_determinants_are_those_of_the_numerical_jacobian(kind, dim):
    made = layer(kind, dim)
    points = 2.5 * torch.randn(6, dim, dtype=F64, generator=torch.Generator().manual_seed(1))
    for direction in (made.forward, made.inverse):
        _, said = direction(points)
        assert said.shape == (6,)
        found = [numerical_log_det(direction, point) for point in points]
        torch.testing.assert_close(said, torch.tensor(found, dtype=F64), atol=1e-6, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse_undoes_the_map(kind, dim):
    made = layer(kind, dim)
    z = 3.0 * torch.randn(4, 3, dim, dtype=F64, generator=torch.Generator().manual_seed(2))
    u, log_det = made(z)
    back, opposite = made.inverse(u)
    torch.testing.assert_close(back, z, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(opposite, -log_det, atol=1e-9, rtol=1e-9)
    if kind not in ("reversed",):
        assert not torch.allclose(u, z)


@torch.no_grad()
@pytest.mark.parametrize("kind", FLOWS)
def test_a_fresh_layer_is_the_identity(kind):
    z = torch.randn(5, 3, dtype=F64)
    u, log_det = layer(kind, 3, scattered=False)(z)
    torch.testing.assert_close(u, z)
    torch.testing.assert_close(log_det, torch.zeros(5, dtype=F64), atol=1e-12, rtol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("hidden", [(), (3,), (8, 8)])
def test_masked_outputs_see_earlier_inputs_only(dim, hidden):
    rng = torch.Generator().manual_seed(0)
    masks = autoregressive_masks(dim, hidden)
    network = Network((dim, *hidden, 2 * dim), F64, masks=masks, generator=rng)
    for parameter in network.parameters():
        parameter.normal_(generator=rng)
    x = torch.randn(dim, dtype=F64, generator=rng)
    for moved in range(dim):
        other = x.clone()
        other[moved] += 1.0
        changed = (network(other) != network(x)).reshape(2, dim)
        assert not changed[:, : moved + 1].any()
        # and they do see them: with units enough, every later output changes
        if hidden != (3,):
            assert changed[:, moved + 1 :].all()


def test_the_spline_is_the_identity_outside_its_interval_and_smooth_at_its_ends():
    rng = torch.Generator().manual_seed(0)
    raw = [0.7 * torch.randn(k, dtype=F64, generator=rng) for k in (5, 5, 4)]
    grid = torch.tensor([-9.0, -4.0, -4.0 + 1e-9, 4.0 - 1e-9, 4.0, 9.0], dtype=F64)
    y, log_slope = rational_quadratic(grid, *(r.expand(6, -1) for r in raw), 4.0, inverse=False)
    torch.testing.assert_close(y, grid, atol=1e-8, rtol=0.0)
    torch.testing.assert_close(log_slope, torch.zeros(6, dtype=F64), atol=1e-6, rtol=0.0)
    inside = torch.linspace(-4, 4, 401, dtype=F64)
    y, log_slope = rational_quadratic(inside, *(r.expand(401, -1) for r in raw), 4.0, inverse=False)
    assert (y.diff() > 0).all()
    assert float(log_slope.abs().max()) > 0.1


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_of_the_spline_are_finite_everywhere(inverse):
    value = torch.tensor([-1e6, -4.0, 0.0, 4.0, 1e6], dtype=F64, requires_grad=True)
    raw = [torch.zeros(5, k, dtype=F64, requires_grad=True) for k in (6, 6, 5)]
    y, log_slope = rational_quadratic(value, *raw, 4.0, inverse=inverse)
    grads = torch.autograd.grad(y.sum() + log_slope.sum(), [value, *raw])
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "radial"}, "`kind` of `AutoNormalizingFlow` is 'radial': one of 'coupling'"),
        ({"num_layers": 0}, "`num_layers` of `AutoNormalizingFlow` is 0"),
        ({"hidden": (4, 0)}, r"hidden=\(4, 0\)"),
        ({"init_scale": 0.0}, r"`init_scale` of `AutoNormalizingFlow` is 0\.0"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        AutoNormalizingFlow(Conjugate(), {"y"}, **options)
