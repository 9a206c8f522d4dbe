"""Handing results to ArviZ, for either of its interfaces.

ArviZ up to 0.2x takes one keyword per group and gives an ``InferenceData``; from 1.0 on it takes
one mapping of groups and gives an xarray ``DataTree`` (its documentation, "Migration guide").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quivers_nb.diagnostics.errors import require
from quivers_nb.inference.labels import Labels

Groups = Mapping[str, Mapping[str, Any]]


def inference_data(groups: Groups, labels: Labels | None = None) -> Any:
    """Groups of arrays as ArviZ wants them; groups without variables are left out.

    ``posterior``, ``sample_stats``, ``log_likelihood`` and ``posterior_predictive`` hold
    ``(chains, draws, *shape)``, ``observed_data`` ``(*shape)``. ``labels`` has the names of the
    axes of ``shape``, which become dimensions, and the labels of their elements.

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
    coords = {} if labels is None else labels.coords
    named = {
        "dims": dims,
        "coords": {name: list(coords[name]) for name in coords if name in used},
    }
    if int(str(arviz.__version__).split(".", 1)[0]) >= 1:
        return arviz.from_dict(arrays, **named)
    return arviz.from_dict(**arrays, **named)


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
