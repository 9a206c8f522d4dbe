"""Laws of kernels without a parameter network: GP, Horseshoe, Flow, discretize (4.8, 8).

Each is compiled from a program, so that shapes, stacking and names are those of users. Oracles are
written out in numpy and scipy.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference.gradient import eager
from quivers_nb.inference.native import NativeTarget, prepare
from quivers_nb.inference.target import flat
from quivers_nb.kernels import DENSITIES
from quivers_nb.kernels.gaussian_process import covariance
from tests.laws.registry import seeded
from tests.stats.budget import alpha, critical_z

Array = np.ndarray
KERNEL = """\
object A : {dom}
object B : {cod}
morphism f : A -> B [role=kernel{options}] ~ {family}
program p : A -> B
    sample h <- f
    return h
export p
"""


def kernel(family: str, dom: str, cod: str, options: str = ""):
    torch.manual_seed(0)
    text = KERNEL.format(family=family, dom=dom, cod=cod, options=options)
    return loads(text).morphism.double()


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


# --- GP -----------------------------------------------------------------------------------------


def rbf(x: Array, length: float, amplitude: float) -> Array:
    square = ((x[:, None] - x[None]) ** 2).sum(-1)
    return amplitude**2 * np.exp(-square / (2 * length**2))


def matern52(x: Array, length: float, amplitude: float) -> Array:
    r = np.sqrt(5 * ((x[:, None] - x[None]) ** 2).sum(-1)) / length
    return amplitude**2 * (1 + r + r**2 / 3) * np.exp(-r)


def linear(x: Array, length: float, amplitude: float) -> Array:
    return amplitude**2 * (x @ x.T) / length**2


KINDS: dict[str, Callable[[Array, float, float], Array]] = {
    "rbf": rbf,
    "matern52": matern52,
    "linear": linear,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def process(kind: str, jitter: float = 1e-3):
    options = f", kernel={kind}, length_scale=0.7, amplitude=1.5, jitter={jitter}"
    return kernel("GP", "Real 2", "Real 5", options)


@each_kind
def test_a_process_is_the_normal_with_its_covariance(kind: str) -> None:
    x, y = randn(3, 5, 2), randn(3, 5, seed=2)
    got = process(kind).log_joint(x, {"h": y}).detach().numpy()
    for row, points, values in zip(got, x.numpy(), y.numpy(), strict=True):
        gram = KINDS[kind](points, 0.7 + 1e-7, 1.5 + 1e-7) + 1e-3 * np.eye(5)
        want = stats.multivariate_normal.logpdf(values, np.zeros(5), gram)
        assert row == pytest.approx(want, rel=1e-5)


@each_kind
@pytest.mark.stats
def test_draws_of_a_process_have_its_covariance(kind: str) -> None:
    """Each entry by its z statistic: products of normals have variance g_ii g_jj + g_ij^2."""
    n, points = 20_000, randn(5, 2, seed=3)
    x = points.expand(n, 5, 2)
    draws = process(kind).trace(x, generator=seeded(4)).sites["h"].value.detach().numpy()
    gram = KINDS[kind](points.numpy(), 0.7, 1.5) + 1e-3 * np.eye(5)
    spread = np.sqrt((np.outer(np.diag(gram), np.diag(gram)) + gram**2) / n)
    bound = critical_z(alpha("special kernels", 25 * len(KINDS) + 1))

    def worst(sample: Array) -> float:
        return float((abs(sample.T @ sample / n - gram) / spread).max())

    assert worst(draws) < bound
    assert worst(1.1 * draws) > bound


@each_kind
def test_gradients_of_a_process(kind: str) -> None:
    length, amplitude = (torch.tensor(v, dtype=torch.float64) for v in (0.7, 1.5))
    points = randn(4, 2, seed=5)
    inputs = tuple(t.requires_grad_() for t in (points, length, amplitude))
    assert torch.autograd.gradcheck(lambda *a: covariance(kind, *a, 1e-3), inputs)


@each_kind
def test_points_that_coincide_have_finite_gradients(kind: str) -> None:
    model = process(kind, jitter=1e-6)
    x = torch.zeros(1, 5, 2, dtype=torch.float64, requires_grad=True)
    value = model.log_joint(x, {"h": randn(1, 5)})
    assert bool(value.isfinite().all())
    grads = torch.autograd.grad(value.sum(), [*model.parameters()])
    assert all(bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("kind", ["rbf", "matern52"])
def test_close_points_have_a_factor_in_single_precision(kind: str) -> None:
    points = torch.linspace(0.0, 1.0, 40).unsqueeze(-1)
    gram = covariance(kind, points, torch.tensor(2.0), torch.tensor(1.0), 1e-6)
    assert int(torch.linalg.cholesky_ex(gram).info) == 0


def test_a_process_reads_as_many_points_as_its_codomain_has() -> None:
    with pytest.raises(UserError, match=r"at 5 points .* reads 4 points"):
        process("rbf").trace(randn(3, 4, 2))


def test_a_process_over_host_data_is_one_vector() -> None:
    source = """\
