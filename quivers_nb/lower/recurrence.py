"""``scan(cell)``: the states of a recurrence, as values, as branches that are summed, or known.

``h_t = cell(x_t, h_{t-1})``; the states are internal sites (R3). Four ways through the steps:

    known       all states are given: every step is scored at once, time is one more lead axis;
    summed      a finite state that nobody answers for: one table of log weights per step, all made
                at once, then the forward recursion (`quivers_nb.lower.tables`);
    integrated  a linear Gaussian state that only the cell reads (`quivers_nb.lower.linear`);
    drawn       else a state is only known when the step before is done: one pass through the cell
                per step.

The last is a loop because the recurrence is one; the others map over time.

Padding: ``<path of the scan>/mask`` says which steps of each row are real. A padded step leaves the
state as it is and counts nothing. A finite start that is learned is a site of its own,
``<path of the scan>/init``.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import Kind, SiteKey, draws_all, given_for
from quivers_nb.lower.branches import Flow, beside, elements, enumerated
from quivers_nb.lower.dists import Dist, simple
from quivers_nb.lower.forward import by_state
from quivers_nb.lower.linear import integrated
from quivers_nb.lower.run import Run
from quivers_nb.lower.scan import Lead, Scan, Walk, count_term, log_weights, over_time, span
from quivers_nb.lower.tables import summed
from quivers_nb.lower.timeline import Step, Timeline, along
from quivers_nb.spaces.space import is_finite, width

if TYPE_CHECKING:
    from quivers_nb.lower.nodes import Recur


def last_state(node: "Recur", run: Run, x: Flow, lead: Lead, walk: Walk) -> Flow:
    """The state after all steps, its kernels answered for as middles."""
    scan = _begin(node, run, x, lead, walk, frozenset())
    state = _states(scan, scan.line.length)
    run.show(scan.line)
    return state


def last_head(node: "Recur", run: Run, x: Flow, lead: Lead, walk: Walk) -> Dist:
    """The distribution of the state after the last step, the steps before answered for."""
    scan = _begin(node, run, x, lead, walk, node.ends)
    count = scan.line.length - 1
    state = _states(scan, count)
    last = replace(run, steps=(*run.steps, Step(scan.line, count)))
    dist = walk.head(node.cell, last, scan.at(count, state), lead)
    run.show(scan.line)
    return dist


# --- the input, padding, the start ----------------------------------------------------------------


def _begin(node: "Recur", run: Run, x: Flow, lead: Lead, walk: Walk, ends: frozenset[str]) -> Scan:
    value = x.value
    if is_finite(node.dom) and width(node.dom) == 1:
        value = value.unsqueeze(-1)
    value, weights = value.to(run.dtype), x.weights
    length = int(value.shape[-2] if weights is None else weights.shape[-1])
    value = value.expand((*value.shape[:-2], length, value.shape[-1]))
    line = Timeline(len(lead), length, ends)
    mask = _mask(node, run, lead, line.length)
    if mask is not None:
        line.order = torch.argsort(mask.long(), dim=-1, stable=True)
        line.mask = torch.gather(mask, -1, line.order)
        value = along(value, line.order.unsqueeze(-1), -2)
        weights = None if weights is None else along(weights, line.order, -1)
    return Scan(node, run, walk, lead, Flow(value, weights), _start(node, run, lead), line)


def _mask(node: "Recur", run: Run, lead: Lead, length: int) -> Tensor | None:
    """Which steps of each row are real, ``(*lead, L)``; None if all are."""
    found = given_for(run.answerers, f"{node.path}/mask")
    if found is None:
        return None
    mask = found[1] != 0
    want = (*lead, length)
    if tuple(mask.shape) != want:
        raise UserError(
            f"`{node.path}/mask` has shape {tuple(mask.shape)}, but the sequences have rows and "
            f"steps {want}: give 1 for each real step and 0 for padding"
        )
    if not bool(mask.any(-1).all()):
        raise UserError(f"`{node.path}/mask` leaves a row without any step: drop that row")
    return mask


def _start(node: "Recur", run: Run, lead: Lead) -> Flow:
    finite = is_finite(node.state) and width(node.state) == 1
    if node.init is None:
        if finite:
            return Flow(torch.zeros(lead, dtype=torch.int64, device=run.device))
        zeros = torch.zeros(width(node.state), dtype=run.dtype, device=run.device)
        return Flow(zeros.expand((*lead, width(node.state))))
    learned = run.parameters[node.init]
    spread = (*learned.shape[:-1], *((1,) * len(lead)), learned.shape[-1])
    if not finite:
        return Flow(learned.reshape(spread))
    dist = simple("CategoricalLogit", (learned.reshape(spread),), lead)
    site = SiteKey(f"{node.path}/init", Kind.MIDDLE, batch_rank=run.batch_rank)
    answer = run.ask(site, dist)
    if answer is None:
        return enumerated(site, run, dist, int(node.state.size))  # type: ignore[union-attr,arg-type]
    run.record(site, answer.value, answer.term, dist.label, given=answer.given, behind=len(lead))
    count_term(run, answer.term, lead)
    return Flow(answer.value)


# --- the steps ------------------------------------------------------------------------------------


def _states(scan: Scan, count: int) -> Flow:
    """The state after ``count`` steps."""
    if not count:
        return scan.start
    known = _given_states(scan, count)
    if known is not None:
        return _known(scan, known, count)
    if scan.finite and not draws_all(scan.run.answerers) and not _any_given(scan):
        return summed(scan, count)
    if _integrable(scan, count):
        assert scan.node.gaussian is not None
        prefix = f"{getattr(scan.node.cell, 'path', '')}/"
        return integrated(scan, over_time(scan, count), scan.node.gaussian, prefix, count)
    state = scan.start
    for t in range(count):
        state = _one_step(scan, state, t)
    return state


def _integrable(scan: Scan, count: int) -> bool:
    """Whether the states are linear, Gaussian, and seen by nobody but the cell."""
    cell, run = scan.node.gaussian, scan.run
    if cell is None or run.wanted or count < scan.line.length or scan.inputs.weights is not None:
        return False
    path = getattr(scan.node.cell, "path", "")
    marks = [f"{path}/{name}" for name, _ in cell.sites]
    return not draws_all(run.answerers) and not _given_anywhere(scan, marks)


def _one_step(scan: Scan, state: Flow, t: int) -> Flow:
    run, line, flow = scan.run, scan.line, scan.walk.flow
    at = replace(run, steps=(*run.steps, Step(line, t)), wanted=True)
    if line.mask is None:
        return _settled(scan, flow(scan.node.cell, at, scan.at(t, state), scan.lead))
    at = replace(
        at,
        batch_shape=scan.lead,
        row_terms=[],
        shared_terms=[],
        observed=[],
        free_terms=[],
        block=None,
    )
    after = _settled(scan, flow(scan.node.cell, at, scan.at(t, state), scan.lead))
    real = line.mask[..., t]
    for term in _row_terms(scan, at):
        count_term(run, torch.where(real, term, 0.0), scan.lead)
    for term in at.free_terms or ():
        count_term(run, term, scan.lead)
    return _where_real(scan, real, after, state)


def _row_terms(scan: Scan, at: Run) -> list[Tensor]:
    """What a step adds; with padding nothing may be shared by all rows."""
    if at.shared_terms and scan.lead:
        raise UserError(
            f"`{scan.node.path}` has padded steps, so each term of its cell must belong to a row: "
            "one is shared by all rows"
        )
    return at.passed_on([*at.row_terms, *at.shared_terms])


def _settled(scan: Scan, after: Flow) -> Flow:
    """Branches of a finite state folded to one per state."""
    if not scan.finite or after.weights is None or after.states:
        return after
    points = elements(scan.finite, scan.run, len(scan.lead))
    weights = by_state(after.weights, after.value.long(), points)
    return Flow(points, weights, states=True)


def _where_real(scan: Scan, real: Tensor, after: Flow, before: Flow) -> Flow:
    if after.weights is None:
        mask = real if scan.finite else real.unsqueeze(-1)
        return Flow(torch.where(mask, after.value, before.value))
    if not scan.finite:
        raise UserError(
            f"the states of `{scan.node.path}` depend on a finite site that is summed, and some "
            "steps are padding: give the values of that site"
        )
    old = log_weights(scan, before, after.weights)
    return Flow(after.value, torch.where(real, after.weights, old), states=True)


# --- known states ---------------------------------------------------------------------------------


def _given_states(scan: Scan, count: int) -> Tensor | None:
    """The first ``count`` states, ``(*s, *lead, count, d)``, where all are given."""
    if scan.run.steps or not scan.node.by_time or scan.node.outputs is None:
        return None
    pieces = []
    for path, obj in scan.node.outputs:
        found = given_for(scan.run.answerers, path)
        if found is None:
            return None
        event = () if is_finite(obj) else (width(obj),)
        lead = (*scan.lead, scan.line.count(path))
        whole = found[0].fit(SiteKey(path, Kind.MIDDLE), lead, event, found[1])
        pieces.append(_cut(scan, whole, count, len(event)))
    if scan.finite:
        return pieces[0]
    columns = [p if not is_finite(o) else p.unsqueeze(-1).to(scan.run.dtype)
               for p, (_, o) in zip(pieces, scan.node.outputs, strict=True)]  # fmt: skip
    return beside([Flow(c) for c in columns]).value


def _cut(scan: Scan, whole: Tensor, count: int, event: int) -> Tensor:
    dim = -1 - event
    if scan.line.order is not None:
        size = whole.shape[dim]
        index = scan.line.order[..., :size].clamp_max(size - 1)
        whole = along(whole, index.unsqueeze(-1) if event else index, dim)
    return whole.narrow(dim, 0, count)


def _any_given(scan: Scan) -> bool:
    """Whether some steps of a state have a value: then it is summed step by step."""
    return _given_anywhere(scan, [path for path, _ in scan.node.outputs or ()])


def _given_anywhere(scan: Scan, paths: list[str]) -> bool:
    marks = [path.replace("[t]", f"[{t}]") for path in paths for t in range(scan.line.length)]
    return any(given_for(scan.run.answerers, path) is not None for path in (*paths, *marks))


def _known(scan: Scan, states: Tensor, count: int) -> Flow:
    """Score all steps at once, each at the given state before it."""
    run, line, lead = scan.run, scan.line, (*scan.lead, count)
    dim = -1 if scan.finite else -2
    start = scan.start.value.unsqueeze(dim)
    if scan.start.weights is not None:
        raise UserError(
            f"the states of `{scan.node.path}` are given, but not where they start: give "
            f"`{scan.node.path}/init`, too"
        )
    earlier = states.narrow(dim, 0, count - 1)
    shape = (*earlier.shape[:dim], 1, *(earlier.shape[dim + 1 :] if dim < -1 else ()))
    before = torch.cat([start.to(states.dtype).expand(shape), earlier], dim)
    if line.mask is not None and count > 1:
        real = line.mask[..., : count - 1]
        real = torch.cat([torch.ones_like(real[..., :1]), real], -1)
        before = torch.where(
            real if scan.finite else real.unsqueeze(-1), before, start.to(states.dtype)
        )
    inner = over_time(scan, count)
    x = Flow(scan.inputs.value[..., :count, :], span(scan.inputs.weights, count))
    after = scan.walk.flow(scan.node.cell, inner, scan.cell_input(x, Flow(before)), lead)
    terms = _row_terms(scan, inner) if line.mask is not None else inner.passed_on(inner.row_terms)
    if after.weights is not None:
        terms = [*terms, torch.logsumexp(after.weights, 0)]
    for term in terms:
        real_term = term if line.mask is None else torch.where(line.mask[..., :count], term, 0.0)
        count_term(run, real_term, lead)
    if line.mask is None:
        for term in inner.passed_on(inner.shared_terms):
            run.add(term * count, rows=False, observed=run.observations_only)  # every step counts
    return Flow(states.select(dim, count - 1))
