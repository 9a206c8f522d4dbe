"""Regressions and hierarchies that never read their input: densities written out by hand."""

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp

from tests.support.oracles import Array, Case, half_cauchy, half_normal, normal

RNG = np.random.default_rng(20)


def some(*shape: int) -> Array:
    return RNG.normal(size=shape)


def positive(*shape: int) -> Array:
    return np.exp(0.4 * RNG.normal(size=shape))


def regression() -> Case:
    xs, y, alpha, beta, sigma = some(7), some(7), 0.3, -0.7, 0.8
    rows = (
        normal(alpha, 0, 10) + normal(beta, 1.5, 2) + half_cauchy(sigma, 2.5)
        + normal(y, alpha + beta * xs, sigma).sum()
    )  # fmt: skip
    source = """\
object Obs : FinSet 7
program regression : Obs -> Obs
    sample alpha <- Normal(0.0, 10.0)
    sample beta <- Normal(1.5, 2.0)
    sample sigma <- HalfCauchy(2.5)
    let mu = alpha + beta * xs
    observe y : Obs <- Normal(mu, sigma)
    return alpha
export regression
"""
    values = {"alpha": alpha, "beta": beta, "sigma": sigma, "xs": xs, "y": y}
    return Case("regression, no rows", source, values, rows)


def rainfall() -> Case:
    site_of = RNG.integers(0, 6, 40)
    spread, level, mm = 1.3, some(6), some(40)
    rows = (
        half_cauchy(spread, 2) + normal(level, 0, spread).sum()
        + normal(mm, level[site_of], 1.5).sum()
    )  # fmt: skip
    source = """\
object Site : FinSet 6
object Obs : FinSet 40
program rainfall : Obs -> Obs [effects=[Sample, Score]]
    sample spread <- HalfCauchy(2.0)
    sample level : Site <- Normal(0.0, spread)
    let mu = level[site_of]
    observe mm : Obs <- Normal(mu, 1.5)
    return level
export rainfall
"""
    values = {"spread": spread, "level": level, "site_of": site_of, "mm": mm}
    return Case("plate gathered in a let", source, values, rows)


def gathered_argument() -> Case:
    g = RNG.integers(0, 3, 9)
    tau, eff, y = 0.6, some(3), some(9)
    rows = (
        stats.expon.logpdf(tau, scale=1 / 2.0) + normal(eff, 1, tau).sum()
        + normal(y, eff[g], tau).sum()
    )  # fmt: skip
    source = """\
object Grp : FinSet 3
object Obs : FinSet 9
program gathered : Obs -> Obs
    sample tau <- Exponential(2.0)
    sample eff : Grp <- Normal(1.0, tau)
    observe y : Obs <- Normal(eff[g], tau)
    return eff
export gathered
"""
    return Case("gather in a step argument", source, {"tau": tau, "eff": eff, "g": g, "y": y}, rows)


def product_plate() -> Case:
    i, j = RNG.integers(0, 3, 11), RNG.integers(0, 4, 11)
    s, v, y = 0.9, some(3, 4), some(11)
    rows = (
        stats.gamma.logpdf(s, 2.0, scale=1 / 3.0) + normal(v, 0.5, s).sum()
        + normal(y, v[i, j], 0.7).sum()
    )  # fmt: skip
    source = """\
object A : FinSet 3
object B : FinSet 4
object Obs : FinSet 11
program grid : Obs -> Obs
    sample s <- Gamma(2.0, 3.0)
    sample v : A * B <- Normal(0.5, s)
    let mu = v[i, j]
    observe y : Obs <- Normal(mu, 0.7)
    return v
export grid
"""
    return Case("product plate, v[i, j]", source, {"s": s, "v": v, "i": i, "j": j, "y": y}, rows)


def matched_by_name() -> Case:
    a, b, y = some(3), positive(2), some(3, 2)
    rows = (
        normal(a, 0, 1).sum() + half_normal(b, 1).sum()
        + normal(y, a[:, None], b[None, :]).sum()
    )  # fmt: skip
    source = """\
object G : FinSet 3
object H : FinSet 2
program named : G -> G
    sample a : G <- Normal(0.0, 1.0)
    sample b : H <- HalfNormal(1.0)
    observe y : G * H <- Normal(a, b)
    return a
export named
"""
    return Case("plate arguments matched by object name", source, {"a": a, "b": b, "y": y}, rows)


