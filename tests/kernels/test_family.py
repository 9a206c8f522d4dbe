"""The registry of densities refuses doubles, and special functions are exact where it is hard."""

import mpmath
import pytest
import torch

from quivers_nb.kernels.families import DENSITIES, _table
from quivers_nb.kernels.families.normal import log_normal_mass
from quivers_nb.kernels.families.numeric import (
    as_float,
    draw_log_gamma,
    log1mexp,
    log_rising,
    pick,
    softplus,
)

mpmath.mp.dps = 50
ROOT_2 = mpmath.sqrt(2)


def doubles(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_a_family_with_two_densities_is_refused() -> None:
    normal = DENSITIES["Normal"]
    with pytest.raises(ValueError, match="Normal has two densities"):
        _table((normal,), (normal,))


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        DENSITIES["Normal"] = DENSITIES["Cauchy"]  # type: ignore[index]


@pytest.mark.parametrize("r", [1e-6, 0.5, 3.0, 99.9, 100.1, 1e3, 1e8])
@pytest.mark.parametrize("y", [0.0, 0.5, 1.0, 7.0, 1e4])
def test_rising_factorials_keep_their_digits(r: float, y: float) -> None:
    exact = float(mpmath.loggamma(mpmath.mpf(r) + y) - mpmath.loggamma(r))
    assert log_rising(doubles(r), doubles(y)).item() == pytest.approx(exact, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("x", [-800.0, -40.0, -1.0, -0.7, -0.69, -1e-9])
def test_log_of_one_minus_exp(x: float) -> None:
    exact = float(mpmath.log(-mpmath.expm1(x)))
    assert log1mexp(doubles(x)).item() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("x", [-800.0, -5.0, 0.0, 19.0, 21.0, 800.0])
def test_softplus_is_exact_where_torch_switches(x: float) -> None:
    exact = float(mpmath.log1p(mpmath.exp(x)))
    assert softplus(doubles(x)).item() == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(
    ("a", "b"), [(-3.0, 1.0), (10.0, 11.0), (30.0, 31.0), (-31.0, -30.0), (-50.0, 50.0)]
)
def test_the_mass_of_a_far_interval_keeps_its_digits(a: float, b: float) -> None:
    near, far = sorted([a, b], key=abs)
    if a * b > 0:  # differences of the tail beyond each end
        exact = mpmath.log((mpmath.erfc(abs(near) / ROOT_2) - mpmath.erfc(abs(far) / ROOT_2)) / 2)
    else:
        exact = mpmath.log((mpmath.erf(b / ROOT_2) - mpmath.erf(a / ROOT_2)) / 2)
    got = log_normal_mass(doubles(0.0), doubles(1.0), doubles(a), doubles(b)).item()
    assert got == pytest.approx(float(exact), rel=1e-9, abs=1e-15)


def test_an_unbounded_truncation_is_the_half_line() -> None:
    got = log_normal_mass(doubles(0.0), doubles(1.0), doubles(0.0), doubles(float("inf")))
    assert got.item() == pytest.approx(-0.6931471805599453)


def test_log_gamma_draws_do_not_underflow() -> None:
    generator = torch.Generator().manual_seed(5)
    drawn = draw_log_gamma(torch.full((1,), 1e-4), (1000,), generator)
    assert bool(drawn.isfinite().all())
    assert drawn.min() < -1000


def test_integers_take_the_dtype_of_the_parameters() -> None:
    assert as_float(torch.tensor([1]), doubles(1.0)).dtype == torch.float64
    assert as_float(torch.tensor([1]), torch.tensor([1.0])).dtype == torch.float32
    assert as_float(torch.tensor([1]), torch.tensor([1])).dtype == torch.float32


def test_picking_broadcasts_tables_and_indices() -> None:
    table = torch.arange(12.0).reshape(2, 1, 6)
    index = torch.tensor([0, 5, 3])
    assert pick(table, index).tolist() == [[0.0, 5.0, 3.0], [6.0, 11.0, 9.0]]
    assert pick(table[0, 0], index).tolist() == [0.0, 5.0, 3.0]
