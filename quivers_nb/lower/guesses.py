"""What the compiler had to guess about `Categorical`, checked against the values (ruling R7)."""

import warnings
from collections.abc import Sequence

from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import QuiversWarning, UserError
from quivers_nb.lower.arguments import Param

SUM_TOLERANCE = 1e-4


def check_guess(call: ir.FamilyCall, params: Sequence[Param], path: str) -> None:
    """Warn where logits look like probabilities; refuse probabilities that are none.

    Typed arguments (Dirichlet sites, softmax results, …) were never guessed and are not looked at.
    """
    if call.family == "CategoricalLogit" and call.untyped:
        if _looks_like_probabilities(params[0].value.tensor):
            warnings.warn(
                f"`{path}`: the argument of Categorical is read as logits, but its values look "
                "like probabilities: write CategoricalProbs(…) if they are, CategoricalLogit(…) "
                "if not",
                QuiversWarning,
                stacklevel=2,
            )
    elif call.family == "CategoricalProbs":
        _refuse_non_probabilities(params[0].value.tensor, path)


def _looks_like_probabilities(t: Tensor) -> bool:
    inside = bool(((t >= 0.0) & (t <= 1.0)).all())
    return inside and bool(((t.sum(-1) - 1.0).abs() <= SUM_TOLERANCE).all())


def _refuse_non_probabilities(t: Tensor, path: str) -> None:
    if bool((t < 0.0).any()):
        bad = float(t[t < 0.0].reshape(-1)[0])
        raise UserError(
            f"`{path}`: a probability is {bad:g}; if these are logits, write CategoricalLogit(…)"
        )
    off = (t.sum(-1) - 1.0).abs()
    if bool((off > SUM_TOLERANCE).any()):
        total = float(t.sum(-1)[off > SUM_TOLERANCE].reshape(-1)[0])
        raise UserError(
            f"`{path}`: probabilities sum to {total:g}, not 1; if these are logits, write "
            "CategoricalLogit(…)"
        )
