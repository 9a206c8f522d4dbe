"""Handing results to ArviZ, for either of its interfaces.

ArviZ up to 0.2x takes one keyword per group and gives an ``InferenceData``; from 1.0 on it takes
one mapping of groups and gives an xarray ``DataTree`` (its documentation, "Migration guide").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quivers_nb.diagnostics.errors import require

Groups = Mapping[str, Mapping[str, Any]]


def inference_data(groups: Groups) -> Any:
    """Groups of arrays as ArviZ wants them; groups without variables are left out.

    ``posterior``, ``sample_stats``, ``log_likelihood`` and ``posterior_predictive`` hold
    ``(chains, draws, *shape)``, ``observed_data`` ``(*shape)``.

    Raises `MissingExtra` if ArviZ is not installed.
    """
    arviz = require("arviz", extra="analysis", why="to hand draws to ArviZ")
    arrays = {
        group: {name: np.asarray(value) for name, value in variables.items()}
        for group, variables in groups.items()
        if variables
    }
    if int(str(arviz.__version__).split(".", 1)[0]) >= 1:
        return arviz.from_dict(arrays)
    return arviz.from_dict(**arrays)
