"""`sample` and `observe`: what a step binds, over which plate or space (7.4 to 7.6)."""

from dataclasses import replace

from quivers_nb.check.applied import applied_draw
from quivers_nb.check.axes import Axes
from quivers_nb.check.draw import Draw
from quivers_nb.check.elsewhere import family_meant
from quivers_nb.check.environment import Environment
from quivers_nb.check.families import MEASURES
from quivers_nb.check.indices import (
    OBSERVE_OPTIONS,
    SAMPLE_OPTIONS,
    Index,
    check_event_axes,
    check_index,
    check_one_per_group,
    group_index,
    size_hint,
)
from quivers_nb.check.inline import SizeHint, inline_draw
from quivers_nb.check.measures import measure_draw
from quivers_nb.check.options import Settings, read_options
from quivers_nb.check.plates import check_plate, check_shared
from quivers_nb.check.scope import Group, Template
from quivers_nb.check.templates import check_template_step
from quivers_nb.check.tensors import aligned
from quivers_nb.check.term import (
    Axis,
    MeasureCall,
    MorphismCall,
    ObserveStep,
    SampleStep,
    Step,
    Variable,
)
from quivers_nb.check.values import SITE, UNKNOWN, Value, of_object
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import (
    Space,
    factors,
    is_finite,
    width,
)
from quivers_nb.spaces.support import CorrelationCholesky, PositiveDefinite, SimplexSupport
from quivers_nb.syntax import tree

RandomStep = tree.SampleStep | tree.ObserveStep

CARRIERS: dict[str, tuple[type, ...]] = {
    "Simplex": (SimplexSupport,),
    "CholeskyFactor": (CorrelationCholesky,),
    "Covariance": (PositiveDefinite,),
    **dict.fromkeys(
        ("Sphere", "Ball", "Orthogonal", "Stiefel", "Correlation", "LowerTriangular"), ()
    ),
}
"""The supports whose values lie in a space; of some spaces no family draws values."""


def check_sample(step: tree.SampleStep, env: Environment) -> Step | None:
    """Check a `sample` step and bind its names; the names are bound whatever happens."""
    options = read_options(step.options, SAMPLE_OPTIONS, env.scope.report, what="a sample step")
    _per_row(options, env)
    index, draw = _index_and_draw(step, options, env)
    if draw is None or index is None or not check_one_per_group(step, index, env):
        _bind_unknown(step.names, env)
        return None
    if len(step.names) > 1:
        return _destructured(step, index, draw, env)
    value = _value(step, index, draw, env)
    shared = index.plate is None or check_shared(step, options.get("per"), index.plate, draw, env)
    if value is None or not shared:
        _bind_unknown(step.names, env)
        return None
    _warn_one_per_row(step, index, draw, options, env)
    env.bind(step.names[0], value)
    return SampleStep(
        names=(env.site_name(step.names[0]),), source=draw.source, plate=index.plate,
        space=index.space or draw.obj, row_wise=index.plate is None and bool(value.rows),
        span=step.span,
    )  # fmt: skip


def check_observe(step: tree.ObserveStep, env: Environment) -> Step | None:
    """Check an `observe` step and bind its name."""
    options = read_options(step.options, OBSERVE_OPTIONS, env.scope.report, what="an observe step")
    via = _via(step, options, env)
    index, draw = _index_and_draw(step, options, env)
    if draw is not None and draw.deterministic:
        _not_observable(step, env)
        draw = None
    value = None if draw is None or index is None else _value(step, index, draw, env)
    if value is None or draw is None or index is None:
        _bind_unknown((step.name,), env)
        return None
    env.bind(step.name, value)
    return ObserveStep(
        name=env.site_name(step.name), source=draw.source, plate=index.plate,
        space=index.space or draw.obj, row_wise=bool(value.rows), via=via, span=step.span,
    )  # fmt: skip


def _via(step: tree.ObserveStep, options: Settings, env: Environment) -> tuple[Variable, ...]:
    """The index from rows to groups: needed in a grouped block, without effect elsewhere."""
    if env.groups is not None:
        return group_index(step, step.index, options, env.groups, env)
    if "via" in options:
        env.scope.report.warning(
            "Q0515",
            "`via` has no effect outside a grouped `marginalize`",
            options["via"].key_span,
            hint="drop it",
        )
    return ()


def _bind_unknown(names: tuple[tree.Name, ...], env: Environment) -> None:
    for name in names:
        env.bind(name, UNKNOWN)


# --- the right side ---------------------------------------------------------------------------