def topics() -> Case:
    doc = RNG.integers(0, 4, 12)
    theta = RNG.dirichlet(np.ones(3), size=4)
    z = RNG.integers(0, 3, 12)
    rows = (
        sum(stats.dirichlet.logpdf(t, np.full(3, 0.5)) for t in theta)
        + np.log(theta[doc, z]).sum()
    )  # fmt: skip
    source = """\
object Doc : FinSet 4
object Topic : FinSet 3
object Tok : FinSet 12
program topics : Tok -> Tok
    sample theta : Doc <- Dirichlet(0.5) [over=Topic, iid_over=Doc]
    let p = theta[doc]
    observe z : Tok <- Categorical(p)
    return theta
export topics
"""
    return Case("Dirichlet plate; a gather of it is simplex-typed", source,
                {"theta": theta, "doc": doc, "z": z}, float(rows))  # fmt: skip


def one_simplex() -> Case:
    p, z = np.array([0.2, 0.5, 0.3]), np.array([0, 1, 1, 2, 1])
    rows = stats.dirichlet.logpdf(p, [1.0, 2.0, 3.0]) + np.log(p[z]).sum()
    source = """\
object Obs : FinSet 5
program simplex : Obs -> Obs
    sample p <- Dirichlet(1.0, 2.0, 3.0)
    observe z : Obs <- Categorical(p)
    return p
export simplex
"""
    return Case("one Dirichlet from literals", source, {"p": p, "z": z}, float(rows))


def logits() -> Case:
    b, z = some(3), np.array([0, 2, 2, 1])
    rows = normal(b, 0, 1).sum() + (b - logsumexp(b))[z].sum()
    source = """\
object K : FinSet 3
object Obs : FinSet 4
program softly : Obs -> Obs
    sample b : K <- Normal(0.0, 1.0)
    observe z : Obs <- Categorical(b)
    return b
export softly
"""
    return Case("an untyped Categorical argument is logits", source, {"b": b, "z": z}, rows)


def multivariate() -> Case:
    tril = np.array([[1.2, 0, 0], [0.3, 0.8, 0], [-0.5, 0.1, 0.6]])
    m, z, y = some(3), some(3), some(5, 3)
    cov = tril @ tril.T
    rows = (
        stats.multivariate_normal.logpdf(z, m, cov)
        + stats.multivariate_normal.logpdf(y, z, cov).sum()
    )  # fmt: skip
    source = """\
object S : Real 3
object Obs : FinSet 5
program multi : Obs -> Obs
    let L = 1.0 * tril
    let loc = 1.0 * m
    sample z : S <- MultivariateNormal(loc, L)
    observe y : Obs <- MultivariateNormal(z, L)
    return z
export multi
"""
    return Case("MultivariateNormal", source, {"tril": tril, "m": m, "z": z, "y": y}, float(rows))


def gaussian_process() -> Case:
    t, rho, alpha, sigma, y = np.linspace(0, 1, 5), 0.4, 1.1, 0.3, some(5)
    cov = alpha**2 * np.exp(-0.5 * (t[:, None] - t[None, :]) ** 2 / rho**2) + sigma * np.eye(5)
    rows = (
        stats.invgamma.logpdf(rho, 5.0, scale=5.0) + half_normal(alpha, 1) + half_normal(sigma, 1)
        + stats.multivariate_normal.logpdf(y, np.zeros(5), cov)
    )  # fmt: skip
    source = """\
object Pt : FinSet 5
program gp : Pt -> Pt
    sample rho <- InverseGamma(5.0, 5.0)
    sample alpha <- HalfNormal(1.0)
    sample sigma <- HalfNormal(1.0)
    let k = cov_exp_quad(t, alpha, rho) + sigma * diag(ones)
    let L = cholesky(k)
    let zero = 0.0 * t
    observe y <- MultivariateNormal(zero, L)
    return rho
export gp
"""
    values = {"t": t, "ones": np.ones(5), "rho": rho, "alpha": alpha, "sigma": sigma, "y": y}
    return Case("cov_exp_quad, diag, cholesky", source, values, float(rows))


