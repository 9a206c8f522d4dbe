"""Densities and forward passes written again, in numpy and scipy, to compare the compiler with.

Nothing here calls torch's distributions or the package's kernels: a formula that both sides share
would agree with itself. Tensors only cross the border in `tensors` and `weights`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import log_softmax

from quivers_nb.dsl import loads

Array = NDArray[np.float64]
EPS = 1e-7


@dataclass(frozen=True)
class Case:
    """A program at one point: what `log_joint` and `log_density` must return there.

    ``rows``: the expected `log_joint`, of batch shape. ``total``: the expected `log_density`, which
    counts row-independent terms once (R4); None where it is ``rows.sum()`` or there are no rows.
    """

    name: str
    source: str
    values: Mapping[str, Any]
    rows: float | Array
    total: float | None = None
    x: Any = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def expected_total(self) -> float:
        return float(np.sum(self.rows)) if self.total is None else self.total


def tensors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and arrays as float64 tensors; integer arrays stay integers."""
    return {name: tensor(value) for name, value in values.items()}


def tensor(value: Any) -> torch.Tensor:
    array = np.asarray(value)
    kind = torch.int64 if array.dtype.kind in "iub" else torch.float64
    return torch.as_tensor(array.copy()).to(kind)


def compiled(source: str, **options: Any) -> Any:
    """The exported model, its parameters in float64."""
    return loads(source, **options).morphism.double()


def weights(model: Any) -> dict[str, Array]:
    """Every weight tensor by its path, stacked storage taken apart."""
    storage = model.storage()
    return {
        site.path: (
            storage[site.key] if site.index is None else storage[site.key][site.index]
        ).detach().double().numpy()
        for site in model.parameter_sites()
    }  # fmt: skip


def randomize(model: Any, seed: int, scale: float = 0.3) -> None:
    """Move every weight away from its start, so that zeros and symmetries hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(scale * noise.to(parameter.dtype))


def normal(value: Any, loc: Any, scale: Any) -> Array:
    return np.asarray(stats.norm.logpdf(value, loc, scale))


def half_normal(value: Any, scale: Any) -> Array:
    return np.asarray(stats.halfnorm.logpdf(value, scale=scale))


def half_cauchy(value: Any, scale: Any) -> Array:
    return np.asarray(stats.halfcauchy.logpdf(value, scale=scale))


def mlp_raw(part: Mapping[str, Array], x: Array) -> Array:
    """Section 4.5: ``Linear, tanh, Linear, tanh, …, Linear`` on ``x`` of shape (*n, d)."""
    depth = sum(name.startswith("weight") for name in part)
    for layer in range(depth):
        x = x @ part[f"weight{layer}"].T + part[f"bias{layer}"]
        if layer < depth - 1:
            x = np.tanh(x)
    return x


def gaussian_blocks(raw: Array) -> tuple[Array, Array]:
    """The Normal kernel's raw vector cut into a mean and a standard deviation."""
    loc, log_scale = np.split(raw, 2, axis=-1)
    return loc, np.maximum(np.exp(log_scale), EPS)


def gaussian_kernel(part: Mapping[str, Array], x: Array, y: Array) -> Array:
    """log density of a ``~ Normal`` kernel over a space: (*n, d), (*n, e) -> (*n,)."""
    return normal(y, *gaussian_blocks(mlp_raw(part, x))).sum(-1)


def embed_density(part: Mapping[str, Array], x: Array, y: Array) -> Array:
    """log density of an ``embed`` (section 4.7): (*n,) int, (*n, d) -> (*n,)."""
    scale = np.maximum(np.exp(part["log_sigma"]), EPS)
    return normal(y, part["centers"][x], scale[x]).sum(-1)


def categorical_kernel(part: Mapping[str, Array], x: Array, y: Array) -> Array:
    """log mass of a ``~ Categorical`` kernel over a space: (*n, d), (*n,) int -> (*n,)."""
    logits = log_softmax(mlp_raw(part, x), axis=-1)
    return np.take_along_axis(logits, y[..., None], -1)[..., 0]


def part_of(all_weights: Mapping[str, Array], match: Callable[[str], bool]) -> dict[str, Array]:
    """The tensors of the one kernel whose path (without the tensor's name) satisfies ``match``."""
    found: dict[str, dict[str, Array]] = {}
    for path, value in all_weights.items():
        owner, _, name = path.rpartition(".")
        if match(owner):
            found.setdefault(owner, {})[name] = value
    assert len(found) == 1, f"expected one kernel, found {sorted(found)}"
    return next(iter(found.values()))
