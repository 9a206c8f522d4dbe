"""Draws and densities describe one distribution, for every registered family.

Three tests, each with its share of the error budget and a mutant whose scale is off by 20 %:
    goodness of fit  scalar draws against the distribution function found by quadrature (Kolmogorov
                     and Smirnov), discrete draws against the density (chi-square);
    Stein            for any smooth density E[s_i] = 0 and E[u_i s_i] = -1 in unconstrained
                     coordinates u with score s: two z tests per coordinate, vectors included;
    pathwise         E[d f(y)/d theta] along draws equals d E[f(y)]/d theta by quadrature, for
                     reparameterized scalar families.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels import DENSITIES, bijector_for
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Clamp, Family, Parameter
from quivers_nb.spaces.support import Between, Counts, SimplexSupport, is_discrete
from tests.laws.quadrature import grid, scalar_masses, to_t
from tests.laws.registry import (
    CONTINUOUS,
    LOWERED,
    PROPER,
    Params,
    density,
    draws,
    event_size,
    parameters,
    seeded,
)
from tests.stats.budget import alpha, critical_z

N = 10_000
NODES = grid(4001)
ENTRYWISE = {"Horseshoe"}  # vectors of independent entries, fitted one by one
ALONE = [name for name in PROPER if name in CONTINUOUS and FAMILIES[name].event_rank == 0]
SCALAR = [*ALONE, *ENTRYWISE]
DISCRETE = [name for name in PROPER if is_discrete(FAMILIES[name].support)]
SMOOTH = [name for name in PROPER if name in CONTINUOUS and name != "Uniform"]
PATHWISE = [name for name in ALONE if DENSITIES[name].reparameterized]

Statistic = Callable[[Family, Params, Tensor], float]


# --- statistics --------------------------------------------------------------------------------


def fit_p_value(row: Family, params: Params, y: Tensor) -> float:
    """Kolmogorov-Smirnov p-value of scalar draws."""
    bijector = bijector_for(row.support, params)

    def log_prob(y: Tensor) -> Tensor:
        y = y.unsqueeze(-1) if row.name in ENTRYWISE else y
        return density(row).log_prob(y, *params.values())

    masses = scalar_masses(log_prob, bijector, NODES)
    # The mass of a node is spread evenly around it: half of it lies below.
    cdf = (masses.cumsum(0) - 0.5 * masses).numpy()
    t = to_t(bijector.inverse(y)).flatten().numpy()
    return float(stats.kstest(np.interp(t, NODES.t.numpy(), cdf), "uniform").pvalue)


def counts_p_value(row: Family, params: Params, y: Tensor) -> float:
    """Chi-square p-value of discrete draws, cells pooled to at least ten expected."""
    index = y.long() if isinstance(row.support, Counts) else y.argmax(-1)
    cells = torch.arange(2000) if isinstance(row.support, Counts) else torch.eye(y.shape[-1])
    expected = N * density(row).log_prob(cells, *params.values()).exp().numpy()
    observed = np.bincount(index.numpy(), minlength=len(cells))
    common = expected >= 10
    pooled = [np.append(x[common], x[~common].sum()) for x in (observed, expected)]
    if pooled[1][-1] < 1e-9:
        assert pooled[0][-1] == 0
        pooled = [x[:-1] for x in pooled]
    square = ((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum()
    return float(stats.chi2.sf(square, len(pooled[0]) - 1))


def stein_z(row: Family, params: Params, y: Tensor) -> Tensor:
    """z statistics of both identities in each unconstrained coordinate."""
    bijector = bijector_for(row.support, params)
    u = bijector.inverse(y).requires_grad_()
    value, log_det = bijector.forward_and_log_det(u)
    target = density(row).log_prob(value, *params.values())
    log_det = log_det.reshape(N, -1).sum(-1)
    (score,) = torch.autograd.grad((target + log_det).sum(), u)
    u, score = u.detach().reshape(N, -1), score.reshape(N, -1)
    both = torch.cat([score, u * score + 1.0], -1)
    return both.mean(0) / (both.std(0) / N**0.5)


def rank_share(name: str, statistic: Tensor) -> float:
    return critical_z(alpha(name, 2 * len(SMOOTH) * statistic.numel()))


# --- goodness of fit ---------------------------------------------------------------------------


@pytest.mark.stats
@pytest.mark.parametrize("name", SCALAR)
def test_scalar_draws_fit_their_density(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 41)
    size = alpha("goodness of fit", len(SCALAR) + len(DISCRETE))
    assert fit_p_value(row, params, draws(row, params, (N,), 42)) > size


@pytest.mark.stats
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_draws_fit_their_density(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 43)
    size = alpha("goodness of fit", len(SCALAR) + len(DISCRETE))
    assert counts_p_value(row, params, draws(row, params, (N,), 44)) > size


# --- Stein -------------------------------------------------------------------------------------


@pytest.mark.stats
@pytest.mark.parametrize("name", SMOOTH)
def test_draws_satisfy_the_stein_identities(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 51)
    z = stein_z(row, params, draws(row, params, (N,), 52))
    assert z.abs().max().item() < rank_share("stein", z)


# --- power -------------------------------------------------------------------------------------


def mutants(row: Family, params: Params) -> list[Params]:
    """The parameters with one of them wrong at a time."""
    return [
        {**params, p.name: wrong(p, params[p.name])}
        for p in row.parameters
        if not isinstance(p.support, Counts)
    ]


def wrong(parameter: Parameter, value: Tensor) -> Tensor:
    """Off by a fifth, or by 0.3 if a location; reversed if a simplex."""
    if isinstance(parameter.support, SimplexSupport):
        return value.flip(-1)
    if isinstance(parameter.support, Between):
        return 0.8 * value
    return 1.2 * value if parameter.rank or parameter.clamp != Clamp.NONE else value + 0.3


def caught(row: Family, params: Params, y: Tensor) -> bool:
    share = alpha("goodness of fit", len(SCALAR) + len(DISCRETE))
    if row.name in DISCRETE:
        return counts_p_value(row, params, y) < share
    if row.name in SCALAR:
        return fit_p_value(row, params, y) < share
    z = stein_z(row, params, y)
    return z.abs().max().item() > rank_share("stein", z)


@pytest.mark.stats
@pytest.mark.parametrize("name", PROPER)
def test_draws_with_a_wrong_parameter_are_caught(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 41)
    assert any(caught(row, params, draws(row, other, (N,), 42)) for other in mutants(row, params))


@pytest.mark.stats
@pytest.mark.parametrize("name", sorted(set(SMOOTH) - {"FisherSnedecor", "Horseshoe"}))
def test_stein_catches_a_wrong_parameter_too(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 41)
    worst = [stein_z(row, params, draws(row, w, (N,), 42)) for w in mutants(row, params)]
    assert any(z.abs().max().item() > rank_share("stein", z) for z in worst)


# --- pathwise gradients ------------------------------------------------------------------------


def expectation(row: Family, params: Params) -> Tensor:
    """E[tanh u] by quadrature, u the unconstrained coordinate at fixed bounds."""
    bijector = bijector_for(row.support, parameters(row, 61))
    masses = scalar_masses(lambda y: density(row).log_prob(y, *params.values()), bijector, NODES)
    return (masses * torch.tanh(NODES.u)).sum()


@cache
def pathwise_z(name: str, factor: float = 1.0) -> float:
    """The largest z statistic over parameters; ``factor`` spoils the draws' gradients."""
    row = FAMILIES[name]
    params = parameters(row, 61)
    fixed = bijector_for(row.support, params)
    worst = 0.0
    for key in moving(row):
        stacked = params[key].expand(N).clone().requires_grad_()
        y = density(row).sample(tuple({**params, key: stacked}.values()), (N,), seeded(62))
        (slopes,) = torch.autograd.grad(torch.tanh(fixed.inverse(y)).sum(), stacked)
        step = 1e-4
        up, down = ({**params, key: params[key] + sign * step} for sign in (1, -1))
        exact = (expectation(row, up) - expectation(row, down)) / (2 * step)
        gap = factor * slopes.mean() - exact
        error = slopes.std() / N**0.5 + 1e-7  # quadrature and differences
        worst = max(worst, abs(float(gap / error)))
    return worst


