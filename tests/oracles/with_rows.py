"""Programs run on several rows, or on one: densities per row written out by hand (R1, R4)."""

import numpy as np

from tests.support.oracles import Array, Case, half_normal, normal

RNG = np.random.default_rng(21)


def some(*shape: int) -> Array:
    return RNG.normal(size=shape)


def positive(*shape: int) -> Array:
    return np.exp(0.4 * RNG.normal(size=shape))


def several_rows() -> Case:
    a, u, y = some(5), some(5), some(5)
    rows = normal(u, a, 1.0) + normal(y, u, 0.5)
    source = """\
object R1 : Real 1
program rows(a) : R1 -> R1
    sample u <- Normal(a, 1.0)
    observe y <- Normal(u, 0.5)
    return u
export rows
"""
    return Case("several rows, un-indexed", source, {"u": u, "y": y}, rows, x=a[:, None])


def row_wise_observe() -> Case:
    a, b, s, y = some(5), 0.3, 0.9, some(5)
    shared = normal(b, 0, 2) + half_normal(s, 1)
    data = normal(y, b * a, s)
    source = """\
object R1 : Real 1
object Obs : FinSet 100
program line(a) : R1 -> R1
    sample b : 1 <- Normal(0.0, 2.0)
    sample s : 1 <- HalfNormal(1.0)
    let mu = b * a
    observe y : Obs <- Normal(mu, s)
    return b
export line
"""
    return Case("row-wise indexed observe is a row term; plates over 1", source,
                {"b": np.array([b]), "s": np.array([s]), "y": y}, data + shared,
                float(data.sum() + shared), a[:, None])  # fmt: skip


def left_over_axes() -> Case:
    a, t, y = some(4), some(3), some(4, 3)
    rows = normal(y, a[:, None] * t, 0.6).sum(-1)
    source = """\
object R1 : Real 1
object Time : FinSet 3
program curves(a) : R1 -> R1
    let mu = a * t
    observe y : Time <- Normal(mu, 0.6)
    return mu
export curves
"""
    return Case("left-over axes live inside the row", source, {"t": t, "y": y}, rows, x=a[:, None])


def row_independent_observe() -> Case:
    a, u, m, z = some(4), some(4), 0.2, some(6)
    shared = normal(m, 0, 1) + normal(z, m, 2).sum()
    row = normal(u, a + m, 1)
    source = """\
object R1 : Real 1
object Obs : FinSet 6
program both(a) : R1 -> R1
    sample m : 1 <- Normal(0.0, 1.0)
    let c = a + m
    sample u <- Normal(c, 1.0)
    observe z : Obs <- Normal(m, 2.0)
    return u
export both
"""
    return Case("row-independent observe counted once in the total", source,
                {"m": np.array([m]), "u": u, "z": z}, row + shared,
                float(row.sum() + shared), a[:, None])  # fmt: skip


def never_read_many_rows() -> Case:
    a, b = some(3), some(3)
    v = some(2)
    row, shared = normal(a, 0, 1) + normal(b, a, 1), normal(v, 0, 3).sum()
    source = """\
object R1 : Real 1
object K : FinSet 2
program unread : R1 -> R1
    sample a <- Normal(0.0, 1.0)
    sample b <- Normal(a, 1.0)
    sample v : K <- Normal(0.0, 3.0)
    return a
export unread
"""
    return Case("never-reading program given rows draws per row", source,
                {"a": a, "b": b, "v": v}, row + shared, float(row.sum() + shared),
                np.zeros((3, 1)))  # fmt: skip


def one_row() -> Case:
    a, y = 0.4, some(3)
    rows = normal(a, 0, 1) + normal(y, a, 1).sum()
    source = """\
object R1 : Real 1
object Obs : FinSet 3
program dummy : R1 -> R1
    sample a <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(a, 1.0)
    return a
export dummy
"""
    return Case("one dummy row: a leading 1", source, {"a": np.array([a]), "y": y},
                np.array([rows]), x=np.zeros((1, 1)))  # fmt: skip


def vector_site_rows() -> Case:
    a, z, y = some(4), some(4, 3), some(4)
    rows = normal(z, a[:, None], 1).sum(-1) + normal(y, z.sum(-1), 1)
    source = """\
object R1 : Real 1
object S : Real 3
program vectors(a) : R1 -> R1
    sample z : S <- Normal(a, 1.0)
    let mu = sum(z)
    observe y <- Normal(mu, 1.0)
    return z
export vectors
"""
    return Case("one vector per row", source, {"z": z, "y": y}, rows, x=a[:, None])


def real_one() -> Case:
    z, y = some(4, 1), some(4)
    a = some(4)
    rows = normal(z[:, 0], a, 1) + normal(y, 2 * z[:, 0], 1)
    source = """\
object R1 : Real 1
program width_one(a) : R1 -> R1
    sample z : R1 <- Normal(a, 1.0)
    let mu = 2.0 * z
    observe y <- Normal(mu, 1.0)
    return z
export width_one
"""
    return Case("Real 1 keeps its axis in values, reads as a scalar", source, {"z": z, "y": y},
                rows, x=a[:, None])  # fmt: skip


def data_over_the_domain() -> Case:
    x, w, b = np.array([3, 0, 5]), some(6), 0.7
    y = some(3)
    shared, row = normal(b, 0, 1), normal(y, b * w[x], 1)
    source = """\
object Obs : FinSet 6
data w : Obs -> Real 1
program minibatch(i) : Obs -> Obs
    sample b : 1 <- Normal(0.0, 1.0)
    let mu = b * w + 0.0 * i
    observe y : Obs <- Normal(mu, 1.0)
    return b
export minibatch
"""
    return Case("data over the domain are read at the input", source,
                {"b": np.array([b]), "w": w, "y": y}, row + shared,
                float(row.sum() + shared), x)  # fmt: skip


CASES = [
    build()
    for build in (
        several_rows,
        row_wise_observe,
        left_over_axes,
        row_independent_observe,
        never_read_many_rows,
        one_row,
        vector_site_rows,
        real_one,
        data_over_the_domain,
    )
]