def vector_site() -> Case:
    z, y = some(3), some(4)
    h = RNG.integers(0, 3, 4)
    rows = normal(z, 0.5, 2).sum() + normal(y, z[h], 1).sum()
    source = """\
object S : Real 3
object Obs : FinSet 4
program vector : Obs -> Obs
    sample z : S <- Normal(0.5, 2.0)
    let mu = z[h]
    observe y : Obs <- Normal(mu, 1.0)
    return z
export vector
"""
    return Case("a site over a space is one vector", source, {"z": z, "h": h, "y": y}, rows)


def declared_data() -> Case:
    theta, se, y = 0.4, positive(8), some(8)
    rows = normal(theta, 0, 5) + normal(y, theta, se).sum()
    source = """\
object School : FinSet 8
data se : School -> Real 1
program pooled : School -> School
    sample theta <- Normal(0.0, 5.0)
    observe y : School <- Normal(theta, se)
    return theta
export pooled
"""
    return Case(
        "declared data as a bare argument", source, {"theta": theta, "se": se, "y": y}, rows
    )


def design_matrix() -> Case:
    X, beta, y = some(5, 3), some(3), some(5)
    rows = normal(beta, 0, 1).sum() + normal(y, X @ beta, 1).sum()
    source = """\
object Obs : FinSet n
object Coef : FinSet 3
data X : Obs -> Real 3
program design : Obs -> Obs
    sample beta : Coef <- Normal(0.0, 1.0)
    let mu = matmul(X, beta)
    observe y : Obs <- Normal(mu, 1.0)
    return beta
export design
"""
    return Case("a design matrix over a size", source, {"X": X, "beta": beta, "y": y}, rows,
                sizes={"n": 5})  # fmt: skip


def dependent_support() -> Case:
    lo, width, u = -0.5, 1.4, 0.2
    rows = normal(lo, 0, 1) + half_normal(width, 1) - np.log(width)
    source = """\
object U : FinSet 1
program between : U -> U
    sample lo <- Normal(0.0, 1.0)
    sample width <- HalfNormal(1.0)
    let hi = lo + width
    sample u <- Uniform(lo, hi)
    return u
export between
"""
    return Case("Uniform between earlier sites", source, {"lo": lo, "width": width, "u": u}, rows)


def improper() -> Case:
    a, s, y = 12.3, 0.4, some(3) + 12
    rows = normal(y, a, s).sum()
    source = """\
object Obs : FinSet 3
program flat : Obs -> Obs
    sample a <- Flat()
    sample s <- HalfFlat()
    observe y : Obs <- Normal(a, s)
    return a
export flat
"""
    return Case("improper priors have log density 0", source, {"a": a, "s": s, "y": y}, rows)


def probabilities() -> Case:
    p, y = RNG.beta(2, 3, size=3), np.array([1, 0, 1])
    eta, k = some(4), np.array([3, 0, 2, 5])
    rows = (
        stats.beta.logpdf(p, 2, 3).sum() + stats.bernoulli.logpmf(y, p).sum()
        + normal(eta, 0, 1).sum() + stats.binom.logpmf(k, 5, expit(eta)).sum()
    )  # fmt: skip
    source = """\
object A : FinSet 3
object B : FinSet 4
program chances : A -> A
    sample p : A <- Beta(2.0, 3.0)
    observe y : A <- Bernoulli(p)
    sample eta : B <- Normal(0.0, 1.0)
    observe k : B <- BinomialLogit(5, eta)
    return p
export chances
"""
    return Case("Bernoulli and BinomialLogit plates", source,
                {"p": p, "y": y, "eta": eta, "k": k}, rows)  # fmt: skip


CASES = [
    build()
    for build in (
        regression,
        rainfall,
        gathered_argument,
        product_plate,
        matched_by_name,
        topics,
        one_simplex,
        logits,
        multivariate,
        gaussian_process,
        vector_site,
        declared_data,
        design_matrix,
        dependent_support,
        improper,
        probabilities,
    )
]
