"""What a variational fit is given, looked at before its first step."""

from collections.abc import Callable, Collection
from inspect import signature
from typing import Any

import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, refuse_no_guide, refuse_nothing

MakeGuide = Callable[[Model, Collection[str]], Any]  # model, observed names


def made_guide(make: MakeGuide, model: Model, names: Collection[str]) -> Any:
    """What ``make`` makes. Raises `UserError` if it does not take the two, or makes no guide."""
    wanted = "such as guide=AutoNormalGuide, or guide=lambda model, names: AutoNormalGuide(…)"
    try:
        signature(make).bind(model, names)
    except (TypeError, ValueError) as error:  # ValueError: of what has no signature, as `dict`
        raise UserError(
            f"guide={make!r:.60} cannot make the guide: it is called with the model and the "
            f"observed names, and {error}. Give what takes both and returns a guide, {wanted}"
        ) from error
    guide = make(model, names)
    if isinstance(guide, type) or not hasattr(guide, "rsample"):
        raise UserError(
            f"guide={make!r:.60} returned {guide!r:.60} ({type(guide).__name__}), which is no "
            f"guide: return one of (model, observed_names), {wanted}"
        )
    return guide


def refuse_no_objective(objective: Any) -> None:
    """Raise `UserError` for what has no loss, such as a class of objectives."""
    if isinstance(objective, type) or not hasattr(objective, "loss"):
        raise UserError(f"objective={objective!r:.60}: an objective is wanted, such as ELBO()")


def refuse_unfit(model: Model, guide: Any, optim: Any, objective: Any) -> None:
    """Raise `UserError` for what would fail at the first step, or fit nothing."""
    refuse_nothing(model)
    if guide is None:
        raise UserError("guide=None: a guide is wanted, such as AutoNormalGuide(model, names)")
    refuse_no_guide(guide)
    if not isinstance(optim, torch.optim.Optimizer):
        raise UserError(
            f"optim={optim!r:.60}: an optimizer is wanted, such as "
            "torch.optim.Adam(guide.parameters(), lr=0.01)"
        )
    refuse_no_objective(objective)
    of_guide = guide.parameters() if isinstance(guide, torch.nn.Module) else ()
    own = {id(p) for p in (*model.parameters(), *of_guide)}
    if not any(id(p) in own for group in optim.param_groups for p in group["params"]):
        raise UserError(
            "the optimizer has no parameter of this guide or model, so nothing would be fitted: "
            "make it of [*guide.parameters(), *model.parameters()]"
        )
