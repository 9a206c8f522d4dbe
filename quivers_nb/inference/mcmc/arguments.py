"""What a run of chains is given, looked at before it begins."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.executors import refuse_no_executor
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.target import Target


def refuse_unused(strategy: str, values: Mapping[str, Any] | None) -> None:
    """Raise `UserError` for start values that the strategy would not look at."""
    if values is not None and strategy != "value":
        raise UserError(
            f"init_values are given, but init_strategy={strategy!r} does not use them: say "
            'init_strategy="value"'
        )


def refuse_unfit(kernel: Any, executor: Any, dtype: Any, seed: int | None) -> None:
    """Raise `UserError` for what would fail somewhere inside, at its first use."""
    if isinstance(kernel, type) or not hasattr(kernel, "begin"):
        raise UserError(f"kernel={kernel!r:.60}: a kernel is wanted, such as NUTSKernel()")
    refuse_no_executor(executor)
    refuse_negative(seed)
    if dtype not in (torch.float64, torch.float32):
        raise UserError(f"dtype={dtype!r:.60} is neither torch.float64 nor torch.float32")


def refuse_negative(seed: int | None) -> None:
    """Raise `UserError` for a seed that no generator takes."""
    if seed is not None and seed < 0:
        raise UserError(f"seed={seed} must not be negative")


def scales_by_coordinate(target: Target, known: Mapping[str, Any]) -> Vector:  # -> (dim,)
    """``known`` by coordinate, 1 where nothing is known. Raises `UserError` for other sites."""
    names = [coordinate.name for coordinate in target.layout]
    unknown = sorted(set(known) - set(names))
    if unknown:
        raise UserError(f"init_scales for {unknown}: the latent sites are {', '.join(names)}")
    scales = np.ones(target.dim)
    for coordinate in target.layout:
        if coordinate.name in known:
            value = torch.as_tensor(known[coordinate.name]).detach().to(torch.float64)
            place = slice(coordinate.start, coordinate.stop)
            scales[place] = value.expand(coordinate.shape).reshape(-1).numpy()
    if not (scales > 0.0).all() or not np.isfinite(scales).all():
        raise UserError("init_scales must be positive, finite standard deviations")
    return scales
