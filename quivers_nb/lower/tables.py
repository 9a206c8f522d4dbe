"""Summing the states of a scan: one table of log weights per step, then the forward recursion."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from quivers_nb.lower.answers import Kind, SiteKey
from quivers_nb.lower.branches import Flow, elements, enumerated
from quivers_nb.lower.forward import by_state, forward, standing
from quivers_nb.lower.run import Run
from quivers_nb.lower.scan import Lead, Scan, log_weights, over_time, span
from quivers_nb.lower.timeline import Step


def summed(scan: Scan, count: int) -> Flow:
    """Log weights of the states after ``count`` steps, all paths summed."""
    if scan.node.by_time:
        x = Flow(scan.inputs.value[..., :count, :], span(scan.inputs.weights, count))
        table = _table(scan, over_time(scan, count), x, (*scan.lead, count))
        tables = _tilted(scan, table, count).movedim(-1, 0)  # (T, K, K, *s, *lead)
    else:
        each = partial(_table_at, scan)
        tables = torch.stack(torch.broadcast_tensors(*map(each, range(count))))
    if scan.line.mask is not None:
        real = scan.line.mask[..., :count].movedim(-1, 0)
        front = (1,) * (tables.ndim - 1 - len(scan.lead))
        still = standing(scan.finite, tables)
        still = still.reshape((*still.shape, *((1,) * (tables.ndim - 3))))
        tables = torch.where(real.reshape((count, *front, *scan.lead)), tables, still)
    start = log_weights(scan, scan.start, tables)
    weights = forward(tables, start)
    return Flow(elements(scan.finite, scan.run, len(scan.lead)), weights, states=True)


def _tilted(scan: Scan, table: Tensor, count: int) -> Tensor:
    """The table with a tilt of every state at every step, where their probabilities are wanted."""
    tilts, outputs, run = scan.run.tilts, scan.node.outputs, scan.run
    if tilts is None or outputs is None:
        return table
    path = outputs[0][0]
    if scan.line.mask is not None:
        tilts.refuse(path, f"`{path}` has padded steps: ask for the rows of one length at a time")
        return table
    branches = 1 + len(run.stack) - len(tilts.stack)
    return table + tilts.tilt(path, scan.finite, branches, (*scan.lead, count))


def _table_at(scan: Scan, t: int) -> Tensor:
    run, weights = scan.run, scan.inputs.weights
    at = replace(
        run, steps=(*run.steps, Step(scan.line, t)), batch_shape=scan.lead, row_terms=[],
        shared_terms=[],
        observed=[], block=None,
    )  # fmt: skip
    x = Flow(scan.inputs.value[..., t, :], None if weights is None else weights[..., t])
    return _table(scan, at, x, scan.lead)


def _table(scan: Scan, run: Run, x: Flow, lead: Lead) -> Tensor:  # -> (K, K, *s, *lead)
    """Log weights of going from each state (axis 1) to each (axis 0), with the cell's terms."""
    size, walk = scan.finite, scan.walk
    states = Flow(elements(size, run, len(lead)))
    inner = replace(run, stack=(size, *run.stack), per_state=True)
    if x.weights is not None:
        x = Flow(x.value.unsqueeze(1), x.weights.unsqueeze(1))
    entry = scan.cell_input(x, states)
    if walk.deterministic(scan.node.cell):
        table = _ends_at(walk.flow(scan.node.cell, inner, entry, lead), size, inner, len(lead))
    else:
        dist = walk.head(scan.node.cell, inner, entry, lead)
        site = SiteKey(scan.node.path, Kind.MIDDLE)
        table = _weights(enumerated(site, inner, dist, size))
    for term in inner.row_terms:
        table = table + term
    for term in inner.shared_terms:
        table = table + term.reshape((*term.shape, *((1,) * len(lead))))
    return table


def _ends_at(after: Flow, size: int, run: Run, lead_rank: int) -> Tensor:
    if after.states:
        return _weights(after)
    points = elements(size, run, lead_rank)
    if after.weights is None:
        return by_state(
            torch.zeros((1,) * points.ndim, dtype=run.dtype),
            after.value.long().unsqueeze(0),
            points,
        )
    return by_state(after.weights, after.value.long(), points)


def _weights(flow: Flow) -> Tensor:
    assert flow.weights is not None
    return flow.weights
