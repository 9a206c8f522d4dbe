"""Laws of log densities, for every registered family (contract: `quivers_nb.kernels.family`)."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import DENSITIES, bijector_for
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import (
    Above,
    Between,
    CorrelationCholesky,
    Counts,
    Increasing,
    LowerCholesky,
    OneHot,
    PositiveDefinite,
    RealLine,
    SimplexSupport,
)
from tests.laws.oracles import ORACLES
from tests.laws.registry import (
    CONTINUOUS,
    DISCRETE,
    LOWERED,
    Params,
    bound,
    density,
    draws,
    parameters,
)

each_family = pytest.mark.parametrize("name", LOWERED)
each_continuous = pytest.mark.parametrize("name", CONTINUOUS)
INF = float("inf")


def log_prob(row: Family, y: Tensor, params: Params) -> Tensor:
    return density(row).log_prob(y, *params.values())


def test_rows_and_densities_are_the_same_families() -> None:
    assert set(LOWERED) == set(DENSITIES)


def test_every_family_has_an_oracle() -> None:
    assert set(ORACLES) == set(DENSITIES)


@each_family
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_density_equals_the_oracle(name: str, seed: int) -> None:
    row = FAMILIES[name]
    params = parameters(row, seed)
    y = draws(row, params, (20,), seed)
    got = log_prob(row, y, params).numpy()
    expected = ORACLES[name](y.numpy(), *(p.numpy() for p in params.values()))
    assert got.shape == (20,)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


# --- stacking and dtypes -----------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("axes", [(), (4,), (2, 4)])
def test_stacked_points_give_stacked_densities(name: str, axes: tuple[int, ...]) -> None:
    row = FAMILIES[name]
    params = parameters(row, 5, axes)
    y = draws(row, params, axes, 6)
    got = log_prob(row, y, params)
    assert got.shape == axes
    for place in product(*map(range, axes)):
        one = {key: value[place] for key, value in params.items()}
        torch.testing.assert_close(got[place], log_prob(row, y[place], one), rtol=1e-11, atol=1e-11)


@each_family
def test_chains_of_parameters_meet_shared_values_and_the_other_way_round(name: str) -> None:
    row = FAMILIES[name]
    chains = parameters(row, 7, (3, 1))
    shared = parameters(row, 8)
    y = draws(row, shared, (5,), 9)
    per_chain = log_prob(row, y, chains)
    assert per_chain.shape == ((3, 5) if chains else (5,))
    for chain in range(3) if chains else ():
        one = {key: value[chain, 0] for key, value in chains.items()}
        torch.testing.assert_close(per_chain[chain], log_prob(row, y, one), rtol=1e-11, atol=1e-11)
    stacked = torch.stack([y, y.flip(0)])
    torch.testing.assert_close(log_prob(row, stacked, shared)[1], log_prob(row, y.flip(0), shared))


@each_family
def test_float32_agrees_with_float64(name: str) -> None:
    row = FAMILIES[name]
    narrow = parameters(row, 11, dtype=torch.float32)
    wide = {key: value.double() for key, value in narrow.items()}
    y = draws(row, narrow, (20,), 12).float()
    got = log_prob(row, y, narrow)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), log_prob(row, y.double(), wide), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", DISCRETE)
def test_counts_may_be_integers_or_floats_of_any_width(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 13)
    y = draws(row, params, (20,), 14).long()
    wide = log_prob(row, y, params)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(log_prob(row, y.double(), params), wide, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_prob(row, y.float(), params), wide, rtol=1e-12, atol=1e-12)


# --- gradients ---------------------------------------------------------------------------------


@each_continuous
def test_gradients_in_the_value_agree_with_finite_differences(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 15)
    bijector = bijector_for(row.support, params)
    u = bijector.inverse(draws(row, params, (6,), 16)).requires_grad_()

    def unconstrained(u: Tensor) -> Tensor:
        return log_prob(row, bijector.forward(u), params)

    assert torch.autograd.gradcheck(unconstrained, (u,))


@each_family
def test_gradients_in_the_parameters_agree_with_finite_differences(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 17)
    y = draws(row, params, (6,), 18)
    free = [key for key in params if not isinstance(support_of(row, key), Counts)]
    if not free:
        assert not params
        return
    inputs = tuple(params[key].clone().requires_grad_() for key in free)

    def of_parameters(*values: Tensor) -> Tensor:
        return log_prob(row, y, {**params, **dict(zip(free, values, strict=True))})

    assert torch.autograd.gradcheck(of_parameters, inputs)


def support_of(row: Family, parameter: str) -> object:
    return next(p.support for p in row.parameters if p.name == parameter)


# --- outside the support -----------------------------------------------------------------------


def outside(row: Family, params: Params) -> list[Tensor]:
    """Values that the support excludes."""
    known = {key: value for key, value in params.items() if value.dim() == 0}
    match row.support:
        case Above(low):
            edge = torch.as_tensor(bound(low, known), dtype=torch.float64)
            return [edge - 1e-3, edge - 5.0, torch.tensor(-INF, dtype=torch.float64)]
        case Between(low, high):
            ends = torch.as_tensor(bound(low, known)), torch.as_tensor(bound(high, known))
            return [ends[0].double() - 1e-3, ends[1].double() + 1e-3, ends[1].double() + 1e9]
        case Counts(labels=labels, high=high):
            numbers = [-1.0, 0.5, 1.5] + ([50.0] if labels or high is not None else [])
            return [torch.tensor(n, dtype=torch.float64) for n in numbers]
        case SimplexSupport():
            tail = [0.0] if row.name == "LogisticNormal" else []  # has a longer value
            rows = [[0.5, 0.6, -0.1, *tail], [0.5, 0.4, 0.2, *tail], [0.3, 0.3, 0.3, *tail]]
        case OneHot():
            rows = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
        case CorrelationCholesky() | PositiveDefinite():
            return no_matrices(row.support)
        case _:
            rows = []
    return [torch.tensor(r, dtype=torch.float64) for r in rows]


def no_matrices(support: object) -> list[Tensor]:
    eye = torch.eye(3, dtype=torch.float64)
    upper = eye.clone()
    upper[0, 1] = 0.1
    scaled = 1.1 * eye if isinstance(support, CorrelationCholesky) else eye - 0.5
    return [upper, scaled, -eye]


@each_family
def test_density_is_zero_outside_the_support_and_its_gradient_finite(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 19)
    free = {key: value.requires_grad_() for key, value in params.items()}
    points = outside(row, params)
    assert points or isinstance(row.support, RealLine)
    for point in points:
        y = point.clone().requires_grad_()
        got = log_prob(row, y, free)
        assert got.item() == -INF, f"{name} at {point}"
        if got.requires_grad:
            grads = torch.autograd.grad(got, [y, *free.values()], allow_unused=True)
            assert all(g is None or bool(g.isfinite().all()) for g in grads)


# --- extreme parameters ------------------------------------------------------------------------

SMALL_TO_LARGE = (1e-7, 1e-3, 1.0, 1e3, 1e6)
EVERY_REAL = (-1e6, -30.0, 0.0, 30.0, 1e6)


def extremes(row: Family) -> list[list[Tensor]]:
    choices: list[list[Tensor]] = []
    for parameter in row.parameters:
        match parameter.support:
            case Above(low) if low == 0.0:
                numbers = SMALL_TO_LARGE
            case Above():  # above an earlier bound, whose extremes it shares
                numbers = (1e6 + 1.0, 1e6 + 1e3, 2e6)
            case RealLine():
                numbers = EVERY_REAL
            case Between() if parameter.rank == 0:
                numbers = (1e-7, 0.5, 1 - 1e-7)
            case Counts():
                numbers = (0.0, 1.0, 1e6)
            case _:
                numbers = ()
        full = (3,) * parameter.rank
        tensors = [torch.full(full, n, dtype=torch.float64) for n in numbers]
        choices.append(tensors or special(parameter.support))
    return choices


def special(support: object) -> list[Tensor]:
    eye = torch.eye(3, dtype=torch.float64)
    match support:
        case LowerCholesky():
            return [1e-6 * eye, eye, 1e6 * eye]
        case Increasing():
            return [torch.tensor([-1e6, 0.0, 1e6]).double(), torch.tensor([0.0, 1e-9, 2e-9])]
        case SimplexSupport() | Between():
            return [torch.tensor([1e-12, 1e-7, 1 - 1e-7 - 1e-12]).double(), eye.mean(0)]
    raise AssertionError(support)


def probes(row: Family, params: Params) -> list[Tensor]:
    if isinstance(row.support, Counts):
        return [torch.tensor(n, dtype=torch.float64) for n in (0.0, 1.0, 2.0, 1e5)]
    if row.event_rank == 0:
        numbers = [1e-30, 1e-7, 0.5, 1 - 1e-7, 1.0, 1e3, 1e30]
        signed = numbers + ([-1e30, -1.0, 0.0] if isinstance(row.support, RealLine) else [])
        return [torch.tensor(n, dtype=torch.float64) for n in signed]
    match row.support:
        case SimplexSupport():
            return special(row.support)
        case OneHot():
            return list(torch.eye(3, dtype=torch.float64))
        case CorrelationCholesky():
            tight = [[1.0, 0.0, 0.0], [1.0, 1e-9, 0.0], [0.0, 1.0, 1e-9]]
            return [torch.eye(3, dtype=torch.float64), torch.tensor(tight, dtype=torch.float64)]
        case PositiveDefinite():
            eye = torch.eye(3, dtype=torch.float64)
            return [1e-9 * eye, eye, 1e9 * eye, torch.ones(3, 3).double() + 1e-9 * eye]
    vector = torch.tensor([0.0, 1e-6, -1e6], dtype=torch.float64)
    return [vector if row.event_rank == 1 else vector.expand(3, 3).contiguous()]


@each_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_parameters_and_values_never_give_nan(name: str, dtype: torch.dtype) -> None:
    row = FAMILIES[name]
    for combination in product(*extremes(row)):
        values = [value.to(dtype).requires_grad_() for value in combination]
        params = dict(zip((p.name for p in row.parameters), values, strict=True))
        if name == "LogisticNormal":  # its parameters are one shorter than its values
            params = {key: value[:2] for key, value in params.items()}
        for point in probes(row, params):
            y = point.to(dtype).requires_grad_()
            got = log_prob(row, y, params)
            assert not got.isnan(), f"{name}{values} at {point}: {got}"
            assert got < INF, f"{name}{values} at {point}: {got}"
            if got.requires_grad and got.isfinite():
                grads = torch.autograd.grad(got, [y, *values], allow_unused=True)
                assert not any(g is not None and bool(g.isnan().any()) for g in grads)
