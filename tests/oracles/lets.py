"""Lets, factors, scores, templates and sub-programs: densities written out by hand."""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from tests.support.oracles import Array, Case, half_normal, normal

RNG = np.random.default_rng(22)


def some(*shape: int) -> Array:
    return RNG.normal(size=shape)


def positive(*shape: int) -> Array:
    return np.exp(0.4 * RNG.normal(size=shape))


def factor_body() -> Case:
    i, j = RNG.integers(0, 3, 8), RNG.integers(0, 2, 8)
    row, col, y = some(3), some(2), some(8)
    table = np.exp(row)[:, None] - 0.5 * col[None, :]
    rows = normal(row, 0, 1).sum() + normal(col, 0, 2).sum() + normal(y, table[i, j], 1.1).sum()
    source = """\
object R : FinSet 3
object C : FinSet 2
object Obs : FinSet 8
program table : Obs -> Obs
    sample row : R <- Normal(0.0, 1.0)
    sample col : C <- Normal(0.0, 2.0)
    let t = factor r : R, c : C in exp(row[r]) - 0.5 * col[c]
    let mu = t[i, j]
    observe y : Obs <- Normal(mu, 1.1)
    return row
export table
"""
    return Case(
        "factor with a body", source, {"row": row, "col": col, "i": i, "j": j, "y": y}, rows
    )


def factor_cases() -> Case:
    g = np.array([0, 2, 1, 1, 2, 0])
    a, b, y = 0.4, -1.2, some(6)
    level = np.array([0.0, a, a + b])
    rows = normal(a, 0, 1) + normal(b, 0, 1) + normal(y, level[g], 0.5).sum()
    source = """\
object K : FinSet 3
object Obs : FinSet 6
program cases : Obs -> Obs
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    let level = factor k : K in {
        0 -> 0.0,
        1 -> a,
        2 -> a + b
    }
    let mu = level[g]
    observe y : Obs <- Normal(mu, 0.5)
    return a
export cases
"""
    return Case("factor with cases", source, {"a": a, "b": b, "g": g, "y": y}, rows)


def factor_of_vectors() -> Case:
    y, w = some(2, 3), some(3)
    shift = np.array([1.0, 2.0])
    rows = normal(w, 0, 1).sum() + normal(y, shift[:, None] * w[None, :], 0.8).sum()
    source = """\
object K : FinSet 2
object D : FinSet 3
program stacked : K -> K
    sample w : D <- Normal(0.0, 1.0)
    let mu = factor k : K in shift[k] * w
    observe y : K * D <- Normal(mu, 0.8)
    return w
export stacked
"""
    return Case("factor puts its axes in front", source, {"w": w, "shift": shift, "y": y}, rows)


def scored() -> Case:
    a, b = 0.7, -0.2
    rows = normal(a, 0, 1) + normal(b, a, 2) - 0.5 * (a + b) ** 2
    source = """\
object U : FinSet 1
program scored : U -> U
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(a, 2.0)
    score soft = -0.5 * square(a + b)
    return a
export scored
"""
    return Case("score", source, {"a": a, "b": b}, rows)


def reductions() -> Case:
    X, beta, y = some(6, 3), some(3), some(6)
    mu = (X * beta).sum(-1) + logsumexp(beta) - beta.mean() + np.cumsum(beta)[-1] * beta.max()
    rows = normal(beta, 0, 10).sum() + normal(y, mu, 1).sum()
    source = """\
object Obs : FinSet 6
object Coef : FinSet 3
program reduced : Obs -> Obs
    sample beta : Coef <- Normal(0.0, 10.0)
    let partial = cumsum(beta)
    let shift = logsumexp(beta) - mean(beta) + partial[2] * max(beta)
    let mu = sum(X * beta) + shift
    observe y : Obs <- Normal(mu, 1.0)
    return beta
export reduced
"""
    return Case("lets with reductions", source, {"X": X, "beta": beta, "y": y}, rows)


def arithmetic() -> Case:
    a, b, y = 0.6, 1.7, some(4)
    mu = -a * 3.0 - -b / 2.0 + (0.0 if a < b else 1.0) + a**2 + np.log1p(b)
    rows = normal(a, 0, 1) + half_normal(b, 2) + normal(y, mu, 1e-1).sum()
    source = """\
object Obs : FinSet 4
program arithmetic : Obs -> Obs
    sample a <- Normal(0.0, 1.0)
    sample b <- HalfNormal(2.0)
    let mu = -a * 3.0 - -b / 2.0 + where(lt(a, b), 0.0, 1.0) + pow(a, 2) + log1p(b)
    observe y : Obs <- Normal(mu, 1e-1)
    return a
export arithmetic
"""
    return Case("operators and pointwise built-ins", source, {"a": a, "b": b, "y": y}, rows)


def garch_by_scanl() -> Case:
    before, e, omega = some(6), some(6), 0.5
    v, last = [], 1.5
    for shock in before:
        last = omega + 0.2 * shock**2 + 0.6 * last
        v.append(last)
    rows = half_normal(omega, 1) + normal(e, 0, np.sqrt(np.array(v))).sum()
    source = """\
object Step : FinSet 6
program garch : Step -> Step
    sample omega <- HalfNormal(1.0)
    let variance = scanl(before, 1.5, acc -> shock -> omega + 0.2 * square(shock) + 0.6 * acc)
    let sd = sqrt(variance)
    observe e : Step <- Normal(0.0, sd)
    return omega
export garch
"""
    return Case("scanl: one partial result for each element", source,
                {"omega": omega, "before": before, "e": e}, rows)  # fmt: skip


