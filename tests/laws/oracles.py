"""Log densities of every family by scipy or by a formula written out in numpy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import special, stats

Array = Any
Oracle = Callable[..., Array]


def logit_normal(y: Array, mu: Array, sigma: Array) -> Array:
    return stats.norm.logpdf(special.logit(y), mu, sigma) - np.log(y) - np.log1p(-y)


def kumaraswamy(y: Array, a: Array, b: Array) -> Array:
    return np.log(a * b) + (a - 1) * np.log(y) + (b - 1) * np.log(1 - y**a)


def continuous_bernoulli(y: Array, logits: Array) -> Array:
    return logits * y - np.log(np.expm1(logits) / logits)


def relaxed_bernoulli(y: Array, t: Array, logits: Array) -> Array:
    """The density of sigmoid((logits + L) / t) for a logistic L, by change of variables."""
    return stats.logistic.logpdf(t * special.logit(y) - logits) + np.log(t / (y * (1 - y)))


def truncated_normal(y: Array, mu: Array, sigma: Array, low: Array, high: Array) -> Array:
    a, b = (low - mu) / sigma, (high - mu) / sigma
    return stats.truncnorm.logpdf(y, a, b, mu, sigma)


def mixture_normal(y: Array, weights: Array, loc: Array, scale: Array) -> Array:
    return np.log((weights * stats.norm.pdf(y[..., None], loc, scale)).sum(-1))


def ordered_logistic(y: Array, predictor: Array, cutpoints: Array) -> Array:
    cdf = special.expit(np.concatenate([[-np.inf], cutpoints, [np.inf]]) - predictor)
    return np.log(np.diff(cdf))[y.astype(int)]


def zero_inflated(y: Array, zero: Array, rate: Array) -> Array:
    return np.log(zero * (y == 0) + (1 - zero) * stats.poisson.pmf(y, rate))


def hurdle(y: Array, zero: Array, rate: Array) -> Array:
    positive = (1 - zero) * stats.poisson.pmf(y, rate) / (1 - np.exp(-rate))
    return np.log(np.where(y == 0, zero, positive))


def rows(one: Oracle) -> Oracle:
    """Maps a density of single vectors or matrices over the first axis of values."""
    return lambda y, *params: np.array([one(row, *params) for row in y])


def logistic_normal(y: Array, loc: Array, scale: Array) -> Array:
    """Stick-breaking written out: u_k = logit(y_k / left_k) + log(K - k)."""
    left, total = 1.0, 0.0
    for k, (share, mu, sigma) in enumerate(zip(y[:-1], loc, scale, strict=True)):
        z = share / left
        u = special.logit(z) + np.log(len(loc) - k)
        total += stats.norm.logpdf(u, mu, sigma) - np.log(z * (1 - z) * left)
        left -= share
    return total


def relaxed_one_hot(y: Array, t: Array, logits: Array) -> Array:
    """Maddison, Mnih, Teh 2017, definition 1."""
    k, alpha = len(y), np.exp(logits)
    top = special.factorial(k - 1) * t ** (k - 1) * np.prod(alpha * y ** (-t - 1))
    return np.log(top / np.sum(alpha * y**-t) ** k)


def low_rank(y: Array, loc: Array, factor: Array, diag: Array) -> Array:
    return stats.multivariate_normal.logpdf(y, loc, factor @ factor.T + np.diag(diag))


def lkj(y: Array, eta: Array) -> Array:
    """det(R)^(eta - 1) over its integral (LKJ 2009, equation 16), times |dR/dL|."""
    m = len(y)
    log_integral = sum(
        (2 * eta - 2 + m - k) * (m - k) * np.log(2)
        + (m - k) * special.betaln(eta + (m - k - 1) / 2, eta + (m - k - 1) / 2)
        for k in range(1, m)
    )
    log_jacobian = sum((m - 1 - i) * np.log(y[i, i]) for i in range(m))
    return (eta - 1) * 2 * np.log(np.diag(y)).sum() - log_integral + log_jacobian


def matrix_normal(y: Array, loc: Array, row_scale: Array, col_scale: Array) -> Array:
    """Rows side by side are a normal vector; covariance of rows (x) covariance of columns."""
    covariance = np.kron(row_scale @ row_scale.T, col_scale @ col_scale.T)
    return stats.multivariate_normal.logpdf(y.ravel(), loc.ravel(), covariance)


def wishart(y: Array, df: Array, scale_tril: Array) -> Array:
    return stats.wishart.logpdf(y, float(df), scale_tril @ scale_tril.T)


def inverse_wishart(y: Array, df: Array, scale_tril: Array) -> Array:
    """scipy's scale is the inverse of that of the Wishart matrix."""
    return stats.invwishart.logpdf(y, float(df), np.linalg.inv(scale_tril @ scale_tril.T))


