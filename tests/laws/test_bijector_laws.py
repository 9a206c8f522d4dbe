"""Laws of bijectors, for every support that has one (contract: `quivers_nb.kernels.bijector`)."""

from itertools import product

import pytest
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels import Bijector, bijector_for
from quivers_nb.kernels.bijectors import FREE_OF_PARAMETERS
from quivers_nb.kernels.bijectors.triangular import read_lower
from quivers_nb.spaces.support import (
    Above,
    Below,
    Between,
    CorrelationCholesky,
    Counts,
    Increasing,
    LowerCholesky,
    OneHot,
    PositiveDefinite,
    RealLine,
    SimplexSupport,
    Support,
)
from tests.laws.registry import seeded

BOUNDS = {
    "low": torch.tensor(-1.5, dtype=torch.float64),
    "high": torch.tensor(2.25, dtype=torch.float64),
}
WITH_BOUNDS: list[Support] = [
    Above(0.0),
    Above(-3.0),
    Above("low"),
    Below(1.0),
    Below("high"),
    Between(0.0, 1.0),
    Between(-1.0, 4.0),
    Between("low", "high"),
]
SUPPORTS = [*(support() for support in FREE_OF_PARAMETERS), *WITH_BOUNDS]
each_support = pytest.mark.parametrize("support", SUPPORTS, ids=str)


def value_shape(bijector: Bijector, size: int) -> tuple[int, ...]:
    return (size,) * max(bijector.event_rank, 0)


def points(bijector: Bijector, axes: tuple[int, ...], size: int = 4, scale: float = 1.0) -> Tensor:
    shape = (*axes, *bijector.unconstrained_shape(value_shape(bijector, size)))
    return scale * torch.randn(shape, generator=seeded(31), dtype=torch.float64)