object N : FinSet 5
data x : N -> Real 2
morphism gp : Real 2 -> Real 5 [role=kernel] ~ GP
program p : 1 -> 1
    sample f <- gp(x)
    observe y : N <- Normal(f, 0.1)
    return f
export p
"""
    model = loads(source).morphism.double()
    data = {"x": randn(5, 2), "y": randn(5, seed=2)}
    assert model.trace(None, data).sites["f"].value.shape == (5,)
    target = flat(model.target(None, data))
    assert target.dim == 5  # in noise coordinates: the density there is that of y and the noise
    q = randn(1, 5, seed=3)
    gram = rbf(data["x"].numpy(), 1.0, 1.0) + 1e-6 * np.eye(5)
    f = np.linalg.cholesky(gram) @ q[0].numpy()
    want = stats.norm.logpdf(q[0]).sum() + stats.norm.logpdf(data["y"], f, 0.1).sum()
    assert target.log_density(q).item() == pytest.approx(want, rel=1e-5)


# --- Horseshoe ----------------------------------------------------------------------------------


def exact_horseshoe(y: Array, scale: float) -> Array:
    """exp(u) E1(u) / sqrt(2 pi^3) / scale, u = y^2 / (2 scale^2), by the product of exponents."""
    u = y**2 / (2 * scale**2)
    return np.log(special.exp1(u)) + u - 1.5 * np.log(np.pi) - 0.5 * np.log(2) - np.log(scale)


def test_sixteen_scales_come_near_the_exact_density() -> None:
    """Within two percent from a tenth to ten scales, where almost all mass is that is not at 0."""
    y = np.concatenate([np.geomspace(0.1, 10, 60), -np.geomspace(0.1, 10, 60)])
    value = torch.tensor(y * 0.4).unsqueeze(-1)
    got = DENSITIES["Horseshoe"].log_prob(value, torch.tensor(0.4, dtype=torch.float64)).numpy()
    assert abs(got - exact_horseshoe(y * 0.4, 0.4)).max() < 0.02


def test_a_horseshoe_kernel_has_one_scale_for_every_input() -> None:
    model = kernel("Horseshoe", "Real 2", "Real 3", ", scale=0.2")
    (path,) = [site.path for site in model.parameter_sites()]
    assert path == "f.raw"
    x, y = randn(4, 2), 0.2 * randn(4, 3, seed=2)
    scale = torch.tensor(0.2, dtype=torch.float64)
    want = DENSITIES["Horseshoe"].log_prob(y, scale)
    torch.testing.assert_close(model.log_joint(x, {"h": y}), want, rtol=1e-6, atol=1e-6)


# --- Flow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dom", ["Real 2", "FinSet 3"])
def test_a_flow_is_scored_as_it_is_drawn(dom: str) -> None:
    """The noise that stands for a value gives it back, with the density by change of variables."""
    model = kernel("Flow", dom, "Real 3", ", n_layers=3, hidden_dim=8")
    x = randn(1, 2) if dom == "Real 2" else torch.tensor([1])
    target = flat(model.target(x, {}))
    assert target.dim == 3
    noise = randn(3, seed=6)
    value = target.constrain(noise)["h"]

    steps = 1e-5 * torch.eye(3, dtype=torch.float64)
    up, down = (target.constrain(noise + sign * steps)["h"].reshape(3, 3) for sign in (1, -1))
    stretch = torch.linalg.slogdet((up - down) / 2e-5).logabsdet
    normal = torch.tensor(stats.norm.logpdf(noise).sum())
    got = model.log_joint(x, {"h": value})
    torch.testing.assert_close(got.reshape(()), normal - stretch, rtol=1e-7, atol=1e-7)


def test_a_flow_depends_on_its_input_and_its_options() -> None:
    model = kernel("Flow", "Real 2", "Real 3", ", n_layers=3, hidden_dim=8")
    assert len(list(model.parameter_sites())) == 3 * 6
    y = randn(1, 3).expand(2, 3)
    one, other = model.log_joint(randn(2, 2), {"h": y})
    assert one != other


@pytest.mark.parametrize(
    ("family", "dom", "options"),
    [("Flow", "Real 2", ", n_layers=2, hidden_dim=4"), ("Horseshoe", "Real 2", ""),
     ("Flow", "FinSet 3", ", n_layers=3, hidden_dim=4"), ("GP", "Real 2", "")],
)  # fmt: skip
def test_stacked_weights_give_stacked_densities(family: str, dom: str, options: str) -> None:
    model = kernel(family, dom, "Real 3", options)
    plan = model.compiled.nodes[0].plan
    x = randn(4, 3, 2) if family == "GP" else randn(4, 2)
    x = torch.tensor([0, 2, 1, 1]) if dom == "FinSet 3" else x
    y, weights = randn(4, 3, seed=2), model.storage()
    copies = [{key: (1 + k) * w for key, w in weights.items()} for k in range(2)]
    stacked = {key: torch.stack([c[key] for c in copies]) for key in weights}
    got = plan.dist(stacked, x, (4,)).log_prob(y)
    assert got.shape == (2, 4)
    for k, own in enumerate(copies):
        torch.testing.assert_close(got[k], plan.dist(own, x, (4,)).log_prob(y))
    drawn = plan.dist(stacked, x, (4,)).sample((2,), seeded(8))
    assert drawn.shape == (2, 4, 3)


# --- discretize ---------------------------------------------------------------------------------

BINS = """\
object U : Real 1 [low=-1.0, high=2.0]
morphism d : U -> FinSet 7 [role=discretize, bins=7]
program p : U -> FinSet 7
    sample b <- d
    return b
