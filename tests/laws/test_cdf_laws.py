"""The laws of `quivers_nb.kernels.families.cdfs`, for every family with a distribution function."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from quivers_nb.kernels import DENSITIES, intervals
from quivers_nb.kernels.families import normal
from quivers_nb.kernels.families.cdfs import CDFS
from quivers_nb.kernels.intervals import draw_between, log_interval
from quivers_nb.spaces.families import FAMILIES, WITH_CDF
from quivers_nb.spaces.support import REAL, is_discrete
from tests.laws.registry import draws, parameters

ORACLES: dict[str, Callable[..., object]] = {
    "Normal": stats.norm,
    "Cauchy": stats.cauchy,
    "Laplace": stats.laplace,
    "Gumbel": stats.gumbel_r,
    "StudentT": stats.t,
    "HalfNormal": lambda s: stats.halfnorm(0, s),
    "HalfCauchy": lambda s: stats.halfcauchy(0, s),
    "HalfLaplace": lambda s: stats.expon(0, s),
    "LogNormal": lambda m, s: stats.lognorm(s, scale=np.exp(m)),
    "Exponential": lambda r: stats.expon(scale=1 / r),
    "Gamma": lambda a, r: stats.gamma(a, scale=1 / r),
    "Weibull": lambda s, k: stats.weibull_min(k, scale=s),
    "Uniform": lambda a, b: stats.uniform(a, b - a),
    "Beta": stats.beta,
    "Poisson": stats.poisson,
    "Geometric": lambda p: stats.geom(p, loc=-1),
    "Bernoulli": stats.bernoulli,
}
OTHERS = {"HalfStudentT", "LogitNormal", "BernoulliLogit"}  # by a transformation of one above
NAMES = sorted(CDFS)
SMOOTH = [name for name in NAMES if not is_discrete(FAMILIES[name].support)]
each = pytest.mark.parametrize("name", NAMES)
each_smooth = pytest.mark.parametrize("name", SMOOTH)


def points(name: str, seed: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Forty draws with their parameters."""
    row = FAMILIES[name]
    params = parameters(row, seed, (40,))
    return draws(row, params, (40,), seed).to(torch.float64), tuple(params.values())


def test_the_checker_and_the_kernels_know_the_same_families() -> None:
    assert set(CDFS) == WITH_CDF == set(ORACLES) | OTHERS


