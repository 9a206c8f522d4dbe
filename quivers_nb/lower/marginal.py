"""``marginalize``: a site summed or integrated out of a block (section 7.8).

All values of z are tried at once: they stand on a branch axis in front of the runtime stack (R11),
with which nothing in the block aligns. The block's terms are collected with that axis and folded
(`quivers_nb.lower.collected`):

    ungrouped            per row (or once)   log sum_z exp(log f(z) + terms(z))
    ungrouped, over A    per element a       the same with a's terms, summed over A
    grouped              per group g         R_c(log p(g, c) + terms(c) of the rows of g), summed

A support on the unit interval is integrated by Gauss-Legendre quadrature in u with z = u²(3 − 2u),
whose derivative is 0 at both ends: densities with poles there, as of Beta(1/2, 1/2), are integrated
to 1e-13, and a likelihood as sharp as Beta(200, 300) still to 2e-13.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.trace import Site
from quivers_nb.lower.answers import Given, Kind, Prior
from quivers_nb.lower.collected import Collected, Group
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.family_steps import FamilyCallRead, read_call
from quivers_nb.lower.frame import Frame
from quivers_nb.lower.predictive import Unscored, draw_block, observed_names, unanswered_names
from quivers_nb.lower.run import MAX_BRANCHES, Run, Tilts
from quivers_nb.lower.scope import axis_size, lookup
from quivers_nb.lower.values import Value
from quivers_nb.spaces.support import Between, Counts, Support

SMALLEST = 1e-38  # of a probability, before its logarithm (7.8)
MAX_DEPTH = 56  # torch has 64 axes; some are of rows and values
NODES = 128  # of the quadrature; LANGUAGE asks for at least 32
Execute = Callable[[Frame, Mapping[str, Any]], dict[str, Any]]


def via_of(step: ir.ObserveStep | ir.MarginalizeStep, env: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The index tensors from rows to groups."""
    out = []
    for index in step.via:
        value = lookup(index.name, env)
        if not isinstance(value, Value):
            raise UserError(f"via={index.name} of `{step.name}` must be a tensor of group indices")
        out.append(value.tensor.long())
    return tuple(out)


def marginalize(
    frame: Frame, env: dict[str, Any], index: int, step: ir.MarginalizeStep, execute: Execute
) -> None:
    """Run the block for all values of z at once and count what is left when z is gone."""
    run = frame.run
    call = read_call(step.source, None, frame.scope(env, step.name))
    points, weights = _points(call, step)
    _refuse_other_classes(call, step, len(points), frame)
    if len(points) > MAX_BRANCHES:
        raise UserError(
            f"`{step.name}` has {len(points)} values, more than the {MAX_BRANCHES} branches that "
            "are summed at once"
        )
    if len(run.stack) >= MAX_DEPTH:
        raise UserError(
            f"`{step.name}` stands in {len(run.stack)} blocks, more than the {MAX_DEPTH} that can "
            "be nested: write the recurrence as a cell, and `scan(cell)`"
        )
    group = Group.of(step, call, frame)
    z = _z(points, step, group, run)
    missing = unanswered_names(frame, index)
    if isinstance(run.block, Unscored):
        bound = draw_block(frame, env, index, step, execute, z)
        env.update({name: bound[name] for name in observed_names(step.body)})
        return
    drawing = any(isinstance(answerer, Prior) for answerer in run.answerers)
    if drawing and (missing or run.prior):  # the sites of the block are drawn given one value of z
        drawn = draw_block(frame, env, index, step, execute, z)
        given = {frame.prefix + name: drawn[name].tensor for name in missing}
        run = replace(run, answerers=(Given(given, len(run.stack)), *run.answerers))
    prior = _log_weights(call, step, group, z, run)
    if weights is not None:
        prior = prior + weights.reshape((-1, *((1,) * (prior.ndim - 1)))).to(prior.dtype)
    tilts = run.tilts
    if tilts is not None:
        prior, tilts = _tilted(prior, step, group, frame, tilts)
    block = Collected.of(step, group, run)
    plates = {**run.plates, **dict(zip(z.names, group.dist.lead, strict=False))}
    nested = replace(
        run, stack=(len(points), *run.stack), block=block, row_terms=[], shared_terms=[],
        recording=False, tilts=tilts, plates=plates,
    )  # fmt: skip
    inner = replace(frame, run=nested, compiled=frame.compiled.blocks[index])
    bound = execute(inner, {**env, step.name: z})
    _keep_responses(frame, env, bound, index, missing)
    result = block.fold(prior)
    if result is not None and not (run.prior and step.reduction is not ir.Reduction.LOGSUMEXP):
        _record(frame, step, result, block.own_rank)
        run.add(result, rows=group.rows, own_rank=block.own_rank, via=via_of(step, env))