def moving(row: Family) -> list[str]:
    """Scalar parameters that do not move the support."""
    bounds = {
        "Uniform": [],
        "Pareto": ["alpha"],
        "TruncatedNormal": ["mu", "sigma"],
        "GeneralizedPareto": ["scale", "concentration"],
    }
    return bounds.get(row.name, [p.name for p in row.parameters])


@pytest.mark.stats
@pytest.mark.parametrize("name", PATHWISE)
def test_gradients_along_draws_are_those_of_the_expectation(name: str) -> None:
    size = alpha("pathwise gradients", 3 * len(PATHWISE))
    assert pathwise_z(name) < critical_z(size)


@pytest.mark.stats
@pytest.mark.parametrize("name", ["Gamma", "Beta", "StudentT"])
def test_gradients_off_by_a_fifth_are_caught(name: str) -> None:
    size = alpha("pathwise gradients", 3 * len(PATHWISE))
    assert pathwise_z(name, 1.2) > critical_z(size)


# --- shapes, generators, support ---------------------------------------------------------------


@pytest.mark.parametrize("name", PROPER)
def test_draws_have_the_shape_asked_for_and_lie_in_the_support(name: str) -> None:
    row = FAMILIES[name]
    for dtype in (torch.float32, torch.float64):
        params = parameters(row, 71, (4,), dtype=dtype)
        y = draws(row, params, (2, 3, 4), 72)
        assert y.shape[: y.dim() - row.event_rank] == (2, 3, 4)
        assert bool(density(row).log_prob(y, *params.values()).isfinite().all())
        assert y.dtype == (torch.int64 if isinstance(row.support, Counts) else dtype)