export p
"""


def shares(x: Array) -> Array:
    return special.softmax(-((x - np.linspace(-1, 2, 7)) ** 2) / 0.1, axis=-1)


def test_discretize_weighs_centers_by_their_distance() -> None:
    model = loads(BINS).morphism
    assert not list(model.parameters())
    x = torch.linspace(-1.0, 2.0, 7, dtype=torch.float64).unsqueeze(-1) + 0.1
    for b in range(7):
        got = model.log_joint(x, {"b": torch.full((7,), b)}).exp().numpy()
        np.testing.assert_allclose(got, np.maximum(shares(x.numpy())[:, b], 1e-7), rtol=1e-5)


@pytest.mark.stats
def test_draws_of_discretize_have_its_shares() -> None:
    model = loads(BINS).morphism
    n = 20_000
    x = torch.full((n, 1), 0.3, dtype=torch.float64)
    draws = model.trace(x, generator=seeded(7)).sites["b"].value
    assert draws.dtype == torch.int64
    counts = np.bincount(draws.numpy(), minlength=7)
    size = alpha("special kernels", 25 * len(KINDS) + 1)
    common = shares(np.array([0.3])) * n > 10

    def p_value(x: float) -> float:
        expected = shares(np.array([x]))[common]
        got = counts[common]
        return float(stats.chisquare(got, expected / expected.sum() * got.sum()).pvalue)

    assert p_value(0.3) > size
    assert p_value(0.32) < size


# --- compiled -----------------------------------------------------------------------------------

MATRICES = """\
object R : Real 2
object S : Covariance 2
program p : 1 -> 1
    sample a : S <- Wishart(4.0, 0.7)
    sample b : S <- InverseWishart(5.0, a0)
    sample t : R <- Horseshoe(0.3)
    let l = cholesky(a)
    observe y <- MultivariateNormal(t, l)
    observe m <- MatrixNormal(a, l, l)
    return t
export p
""".replace(", a0", ", 1.2")


def test_matrix_families_compile_and_give_the_gradient_of_autograd() -> None:
    model = loads(MATRICES).morphism.double()
    target = flat(model.target(None, {"y": randn(2), "m": randn(2, 2, seed=2)}))
    q = 0.3 * randn(2, target.dim, seed=3)
    native = prepare(target, q[0])
    assert isinstance(native, NativeTarget), native
    for got, want in zip(native.evaluate(q), eager(target)(q), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
