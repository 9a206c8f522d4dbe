"""Laws of `quivers_nb.kernels.coupling`, and its networks' tensors."""

import math

import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import apply_network, initial_tensors
from quivers_nb.kernels.coupling import (
    LOG_SCALE_BOUND,
    Networks,
    coupling_log_prob,
    coupling_spec,
    layer_tensors,
    pull,
    push,
)
from tests.laws.quadrature import total_mass
from tests.laws.registry import seeded

CONDITION = 2


def networks(d: int, layers: int, condition: Tensor, scale: float = 3.0) -> Networks:
    """Fresh networks whose weights are enlarged, so that they bend."""
    specs = coupling_spec(CONDITION, d, layers, 8)
    fresh = initial_tensors(specs, seeded(1), torch.float64)
    tensors = {name: scale * tensor for name, tensor in fresh.items()}

    def network(layer: int, kept: Tensor) -> Tensor:
        both = torch.cat([condition.expand(*kept.shape[:-1], CONDITION), kept], -1)
        return apply_network("mlp", layer_tensors(tensors, layer), both)

    return network


def at(d: int, layers: int) -> Networks:
    return networks(d, layers, torch.tensor([0.3, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("layers", [1, 2, 5])
def test_pulling_undoes_pushing(d: int, layers: int) -> None:
    noise = torch.randn(4, 6, d, generator=seeded(2), dtype=torch.float64)
    value = push(at(d, layers), layers, noise)
    assert not torch.allclose(value, noise)
    back, _ = pull(at(d, layers), layers, value)
    torch.testing.assert_close(back, noise, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_log_determinant_is_that_of_the_jacobian(d: int) -> None:
    value = push(at(d, 4), 4, torch.randn(d, generator=seeded(3), dtype=torch.float64))
    jacobian = torch.autograd.functional.jacobian(lambda v: pull(at(d, 4), 4, v)[0], value)
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(pull(at(d, 4), 4, value)[1], expected)


def test_the_density_integrates_to_one() -> None:
    network = networks(2, 3, torch.tensor([0.3, -1.0], dtype=torch.float64), scale=1.0)

    class Line:
        event_rank = 0

        def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
            return u, torch.zeros_like(u)

    def log_prob(y: Tensor) -> Tensor:
        return coupling_log_prob(network, 3, y)

    assert total_mass(log_prob, Line(), 2, 301) == pytest.approx(1.0, abs=1e-6)  # type: ignore[arg-type]


def test_even_layers_keep_even_entries() -> None:
    noise = torch.randn(5, generator=seeded(4), dtype=torch.float64)
    once = push(at(5, 1), 1, noise)
    assert torch.equal(once[0::2], noise[0::2])
    assert not torch.isclose(once[1::2], noise[1::2]).any()


def test_without_layers_of_weight_the_density_is_normal() -> None:
    value = torch.randn(3, generator=seeded(5), dtype=torch.float64)
    flat = networks(3, 4, torch.zeros(2, dtype=torch.float64), scale=0.0)
    expected = (-0.5 * value.square() - 0.5 * math.log(2 * math.pi)).sum()
    torch.testing.assert_close(coupling_log_prob(flat, 4, value), expected)


def test_scales_are_bounded() -> None:
    def wild(_layer: int, kept: Tensor) -> Tensor:
        return torch.tensor([0.0, 1e9], dtype=torch.float64).expand(*kept.shape[:-1], 2)

    noise = torch.ones(2, dtype=torch.float64)
    assert push(wild, 1, noise)[1].item() == pytest.approx(math.exp(LOG_SCALE_BOUND))


def test_each_layer_has_a_network_of_three_maps() -> None:
    specs = coupling_spec(2, 5, 3, 8)
    assert [s.name for s in specs] == [f"{k}{n}" for n in range(9) for k in ("weight", "bias")]
    shapes = [s.shape for s in specs if s.name.startswith("weight")]
    assert shapes == [
        (8, 2 + 3), (8, 8), (2 * 2, 8),
        (8, 2 + 2), (8, 8), (2 * 3, 8),
        (8, 2 + 3), (8, 8), (2 * 2, 8),
    ]  # fmt: skip