@each
def test_both_sides_agree_with_scipy(name: str) -> None:
    y, params = points(name, 1)
    arrays = [p.numpy() for p in params]
    below, above = (side(y, *params).numpy() for side in (CDFS[name].log_cdf, CDFS[name].log_sf))
    if name in ORACLES:
        made = ORACLES[name](*arrays)
        want = made.logcdf(y.numpy()), made.logsf(y.numpy())
    elif name == "HalfStudentT":
        df, scale = arrays
        whole = stats.t(df, 0, scale)
        want = np.log(2 * whole.cdf(y.numpy()) - 1), np.log(2) + whole.logsf(y.numpy())
    elif name == "LogitNormal":
        whole = stats.norm(*arrays)
        eta = np.log(y.numpy()) - np.log1p(-y.numpy())
        want = whole.logcdf(eta), whole.logsf(eta)
    else:
        made = stats.bernoulli(1 / (1 + np.exp(-arrays[0])))
        want = made.logcdf(y.numpy()), made.logsf(y.numpy())
    np.testing.assert_allclose(below, want[0], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(above, want[1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "params", "y", "side", "want"),
    [
        ("Normal", (0.0, 1.0), -30.0, "log_cdf", stats.norm.logcdf(-30)),
        ("Normal", (0.0, 1.0), 30.0, "log_sf", stats.norm.logsf(30)),
        ("Cauchy", (0.0, 1.0), 1e12, "log_sf", np.log(1e-12 / np.pi)),
        ("Laplace", (0.0, 1.0), 400.0, "log_sf", -400 - np.log(2)),
        ("StudentT", (4.0, 0.0, 1.0), -1e9, "log_cdf", stats.t.logcdf(-1e9, 4)),
        ("Gamma", (2.5, 1.0), 400.0, "log_sf", stats.gamma.logsf(400, 2.5)),
        ("Beta", (30.0, 2.0), 1e-6, "log_cdf", stats.beta.logcdf(1e-6, 30, 2)),
        ("Poisson", (3.0,), 100.0, "log_sf", stats.poisson.logsf(100, 3)),
        ("HalfNormal", (1.0,), 1e-9, "log_cdf", np.log(np.sqrt(2 / np.pi) * 1e-9)),
    ],
)
def test_tails_keep_their_digits(name, params, y, side, want) -> None:
    tensors = [torch.tensor(p, dtype=torch.float64) for p in params]
    value = getattr(CDFS[name], side)(torch.tensor(y, dtype=torch.float64), *tensors)
    assert float(value) == pytest.approx(want, rel=1e-8)


@each
def test_gradients_agree_with_finite_differences(name: str) -> None:
    y, params = points(name, 2)
    inner = [p[:6].clone().requires_grad_() for p in params]
    value = y[:6].clone()
    discrete = is_discrete(FAMILIES[name].support)
    inputs = tuple(inner) if discrete else (value.requires_grad_(), *inner)

    def of(side: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        if discrete:
            return lambda *p: torch.where(side(value, *p) > -np.inf, side(value, *p), 0.0)
        return side

    for side in (CDFS[name].log_cdf, CDFS[name].log_sf):
        assert torch.autograd.gradcheck(of(side), inputs, atol=1e-6, rtol=1e-5)


@each_smooth
def test_quantiles_invert_both_sides(name: str) -> None:
    y, params = points(name, 3)
    cdf = CDFS[name]
    assert cdf.quantile is not None
    assert cdf.upper_quantile is not None
    below, above = cdf.log_cdf(y, *params), cdf.log_sf(y, *params)
    low = below < above
    back = torch.where(
        low, cdf.quantile(below.exp(), *params), cdf.upper_quantile(above.exp(), *params)
    )
    torch.testing.assert_close(back, y, rtol=1e-7, atol=1e-9)


@each
def test_intervals_add_up(name: str) -> None:
    """Two halves of an interval have the mass of the whole."""
    y, params = points(name, 4)
    discrete = is_discrete(FAMILIES[name].support)
    low, high = y - 1.0, y + 1.0
    masses = [
        log_interval(name, params, a, b, discrete=discrete).exp()
        for a, b in ((low, y), (y + 1.0 if discrete else y, high), (low, high))
    ]
    torch.testing.assert_close(masses[0] + masses[1], masses[2], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", [n for n in NAMES if FAMILIES[n].support != REAL])
def test_below_the_support_there_is_nothing(name: str) -> None:
    _, params = points(name, 5)
    far = torch.full((40,), -1e8, dtype=torch.float64)
    assert bool((CDFS[name].log_cdf(far, *params) == -np.inf).all())
    assert bool((CDFS[name].log_sf(far, *params) == 0.0).all())


FAR = [(8.0, 9.0), (-9.0, -8.0), (30.0, 30.5), (-101.0, -100.0), (5.2, 5.6), (-1.0, 2.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), FAR)
def test_draws_in_far_tails_are_the_quantiles_of_their_uniforms(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, dtype: torch.dtype
) -> None:
    """Where Phi is below 1e-16 its inverse must not be; torch's `ndtr` is off by 2 % at -8."""
    u = torch.linspace(0.0005, 0.9995, 200, dtype=dtype)
    for module in (normal, intervals):
        monkeypatch.setattr(module, "draw_uniform", lambda *_: u)
    params = torch.tensor(0.0, dtype=dtype), torch.tensor(1.0, dtype=dtype)
    ends = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)
    truncated = DENSITIES["TruncatedNormal"].draw((*params, *ends), (200,), None)
    # P(low < X < x) / P(low < X < high) = u, in logs, with the tail on the left
    a, b = (low, high) if low < 0 else (-high, -low)
    log_a, log_b = stats.norm.logcdf([a, b])
    left = u.double().numpy()
    level = log_b + np.log(np.exp(log_a - log_b) * (1.0 - left) + left)
    at = truncated.double().numpy() * (1.0 if low < 0 else -1.0)
    slack = 2e-5 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(stats.norm.logcdf(at), level, atol=slack * max(1.0, abs(a)) ** 2)
    if abs(low) < 38.0:  # beyond, a probability is no number of float64
        restricted = draw_between("Normal", params, (200,), None, ends)
        atol = 1e-5 * max(1.0, abs(low)) if dtype == torch.float32 else 1e-6
        both = restricted.sort().values.double(), truncated.sort().values.double()
        np.testing.assert_allclose(*both, atol=atol)