@each_support
@pytest.mark.parametrize("axes", [(), (5,), (2, 3)])
def test_there_and_back(support: Support, axes: tuple[int, ...]) -> None:
    bijector = bijector_for(support, BOUNDS)
    u = points(bijector, axes)
    y = bijector.forward(u)
    assert y.shape == (*axes, *value_shape(bijector, 4))
    torch.testing.assert_close(bijector.inverse(y), u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(bijector.forward(bijector.inverse(y)), y, rtol=1e-9, atol=1e-9)


@each_support
def test_values_and_volumes_do_not_depend_on_what_is_asked(support: Support) -> None:
    bijector = bijector_for(support, BOUNDS)
    u = points(bijector, (5,))
    y, log_det = bijector.forward_and_log_det(u)
    torch.testing.assert_close(y, bijector.forward(u))
    assert log_det.shape == (5,)


@each_support
@pytest.mark.parametrize("size", [2, 4])
def test_log_determinant_is_that_of_the_jacobian(support: Support, size: int) -> None:
    bijector = bijector_for(support, BOUNDS)
    for u in points(bijector, (4,), size):
        jacobian = torch.autograd.functional.jacobian(
            lambda u: free_coordinates(support, bijector.forward(u)), u
        )
        square = jacobian.reshape(u.numel(), u.numel())
        expected = torch.linalg.slogdet(square).logabsdet
        _, log_det = bijector.forward_and_log_det(u)
        torch.testing.assert_close(log_det, expected, rtol=1e-9, atol=1e-9)


def free_coordinates(support: Support, y: Tensor) -> Tensor:
    match support:
        case SimplexSupport():
            return y[..., :-1]
        case CorrelationCholesky():
            return read_lower(y, diagonal=False)
        case LowerCholesky() | PositiveDefinite():
            return read_lower(y, diagonal=True)
    return y


@each_support
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_values_land_in_the_support(support: Support, scale: float) -> None:
    bijector = bijector_for(support, BOUNDS)
    y = bijector.forward(points(bijector, (50,), scale=scale))
    assert bool(y.isfinite().all())
    assert bool(member(support, y).all())


@pytest.mark.parametrize("support", [Above(0.0), Between(0.0, 1.0), SimplexSupport()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_never_leaves_an_open_support(support: Support, dtype: torch.dtype) -> None:
    """Densities of an open support are -inf on its edge, which exp and sigmoid round to."""
    u = points(bijector_for(support), (50,), scale=3e4).clamp(max=80.0).to(dtype)
    assert u.min() < -1000
    assert bool(member(support, bijector_for(support).forward(u).double(), 1e-6).all())


def member(support: Support, y: Tensor, tolerance: float = 1e-12) -> Tensor:
    match support:
        case Above(low):
            return y > number(low) if low == 0.0 else y >= number(low)
        case Below(high):
            return y <= number(high)
        case Between(low, high):
            if low == 0.0:
                return (y > low) & (y < number(high))
            return (y >= number(low)) & (y <= number(high))
        case SimplexSupport():
            return (y > 0).all(-1) & ((y.sum(-1) - 1).abs() < tolerance)
        case Increasing():
            return (y.diff(dim=-1) >= 0).all(-1)
        case RealLine():
            return y.isfinite()
    return matrix_member(support, y)


def matrix_member(support: Support, y: Tensor) -> Tensor:
    diagonal = y.diagonal(dim1=-2, dim2=-1)
    if isinstance(support, PositiveDefinite):  # up to rounding of the product
        size = y.abs().amax((-1, -2))
        lifted = y + torch.diag_embed((1e-12 * size).unsqueeze(-1).expand(diagonal.shape))
        symmetric = (y - y.mT).abs().amax((-1, -2)) <= 1e-12 * size
        return symmetric & (torch.linalg.eigvalsh(lifted) > 0).all(-1)
    triangular = (diagonal > 0).all(-1) & (y.triu(1) == 0).all(-1).all(-1)
    if isinstance(support, LowerCholesky):
        return triangular
    assert isinstance(support, CorrelationCholesky)
    return triangular & ((y.square().sum(-1) - 1).abs() < 1e-12).all(-1)


def number(bound: float | str) -> float | Tensor:
    return BOUNDS[bound] if isinstance(bound, str) else bound


@each_support
def test_stacked_points_give_stacked_values(support: Support) -> None:
    bijector = bijector_for(support, BOUNDS)
    u = points(bijector, (2, 3))
    y, log_det = bijector.forward_and_log_det(u)
    for place in product(range(2), range(3)):
        one, one_log_det = bijector.forward_and_log_det(u[place])
        torch.testing.assert_close(y[place], one, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(log_det[place], one_log_det, rtol=1e-12, atol=1e-12)


@each_support
def test_gradients_reach_the_unconstrained_point(support: Support) -> None:
    bijector = bijector_for(support, BOUNDS)
    u = points(bijector, (3,)).requires_grad_()
    assert torch.autograd.gradcheck(bijector.forward_and_log_det, (u,))


@each_support
@pytest.mark.parametrize("level", [-800.0, -30.0, 0.0, 30.0])
def test_log_determinant_has_no_nan_far_out(support: Support, level: float) -> None:
    bijector = bijector_for(support, BOUNDS)
    u = torch.full_like(points(bijector, (3,)), level).requires_grad_()
    _, log_det = bijector.forward_and_log_det(u)
    assert bool(log_det.isfinite().all())
    (gradient,) = torch.autograd.grad((log_det + 0.0 * u.sum()).sum(), u)
    assert bool(gradient.isfinite().all())


def test_bounds_may_differ_along_the_leading_axes() -> None:
    low = torch.tensor([0.0, 10.0, -5.0])
    bijector = bijector_for(Between("low", "high"), {"low": low, "high": low + 2.0})
    y, log_det = bijector.forward_and_log_det(torch.zeros(4, 3))
    torch.testing.assert_close(y, (low + 1.0).expand(4, 3))
    torch.testing.assert_close(log_det, torch.full((4, 3), 0.5).log())


def test_bounds_of_chains_widen_a_shared_point() -> None:
    low = torch.tensor([[0.0], [10.0]])
    y, log_det = bijector_for(Above("low"), {"low": low}).forward_and_log_det(torch.zeros(3))
    assert y.shape == log_det.shape == (2, 3)


@pytest.mark.parametrize("support", [Counts(), OneHot()])
def test_isolated_points_have_no_bijector(support: Support) -> None:
    with pytest.raises(UserError, match="no unconstrained coordinates"):
        bijector_for(support)


def test_the_line_is_left_alone() -> None:
    u = torch.randn(3, generator=seeded(32))
    y, log_det = bijector_for(RealLine()).forward_and_log_det(u)
    assert y is u
    assert bool((log_det == 0).all())
