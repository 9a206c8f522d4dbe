"""The laws have power: a density that breaks one of them fails that law, whatever else it keeps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import DENSITIES, Bijector, Density
from quivers_nb.spaces.support import Above, PositiveDefinite, SimplexSupport, Support
from tests.laws import test_bijector_laws as bijectors
from tests.laws import test_cdf_laws as cdfs
from tests.laws import test_density_laws as densities
from tests.laws import test_mass_laws as masses
from tests.laws import test_noise_laws as noises

Change = Callable[[Density], Density]


def of_log_prob(change: Callable[..., Tensor]) -> Change:
    """A mutant whose log density is ``change(log_prob, y, *params)``."""

    def mutant(density: Density) -> Density:
        return replace(density, log_prob=lambda y, *p: change(density.log_prob, y, *p))

    return mutant


def apply(monkeypatch: pytest.MonkeyPatch, module: object, change: Change) -> None:
    monkeypatch.setattr(module, "density", lambda row: change(DENSITIES[row.name]))


def constant_off(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y, *params) + 1e-3


def value_held(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y.detach(), *params) + 0.0 * y.sum()


def parameters_held(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y, *(p.detach() for p in params)) + 0.0 * sum(p.sum() for p in params)


def leaking(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y, *params).clamp(min=-1e6)


def batch_summed(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    value = log_prob(y, *params)
    return value.sum(0, keepdim=True).expand(value.shape)


def in_singles(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y.float(), *(p.float() for p in params)).to(y.dtype)


def cancelling(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    """Exact in float64; in float32 a hundredth is lost in a large number."""
    return log_prob(y, *params) + 1e5 - 1e5


def undefined(log_prob: Callable[..., Tensor], y: Tensor, *params: Tensor) -> Tensor:
    return log_prob(y, *params) - 0.0 * params[-1] * torch.inf


ONE_OF_EACH = ["Gamma", "Dirichlet", "Wishart", "Poisson"]


def fails(law: Callable[..., None], *arguments: object) -> bool:
    try:
        law(*arguments)
    except (AssertionError, RuntimeError):
        return True
    return False


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize(
    ("change", "law", "arguments"),
    [
        (constant_off, densities.test_density_equals_the_oracle, (1,)),
        (in_singles, densities.test_density_equals_the_oracle, (1,)),
        (batch_summed, densities.test_stacked_points_give_stacked_densities, ((4,),)),
        (batch_summed, densities.test_stacked_points_give_stacked_densities, ((2, 4),)),
        (
            batch_summed,
            densities.test_chains_of_parameters_meet_shared_values_and_the_other_way_round,
            (),
        ),
        (cancelling, densities.test_float32_agrees_with_float64, ()),
        (
            parameters_held,
            densities.test_gradients_in_the_parameters_agree_with_finite_differences,
            (),
        ),
        (leaking, densities.test_density_is_zero_outside_the_support_and_its_gradient_finite, ()),
    ],
)
def test_a_mutant_fails_its_law(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[..., Tensor],
    law: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    assert not fails(law, name, *arguments)
    apply(monkeypatch, densities, of_log_prob(change))
    assert fails(law, name, *arguments)


@pytest.mark.parametrize("name", ["Gamma", "Dirichlet", "Wishart"])
def test_a_density_that_is_flat_in_its_value_has_wrong_gradients(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    apply(monkeypatch, densities, of_log_prob(value_held))
    assert fails(densities.test_gradients_in_the_value_agree_with_finite_differences, name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_density_that_is_nan_somewhere_is_caught(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    law = densities.test_extreme_parameters_and_values_never_give_nan
    assert not fails(law, "Gamma", dtype)
    apply(monkeypatch, densities, of_log_prob(undefined))
    assert fails(law, "Gamma", dtype)


def test_a_mass_off_by_a_thousandth_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, masses, of_log_prob(constant_off))
    assert fails(masses.test_a_scalar_density_integrates_to_one, "Gamma", 21)
    assert fails(masses.test_a_vector_density_integrates_to_one, "Dirichlet")
    assert fails(masses.test_a_discrete_density_sums_to_one, "Poisson", 25)


# --- bijectors, noise maps, distribution functions ------------------------------------------------


@dataclass(frozen=True)
class Bent:
    """A bijector with one of its maps changed."""

    honest: Bijector
    shift: float = 0.0  # of its values, there and back
    volume: float = 0.0  # of its log determinant
    back: float = 0.0  # of its inverse

    @property
    def event_rank(self) -> int:
        return self.honest.event_rank

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.honest.unconstrained_shape(value_shape)

    def forward(self, u: Tensor) -> Tensor:
        return self.honest.forward(u) + self.shift

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.honest.forward_and_log_det(u)
        return y + self.shift, log_det + self.volume * u.detach().abs().mean()

    def inverse(self, y: Tensor) -> Tensor:
        return self.honest.inverse(y - self.shift) + self.back


@pytest.mark.parametrize("support", [Above(0.0), SimplexSupport(), PositiveDefinite()], ids=str)
@pytest.mark.parametrize(
    ("bend", "law", "arguments"),
    [
        ({"back": 1e-3}, bijectors.test_there_and_back, ((),)),
        ({"back": 1e-3}, bijectors.test_there_and_back, ((2, 3),)),
        ({"volume": 1e-3}, bijectors.test_log_determinant_is_that_of_the_jacobian, (2,)),
        ({"shift": -2.0}, bijectors.test_values_land_in_the_support, (1.0,)),
    ],
)
def test_a_bent_bijector_fails_its_law(
    monkeypatch: pytest.MonkeyPatch,
    support: Support,
    bend: dict[str, float],
    law: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    assert not fails(law, support, *arguments)
    honest = bijectors.bijector_for
    monkeypatch.setattr(bijectors, "bijector_for", lambda *a: Bent(honest(*a), **bend))
    assert fails(law, support, *arguments)


@pytest.mark.parametrize("name", ["Normal", "MultivariateNormal"])
def test_noise_that_is_stretched_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    law = noises.test_the_density_of_mapped_noise_is_the_normal_over_the_stretch
    assert not fails(law, name)

    def stretched(density: Density) -> Density:
        honest = density.from_noise
        assert honest is not None
        return replace(density, from_noise=lambda e, *p: honest(1.01 * e, *p))

    apply(monkeypatch, noises, stretched)
    assert fails(law, name)


@pytest.mark.parametrize("name", ["Gamma", "Poisson"])
def test_sides_that_are_exchanged_are_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    honest = cdfs.CDFS[name]
    exchanged = replace(honest, log_cdf=honest.log_sf, log_sf=honest.log_cdf)
    monkeypatch.setattr(cdfs, "CDFS", {**cdfs.CDFS, name: exchanged})
    assert fails(cdfs.test_both_sides_agree_with_scipy, name)
