"""The noise map of a family pushes the standard normal to its density (R3)."""

import math

import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import DENSITIES, bijector_for
from quivers_nb.spaces.families import FAMILIES
from tests.laws.registry import LOWERED, Params, density, parameters, seeded

NOISY = [name for name in LOWERED if FAMILIES[name].noise]
each_noisy = pytest.mark.parametrize("name", NOISY)


def noise_like(name: str, params: Params, axes: tuple[int, ...]) -> Tensor:
    """Noise of the declared width: one number per scalar, else one per parameter entry."""
    row = FAMILIES[name]
    event = params["loc"].shape[-1:] if row.event_rank else ()
    return torch.randn((*axes, *event), generator=seeded(81), dtype=torch.float64)


def test_maps_exist_exactly_where_the_rows_say() -> None:
    assert {n for n in LOWERED if DENSITIES[n].from_noise is not None} == set(NOISY)


@each_noisy
def test_the_density_of_mapped_noise_is_the_normal_over_the_stretch(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 82)
    free = bijector_for(row.support, params)

    def to_free(noise: Tensor) -> Tensor:
        return free.inverse(density(row).from_noise(noise, *params.values()))

    for noise in noise_like(name, params, (5,)):
        y = density(row).from_noise(noise, *params.values())
        jacobian = torch.autograd.functional.jacobian(to_free, noise)
        stretch = torch.linalg.slogdet(jacobian.reshape(noise.numel(), -1)).logabsdet
        _, log_det = free.forward_and_log_det(free.inverse(y))
        normal = (-0.5 * noise.square() - 0.5 * math.log(2 * math.pi)).sum()
        expected = normal - stretch - log_det.sum()
        torch.testing.assert_close(
            density(row).log_prob(y, *params.values()), expected, rtol=1e-8, atol=1e-8
        )


@each_noisy
def test_noise_has_the_width_that_the_density_declares(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 83)
    noise = noise_like(name, params, (4,))
    y = density(row).from_noise(noise, *params.values())
    assert y.shape[:1] == (4,)
    if row.event_rank:
        assert noise.shape[-1] == density(row).noise_width(y.shape[-1])


@each_noisy
def test_stacked_noise_gives_stacked_values(name: str) -> None:
    row = FAMILIES[name]
    chains = parameters(row, 84, (3, 1))
    noise = noise_like(name, chains, (5,))
    y = density(row).from_noise(noise, *chains.values())
    for chain in range(3):
        one = tuple(value[chain, 0] for value in chains.values())
        torch.testing.assert_close(y[chain], density(row).from_noise(noise, *one))


@each_noisy
def test_values_are_smooth_in_noise_and_parameters(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 85)
    noise = noise_like(name, params, (2,)).requires_grad_()
    free = tuple(value.requires_grad_() for value in params.values())
    assert torch.autograd.gradcheck(density(row).from_noise, (noise, *free))
