"""Raw vectors into parameters: what a kernel's network puts out, cut up and made valid.

A parameter network ends in ``P`` free numbers. They are cut, in the order of the row's raw blocks,
and each block passes through a transform that lands in the parameter's support (section 4.5).

Laws, checked for every row with a kernel by ``tests/laws/test_kernel_laws.py``:
    landing   each parameter lies in its support, for every raw vector, and has its event rank;
    inverse   ``start(s)`` is a raw block that the transform takes to the scale ``s`` (R5).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import softplus

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels.bijectors.triangular import fill_lower, matrix_size
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family, Parameter

EPS = 1e-7
OFFSET = 0.1  # of shape-like parameters: softplus+

Sizes = Mapping[str, int]
Settings = Mapping[str, float | int | str]
NO_SETTINGS: Settings = {}

WIDTHS: Mapping[str, Callable[[Sizes], int]] = MappingProxyType(
    {
        "1": lambda _: 1,
        "d": lambda n: n["d"],
        "d-1": lambda n: n["d"] - 1,
        "d*(d+1)//2": lambda n: n["d"] * (n["d"] + 1) // 2,
        "d*r": lambda n: n["d"] * n["r"],
        "k": lambda n: n["k"],
        "m*(m+1)//2": lambda n: n["m"] * (n["m"] + 1) // 2,
        "rows*cols": lambda n: n["rows"] * n["cols"],
        "rows*(rows+1)//2": lambda n: n["rows"] * (n["rows"] + 1) // 2,
        "cols*(cols+1)//2": lambda n: n["cols"] * (n["cols"] + 1) // 2,
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """One raw block ``(*n, w)`` and what a transform may look at besides."""

    raw: Tensor
    others: Mapping[str, Tensor]  # the raw blocks of all parameters, by name
    sizes: Sizes
    settings: Settings


@dataclass(frozen=True, slots=True)
class Transform:
    """A map from a raw block to a parameter; ``start(s, width)`` is the block whose scale is s."""

    name: str
    forward: Callable[[Block], Tensor]
    start: Callable[[float, int], list[float]] | None = None


# --- inverses at a point -----------------------------------------------------------------------


def inverse_softplus(value: float) -> float:
    """The x with log(1 + exp(x)) = value > 0."""
    return value + math.log(-math.expm1(-value))


def _start_exp(scale: float, width: int) -> list[float]:
    return [math.log(scale)] * width


def _start_softplus(scale: float, width: int) -> list[float]:
    return [inverse_softplus(scale - EPS)] * width


def _start_tril(scale: float, width: int) -> list[float]:
    """``scale`` on the diagonal and zero below it, row by row."""
    size = matrix_size(width, diagonal=True)
    level = inverse_softplus(scale - EPS)
    return [level if row == column else 0.0 for row in range(size) for column in range(row + 1)]


# --- transforms --------------------------------------------------------------------------------


def _positive(raw: Tensor) -> Tensor:
    return softplus(raw) + EPS


def _tril(block: Block) -> Tensor:
    matrix = fill_lower(block.raw, matrix_size(block.raw.shape[-1], diagonal=True), diagonal=True)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return matrix.tril(-1) + identity * _positive(matrix)


def _ordered(block: Block) -> Tensor:
    first, steps = block.raw[..., :1], _positive(block.raw[..., 1:])
    return torch.cat([first, steps], -1).cumsum(-1)


def _center(block: Block) -> Tensor:
    return block.raw - 0.5 * _positive(block.others["high"])


def _width(block: Block) -> Tensor:
    return block.others["low"] + 0.5 * _positive(block.raw)


def _midpoint(block: Block) -> Tensor:
    return block.raw + 0.5 * (float(block.settings["low"]) + float(block.settings["high"]))


def _factor(block: Block) -> Tensor:
    return block.raw.reshape(*block.raw.shape[:-1], block.sizes["d"], block.sizes["r"])


def _matrix(block: Block) -> Tensor:
    return block.raw.reshape(*block.raw.shape[:-1], block.sizes["rows"], block.sizes["cols"])


def _table(*transforms: Transform) -> Mapping[str, Transform]:
    return MappingProxyType({transform.name: transform for transform in transforms})


TRANSFORMS: Mapping[str, Transform] = _table(
    Transform("id", lambda block: block.raw),
    Transform("exp", lambda block: block.raw.exp().clamp(min=EPS), _start_exp),
    Transform("softplus", lambda block: _positive(block.raw), _start_softplus),
    Transform("softplus+", lambda block: softplus(block.raw) + OFFSET),
    Transform("sigmoid", lambda block: block.raw.sigmoid().clamp(EPS, 1.0 - EPS)),
    Transform("softmax", lambda block: block.raw.softmax(-1)),
    Transform("tril", _tril, _start_tril),
    Transform("ordered", _ordered),
    Transform("center", _center),
    Transform("width", _width),
    Transform("midpoint", _midpoint),
    Transform("factor", _factor),
    Transform("matrix", _matrix),
    Transform("df", lambda block: softplus(block.raw) + block.sizes["m"]),
)


# --- cutting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cut:
    """How a kernel's raw vectors are cut and transformed, worked out once; see `raw_cut`."""

    row: Family
    widths: tuple[int, ...]
    sizes: Sizes
    settings: Settings

    @property
    def raw_width(self) -> int:
        """P: how many raw numbers a kernel needs (section 8)."""
        return sum(self.widths)

    def __call__(self, raw: Tensor) -> tuple[Tensor, ...]:  # (*n, P) -> parameters, in order
        """The parameters of `kernel_density(row)` that a raw vector stands for.

        Those of rank 0 are ``(*n, d)``, or ``(*n,)`` where the block has the width "1".
        """
        blocks = self.row.kernel or ()
        pieces = raw.split_with_sizes(self.widths, -1)
        raws = {block.parameter: piece for block, piece in zip(blocks, pieces, strict=True)}
        values: dict[str, Tensor] = {}
        for block, own in zip(blocks, pieces, strict=True):
            whole = Block(own, raws, self.sizes, self.settings)
            value = TRANSFORMS[block.transform].forward(whole)
            values[block.parameter] = value.squeeze(-1) if block.width == "1" else value
        return tuple(
            values[parameter.name] if parameter.name in values else self._constant(parameter, raw)
            for parameter in kernel_parameters(self.row)
        )

    def _constant(self, parameter: Parameter, raw: Tensor) -> Tensor:
        return raw.new_tensor(float(self.settings[parameter.name]))