@pytest.mark.parametrize("name", PROPER)
def test_equal_generators_give_equal_draws_and_leave_the_global_one_alone(name: str) -> None:
    row = FAMILIES[name]
    params = parameters(row, 73)
    before = torch.get_rng_state()
    first, second = (draws(row, params, (20,), 74) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, draws(row, params, (20,), 75))


@pytest.mark.parametrize("name", PROPER)
def test_reparameterized_draws_reach_every_parameter(name: str) -> None:
    row = FAMILIES[name]
    if not DENSITIES[name].reparameterized:
        assert is_discrete(row.support) or name in {"VonMises", "MixtureNormal"}
        return
    params = {key: value.requires_grad_() for key, value in parameters(row, 76).items()}
    y = density(row).sample(tuple(params.values()), (50,), seeded(77), size=event_size(row))
    weights = torch.randn(y.shape, generator=seeded(78), dtype=y.dtype)
    grads = torch.autograd.grad((y * weights).sum(), list(params.values()))
    assert all(bool(g.isfinite().all()) and bool((g != 0).any()) for g in grads)


@pytest.mark.parametrize("name", [n for n in LOWERED if FAMILIES[n].improper])
def test_an_improper_family_says_that_it_cannot_be_sampled(name: str) -> None:
    with pytest.raises(UserError, match="improper"):
        DENSITIES[name].sample((), (3,))


def test_a_correlation_factor_asks_for_its_size() -> None:
    with pytest.raises(UserError, match="size of its values"):
        DENSITIES["LKJCholesky"].sample((torch.tensor(2.0),), (3,))


def _may_vary(row: Family, parameter: Parameter) -> bool:
    """Positive parameters; the df of a matrix has a floor, see the test below."""
    floor = parameter.name == "df" and row.event_rank == 2
    return parameter.clamp in {Clamp.POSITIVE, Clamp.SHAPE} and not floor


@pytest.mark.parametrize("name", ["Wishart", "InverseWishart"])
def test_a_wishart_matrix_asks_for_enough_degrees_of_freedom(name: str) -> None:
    eye = torch.eye(3, dtype=torch.float64)
    few = torch.tensor(2.0, dtype=torch.float64)
    with pytest.raises(UserError, match="3 rows needs df above 2, got 2"):
        DENSITIES[name].sample((few, eye), (4,))
    assert DENSITIES[name].log_prob(eye, few, eye) == -torch.inf


@pytest.mark.parametrize("name", PROPER)
def test_extreme_parameters_draw_inside_the_support(name: str) -> None:
    """Draws may round to the end of the support, never beyond it, and are never NaN."""
    row = FAMILIES[name]
    for dtype in (torch.float32, torch.float64):
        for factor in (1e-4, 1e4):
            params = {
                p.name: value * factor if _may_vary(row, p) else value
                for p, value in zip(
                    row.parameters, parameters(row, 79, dtype=dtype).values(), strict=True
                )
            }
            y = draws(row, params, (200,), 80)
            assert not bool(y.isnan().any())
            log_prob = density(row).log_prob(y, *params.values())
            assert not bool(log_prob.isnan().any())
            assert bool((log_prob > -torch.inf).all())