def _tilted(
    prior: Tensor, step: ir.MarginalizeStep, group: Group, frame: Frame, tilts: Tilts
) -> tuple[Tensor, Tilts | None]:
    """The log weights with a tilt of each, and the tilts for the blocks inside."""
    path = frame.prefix + step.name
    if step.reduction is not ir.Reduction.LOGSUMEXP:
        reason = f"`{step.name}` has reduction={step.reduction.value}"
        for name in (path, *(frame.prefix + inner for inner in _summed_names(step.body))):
            tilts.refuse(name, f"{reason}: its classes are not alternatives with probabilities")
        return prior, None
    if not group.dist.discrete:
        tilts.refuse(path, f"`{step.name}` is integrated over [0, 1]: it has no classes")
        return prior, tilts
    lead = group.dist.lead
    branches = prior.ndim - 1 - len(lead) - len(tilts.stack)
    tilt = tilts.tilt(path, prior.shape[0], branches, lead)
    return prior + tilt, tilts


def _summed_names(steps: Sequence[ir.Step]) -> list[str]:
    """The marginalized sites of steps and of the blocks in them."""
    blocks = [step for step in steps if isinstance(step, ir.MarginalizeStep)]
    return [name for step in blocks for name in (step.name, *_summed_names(step.body))]


def _keep_responses(
    frame: Frame,
    env: dict[str, Any],
    bound: Mapping[str, Any],
    index: int,
    missing: Sequence[str],
) -> None:
    """Responses of the block stay bound and are sites; their density is in the one of the block."""
    run = frame.run
    for name in observed_names(frame.compiled.blocks[index].steps):
        env[name] = bound.get(name, env.get(name))
        if run.recording and isinstance(env[name], Value):
            table = run.sites if frame.kind is Kind.DECLARED else run.internal_sites
            zero = torch.zeros((), dtype=run.dtype, device=run.device)
            given, bare = name not in missing, env[name]
            value = run.whole(bare.tensor, tuple(bare.tensor.shape[bare.lead :]))
            table[frame.prefix + name] = Site(value, zero, given, False, "marginalize")


def _record(frame: Frame, step: ir.MarginalizeStep, result: Tensor, own: int) -> None:
    """The trace shows one deterministic site, with the contribution as its value."""
    if frame.run.recording:
        total = result.sum(tuple(range(-own, 0))) if own else result
        table = frame.run.sites if frame.kind is Kind.DECLARED else frame.run.internal_sites
        name = f"{frame.prefix}_marg_{step.name}"
        table[name] = Site(total, total, False, True, "marginalize")


# --- the values of z ----------------------------------------------------------------------------


def _points(call: FamilyCallRead, step: ir.MarginalizeStep) -> tuple[Tensor, Tensor | None]:
    """The support of z as points, with log quadrature weights for an interval."""
    support = call.family.support
    if isinstance(support, Between):
        nodes, weights = _quadrature()
        return torch.from_numpy(nodes), torch.from_numpy(np.log(weights))
    if not isinstance(support, Counts):
        raise UserError(f"`{step.name}` ~ {call.family.name} has no finite support to sum over")
    return torch.arange(_count(call, support, step)), None