def raw_cut(row: Family, d: int, settings: Settings = NO_SETTINGS, m: int | None = None) -> Cut:
    """How to read the raw vectors of a kernel of the family.

    ``d`` is the dim or size of the codomain, ``m`` its matrix size. ``settings`` override the row's
    and supply parameters that have no block (temperature, total_count, bounds of the codomain).
    Raises `UserError` if such a parameter is missing.
    """
    known = {**dict(row.settings), **settings}
    sizes = _sizes(row, d, settings, m)
    fed = {block.parameter for block in row.kernel or ()}
    for parameter in kernel_parameters(row):
        if parameter.name not in fed | known.keys():
            raise UserError(
                f"a kernel of {row.name} needs {parameter.name}; give it as an option, or give the "
                "codomain bounds"
            )
    return Cut(row, tuple(_widths(row, sizes)), sizes, known)


def raw_width(row: Family, d: int, settings: Settings = NO_SETTINGS, m: int | None = None) -> int:
    """P: how many raw numbers a kernel of the family needs (section 8)."""
    return sum(_widths(row, _sizes(row, d, settings, m)))


def split_blocks(
    row: Family, raw: Tensor, d: int, settings: Settings = NO_SETTINGS, m: int | None = None
) -> tuple[Tensor, ...]:  # (*n, P) -> parameters of `kernel_density(row)`, in order
    """`raw_cut` and its use in one call."""
    return raw_cut(row, d, settings, m)(raw)


def kernel_parameters(row: Family) -> tuple[Parameter, ...]:
    """The parameters that a kernel of the family feeds: the row's, or its ``kernel_family``'s."""
    return row.parameters if row.kernel_family is None else FAMILIES[row.kernel_family].parameters


def scale_start(
    row: Family, scale: float, d: int, settings: Settings = NO_SETTINGS, m: int | None = None
) -> tuple[slice, list[float]]:
    """Where the scale block lies in the raw vector, and its raw values at ``scale`` (R5).

    Raises `UserError` if the family has no scale block or ``scale`` is not above EPS.
    """
    if row.scale_block is None:
        raise UserError(f"{row.name} has no scale to start at; leave out scale={scale:g}")
    if not scale > EPS:
        raise UserError(f"scale={scale:g} is too small; give a number above {EPS:g}")
    start = 0
    for block, width in zip(
        row.kernel or (), _widths(row, _sizes(row, d, settings, m)), strict=True
    ):
        begin = TRANSFORMS[block.transform].start
        if block.parameter == row.scale_block and begin is not None:
            return slice(start, start + width), begin(scale, width)
        start += width
    raise UserError(f"the kernel of {row.name} has no block for {row.scale_block}")


def _sizes(row: Family, d: int, settings: Settings, m: int | None) -> Sizes:
    known = {**dict(row.settings), **settings}
    names = {"r": "rank", "k": "num_components", "rows": "rows", "cols": "cols"}
    sizes = {short: int(known[name]) for short, name in names.items() if name in known}
    return {"d": d, "m": d if m is None else m, **sizes}


def _widths(row: Family, sizes: Sizes) -> list[int]:
    return [WIDTHS[block.width](sizes) for block in row.kernel or ()]
