"""Minibatches: some rows of the data per step, every row once per epoch."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from quivers_nb.check.describe import site_lines
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, Values


@dataclass(frozen=True)
class Batches:
    """``size`` rows of ``x`` per step; which ones is a function of ``seed`` and the step alone.

    ``row_wise`` names the data that have one value per row; the others are passed on whole.
    """

    x: Tensor  # (rows, ...)
    data: Values
    row_wise: frozenset[str]
    size: int
    seed: int
    _order: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        return len(self.x)

    def at(self, step: int) -> tuple[Tensor, dict[str, Any]]:
        """The data of a step (from 0). A last batch of an epoch that is too short is left out."""
        epoch, place = divmod(step, self.rows // self.size)
        if epoch not in self._order:
            generator = Generator().manual_seed((self.seed + epoch) % 2**63)
            self._order.clear()
            self._order[epoch] = torch.randperm(self.rows, generator=generator)
        chosen = self._order[epoch][place * self.size : (place + 1) * self.size]
        some = {
            name: torch.as_tensor(value)[chosen] if name in self.row_wise else value
            for name, value in self.data.items()
        }
        return self.x[chosen], some


def batches(model: Model, x: Tensor | None, data: Values, size: int, seed: int) -> Batches:
    """Minibatches of ``size`` rows. Raises `UserError` if there are no rows, or too few."""
    if x is None or len(model.batch_shape(x)) != 1:
        raise UserError(
            f"minibatch={size}: only rows can be drawn in batches, and the input of this model has "
            "none; leave minibatch out"
        )
    if not 1 <= size <= len(x):
        raise UserError(f"minibatch={size} must be between 1 and {len(x)}, the number of rows")
    return Batches(x, data, _row_wise(model, data, len(x)), size, seed)


def _row_wise(model: Model, data: Values, rows: int) -> frozenset[str]:
    program = getattr(model, "program", None)
    names: Collection[str] = model.observed_names
    if program is not None:
        lines = site_lines(program)
        names = [line.name for line in lines if line.observed and line.sharing == "one per row"]
    found = frozenset(names) & frozenset(data)
    for name in sorted(found):
        if len(torch.as_tensor(data[name])) != rows:
            raise UserError(f"{name} has {len(data[name])} values for {rows} rows of the input")
    return found
