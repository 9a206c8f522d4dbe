"""Tables of latent morphisms, drawn from their priors, which the kernels of a run read (4.2)."""

from math import prod

from quivers_nb.check import term as ir
from quivers_nb.kernels.finite import log_rows
from quivers_nb.lower.run import Run
from quivers_nb.lower.values import Value
from quivers_nb.spaces.space import factors


def keep_table(run: Run, table: ir.Generator, value: Value) -> None:
    """Let the kernels of ``table`` read a value ``(*s, *dom, *cod)`` as rows of weights."""
    front, own = value.tensor.shape[: value.lead], value.own_shape
    rows = prod(own[: len(factors(table.dom))])
    run.tables[table.owner] = log_rows(value.tensor.reshape((*front, rows, prod(own) // rows)))