def _index_and_draw(
    step: RandomStep, options: Settings, env: Environment
) -> tuple[Index | None, Draw | None]:
    index = check_index(step.index, env)
    hint = size_hint(options, index, env)
    draw = _draw(step, hint, env)
    if draw is not None and not check_event_axes(step.call, options, draw, env):
        return index, None
    return index, draw


def _draw(step: RandomStep, hint: SizeHint, env: Environment) -> Draw | None:
    name = step.call.name
    binding = env.scope.morphisms.get(name.text)
    if binding is None:
        if name.text in FAMILIES:
            return inline_draw(step.call, env, hint)
        if name.text in MEASURES:
            return measure_draw(step.call, env)
        _undefined_head(name, env)
        return None
    if isinstance(binding.value, Group):
        env.scope.report.error(
            "Q0409",
            f"`{name.text}` is a group of {len(binding.value.members)} morphisms: "
            "only `fan` takes a group",
            name.span,
            labels=[Label(binding.span, "replicated here")],
            hint=f"use one of its members, as in `{binding.value.members[0]}`",
        )
        return None
    if isinstance(binding.value, Template):
        check_template_step(binding.value, step, env)
        return None
    return None if binding.value is None else applied_draw(step.call, binding.value, env)


def _undefined_head(name: tree.Name, env: Environment) -> None:
    scope = env.scope
    meant = None if name.text in scope.later else family_meant(name.text)
    hint = scope.hint(name.text, (*scope.morphisms, *FAMILIES))
    if meant is not None:
        hint = f"write `{meant}`"
    message = f"undefined morphism or family `{name.text}`"
    scope.report.undefined("Q0504", message, name.span, key=(name.text,), hint=hint)


# --- the left side ------------------------------------------------------------------------------


def _value(step: RandomStep, index: Index, draw: Draw, env: Environment) -> Value | None:
    """What the step binds: shape, rows, type."""
    if draw.results and not draw.tuple_result and index.span is None:
        return draw.results[0]
    if draw.deterministic and index.span is not None and draw.obj is None:
        env.scope.report.error(
            "Q0510",
            f"`{step.call.name.text}` is a program: it binds one result, and cannot be indexed",
            index.span,
            hint="drop what follows the name; a program may draw a plate itself",
        )
        return None
    if index.plate is not None:
        return _over_plate(step, index, draw, index.plate, env)
    if index.space is not None and not _space_fits(step, index, draw, env):
        return None
    return _per_batch(index, draw, env)


def _per_batch(index: Index, draw: Draw, env: Environment) -> Value:
    """An un-indexed site: batch, then the common own axes of the arguments, then the event (R2)."""
    rows = draw.rows | {SITE} if not draw.deterministic else draw.rows
    lefts = [
        (Value(axes=_without_space(left.axes, index.space)), left.span) for left in draw.remainders
    ]
    axes = aligned(lefts, env)
    return _typed(draw, index.space, rows, axes)


def _typed(draw: Draw, space: Space | None, rows: frozenset[str], axes: Axes | None) -> Value:
    if space is not None:
        value = of_object(space, rows, axes)
        if draw.event is not None and len(draw.event) == 2:  # drawn as a matrix, and read as one
            value = replace(value, event=draw.event)
    elif draw.obj is not None:
        value = replace(of_object(draw.obj, rows, axes), event=draw.event or ())
    else:
        known = axes if draw.event is not None else None
        value = Value(rows=rows, axes=known, event=draw.event or (), discrete=draw.discrete)
    return replace(value, simplex=value.simplex or draw.simplex)


def _without_space(axes: Axes | None, space: Space | None) -> Axes | None:
    """With ``: S`` an argument of width dim S gives one number per component."""
    if space is None or not axes:
        return axes
    return axes[:-1] if axes[-1].name is None and axes[-1].obj.size == space.dim else axes


def _over_plate(
    step: RandomStep, index: Index, draw: Draw, plate: tuple[Axis, ...], env: Environment
) -> Value | None:
    observed = isinstance(step, tree.ObserveStep)
    if not check_plate(step, plate, draw, env, observed=observed):
        return None
    if observed and draw.rows and env.reads:  # inside the row: batch, then what is left over (R4)
        lefts = [(Value(axes=left.axes), left.span) for left in draw.remainders]
        return _typed(draw, index.space, draw.rows, aligned(lefts, env))
    rows = draw.rows if observed else frozenset[str]()
    return replace(_typed(draw, index.space, rows, plate), plate=True)


