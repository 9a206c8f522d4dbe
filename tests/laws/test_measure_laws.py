"""The laws of `quivers_nb.kernels.measure`: masses, sugar, rewrites, draws (section 8.1)."""

from itertools import pairwise
from math import inf

import numpy as np
import pytest
import torch
from scipy import integrate

from quivers_nb.kernels import DENSITIES
from quivers_nb.kernels.maps import MAPS
from quivers_nb.kernels.measure import Measure, log_density, normalized_log_density
from quivers_nb.kernels.measures import (
    Base,
    Independent,
    Mixture,
    Normalize,
    OntoSimplex,
    PointMass,
    Pushforward,
    Restrict,
    map_named,
)
from quivers_nb.spaces.families import FAMILIES
from tests.laws.registry import seeded
from tests.stats.budget import alpha

FLOAT = torch.float64


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=FLOAT)


def base(family: str, *params: float) -> Base:
    return Base(FAMILIES[family], tuple(map(number, params)))


def mixture(weights: list[float], *parts: Measure) -> Mixture:
    return Mixture(torch.tensor(weights, dtype=FLOAT), parts)


NORMAL = base("Normal", 0.3, 1.2)
GAMMA = base("Gamma", 2.0, 1.5)
SMOOTH: dict[str, Measure] = {
    "restrict": Restrict(NORMAL, (0.0, 2.0)),
    "restrict to a tail": Restrict(NORMAL, (4.0, inf)),
    "restrict twice": Restrict(Restrict(GAMMA, (0.5, inf)), (0.0, 3.0)),
    "restrict student": Restrict(base("StudentT", 3.0, 0.0, 1.0), (-1.0, 4.0)),
    "restrict beta": Restrict(base("Beta", 2.0, 3.0), (0.2, 0.7)),
    "normalize": Normalize(Restrict(base("Laplace", 0.0, 1.0), (-1.0, 2.0))),
    "mixture": mixture([0.3, 1.2], NORMAL, Restrict(GAMMA, (1.0, inf))),
    "restricted mixture": Restrict(mixture([0.3, 0.7], NORMAL, GAMMA), (0.5, 2.5)),
    "exp": Pushforward(Restrict(NORMAL, (-1.0, 1.0)), MAPS["Exp"]),
    "log": Pushforward(GAMMA, MAPS["Log"]),
    "sigmoid": Pushforward(NORMAL, MAPS["Sigmoid"]),
    "logit": Pushforward(base("Beta", 2.0, 2.0), MAPS["Logit"]),
    "softplus": Pushforward(NORMAL, MAPS["Softplus"]),
    "affine": Pushforward(GAMMA, map_named("Affine", number(-1.0), number(2.0))),
    "restricted image": Restrict(Pushforward(NORMAL, MAPS["Exp"]), (0.5, 2.0)),
    "image of a mixture": Pushforward(mixture([0.5, 0.5], NORMAL, GAMMA), MAPS["Softplus"]),
}
COUNTS: dict[str, Measure] = {
    "poisson": Restrict(base("Poisson", 3.0), (2.0, 6.0)),
    "poisson tail": Restrict(base("Poisson", 3.0), (12.0, inf)),
    "coin": Restrict(base("Bernoulli", 0.3), (0.0, 1.0)),
    "geometric": Restrict(base("Geometric", 0.4), (1.0, inf)),
    "inflated": mixture([0.2, 0.8], PointMass(number(0.0), True), base("Poisson", 2.0)),
    "inflated, restricted": Restrict(
        mixture([0.2, 0.8], PointMass(number(0.0), True), base("Poisson", 2.0)), (0.0, 3.0)
    ),
}
each_smooth = pytest.mark.parametrize("name", SMOOTH)
each_count = pytest.mark.parametrize("name", COUNTS)
GRID = torch.linspace(-4.0, 6.0, 41, dtype=FLOAT) + 0.013


def ends(measure: Measure) -> tuple[float, float]:
    low, high = (float(bound) for bound in measure.bounds)
    return max(low, -60.0), min(high, 80.0)


@each_smooth
def test_densities_integrate_to_the_mass(name: str) -> None:
    measure = SMOOTH[name]
    low, high = ends(measure)
    knots = [p for p in (-5.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 10.0) if low < p < high]
    edges = [low, *knots, high]
    total = sum(
        integrate.quad(lambda y: float(log_density(measure, number(y)).exp()), a, b, epsabs=1e-12)[
            0
        ]
        for a, b in pairwise(edges)
    )
    assert total == pytest.approx(float(measure.log_mass().exp()), rel=1e-7)


@each_count
def test_masses_sum_to_the_mass(name: str) -> None:
    measure = COUNTS[name]
    total = log_density(measure, torch.arange(200)).exp().sum()
    assert float(total) == pytest.approx(float(measure.log_mass().exp()), rel=1e-10)


