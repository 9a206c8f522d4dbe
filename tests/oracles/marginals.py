"""Marginalized classes against enumeration: one class per group, per element, per row (7.8)."""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from tests.support.oracles import Array, Case, half_normal, normal

RNG = np.random.default_rng(24)


def some(*shape: int) -> Array:
    return RNG.normal(size=shape)


def one_class() -> Case:
    mu, y = some(2), 0.4
    branches = np.log([0.7, 0.3]) + normal(y, mu, 1.5)
    source = """\
object K : FinSet 2
program one : K -> K
    sample mu : K <- Normal(0.0, 1.0)
    marginalize z <- Bernoulli(0.3)
        let m = mu[z]
        observe y <- Normal(m, 1.5)
    return mu
export one
"""
    rows = normal(mu, 0, 1).sum() + logsumexp(branches)
    return Case("marginalize: one class", source, {"mu": mu, "y": y}, rows)


def class_per_row() -> Case:
    a, y, w = some(4), some(4), np.array([0.2, 0.5, 0.3])
    shift = np.array([-1.0, 0.0, 2.0])
    branches = np.log(w) + normal(y[:, None], a[:, None] + shift, 0.8)
    source = """\
object R1 : Real 1
object K : FinSet 3
program rows(a) : R1 -> R1
    let probs = 1.0 * w
    marginalize z <- Categorical(probs)
        let m = a + shift[z]
        observe y <- Normal(m, 0.8)
    return probs
export rows
"""
    return Case("marginalize: one class per row", source, {"w": w, "shift": shift, "y": y},
                logsumexp(branches, -1), x=a[:, None])  # fmt: skip


def class_per_element() -> Case:
    mu, w, y = some(3), RNG.dirichlet(np.ones(3)), some(6)
    branches = np.log(w) + normal(y[:, None], mu, 0.7)
    source = """\
object Obs : FinSet 6
object K : FinSet 3
program elements : Obs -> Obs
    sample w <- Dirichlet(1.0, 1.0, 1.0)
    sample mu : K <- Normal(0.0, 2.0)
    marginalize z : Obs <- Categorical(w)
        let m = mu[z]
        observe y : Obs <- Normal(m, 0.7)
    return mu
export elements
"""
    rows = (
        stats.dirichlet.logpdf(w, np.ones(3))
        + normal(mu, 0, 2).sum()
        + logsumexp(branches, -1).sum()
    )
    return Case("marginalize: one class per element of a plate", source,
                {"w": w, "mu": mu, "y": y}, float(rows))  # fmt: skip


def grouped(per_group: bool) -> Case:
    groups, k = 4, 3
    row = np.array([0, 2, 1, 1, 0, 3, 2, 2, 0])
    mu, sigma, y = some(k), np.exp(0.3 * some(k)), some(9)
    p = RNG.dirichlet(np.ones(k), size=groups if per_group else None)
    table = normal(y[:, None], mu, sigma)  # (9, k)
    by_group = np.stack([table[row == g].sum(0) for g in range(groups)])
    source = """\
object Obs : FinSet 9
object G : FinSet 4
object K : FinSet 3
program mixed : Obs -> Obs
    sample mu : K <- Normal(0.0, 1.0)
    sample sigma : K <- HalfNormal(1.0)
    let probs = 1.0 * p
    marginalize z : K <- Categorical(probs) [over=G]
        observe y : Obs <- Normal(mu[z], sigma[z]) [via=row]
    return mu
export mixed
"""
    rows = (
        normal(mu, 0, 1).sum() + half_normal(sigma, 1).sum()
        + logsumexp(np.log(p) + by_group, -1).sum()
    )  # fmt: skip
    kind = "probabilities of their own" if per_group else "shared probabilities"
    return Case(f"marginalize: groups with {kind}", source,
                {"mu": mu, "sigma": sigma, "p": p, "row": row, "y": y}, float(rows))  # fmt: skip


def two_observes() -> Case:
    i, j = np.array([0, 1, 1, 0]), np.array([1, 1, 0, 1, 0])
    y, n, p, x = some(4), RNG.integers(0, 4, 5), np.array([0.4, 0.6]), some(4)
    rate, b = np.array([0.5, 2.0]), 0.7
    ell_y = normal(y[:, None], np.array([-1.0, 1.0]) + b * x[:, None], 1)
    ell_n = stats.poisson.logpmf(n[:, None], rate)
    group = np.stack([ell_y[i == g].sum(0) + ell_n[j == g].sum(0) for g in range(2)])
    source = """\
object A : FinSet 4
object B : FinSet 5
object G : FinSet 2
object K : FinSet 2
program both : A -> A
    sample b <- Normal(0.0, 1.0)
    let probs = 1.0 * p
    marginalize z : K <- Categorical(probs) [over=G]
        let m = center[z] + b * x
        observe y : A <- Normal(m, 1.0) [via=i]
        let r = rate[z]
        observe n : B <- Poisson(r) [via=j]
    return b
export both
"""
    rows = normal(b, 0, 1) + logsumexp(np.log(p) + group, -1).sum()
    return Case("marginalize: two observes of one class", source,
                {"b": b, "p": p, "center": np.array([-1.0, 1.0]), "x": x, "y": y, "rate": rate,
                 "n": n, "i": i, "j": j}, float(rows))  # fmt: skip