def horseshoe(y: Array, scale: Array) -> Array:
    """Sixteen normals whose standard deviations are half-Cauchy quantiles (section 8)."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    local = np.tan(np.pi / 2 * (nodes + 1) / 2)
    parts = weights / 2 * stats.norm.pdf(y[..., None], 0, scale * local)
    return np.log(parts.sum(-1)).sum(-1)


ORACLES: Mapping[str, Oracle] = {
    "Normal": stats.norm.logpdf,
    "LogNormal": lambda y, m, s: stats.lognorm.logpdf(y, s, scale=np.exp(m)),
    "LogitNormal": logit_normal,
    "HalfNormal": lambda y, s: stats.halfnorm.logpdf(y, scale=s),
    "TruncatedNormal": truncated_normal,
    "MixtureNormal": mixture_normal,
    "Cauchy": stats.cauchy.logpdf,
    "HalfCauchy": lambda y, s: stats.halfcauchy.logpdf(y, scale=s),
    "StudentT": stats.t.logpdf,
    "HalfStudentT": lambda y, df, s: np.log(2) + stats.t.logpdf(y, df, 0, s),
    "Laplace": stats.laplace.logpdf,
    "HalfLaplace": lambda y, s: stats.expon.logpdf(y, scale=s),
    "Gumbel": stats.gumbel_r.logpdf,
    "Flat": np.zeros_like,
    "HalfFlat": np.zeros_like,
    "Exponential": lambda y, r: stats.expon.logpdf(y, scale=1 / r),
    "Gamma": lambda y, a, b: stats.gamma.logpdf(y, a, scale=1 / b),
    "InverseGamma": lambda y, a, b: stats.invgamma.logpdf(y, a, scale=b),
    "Chi2": stats.chi2.logpdf,
    "FisherSnedecor": stats.f.logpdf,
    "Weibull": lambda y, s, k: stats.weibull_min.logpdf(y, k, scale=s),
    "Pareto": lambda y, s, a: stats.pareto.logpdf(y, a, scale=s),
    "GeneralizedPareto": lambda y, m, s, c: stats.genpareto.logpdf(y, c, m, s),
    "Uniform": lambda y, a, b: stats.uniform.logpdf(y, a, b - a),
    "Beta": stats.beta.logpdf,
    "Kumaraswamy": kumaraswamy,
    "ContinuousBernoulli": continuous_bernoulli,
    "RelaxedBernoulli": relaxed_bernoulli,
    "VonMises": lambda y, m, k: stats.vonmises.logpdf(y, k, m),
    "Bernoulli": stats.bernoulli.logpmf,
    "BernoulliLogit": lambda y, eta: stats.bernoulli.logpmf(y, special.expit(eta)),
    "Categorical": lambda y, eta: special.log_softmax(eta)[y.astype(int)],
    "CategoricalLogit": lambda y, eta: special.log_softmax(eta)[y.astype(int)],
    "CategoricalProbs": lambda y, p: np.log(p)[y.astype(int)],
    "OrderedLogistic": ordered_logistic,
    "Binomial": stats.binom.logpmf,
    "BinomialLogit": lambda y, n, eta: stats.binom.logpmf(y, n, special.expit(eta)),
    "Poisson": stats.poisson.logpmf,
    "PoissonLog": lambda y, eta: stats.poisson.logpmf(y, np.exp(eta)),
    "ZeroInflatedPoisson": zero_inflated,
    "HurdlePoisson": hurdle,
    "Geometric": lambda y, p: stats.geom.logpmf(y + 1, p),
    "NegativeBinomial": lambda y, r, p: stats.nbinom.logpmf(y, r, 1 - p),
    "NegativeBinomialLog": lambda y, m, c: stats.nbinom.logpmf(y, c, c / (c + np.exp(m))),
    "Dirichlet": rows(stats.dirichlet.logpdf),
    "LogisticNormal": rows(logistic_normal),
    "RelaxedOneHotCategorical": rows(relaxed_one_hot),
    "OneHotCategorical": lambda y, eta: special.log_softmax(eta)[y.argmax(-1)],
    "MultivariateNormal": lambda y, m, c: stats.multivariate_normal.logpdf(y, m, c @ c.T),
    "LowRankMVN": low_rank,
    "LKJCholesky": rows(lkj),
    "MatrixNormal": rows(matrix_normal),
    "Wishart": rows(wishart),
    "InverseWishart": rows(inverse_wishart),
    "Horseshoe": horseshoe,
}
