"""What a variational fit is given, looked at before its first step."""

from typing import Any

import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, refuse_no_guide, refuse_nothing


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
    if isinstance(objective, type) or not hasattr(objective, "loss"):
        raise UserError(f"objective={objective!r:.60}: an objective is wanted, such as ELBO()")
    of_guide = guide.parameters() if isinstance(guide, torch.nn.Module) else ()
    own = {id(p) for p in (*model.parameters(), *of_guide)}
    if not any(id(p) in own for group in optim.param_groups for p in group["params"]):
        raise UserError(
            "the optimizer has no parameter of this guide or model, so nothing would be fitted: "
            "make it of [*guide.parameters(), *model.parameters()]"
        )
