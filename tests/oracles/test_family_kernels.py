"""Kernels of every family (section 8): raw blocks, transforms and density, against scipy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, log_softmax

from tests.support.oracles import EPS, Array, compiled, mlp_raw, part_of, randomize, tensor, weights

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(6, 2))
D = 2


def softplus(x: Array) -> Array:
    return np.logaddexp(x, 0.0) + EPS


def softplus_more(x: Array) -> Array:
    return np.logaddexp(x, 0.0) + 0.1


def clipped_exp(x: Array) -> Array:
    return np.maximum(np.exp(x), EPS)


def same(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Kernel:
    """A family, its transforms block by block, values in its support, and its log density."""

    family: str
    transforms: tuple[Callable[[Array], Array], ...]
    values: Array
    density: Callable[..., Array]
    cod: str = "Real 2"
    options: str = ""


reals = RNG.normal(size=(6, D))
positives = np.exp(0.5 * RNG.normal(size=(6, D)))
units = RNG.uniform(0.1, 0.9, size=(6, D))
counts = RNG.integers(0, 5, size=(6, D))


def logit_normal(y: Array, m: Array, s: Array) -> Array:
    return stats.norm.logpdf(np.log(y / (1 - y)), m, s) - np.log(y) - np.log1p(-y)


def uniform(y: Array, center: Array, width: Array) -> Array:
    return stats.uniform.logpdf(y, center - width / 2, width)


ELEMENTWISE = [
    Kernel("Normal", (same, clipped_exp), reals, stats.norm.logpdf),
    Kernel("LogitNormal", (same, clipped_exp), units, logit_normal),
    Kernel("LogNormal", (same, softplus), positives,
           lambda y, m, s: stats.lognorm.logpdf(y, s, scale=np.exp(m))),
    Kernel("Cauchy", (same, softplus), reals, stats.cauchy.logpdf),
    Kernel("Laplace", (same, softplus), reals, stats.laplace.logpdf),
    Kernel("StudentT", (softplus_more, same, softplus), reals, stats.t.logpdf),
    Kernel("Uniform", (same, softplus), 0.05 * reals, uniform),
    Kernel("Beta", (softplus_more, softplus_more), units, stats.beta.logpdf),
    Kernel("Exponential", (softplus,), positives, lambda y, r: stats.expon.logpdf(y, scale=1 / r)),
    Kernel("Gamma", (softplus_more, softplus), positives,
           lambda y, a, b: stats.gamma.logpdf(y, a, scale=1 / b)),
    Kernel("InverseGamma", (softplus_more, softplus), positives,
           lambda y, a, b: stats.invgamma.logpdf(y, a, scale=b)),
    Kernel("HalfNormal", (softplus,), positives, lambda y, s: stats.halfnorm.logpdf(y, scale=s)),
    Kernel("HalfCauchy", (softplus,), positives, lambda y, s: stats.halfcauchy.logpdf(y, scale=s)),
    Kernel("Weibull", (softplus, softplus), positives,
           lambda y, s, k: stats.weibull_min.logpdf(y, k, scale=s)),
    Kernel("Poisson", (softplus,), counts, stats.poisson.logpmf),
    Kernel("NegativeBinomial", (softplus_more, expit), counts,
           lambda y, n, p: stats.nbinom.logpmf(y, n, 1 - p)),
    Kernel("Binomial", (expit,), counts, lambda y, p: stats.binom.logpmf(y, 7, p),
           options=", total_count=7"),
]  # fmt: skip


def model_of(family: str, cod: str, options: str = "") -> tuple[object, Array]:
    """A linear kernel of the family as a program, and its raw vector at the rows."""
    source = f"""\
object A : Real 2
object B : {cod}
morphism k : A -> B [role=kernel, param_source=linear{options}] ~ {family}
program p : A -> B
    sample h <- k
    return h
export p
"""
    model = compiled(source)
    randomize(model, seed=3)
    return model, mlp_raw(part_of(weights(model), lambda path: path.endswith("k")), ROWS)


def scored(model: object, values: Array) -> Array:
    return model.log_joint(tensor(ROWS), {"h": tensor(values)}).detach().numpy()


@pytest.mark.parametrize("kernel", ELEMENTWISE, ids=lambda kernel: kernel.family)
def test_elementwise_families_sum_over_the_event(kernel: Kernel) -> None:
    model, raw = model_of(kernel.family, kernel.cod, kernel.options)
    blocks = np.split(raw, len(kernel.transforms), axis=-1)
    parameters = [f(b) for f, b in zip(kernel.transforms, blocks, strict=True)]
    expected = kernel.density(kernel.values, *parameters).sum(-1)
    np.testing.assert_allclose(scored(model, kernel.values), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", ELEMENTWISE, ids=lambda kernel: kernel.family)
def test_draws_have_the_shape_and_type_of_the_codomain(kernel: Kernel) -> None:
    model, _ = model_of(kernel.family, kernel.cod, kernel.options)
    run = model.trace(tensor(ROWS), generator=torch.Generator().manual_seed(1))
    value = run.sites["h"].value
    assert tuple(value.shape) == (6, D)
    assert value.is_floating_point() == (kernel.values.dtype.kind == "f")
    again = model.log_joint(tensor(ROWS), {"h": value})
    torch.testing.assert_close(again, run.log_joint)


def test_categorical() -> None:
    model, raw = model_of("Categorical", "FinSet 4")
    y = np.array([0, 1, 2, 3, 1, 1])
    assert raw.shape == (6, 4)
    np.testing.assert_allclose(scored(model, y), log_softmax(raw, -1)[np.arange(6), y], rtol=1e-9)


def test_bernoulli_has_one_logit() -> None:
    model, raw = model_of("Bernoulli", "FinSet 2")
    y = np.array([0, 1, 1, 0, 1, 0])
    assert raw.shape == (6, 1)
    np.testing.assert_allclose(
        scored(model, y), stats.bernoulli.logpmf(y, expit(raw[:, 0])), rtol=1e-6
    )


def test_dirichlet() -> None:
    model, raw = model_of("Dirichlet", "Simplex 3")
    y = RNG.dirichlet(np.ones(3), size=6)
    expected = [
        stats.dirichlet.logpdf(a / a.sum(), b) for a, b in zip(y, softplus_more(raw), strict=True)
    ]
    np.testing.assert_allclose(scored(model, y), expected, rtol=1e-9)


def test_multivariate_normal_has_a_row_major_factor_with_a_softplus_diagonal() -> None:
    model, raw = model_of("MultivariateNormal", "Real 3")
    assert raw.shape == (6, 3 + 6)
    y = RNG.normal(size=(6, 3))
    expected = []
    for row, value in zip(raw, y, strict=True):
        factor = np.zeros((3, 3))
        factor[np.tril_indices(3)] = row[3:]
        factor[np.diag_indices(3)] = softplus(np.diag(factor))
        expected.append(stats.multivariate_normal.logpdf(value, row[:3], factor @ factor.T))
    np.testing.assert_allclose(scored(model, y), expected, rtol=1e-8)
