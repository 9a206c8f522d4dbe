"""Handing results to ArviZ, for either of its interfaces.

ArviZ up to 0.2x takes one keyword per group and gives an ``InferenceData``; from 1.0 on it takes
one mapping of groups and gives an xarray ``DataTree`` (its documentation, "Migration guide").
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from quivers_nb.diagnostics.errors import require
from quivers_nb.inference.labels import Labels

Groups = Mapping[str, Mapping[str, Any]]
Value = TypeVar("Value")


def inference_data(groups: Groups, labels: Labels | None = None) -> Any:
    """Groups of arrays as ArviZ wants them; groups without variables are left out.

    ``posterior``, ``sample_stats``, ``log_likelihood`` and ``posterior_predictive`` hold
    ``(chains, draws, *shape)``, ``observed_data`` ``(*shape)``. ``labels`` has the names of the
    axes of ``shape``, which become dimensions, and the labels of their elements. In a tree a slash
    leads from group to group, so ArviZ 1 gets the paths of internal sites with dots: ``h.f``.

    Raises `MissingExtra` if ArviZ is not installed.
    """
    arviz = require("arviz", extra="analysis", why="to hand draws to ArviZ")
    arrays = {
        group: {name: np.asarray(value) for name, value in variables.items()}
        for group, variables in groups.items()
        if variables
    }
    dims = _dims(arrays, labels or Labels())
    used = {name for names in dims.values() for name in names}
    known = {} if labels is None else labels.coords
    coords = {name: list(known[name]) for name in known if name in used}
    if is_one(arviz):
        return arviz.from_dict(
            {group: _dotted(variables) for group, variables in arrays.items()},
            dims={name: list(_dotted(dict.fromkeys(axes))) for name, axes in _dotted(dims).items()},
            coords=_dotted(coords),
        )
    return arviz.from_dict(**arrays, dims=dims, coords=coords)


def _dotted(named: Mapping[str, Value]) -> dict[str, Value]:
    """With dots for slashes in the names."""
    return {name.replace("/", "."): value for name, value in named.items()}


def is_one(arviz: Any) -> bool:
    """Whether the interface is that of ArviZ 1."""
    return int(str(arviz.__version__).split(".", 1)[0]) >= 1


def pareto_shape(log_weights: NDArray[np.float64]) -> float:  # (n,)
    """The shape of the tail of importance weights, by ArviZ's Pareto smoothing.

    Raises `MissingExtra` if ArviZ is not installed.
    """
    why = "to fit the tail of importance weights"
    arviz = require("arviz", extra="analysis", why=why)
    if not is_one(arviz):
        return float(arviz.psislw(log_weights)[1])
    # ArviZ 1 has what works on arrays in a library of its own, and takes log-likelihoods here,
    # whose negatives are the weights of leaving an observation out.
    arrays = require("arviz_stats.base", extra="analysis", why=why).array_stats
    return float(arrays.psislw(-log_weights)[1])


def _dims(groups: Groups, labels: Labels) -> dict[str, list[str]]:
    """The names of the axes of each variable, in whichever group; one name has one length."""
    found: dict[str, list[str]] = {}
    lengths: dict[str, int] = {}
    for group, variables in groups.items():
        for name, value in variables.items():
            own = value.shape if group == "observed_data" else value.shape[2:]
            if group == "sample_stats" or not own or name in found:
                continue
            axes = list(labels.names(name, own))
            for k, size in enumerate(own):
                if lengths.setdefault(axes[k], size) != size:
                    axes[k] = f"{name}_dim_{k}"
            found[name] = axes
    return found
