"""Every proper density has mass one, over the measure that bijectors and densities share."""

import pytest
import torch
from torch import Tensor

from quivers_nb.kernels import bijector_for
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.support import Counts, OneHot, is_discrete
from tests.laws.quadrature import grid, scalar_masses, total_mass
from tests.laws.registry import PROPER, WIDTH, density, parameters

SCALAR = [
    name
    for name in PROPER
    if FAMILIES[name].event_rank == 0 and not is_discrete(FAMILIES[name].support)
]
VECTOR = [
    name
    for name in PROPER
    if FAMILIES[name].event_rank > 0 and not is_discrete(FAMILIES[name].support)
]
DISCRETE = [name for name in PROPER if is_discrete(FAMILIES[name].support)]
NODES = grid(4001)
FINE = grid(200_001)  # for a density that ends inside the line of its support
ENDING = {"GeneralizedPareto"}
SIZES = {  # width of the parameters, unconstrained axes, points on each; else 2, 2, 301
    "Dirichlet": (3, 2, 301),
    "RelaxedOneHotCategorical": (3, 2, 301),
    "LKJCholesky": (2, 1, 301),
    "MatrixNormal": (1, 1, 301),
    "Wishart": (2, 3, 101),
    "InverseWishart": (2, 3, 101),
    "Horseshoe": (1, 1, 20_001),
}
MANY = 3000  # counts beyond this have no mass at the parameters drawn here


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("seed", [21, 22])
def test_a_scalar_density_integrates_to_one(name: str, seed: int) -> None:
    row = FAMILIES[name]
    params = parameters(row, seed)
    masses = scalar_masses(
        lambda y: density(row).log_prob(y, *params.values()),
        bijector_for(row.support, params),
        FINE if name in ENDING else NODES,
    )
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", VECTOR)
def test_a_vector_density_integrates_to_one(name: str) -> None:
    """On one to three unconstrained axes."""
    row = FAMILIES[name]
    width, dim, points = SIZES.get(name, (2, 2, 301))
    params = parameters(row, 23, width=width)
    bijector = bijector_for(row.support, params)
    flat = row.event_rank == 2 and bijector.event_rank == 0

    def log_prob(y: Tensor) -> Tensor:
        y = y.unflatten(-1, (width, width)) if flat else y
        return density(row).log_prob(y, *params.values())

    assert total_mass(log_prob, bijector, dim, points) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_a_correlation_factor_of_three_rows_integrates_to_one_too(size: int) -> None:
    row = FAMILIES["LKJCholesky"]
    params = parameters(row, 24)

    def log_prob(y: Tensor) -> Tensor:
        return density(row).log_prob(y, *params.values())

    dim = size * (size - 1) // 2
    bijector = bijector_for(row.support)
    assert total_mass(log_prob, bijector, dim, 61) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("seed", [25, 26])
def test_a_discrete_density_sums_to_one(name: str, seed: int) -> None:
    row = FAMILIES[name]
    params = parameters(row, seed)
    log_prob = density(row).log_prob(values(row.support), *params.values())
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def values(support: Counts | OneHot) -> Tensor:
    if isinstance(support, OneHot):
        return torch.eye(WIDTH, dtype=torch.float64)
    return torch.arange(MANY)