def product_groups() -> Case:
    i, j = RNG.integers(0, 2, 10), RNG.integers(0, 3, 10)
    y, p, mu = some(10), np.array([0.3, 0.7]), some(2)
    table = normal(y[:, None], mu, 1)
    group = np.stack([table[(i == a) & (j == b)].sum(0) for a in range(2) for b in range(3)])
    source = """\
object Obs : FinSet 10
object A : FinSet 2
object B : FinSet 3
object K : FinSet 2
program cells : Obs -> Obs
    sample mu : K <- Normal(0.0, 1.0)
    let probs = 1.0 * p
    marginalize z : K <- Categorical(probs) [over=[A, B]]
        observe y : Obs <- Normal(mu[z], 1.0) [via=[i, j]]
    return mu
export cells
"""
    rows = normal(mu, 0, 1).sum() + logsumexp(np.log(p) + group, -1).sum()
    return Case("marginalize: groups over a product", source,
                {"mu": mu, "p": p, "i": i, "j": j, "y": y}, float(rows))  # fmt: skip


def nested_groups() -> Case:
    """A class per group, a sub-class per subgroup, whose probabilities depend on the class."""
    up, down = np.array([0, 1, 1, 0, 1]), RNG.integers(0, 5, 12)
    mu, nu, y = some(2), some(3), some(12)
    p, table = np.array([0.35, 0.65]), RNG.dirichlet(np.ones(3), size=2)
    ell = normal(y[:, None, None], mu[:, None] + nu, 1)  # (12, class, sub-class)
    inner = np.stack([ell[down == h].sum(0) for h in range(5)])
    by_sub = logsumexp(np.log(table) + inner, -1)  # (5, class)
    by_group = np.stack([by_sub[up == g].sum(0) for g in range(2)])
    source = """\
object Obs : FinSet 12
object G : FinSet 2
object H : FinSet 5
object K : FinSet 2
object L : FinSet 3
program nested : Obs -> Obs
    sample mu : K <- Normal(0.0, 1.0)
    sample nu : L <- Normal(0.0, 1.0)
    let pc = 1.0 * p
    marginalize c : K <- Categorical(pc) [over=G]
        let pz = table[c]
        marginalize z : L <- Categorical(pz) [over=H, via=up]
            let m = mu[c] + nu[z]
            observe y : Obs <- Normal(m, 1.0) [via=down]
    return mu
export nested
"""
    rows = normal(mu, 0, 1).sum() + normal(nu, 0, 1).sum()
    rows += logsumexp(np.log(p) + by_group, -1).sum()
    return Case("marginalize: groups within groups", source,
                {"mu": mu, "nu": nu, "p": p, "table": table, "up": up, "down": down, "y": y},
                float(rows))  # fmt: skip


def two_steps_of_a_chain() -> Case:
    mu, y1, y2 = some(3), 0.3, -0.8
    w, table = RNG.dirichlet(np.ones(3)), RNG.dirichlet(np.ones(3), size=3)
    joint = np.log(w)[:, None] + normal(y1, mu, 1)[:, None] + np.log(table) + normal(y2, mu, 1)
    source = """\
object K : FinSet 3
program chain : K -> K
    sample mu : K <- Normal(0.0, 1.0)
    let first = 1.0 * w
    marginalize a <- Categorical(first)
        let m = mu[a]
        observe y1 <- Normal(m, 1.0)
        let next = table[a]
        marginalize b <- Categorical(next)
            let n = mu[b]
            observe y2 <- Normal(n, 1.0)
    return mu
export chain
"""
    rows = normal(mu, 0, 1).sum() + logsumexp(joint)
    return Case("marginalize: one class after another", source,
                {"mu": mu, "w": w, "table": table, "y1": y1, "y2": y2}, float(rows))  # fmt: skip


def thinned_counts() -> Case:
    """A binomial seen through a binomial is a binomial: no enumeration on this side."""
    y, p = np.array([2, 0, 5, 3]), 0.6
    source = """\
object Site : FinSet 4
program abundance : Site -> Site
    sample p <- Beta(2.0, 2.0)
    marginalize n : Site <- Binomial(10, 0.7)
        observe y : Site <- Binomial(n, p)
    return p
export abundance
"""
    rows = stats.beta.logpdf(p, 2, 2) + stats.binom.logpmf(y, 10, 0.7 * p).sum()
    return Case("marginalize: a count per site", source, {"p": p, "y": y}, float(rows))


def integrated_gate() -> Case:
    y, a = np.array([1, 0, 1]), 2.0
    source = """\
object Obs : FinSet 3
program gate : Obs -> Obs
    sample a <- HalfNormal(2.0)
    marginalize g : Obs <- Beta(a, 3.0)
        observe y : Obs <- Bernoulli(g)
    return a
export gate
"""
    mean = a / (a + 3)
    rows = half_normal(a, 2) + stats.bernoulli.logpmf(y, mean).sum()
    return Case("marginalize: a probability, by quadrature", source, {"a": a, "y": y}, float(rows))


CASES = [
    one_class(),
    class_per_row(),
    class_per_element(),
    grouped(per_group=False),
    grouped(per_group=True),
    two_observes(),
    product_groups(),
    nested_groups(),
    two_steps_of_a_chain(),
    thinned_counts(),
    integrated_gate(),
]
