"""Parameters and values for any registered family, made from its row alone.

A new family needs nothing here: its parameters' supports say what to draw.
"""

import torch
from torch import Generator, Tensor

from quivers_nb.kernels import DENSITIES, Density, bijector_for
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family, Parameter
from quivers_nb.spaces.support import (
    Above,
    Between,
    Bound,
    Counts,
    Increasing,
    LowerCholesky,
    RealLine,
    SimplexSupport,
    is_discrete,
)

LOWERED = [name for name, row in FAMILIES.items() if row.inline]  # GP, Flow: test_special_laws
CONTINUOUS = [name for name in LOWERED if not is_discrete(FAMILIES[name].support)]
DISCRETE = [name for name in LOWERED if is_discrete(FAMILIES[name].support)]
PROPER = [name for name in LOWERED if not FAMILIES[name].improper]
WIDTH = 3  # of vectors and matrices

Params = dict[str, Tensor]


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def parameters(
    row: Family,
    seed: int,
    shape: tuple[int, ...] = (),
    *,
    width: int = WIDTH,
    dtype: torch.dtype = torch.float64,
) -> Params:
    """Random parameters of moderate size, in the order of the row."""
    generator = seeded(seed)
    values: Params = {}
    for parameter in row.parameters:
        full = (*shape, *(width,) * parameter.rank)
        value = draw_parameter(parameter, full, values, generator)
        if parameter.name == "df" and row.event_rank == 2:
            value = value + width  # a Wishart matrix of m rows needs df > m - 1
        values[parameter.name] = value.to(dtype)
    return values


def draw_parameter(
    parameter: Parameter, shape: tuple[int, ...], known: Params, generator: Generator
) -> Tensor:
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    match parameter.support:
        case RealLine():
            return noise
        case Above(low):
            return bound(low, known) + 0.3 + (0.7 * noise).exp()
        case Between():
            unit = 0.1 + 0.8 * torch.special.ndtr(noise)
            return unit / unit.sum(-1, keepdim=True) if parameter.rank else unit
        case Counts():
            return 3.0 + noise.abs().mul(3).floor()
        case SimplexSupport():
            return noise.softmax(-1)
        case Increasing():
            return (0.2 + noise.abs()).cumsum(-1) - 1.0
        case LowerCholesky():
            return noise.tril(-1) + torch.diag_embed(noise.diagonal(dim1=-2, dim2=-1).exp())
    raise AssertionError(f"no rule to draw {parameter}")


def bound(value: Bound, known: Params) -> float | Tensor:
    return known[value] if isinstance(value, str) else value


def event_size(row: Family) -> int | None:
    """The size that sampling must be told, for families that cannot see it."""
    return WIDTH if DENSITIES[row.name].sized_draw is not None else None


def draws(
    row: Family, params: Params, shape: tuple[int, ...], seed: int, size: int | None = None
) -> Tensor:
    """Draws; improper families get draws of a proper one with the same support."""
    if row.improper:
        noise = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
        return bijector_for(row.support).forward(noise)
    return density(row).sample(
        tuple(params.values()), shape, seeded(seed), size=size or event_size(row)
    )


def density(row: Family) -> Density:
    return DENSITIES[row.name]
