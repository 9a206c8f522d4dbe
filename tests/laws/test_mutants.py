"""The laws have power: a density that breaks one of them fails that law, whatever else it keeps."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import DENSITIES, Density
from tests.laws import test_density_laws as densities
from tests.laws import test_mass_laws as masses

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


def test_a_density_that_is_nan_somewhere_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    law = densities.test_extreme_parameters_and_values_never_give_nan
    assert not fails(law, "Gamma", torch.float64)
    apply(monkeypatch, densities, of_log_prob(undefined))
    assert fails(law, "Gamma", torch.float64)


def test_a_mass_off_by_a_thousandth_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, masses, of_log_prob(constant_off))
    assert fails(masses.test_a_scalar_density_integrates_to_one, "Gamma", 21)
    assert fails(masses.test_a_vector_density_integrates_to_one, "Dirichlet")
    assert fails(masses.test_a_discrete_density_sums_to_one, "Poisson", 25)
