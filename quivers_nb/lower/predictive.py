"""Drawing the responses of a marginalize block: z first, then the block given it.

Scoring sums z out; a prior or posterior predictive run needs responses, so z is drawn like any
site, the block is run at that value, and the responses it drew are then scored with z summed out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import Prior
from quivers_nb.lower.family_steps import FamilyDraw, sample_family
from quivers_nb.lower.frame import Frame
from quivers_nb.lower.scope import axis_size, lookup
from quivers_nb.lower.values import Value

Execute = Callable[[Frame, Mapping[str, Any]], dict[str, Any]]


def unanswered_names(frame: Frame, index: int) -> list[str]:
    """The observes of a block that have no value."""
    given: set[str] = set()
    for answerer in frame.run.answerers:
        given.update(getattr(answerer, "values", None) or {})
    names = observed_names(frame.compiled.blocks[index].steps)
    return [name for name in names if frame.prefix + name not in given]


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
    missing: Sequence[str],
    execute: Execute,
) -> dict[str, Tensor]:
    """Values of the missing responses by path; they are bound in ``env``, too."""
    z = _draw(frame, env, step)
    run = replace(frame.run, row_terms=[], shared_terms=[], block=None, recording=False)
    body = frame.compiled.blocks[index]
    out: dict[str, Tensor] = {}
    if step.over is None:
        inner = replace(frame, run=run, compiled=body)
        bound = execute(inner, {**env, step.name: z})
        found = {name: bound[name] for name in missing}
    else:
        found = {}
        for place, each in enumerate(body.steps):
            if isinstance(each, ir.MarginalizeStep):
                raise UserError(
                    f"`{each.name}` stands inside `marginalize {step.name} [over=…]`: responses of "
                    "nested groups are not drawn; give them"
                )
            if isinstance(each, ir.ObserveStep) and each.name in missing:
                steps = tuple(s for s in body.steps[:place] if isinstance(s, ir.LetStep))
                only = replace(body, steps=(*steps, each), nodes={}, subs={}, blocks={})
                inner = replace(frame, run=run, compiled=only)
                rows = _class_of_rows(z, each, step, env, frame)
                found[each.name] = execute(inner, {**env, step.name: rows})[each.name]
    for name, value in found.items():
        env[name] = value
        out[frame.prefix + name] = value.tensor
    return out


def _draw(frame: Frame, env: dict[str, Any], step: ir.MarginalizeStep) -> Value:
    """One z per row, element or group, from its own distribution."""
    plate = step.over if step.over is not None else step.plate
    site = ir.SampleStep((step.name,), step.source, plate=plate)
    draw: FamilyDraw = sample_family(site, frame.scope(env, step.name))
    prior = next(a for a in frame.run.answerers if isinstance(a, Prior))
    value = draw.dist.sample(frame.run.stack, prior.generator)
    return Value(value, draw.names, draw.rows, frame.run.batch_rank)


def _class_of_rows(
    z: Value,
    observe: ir.ObserveStep,
    step: ir.MarginalizeStep,
    env: Mapping[str, Any],
    frame: Frame,
) -> Value:
    """The class of each row of a response, by its via index."""
    assert step.over is not None
    sizes = [axis_size(axis, frame.sizes) for axis in step.over]
    flat: Tensor | None = None
    for name, size in zip(observe.via, sizes, strict=True):
        index = lookup(name.name, env).tensor.long()
        flat = index if flat is None else flat * size + index
    assert flat is not None
    table = z.tensor.reshape((*z.tensor.shape[: z.front], prod(sizes)))
    names = (
        tuple(axis.name for axis in observe.plate or ()) if flat.ndim == 1 else (None,) * flat.ndim
    )
    picked = table[..., flat]
    return Value(picked, names[: flat.ndim] or (None,) * flat.ndim, False, z.batch_rank)