def keywords() -> Case:
    a, y = 0.1, some(3)
    rows = normal(a, 1.0, 2.0) + stats.t.logpdf(y, 4.0, a, 1.5).sum()
    source = """\
object Obs : FinSet 3
program keyed : Obs -> Obs
    sample a <- Normal(scale=2.0, loc=1.0)
    observe y : Obs <- StudentT(df=4.0, loc=a, scale=1.5)
    return a
export keyed
"""
    return Case("arguments by keyword", source, {"a": a, "y": y}, rows)


def inlined_template() -> Case:
    herd_of = RNG.integers(0, 3, 5)
    sd_h, eff_h, sd_c, eff_c, liters = 1.1, some(3), 0.4, some(5), some(5)
    rows = (
        half_normal(sd_h, 2) + normal(eff_h, 0, sd_h).sum() + half_normal(sd_c, 0.5)
        + normal(eff_c, 0, sd_c).sum() + normal(liters, eff_h[herd_of] + eff_c, 1).sum()
    )  # fmt: skip
    source = """\
object Herd : FinSet 3
object Cow : FinSet 5
program offsets(Level : FinSet, width : Real) : Level -> Level
    sample sd <- HalfNormal(width)
    sample eff : Level <- Normal(0.0, sd)
    return eff
program milk : Cow -> Cow
    sample by_herd <- offsets(Herd, 2.0)
    sample by_cow <- offsets(Cow, 0.5)
    let mu = by_herd[herd_of] + by_cow
    observe liters : Cow <- Normal(mu, 1.0)
    return by_herd
export milk
"""
    values = {"by_herd$sd": sd_h, "by_herd": eff_h, "by_cow$sd": sd_c, "by_cow": eff_c,
              "herd_of": herd_of, "liters": liters}  # fmt: skip
    return Case("templates are inlined with distinct latents", source, values, rows)


def sub_program() -> Case:
    a, y = 0.8, some(4)
    rows = normal(a, 0, 2) + normal(y, np.exp(a), 1).sum()
    source = """\
object U : FinSet 1
object Obs : FinSet 4
program inner : U -> U
    sample a <- Normal(0.0, 2.0)
    let b = exp(a)
    return b
program outer : U -> U
    sample u <- inner
    observe y : Obs <- Normal(u, 1.0)
    return u
export outer
"""
    return Case("a sub-program's sites carry the step's prefix", source, {"u/a": a, "y": y}, rows)


def integer_data() -> Case:
    n, a, y = np.array([1, 3, 7, 2]), 0.6, np.array([0, 2, 5, 1])
    rows = normal(a, 0, 1) + stats.poisson.logpmf(y, np.exp(a + np.log(n) + 0.1 * (n > 2))).sum()
    source = """\
object Obs : FinSet 4
program counts : Obs -> Obs
    sample a <- Normal(0, 1)
    let eta = a + log(n) + 0.1 * gt(n, 2)
    observe y : Obs <- PoissonLog(eta)
    return a
export counts
"""
    return Case("integer host data in built-ins keep the precision", source,
                {"a": a, "n": n, "y": y}, rows)  # fmt: skip


def destructured() -> Case:
    a, b, c, y = 0.3, some(2), -0.4, some(2)
    rows = normal(a, 0, 1) + normal(b, a, 1).sum() + normal(c, 0, 2) + normal(y, b + c, 1).sum()
    source = """\
object U : FinSet 1
object K : FinSet 2
program inner : U -> U
    sample a <- Normal(0.0, 1.0)
    sample b : K <- Normal(a, 1.0)
    sample c <- Normal(0.0, 2.0)
    return (b, c)
program outer : U -> U
    sample (left, right) <- inner
    let mu = left + right
    observe y : K <- Normal(mu, 1.0)
    return right
export outer
"""
    return Case("a tuple-valued sub-program is destructured by position", source,
                {"left/a": a, "left/b": b, "left/c": c, "y": y}, rows)  # fmt: skip


def folded() -> Case:
    phi, e = 0.6, some(5)
    mu = 0.0
    for value in e:
        mu = phi * mu + value
    z = 1.3
    rows = stats.uniform.logpdf(phi, -1, 2) + normal(z, mu + (e**2).sum(), 1)
    source = """\
object U : FinSet 1
program folded : U -> U
    sample phi <- Uniform(-1.0, 1.0)
    let last = fold(e, 0.0, acc -> x -> phi * acc + x)
    let squares = map(e, x -> x * x)
    let mu = last + sum(squares)
    observe z <- Normal(mu, 1.0)
    return phi
export folded
"""
    return Case("fold and map over a tensor", source, {"phi": phi, "e": e, "z": z}, rows)


CASES = [
    build()
    for build in (
        factor_body,
        factor_cases,
        factor_of_vectors,
        scored,
        reductions,
        arithmetic,
        garch_by_scanl,
        keywords,
        inlined_template,
        sub_program,
        integer_data,
        destructured,
        folded,
    )
]