def _refuse_other_classes(
    call: FamilyCallRead, step: ir.MarginalizeStep, count: int, frame: Frame
) -> None:
    """Host data may have another number of probabilities than there are declared classes."""
    if step.classes is None:
        return
    wanted = axis_size(ir.Axis(None, step.classes), frame.sizes)
    if count != wanted:
        raise UserError(
            f"`{call.params[0].label}` has {count} probabilities, and `{step.name}` has {wanted} "
            "classes"
        )


@lru_cache(maxsize=1)
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    u = 0.5 * (nodes + 1.0)
    return u * u * (3.0 - 2.0 * u), 3.0 * weights * u * (1.0 - u)


def _count(call: FamilyCallRead, support: Support, step: ir.MarginalizeStep) -> int:
    for param, parameter in zip(call.params, call.family.parameters, strict=True):
        if parameter.rank == 1:
            return int(param.event[-1]) + (1 if parameter.name == "cutpoints" else 0)
    if call.family.name.startswith("Binomial"):
        trials = call.params[0].value.tensor
        if trials.numel() != 1:
            raise UserError(
                f"`{step.name}` is summed over 0 … n: its number of trials must be one number"
            )
        return int(trials) + 1
    assert isinstance(support, Counts)
    if support.high is None or isinstance(support.high, str):
        raise UserError(f"`{step.name}` ~ {call.family.name} has no finite support to sum over")
    return int(support.high) + 1


def _z(points: Tensor, step: ir.MarginalizeStep, group: Group, run: Run) -> Value:
    """z with its branch axis in front, then explicit singletons where it has axes."""
    rows = group.rows
    names = tuple(axis.name for axis in step.plate or ())
    behind = len(run.stack) + (run.batch_rank if rows else 0) + len(names)
    tensor = points if points.dtype == torch.int64 else points.to(run.dtype)
    shaped = tensor.to(run.device).reshape((-1, *((1,) * behind)))
    return Value(shaped, names, rows, run.batch_rank)


def _log_weights(
    call: FamilyCallRead, step: ir.MarginalizeStep, group: Group, z: Value, run: Run
) -> Tensor:  # (K, *s, *lead)
    """log f(z) of every value. A categorical's are its parameter, the last axis put in front."""
    rank = len(run.stack) + len(group.dist.lead)
    if call.family.name not in {"CategoricalProbs", "CategoricalLogit"}:
        return group.dist.log_prob(_on_lead(z, group.dist, run))
    (given,) = group.dist.params
    taken = call.params[0].value.taken
    if taken is not None and taken.result is given:  # the table first, its rows by index then
        front = _log_table(taken.source, call, step).movedim(-1, 0)
        front = front.index_select(taken.axis + 1, taken.index)
    else:
        front = _log_table(given, call, step).movedim(-1, 0)
    return front.reshape((front.shape[0], *((1,) * (rank + 1 - front.ndim)), *front.shape[1:]))


def _log_table(given: Tensor, call: FamilyCallRead, step: ir.MarginalizeStep) -> Tensor:
    """Log weights ``(*n, K)`` of a categorical's parameter."""
    if call.family.name == "CategoricalLogit":
        return torch.log_softmax(given, -1)
    table = given.clamp_min(SMALLEST).log()
    assert isinstance(step.source, ir.FamilyCall)
    if step.source.untyped:  # probabilities of unknown origin sum to 1 up to rounding (R7)
        table = table - given.sum(-1, keepdim=True).log()
    return table


def _on_lead(z: Value, dist: Dist, run: Run) -> Tensor:
    """z as a value of its own distribution: ``(K, *1 stack, *1 lead)``."""
    return z.tensor.reshape((z.tensor.shape[0], *((1,) * (len(run.stack) + len(dist.lead)))))
