"""The distribution families of the language, one row each, by name (section 8, R8).

A row is all that the checker, the kernels, inline steps and priors know of a family. To add one,
add a row in the file of its kind and, under the same name, its numeric half in
`quivers_nb.kernels.families` and its formula in ``tests/laws/oracles.py``; the law suites then test
it by being registered.
"""

from collections.abc import Mapping
from types import MappingProxyType

from quivers_nb.spaces.families.discrete import ROWS as DISCRETE
from quivers_nb.spaces.families.matrix import ROWS as MATRIX
from quivers_nb.spaces.families.positive import ROWS as POSITIVE
from quivers_nb.spaces.families.real import ROWS as REAL
from quivers_nb.spaces.families.unit import ROWS as UNIT
from quivers_nb.spaces.families.vector import ROWS as VECTOR
from quivers_nb.spaces.family import Family


def _table(*kinds: tuple[Family, ...]) -> Mapping[str, Family]:
    rows: dict[str, Family] = {}
    for kind in kinds:
        for row in kind:
            if row.name in rows:
                raise ValueError(f"family {row.name} has two rows; keep one")
            rows[row.name] = row
    return MappingProxyType(rows)


FAMILIES: Mapping[str, Family] = _table(REAL, POSITIVE, UNIT, DISCRETE, VECTOR, MATRIX)

WITH_CDF: frozenset[str] = frozenset({
    "Normal", "Cauchy", "Laplace", "StudentT", "Gumbel", "HalfNormal", "HalfCauchy", "HalfLaplace",
    "HalfStudentT", "LogNormal", "Exponential", "Gamma", "Weibull", "Uniform", "Beta",
    "LogitNormal", "Poisson", "Geometric", "Bernoulli", "BernoulliLogit",
})  # fmt: skip
"""The families whose masses of intervals are known, so that `Restrict` takes them (8.1)."""

MATRIX_SPACES: Mapping[str, str] = MappingProxyType(
    {"LKJCholesky": "CholeskyFactor", "Wishart": "Covariance", "InverseWishart": "Covariance"}
)
"""The space whose values a family of square matrices draws."""
