"""Something computed at every draw of a posterior, in blocks of draws that fit into memory."""

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.store import available_memory

_SHARE = 0.8  # of the available memory that results may take


def draws_of_guide(
    guide: Any, x: Tensor | None, count: int, generator: Generator | None
) -> dict[str, Tensor]:  # site -> (count, *value_shape)
    """All at once, or one by one of a guide that has but `rsample`."""
    if hasattr(guide, "draws"):
        drawn: dict[str, Tensor] = guide.draws(x, count, generator=generator)
        return drawn
    several = [guide.rsample(x, generator=generator) for _ in range(count)]
    return {name: torch.stack([one[name] for one in several]) for name in several[0]}


def draws_of(
    x: Tensor | None, posterior: Any, num_draws: int | None, generator: Generator | None
) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """Sites to draws ``(chains, draws, *value_shape)``, and how many chains and draws there are.

    ``posterior`` is an `MCMCResult` (or its samples), a guide (``num_draws`` are drawn from it) or
    a mapping of sites to draws ``(n, *value_shape)``; the last two count as one chain.

    Raises `UserError` if a guide comes without ``num_draws``, or sites differ in their draws.
    """
    if isinstance(posterior, MCMCResult):
        return dict(posterior.samples), (posterior.num_chains, posterior.num_samples)
    if isinstance(posterior, Samples) and posterior:
        chains, count = next(iter(posterior.values())).shape[:2]
        return dict(posterior), (chains, count)
    if hasattr(posterior, "rsample"):
        if num_draws is None or num_draws < 1:
            raise UserError(
                f"num_draws={num_draws}: a guide has no fixed number of draws, say how many"
            )
        draws = draws_of_guide(posterior, x, num_draws, generator)
    else:
        draws = {name: torch.as_tensor(value) for name, value in posterior.items()}
    counts = {len(value) for value in draws.values()}
    if len(counts) != 1 or 0 in counts:
        raise UserError(
            "the posterior needs at least one site, and as many draws of each: "
            + (", ".join(f"{name} has {len(value)}" for name, value in draws.items()) or "none")
        )
    return {name: value.unsqueeze(0) for name, value in draws.items()}, (1, counts.pop())


def flattened(draws: Mapping[str, Tensor], front: tuple[int, int]) -> dict[str, Tensor]:
    """The draws of all chains after one another, ``(chains * draws, *value_shape)``."""
    total = prod(front)
    return {name: draw.reshape((total, *draw.shape[len(front) :])) for name, draw in draws.items()}


def in_blocks(
    evaluate: Callable[[int, int], Mapping[str, Tensor]],
    first: Mapping[str, Tensor],  # name -> (1, *shape): what ``evaluate(0, 1)`` gave
    front: tuple[int, int],
    block: int,
    names: Collection[str] | None = None,
) -> dict[str, Tensor]:  # name -> (*front, *shape)
    """``evaluate(start, stop)`` over all draws, about ``block`` elements at once.

    ``names`` are those that are kept; None keeps all.
    """
    total = prod(front)
    step = max(1, block // max(1, sum(value.numel() for value in first.values())))
    kept = {name: value for name, value in first.items() if names is None or name in names}
    found = {name: value.new_empty((total, *value.shape[1:])) for name, value in kept.items()}
    for start in range(0, total, step):
        stop = min(start + step, total)
        values = evaluate(start, stop)
        for name, whole in found.items():
            whole[start:stop] = values[name]
    return {name: value.reshape((*front, *value.shape[1:])) for name, value in found.items()}


def refuse_too_large(
    what: str, first: Mapping[str, Tensor], front: tuple[int, int], way_out: str
) -> None:
    """Raise `UserError` if ``first`` for all draws does not fit into memory."""
    wanted = prod(front) * sum(v.numel() * v.element_size() for v in first.values())
    free = available_memory()
    if wanted > _SHARE * free:
        raise UserError(
            f"{what} of {prod(front)} draws would take {wanted / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB of memory are available: {way_out}"
        )
