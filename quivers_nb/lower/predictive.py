"""Drawing the responses of a marginalize block: z first, then the block given it.

Scoring sums z out; a prior or posterior predictive run needs responses, so z is drawn like any
site, the block is run at that value, and the responses it drew are then scored with z summed out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.lower.answers import Prior, given_for
from quivers_nb.lower.family_steps import FamilyDraw, sample_family
from quivers_nb.lower.frame import Frame
from quivers_nb.lower.scope import axis_size, lookup
from quivers_nb.lower.values import Value

Execute = Callable[[Frame, Mapping[str, Any]], dict[str, Any]]


def unanswered_names(frame: Frame, index: int) -> list[str]:
    """The observes of a block that have no value."""
    names = observed_names(frame.compiled.blocks[index].steps)
    asked = frame.run.answerers
    return [name for name in names if given_for(asked, frame.prefix + name) is None]


def observed_names(steps: Sequence[ir.Step]) -> list[str]:
    """The observe names of steps and of the blocks in them."""
    names = []
    for step in steps:
        if isinstance(step, ir.ObserveStep):
            names.append(step.name)
        elif isinstance(step, ir.MarginalizeStep):
            names.extend(observed_names(step.body))
    return names


def draw_block(
    frame: Frame,
    env: dict[str, Any],
    index: int,
    step: ir.MarginalizeStep,
    execute: Execute,
    every: Value,
) -> Mapping[str, Any]:
    """What the block binds at a drawn z; responses that have no value are drawn, nothing is scored.

    ``every`` holds all values of z on a branch axis. The block of a grouped step is run at all of
    them, since the class stands in no fixed place of an expression, and each row keeps what was
    drawn at the class of its group.
    """
    z = _draw(frame, env, step)
    run = replace(
        frame.run, row_terms=[], shared_terms=[], block=Unscored(), recording=False, tilts=None
    )
    if step.over is not None:
        run = replace(run, stack=(every.tensor.shape[0], *run.stack))
    inner = replace(frame, run=run, compiled=frame.compiled.blocks[index])
    bound = execute(inner, {**env, step.name: z if step.over is None else every})
    for name in unanswered_names(frame, index) if step.over is not None else ():
        classes = _class_of_rows(z, name, step, env, frame)
        bound[name] = _at_class(bound[name], classes, frame.run.stack)
    return bound


class Unscored:
    """A block that keeps no terms: responses are drawn, not scored."""

    def take(self, term: Tensor, own_rank: int, *, rows: bool, via: tuple[Tensor, ...]) -> None: ...


def _at_class(value: Value, classes: Tensor, stack: tuple[int, ...]) -> Value:
    """``(K, *s, *rows, *event)`` at ``classes`` ``(*s, R)``, R the number of rows."""
    drawn = value.tensor
    shape = drawn.shape[1:]
    flat = drawn.reshape((drawn.shape[0], *stack, classes.shape[-1], -1))
    where = classes.unsqueeze(-1).expand(flat.shape[1:]).unsqueeze(0)
    return replace(value, tensor=flat.gather(0, where).reshape(shape))


def _draw(frame: Frame, env: dict[str, Any], step: ir.MarginalizeStep) -> Value:
    """One z per row, element or group, from its own distribution."""
    plate = step.over if step.over is not None else step.plate
    site = ir.SampleStep((step.name,), step.source, plate=plate)
    draw: FamilyDraw = sample_family(site, frame.scope(env, step.name))
    prior = next(a for a in frame.run.answerers if isinstance(a, Prior))
    value = draw.dist.sample(frame.run.stack, prior.generator)
    return Value(value, draw.names, draw.rows, frame.run.batch_rank)


def _class_of_rows(
    z: Value, name: str, step: ir.MarginalizeStep, env: Mapping[str, Any], frame: Frame
) -> Tensor:  # (*s, R)
    """The class of each row of a response: from row to group, and from groups to outer groups."""
    assert step.over is not None
    sizes = _sizes(step, frame)
    outer, rows = sizes, torch.arange(prod(sizes), device=z.tensor.device)
    for inner in _path_to(name, step):
        index = _flat([lookup(via.name, env).tensor for via in inner.via], outer)
        rows = rows if index is None else rows[index]
        if isinstance(inner, ir.MarginalizeStep):
            outer = _sizes(inner, frame)
    table = z.tensor.reshape((*z.tensor.shape[: z.front], prod(sizes)))
    return table[..., rows]


def _path_to(name: str, step: ir.MarginalizeStep) -> list[ir.MarginalizeStep | ir.ObserveStep]:
    """The steps from the block of ``step`` down to the observe of ``name``."""
    for each in step.body:
        if isinstance(each, ir.ObserveStep) and each.name == name:
            return [each]
        if isinstance(each, ir.MarginalizeStep) and name in observed_names(each.body):
            return [each, *_path_to(name, each)]
    raise AssertionError(name)


def _sizes(step: ir.MarginalizeStep, frame: Frame) -> tuple[int, ...]:
    """The groups of a block, or the elements of an ungrouped one inside it."""
    axes = step.over if step.over is not None else step.plate
    return tuple(axis_size(axis, frame.sizes) for axis in axes or ())


def _flat(indices: Sequence[Tensor], sizes: Sequence[int]) -> Tensor | None:
    """Row-major numbers ``(R,)`` of indices; None where rows are the elements themselves."""
    flat: Tensor | None = None
    for index, size in zip(indices, sizes, strict=False):
        rows = index.long().reshape(-1)
        flat = rows if flat is None else flat * size + rows
    return flat