def _space_fits(step: RandomStep, index: Index, draw: Draw, env: Environment) -> bool:
    """A vector family or a kernel must have as many components as the declared space."""
    assert index.space is not None
    if not _drawn_there(step, index.space, draw, env):
        return False
    have: int | None = None
    if draw.obj is not None:
        have = width(draw.obj)
    elif draw.event:
        have = 1
        for n in draw.event:
            have *= n
    finite = draw.obj is not None and is_finite(draw.obj)
    if not finite and (have is None or have == index.space.dim):
        return True
    got = str(draw.obj) if draw.obj is not None else f"dimension {have}"
    env.scope.report.error(
        "Q0518",
        f"`{step.call.name.text}` gives {got}, and the step says {index.space}",
        index.span or step.span,
        because=[Because("the draw is made here", step.call.span)],
    )
    return False


def _drawn_there(step: RandomStep, space: Space, draw: Draw, env: Environment) -> bool:
    """Whether an inline family draws values of a constrained space such as `Simplex 3`."""
    wanted = CARRIERS.get(space.ctor)
    if wanted is None or isinstance(draw.source, MorphismCall):
        return True
    because = []
    if isinstance(draw.source, MeasureCall):
        support = draw.source.support
    else:
        family = FAMILIES[draw.source.family]
        support, because = family.support, [Because(f"{family.name}: {family.summary}")]
    if isinstance(support, wanted):
        return True
    env.scope.report.error(
        "Q0518",
        f"{step.call.name.text} does not draw values of {space}",
        step.call.name.span,
        because=because,
        hint=f"drop `: {space}`, or draw from a family whose values lie there"
        if wanted
        else f"no family draws there: compute it with a `let`, as from a draw without `: {space}`",
    )
    return False


# --- destructuring, and the small rules ---------------------------------------------------------


def _destructured(step: tree.SampleStep, index: Index, draw: Draw, env: Environment) -> Step | None:
    names, report = step.names, env.scope.report
    values = _components(draw)
    if index.span is not None:
        report.error(
            "Q0506", "a step over a plate or space binds a single name", index.span,
            labels=[Label(names[0].span | names[-1].span, f"{len(names)} names")],
        )  # fmt: skip
        values = None
    elif values is None or len(values) != len(names):
        count = 1 if values is None else len(values)
        plural = "" if count == 1 else "s"
        report.error(
            "Q0506",
            f"cannot destructure `{step.call.name.text}` into {len(names)} names: "
            f"it gives {count} value{plural}",
            names[0].span | names[-1].span,
            because=[
                Because("the names are for a program that returns a tuple, or a product codomain")
            ],
        )
        values = None
    if values is None:
        _bind_unknown(names, env)
        return None
    for name, value in zip(names, values, strict=True):
        env.bind(name, value)
    return SampleStep(
        names=tuple(env.site_name(name) for name in names), source=draw.source, space=draw.obj,
        widths=tuple(value.columns or 1 for value in values), row_wise=True, span=step.span,
    )  # fmt: skip


def _components(draw: Draw) -> tuple[Value, ...] | None:
    if draw.tuple_result:
        return draw.results
    if draw.obj is None or len(factors(draw.obj)) < 2:
        return None
    rows = draw.rows | {SITE}
    return tuple(of_object(factor, rows, ()) for factor in factors(draw.obj))


def _not_observable(step: tree.ObserveStep, env: Environment) -> None:
    env.scope.report.error(
        "Q0516",
        f"`{step.call.name.text}` gives a deterministic value, which cannot be observed",
        step.call.name.span,
        because=[Because("part of its result is computed by a program, and has no density")],
        hint="observe a draw from a kernel or a family, at that value",
    )


def _per_row(options: Settings, env: Environment) -> None:
    per = options.get("per")
    if per is not None and per.name != "row":
        env.scope.report.error("Q0305", f"`per` expects row, got `{per.name}`", per.span)


def _warn_one_per_row(
    step: tree.SampleStep, index: Index, draw: Draw, options: Settings, env: Environment
) -> None:
    """R1: a continuous site that depends on nothing row-wise may have been meant as shared."""
    quiet = draw.rows or draw.deterministic or "per" in options or draw.discrete is not False
    if not env.reads or index.plate is not None or quiet:
        return
    name = step.names[0]
    env.scope.report.warning(
        "Q0514",
        f"`{name.text}` is drawn one per row; write `: 1` for one shared value",
        name.span,
        because=[Because("the program reads its input, and nothing row-wise enters this draw")],
        hint=f"`sample {name.text} : 1 <- …` shares it; `[per=row]` keeps one per row",
    )
