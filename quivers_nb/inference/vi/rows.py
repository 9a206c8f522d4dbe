"""The rows that a guide meets: those of the data, and those that it has parameters of."""

from collections.abc import Iterable
from math import prod
from typing import Any

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.inference.model import DeclaredLatent
from quivers_nb.inference.options import whole_numbers

Shape = tuple[int, ...]


def front_of(layout: Layout) -> Shape:
    """The batch axes of a target: those of its row-wise coordinates, `()` if it has none."""
    return next((c.shape[: c.batch_rank] for c in layout if c.batch_rank), ())


def refuse_rows(latents: Iterable[DeclaredLatent], front: Shape) -> None:
    """Refuse rows where the sites of a program that never reads its input were taken for one."""
    names = [d.name for d in latents if d.row_wise and not d.rows_expected]
    if names and prod(front) > 1:
        raise UserError(
            f"the data have rows {front}, but {', '.join(names)} of a program that never reads its "
            "input were taken for one value each: run with x=None, or make the guide with rows="
            f"{front[0] if len(front) == 1 else front}"
        )


def as_rows(rows: Any) -> Shape | None:
    """The option ``rows`` as a batch shape."""
    if rows is None:
        return None
    shape = whole_numbers((rows,)) or whole_numbers(rows)
    if not shape or min(shape) < 1:
        raise UserError(f"rows={rows!r:.60} must be a positive number of rows, or a batch shape")
    return shape
