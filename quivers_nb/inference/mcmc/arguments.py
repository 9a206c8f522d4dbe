"""What a run of chains is given, looked at before it begins."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.executors import refuse_no_executor
from quivers_nb.inference.mcmc.metric import Vector
from quivers_nb.inference.target import Target


def refuse_unused(
    strategy: str, values: Mapping[str, Any] | None, option: str = "init_strategy"
) -> None:
    """Raise `UserError` for start values that the strategy, of this option, would not look at."""
    if values is not None and strategy != "value":
        raise UserError(
            f"init_values are given, but {option}={strategy!r} does not use them: say "
            f'{option}="value"'
        )
    if values is not None and not isinstance(values, Mapping):
        raise UserError(
            f"init_values={values!r:.60} ({type(values).__name__}): values by site are wanted, "
            "init_values={'mu': 0.0}"
        )


def refuse_missing(strategy: str) -> None:
    """Raise `UserError` for a strategy of start values where none are given."""
    if strategy == "value":
        raise UserError('starting at "value" needs init_values={site: value, …}')


def refuse_unfit(kernel: Any, executor: Any, dtype: Any) -> None:
    """Raise `UserError` for what would fail somewhere inside, at its first use."""
    if isinstance(kernel, type) or not hasattr(kernel, "begin"):
        raise UserError(f"kernel={kernel!r:.60}: a kernel is wanted, such as NUTSKernel()")
    refuse_no_executor(executor)
    if dtype not in (torch.float64, torch.float32):
        raise UserError(f"dtype={dtype!r:.60} is neither torch.float64 nor torch.float32")


def _numbers(name: str, scale: Any) -> torch.Tensor:
    try:
        return torch.as_tensor(scale).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"init_scales of `{name}` is {scale!r:.60}: standard deviations are wanted, such as 1.0"
        ) from error


def scales_by_coordinate(target: Target, known: Mapping[str, Any]) -> Vector:  # -> (dim,)
    """``known`` by coordinate, 1 where nothing is known. Raises `UserError` for other sites."""
    names = [coordinate.name for coordinate in target.layout]
    unknown = sorted(set(known) - set(names))
    if unknown:
        raise UserError(f"init_scales for {unknown}: the latent sites are {', '.join(names)}")
    scales = np.ones(target.dim)
    for coordinate in target.layout:
        if coordinate.name in known:
            value = _numbers(coordinate.name, known[coordinate.name])
            place = slice(coordinate.start, coordinate.stop)
            scales[place] = value.expand(coordinate.shape).reshape(-1).numpy()
    if not (scales > 0.0).all() or not np.isfinite(scales).all():
        raise UserError("init_scales must be positive, finite standard deviations")
    return scales
