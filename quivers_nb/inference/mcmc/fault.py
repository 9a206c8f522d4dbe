"""A run that fails after it has begun: what failed, where, and the draws made so far."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.target import Target

if TYPE_CHECKING:
    from quivers_nb.inference.mcmc.result import MCMCResult

SHOWN = 6  # values of a site in a message
SITES = 8


class RunFailed(UserError):
    """The model or a chain failed, or a worker did: ``fact`` says which and why.

    ``result`` has the draws so far, ``__cause__`` what happened.
    """

    def __init__(self, fact: str, result: "MCMCResult") -> None:
        super().__init__(
            f"{fact}. The {result.num_samples} draws of {result.num_chains} chains that were made "
            "before are in `.result` of this error"
        )
        self.fact, self.result = fact, result

    def __reduce__(self) -> tuple[Any, ...]:  # from a process of an executor, with its draws
        return type(self), (self.fact, self.result)


class ChainFault(Exception):
    """Raised by an engine: chain ``number`` failed in ``transition``, on its way at ``q`` (dim,).

    ``number`` is None if it is not known which chain it was.
    """

    def __init__(self, number: int | None, transition: int, q: Tensor | None, fact: str) -> None:
        super().__init__(fact)
        self.number, self.transition, self.q, self.fact = number, transition, q, fact

    def describe(self, target: Target) -> str:
        """For people: the place, the fact, the values."""
        who = "a chain" if self.number is None else f"chain {self.number}"
        at = "" if self.q is None else f" at {values_at(target, self.q)}"
        return f"{who} failed in transition {self.transition}{at}: {self.fact}"


def values_at(target: Target, q: Tensor) -> str:  # (dim,)
    """Site values as text, long ones cut."""
    with torch.no_grad():
        values = target.constrain(q)
    texts = [f"{name} = {short(value)}" for name, value in list(values.items())[:SITES]]
    more = len(values) - len(texts)
    return ", ".join(texts) + (f" and {more} more sites" if more > 0 else "")


def short(value: Tensor) -> str:
    """Its first numbers as text."""
    numbers = [f"{float(number):.4g}" for number in value.flatten()[:SHOWN]]
    if value.ndim == 0:
        return numbers[0]
    return "[" + ", ".join(numbers) + (", ..." if value.numel() > SHOWN else "") + "]"