@pytest.mark.parametrize("name", [*SMOOTH, *COUNTS])
def test_nothing_lies_outside_the_bounds(name: str) -> None:
    measure = {**SMOOTH, **COUNTS}[name]
    low, high = (float(bound) for bound in measure.bounds)
    grid = GRID if name in SMOOTH else torch.arange(-3, 40).double()
    density = normalized_log_density(measure, grid)
    assert not bool(density.isnan().any())
    outside = (grid < low) | (grid > high)
    assert bool((density[outside] == -inf).all())
    drawn = measure.draw((500,), seeded(1)).double()
    assert bool(((drawn >= low) & (drawn <= high)).all())
    assert bool((normalized_log_density(measure, drawn) > -inf).all())


@each_smooth
def test_draws_have_the_density(name: str) -> None:
    """The shares of mass below 4,000 draws are uniform (Kolmogorov-Smirnov)."""
    from scipy import stats

    measure = SMOOTH[name]
    y = measure.draw((4000,), seeded(2))
    share = (measure.log_mass((-inf, y)) - measure.log_mass()).exp()
    size = alpha("goodness of fit", 10 * (len(SMOOTH) + len(COUNTS)))
    assert stats.kstest(share.numpy(), "uniform").pvalue > size
    assert stats.kstest(share.numpy() ** 1.15, "uniform").pvalue < size  # the mutant is seen


@each_count
def test_counts_have_the_masses(name: str) -> None:
    from scipy import stats

    measure = COUNTS[name]
    y = measure.draw((20_000,), seeded(3))
    assert y.dtype == torch.int64
    want = normalized_log_density(measure, torch.arange(200)).exp().numpy() * len(y)
    have = np.bincount(y.numpy(), minlength=200)
    kept = want >= 5
    assert have[want == 0].sum() == 0
    rest = want[~kept].sum()
    have = np.append(have[kept], have[~kept].sum())[: None if rest > 5 else -1]
    want = np.append(want[kept], rest)[: None if rest > 5 else -1]
    size = alpha("goodness of fit", 10 * (len(SMOOTH) + len(COUNTS)))
    assert stats.chisquare(have, want * have.sum() / want.sum()).pvalue > size


def half(family: str, *params: float) -> Measure:
    return Normalize(Restrict(base(family, *params), (0.0, inf)))


@pytest.mark.parametrize(
    ("sugar", "equal"),
    [
        (base("HalfNormal", 1.3), half("Normal", 0.0, 1.3)),
        (base("HalfCauchy", 1.3), half("Cauchy", 0.0, 1.3)),
        (base("HalfLaplace", 1.3), half("Laplace", 0.0, 1.3)),
        (base("HalfStudentT", 3.0, 1.3), half("StudentT", 3.0, 0.0, 1.3)),
        (
            base("TruncatedNormal", 0.5, 1.3, -1.0, 2.0),
            Normalize(Restrict(base("Normal", 0.5, 1.3), (-1.0, 2.0))),
        ),
        (base("LogNormal", 0.5, 1.3), Pushforward(base("Normal", 0.5, 1.3), MAPS["Exp"])),
        (base("LogitNormal", 0.5, 1.3), Pushforward(base("Normal", 0.5, 1.3), MAPS["Sigmoid"])),
    ],
    ids=lambda m: m.family.name if isinstance(m, Base) else "",
)
def test_sugar_equals_its_operators(sugar: Measure, equal: Measure) -> None:
    torch.testing.assert_close(log_density(sugar, GRID), log_density(equal, GRID))


def test_stick_breaking_of_normals_is_the_logistic_normal() -> None:
    loc, scale = torch.randn(2, 3, generator=seeded(4), dtype=FLOAT)
    measure = OntoSimplex(Independent(Base(FAMILIES["Normal"], (loc, scale.exp())), (3,)))
    y = measure.draw((20,), seeded(5))
    assert y.shape == (20, 4)
    torch.testing.assert_close(
        log_density(measure, y), DENSITIES["LogisticNormal"].log_prob(y, loc, scale.exp())
    )
    assert float(log_density(measure, y[0] * 1.5)) == -inf


# --- rewrites -------------------------------------------------------------------------------------

PARTS = (NORMAL, GAMMA, base("Cauchy", 0.0, 1.0))
NESTED = mixture([0.4, 0.6], NORMAL, mixture([0.5, 1.5], *PARTS[1:]))
FLAT = mixture([0.4, 0.3, 0.9], *PARTS)
REWRITES: list[tuple[Measure, Measure]] = [
    (NESTED, FLAT),
    (
        Pushforward(FLAT, MAPS["Softplus"]),
        mixture([0.4, 0.3, 0.9], *(Pushforward(part, MAPS["Softplus"]) for part in PARTS)),
    ),
    (
        Restrict(FLAT, (0.5, 2.0)),
        mixture([0.4, 0.3, 0.9], *(Restrict(part, (0.5, 2.0)) for part in PARTS)),
    ),
    (Normalize(Restrict(FLAT, (0.5, 2.0))), Normalize(Normalize(Restrict(FLAT, (0.5, 2.0))))),
    (Restrict(Restrict(FLAT, (0.0, 2.0)), (0.5, 3.0)), Restrict(FLAT, (0.5, 2.0))),
]


