"""The numeric half of every family that a step may call, by name; one explicit table per file."""

from collections.abc import Mapping
from types import MappingProxyType

from quivers_nb.kernels.families.counts import DENSITIES as COUNTS
from quivers_nb.kernels.families.discrete import DENSITIES as DISCRETE
from quivers_nb.kernels.families.heavy import DENSITIES as HEAVY
from quivers_nb.kernels.families.matrix import DENSITIES as MATRIX
from quivers_nb.kernels.families.normal import DENSITIES as NORMAL
from quivers_nb.kernels.families.positive import DENSITIES as POSITIVE
from quivers_nb.kernels.families.unit import DENSITIES as UNIT
from quivers_nb.kernels.families.vector import DENSITIES as VECTOR
from quivers_nb.kernels.family import Density
from quivers_nb.spaces.family import Family


def _table(*kinds: tuple[Density, ...]) -> Mapping[str, Density]:
    densities: dict[str, Density] = {}
    for kind in kinds:
        for density in kind:
            if density.name in densities:
                raise ValueError(f"family {density.name} has two densities; keep one")
            densities[density.name] = density
    return MappingProxyType(densities)


DENSITIES: Mapping[str, Density] = _table(
    NORMAL, HEAVY, POSITIVE, UNIT, DISCRETE, COUNTS, VECTOR, MATRIX
)


def kernel_density(row: Family) -> Density:
    """The density that takes the parameters of a kernel of this family (see `split_blocks`)."""
    return DENSITIES[row.kernel_family or row.name]