@pytest.mark.parametrize(("written", "rewritten"), REWRITES)
def test_rewrites_change_no_density_and_no_mass(written: Measure, rewritten: Measure) -> None:
    torch.testing.assert_close(log_density(written, GRID), log_density(rewritten, GRID))
    torch.testing.assert_close(written.log_mass(), rewritten.log_mass())


def test_a_restricted_mixture_weighs_components_by_their_mass() -> None:
    """Components normalized before mixing, with weights times their masses, are the same."""
    interval = (0.5, 2.0)
    weights = torch.tensor([0.4, 0.3, 0.9], dtype=FLOAT)
    masses = torch.stack([part.log_mass(interval).exp() for part in PARTS])
    inside = tuple(Normalize(Restrict(part, interval)) for part in PARTS)
    torch.testing.assert_close(
        normalized_log_density(Restrict(FLAT, interval), GRID),
        normalized_log_density(Mixture(weights * masses, inside), GRID),
    )


# --- gradients ------------------------------------------------------------------------------------


def tilted(measure: str, theta: torch.Tensor) -> Measure:
    a, b = theta.unbind()
    inner = Base(FAMILIES["Normal"], (a, b.exp()))
    other = Base(FAMILIES["Gamma"], (1.0 + a * a, b.exp()))
    weights = torch.stack([a.sigmoid(), 1.0 - a.sigmoid()])
    return {
        "restrict": Restrict(inner, (0.0, 2.0)),
        "moving bounds": Restrict(inner, (a - 1.0, a + b.exp())),
        "gamma": Restrict(other, (0.2, 2.0)),
        "mixture": Mixture(weights, (inner, other)),
        "image": Pushforward(Restrict(inner, (0.0, 2.0)), MAPS["Exp"]),
    }[measure]


TILTED = ["restrict", "moving bounds", "gamma", "mixture", "image"]


@pytest.mark.parametrize("name", TILTED)
def test_density_gradients_agree_with_finite_differences(name: str) -> None:
    theta = torch.tensor([0.4, 0.2], dtype=FLOAT, requires_grad=True)
    y = number(1.1)
    assert torch.autograd.gradcheck(
        lambda t: normalized_log_density(tilted(name, t), y), (theta,), atol=1e-6
    )


@pytest.mark.parametrize("name", TILTED)
def test_draws_carry_gradients_of_their_mean(name: str) -> None:
    """The pathwise gradient of E[y] against the derivative of the mean by quadrature."""

    def mean(theta: torch.Tensor) -> float:
        measure = tilted(name, theta)
        low, high = ends(measure)
        density = lambda y: float(normalized_log_density(measure, number(y)).exp())  # noqa: E731
        cuts = [low, *(p for p in (0.5, 1.0, 2.0, 4.0) if low < p < high), high]
        pairs = list(pairwise(cuts))
        return sum(integrate.quad(lambda y: y * density(y), a, b)[0] for a, b in pairs)

    theta = torch.tensor([0.4, 0.2], dtype=FLOAT, requires_grad=True)
    count = 20_000
    y = tilted(name, theta).draw((count,), seeded(6))
    for k in range(2):
        step = torch.zeros(2, dtype=FLOAT)
        step[k] = 1e-4
        want = (mean(theta.detach() + step) - mean(theta.detach() - step)) / 2e-4
        each = jacobian(name, theta, k, count)
        error = float(each.std()) / count**0.5
        assert abs(float(each.mean()) - want) < 4.5 * error + 1e-4
    assert y.requires_grad


def jacobian(name: str, theta: torch.Tensor, k: int, count: int) -> torch.Tensor:
    """dy/dtheta_k of each draw, in one forward pass per direction."""
    copies = theta.detach().expand(count, 2).clone().requires_grad_()
    y = tilted_rows(name, copies).draw((count,), seeded(6))
    (grad,) = torch.autograd.grad(y.sum(), copies)
    return grad[:, k]


def tilted_rows(name: str, theta: torch.Tensor) -> Measure:
    a, b = theta.unbind(-1)
    inner = Base(FAMILIES["Normal"], (a, b.exp()))
    other = Base(FAMILIES["Gamma"], (1.0 + a * a, b.exp()))
    return {
        "restrict": lambda: Restrict(inner, (0.0, 2.0)),
        "moving bounds": lambda: Restrict(inner, (a - 1.0, a + b.exp())),
        "gamma": lambda: Restrict(other, (0.2, 2.0)),
        "mixture": lambda: Mixture(torch.stack([a.sigmoid(), 1 - a.sigmoid()], -1), (inner, other)),
        "image": lambda: Pushforward(Restrict(inner, (0.0, 2.0)), MAPS["Exp"]),
    }[name]()
