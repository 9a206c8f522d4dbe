"""Measure operators in steps: `Restrict(Normal(mu, 1.0), 0.0)` (section 8.1).

Operators nest; each is checked from the inside out. What is known of a measure is kept in a
`Known`: over what it is spread, the axes of its event, and the least interval that holds it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from quivers_nb.check.axes import Axes
from quivers_nb.check.bijectors import IMAGES, image, read_bijector
from quivers_nb.check.draw import Draw, Remainder
from quivers_nb.check.environment import Environment
from quivers_nb.check.families import MEASURES, Given, find_family, given_argument
from quivers_nb.check.inline import SizeHint, inline_draw
from quivers_nb.check.intervals import (
    Interval,
    common,
    hull,
    inside,
    interval_of,
    is_empty,
    span_of,
    support_of,
)
from quivers_nb.check.tensors import aligned
from quivers_nb.check.term import Argument, Drawn, FamilyCall, Literal, MeasureCall, Variable
from quivers_nb.check.values import Value
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.families import WITH_CDF
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import SimplexSupport, is_discrete
from quivers_nb.syntax import tree

Written = tree.Call | tree.ArgCall
SHAPES: Mapping[str, str] = {
    "PointMass": "PointMass(value)",
    "Restrict": "Restrict(distribution, low, high), where high may be left out",
    "Truncate": "Truncate(distribution, low, high), where high may be left out",
    "Normalize": "Normalize(distribution)",
    "Mixture": "Mixture([weight, …], [distribution, …])",
    "Pushforward": "Pushforward(distribution, bijector)",
    "Independent": "Independent(distribution, n)",
}


@dataclass(frozen=True, slots=True)
class Known:
    """A checked measure. ``rank``: of its event, whose axes ``event`` are None if data will tell.

    ``smooth``: it has a density; ``whole``: its values are whole numbers (neither: single points).
    """

    call: Drawn
    rows: frozenset[str]
    remainders: tuple[Remainder, ...]
    interval: Interval
    smooth: bool = True
    mixed: bool = False
    whole: bool = False
    invertible: bool = True
    rank: int = 0
    event: tuple[int, ...] | None = ()
    simplex: bool = False


def measure_draw(call: tree.Call, env: Environment) -> Draw | None:
    """The draw of a measure operator, or None after an error."""
    known = _operator(call, env)
    if known is None:
        return None
    discrete: bool | None = True if known.whole else None
    return Draw(
        known.call, rows=known.rows, remainders=known.remainders, event=known.event,
        discrete=False if known.smooth and not known.mixed else discrete, simplex=known.simplex,
    )  # fmt: skip


def _operator(call: Written, env: Environment) -> Known | None:
    name = call.name.text
    before = env.scope.report.count
    known = OPERATORS["Restrict" if name == "Truncate" else name](call, env)
    if known is None or env.scope.report.count > before:
        return None
    support = SimplexSupport() if known.simplex else support_of(known.interval)
    assert isinstance(known.call, MeasureCall)
    return replace(known, call=replace(known.call, support=support, span=call.span))


def _wrong(call: Written, env: Environment, span: Span | None = None) -> None:
    count = len(call.args or ())
    env.scope.report.error(
        "Q0610",
        f"{call.name.text} takes other arguments",
        span or call.span,
        because=[Because(f"it is written {SHAPES[call.name.text]}; here it has {count}")],
    )


def _arguments(
    call: Written, env: Environment, least: int, most: int
) -> tuple[tree.StepArg, ...] | None:
    args = call.args or ()
    if least <= len(args) <= most and not any(isinstance(a, tree.ArgKeyword) for a in args):
        return args
    _wrong(call, env)
    return None


# --- what stands inside ---------------------------------------------------------------------------


def _distribution(arg: tree.StepArg, call: Written, env: Environment) -> Known | None:
    """A family or an operator as the argument of an operator."""
    if not isinstance(arg, tree.ArgCall):
        _wrong(call, env, arg.span)
        return None
    if arg.name.text in MEASURES:
        return _operator(arg, env)
    family = find_family(arg.name, env.scope)
    if family is None:
        return None
    if not _fits_inside(family):
        env.scope.report.error(
            "Q0612",
            f"{family.name} cannot stand inside {call.name.text}",
            arg.name.span,
            because=[Because("the measure operators take families of single numbers or counts")],
        )
        return None
    draw = inline_draw(tree.Call(arg.name, arg.args, span=arg.span), env, SizeHint())
    if draw is None or not isinstance(draw.source, FamilyCall):
        return None
    discrete = is_discrete(family.support)
    return Known(
        draw.source, draw.rows, draw.remainders, interval_of(family, draw.source.args),
        smooth=not discrete, whole=discrete, invertible=family.name in WITH_CDF,
    )  # fmt: skip


def _fits_inside(family: Family) -> bool:
    vectors = any(parameter.rank for parameter in family.parameters)
    return not (family.event_rank or vectors or family.improper)


def _unfit(arg: tree.StepArg, message: str, env: Environment) -> None:
    env.scope.report.error("Q0612", message, arg.span)


def _remainder(given: Given, consumed: int = 0) -> Remainder:
    own = given.value.own
    return Remainder(
        own if own is None else own[: len(own) - consumed], given.span, given.value.rows
    )


def _joined(known: Known, *given: Given, consumed: int = 0) -> Known:
    """``known`` with numbers of its own read beside what is inside it."""
    return replace(
        known,
        rows=known.rows.union(*(g.value.rows for g in given)),
        remainders=(*known.remainders, *(_remainder(g, consumed) for g in given)),
    )


def _name_of(slot: object) -> str | float | None:
    if isinstance(slot, Literal):
        return float(slot.value)
    return slot.name if isinstance(slot, Variable) else None


# --- the operators ----------------------------------------------------------------------------


def _point_mass(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 1, 1)
    if args is None:
        return None
    given = given_argument(args[0], env)
    if isinstance(given.slot, tuple):
        _wrong(call, env, args[0].span)
        return None
    literal = given.slot.value if isinstance(given.slot, Literal) else None
    whole = isinstance(literal, int) or given.value.discrete is True
    at = _name_of(given.slot)
    term = MeasureCall("PointMass", numbers=(given.slot,), count=int(whole))
    point = Known(term, frozenset(), (), (at, at), smooth=False, whole=whole)
    return _joined(point, given)


def _restrict(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 2, 3)
    inner = None if args is None else _distribution(args[0], call, env)
    if inner is None or args is None:
        return None
    if inner.rank or not inner.invertible:
        why = "a vector" if inner.rank else "a distribution whose masses of intervals are not known"
        _unfit(args[0], f"{call.name.text} takes single numbers, and this is {why}", env)
        return None
    bounds = [given_argument(arg, env) for arg in args[1:]]
    if any(isinstance(bound.slot, tuple) for bound in bounds):
        _wrong(call, env)
        return None
    ends = tuple(_name_of(bound.slot) for bound in bounds)
    own: Interval = (ends[0], ends[1] if len(ends) > 1 else inf)
    interval = common(inner.interval, own)
    if is_empty(own, touching=not inner.smooth) or is_empty(interval, touching=not inner.smooth):
        _nothing_left(args, inner.interval, env)
        return None
    slots: tuple[Argument | tuple[Argument, ...], ...] = tuple(bound.slot for bound in bounds)
    term = MeasureCall("Restrict", (inner.call,), slots)
    return _joined(replace(inner, call=term, interval=interval), *bounds)


def _nothing_left(args: tuple[tree.StepArg, ...], interval: Interval, env: Environment) -> None:
    report = env.scope.report
    text = report.text(args[1].span | args[-1].span)
    report.error(
        "Q0605",
        f"nothing lies between the bounds `{text}`",
        args[1].span | args[-1].span,
        because=[Because(f"`{report.text(args[0].span)}` is spread over {span_of(interval)}")],
    )


def _normalize(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 1, 1)
    inner = None if args is None else _distribution(args[0], call, env)
    return None if inner is None else replace(inner, call=MeasureCall("Normalize", (inner.call,)))


def _mixture(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 2, 2)
    if args is None:
        return None
    if not isinstance(args[1], tree.ArgList) or not args[1].items:
        _wrong(call, env, args[1].span)
        return None
    weights = given_argument(args[0], env)
    found = [_distribution(item, call, env) for item in args[1].items]
    parts = [part for part in found if part is not None]
    if len(parts) < len(found) or not _weights_fit(weights, len(parts), env):
        return None
    if not _alike(parts, args[1], env):
        return None
    smooth = {part.smooth for part in parts}
    interval = parts[0].interval
    for part in parts[1:]:
        interval = hull(interval, part.interval)
    mixed = any(part.mixed for part in parts) or len(smooth) == 2
    term = MeasureCall("Mixture", tuple(part.call for part in parts), (weights.slot,))
    whole = Known(
        term,
        frozenset[str]().union(*(part.rows for part in parts)),
        tuple(left for part in parts for left in part.remainders),
        interval,
        smooth=True in smooth, mixed=mixed, whole=all(part.whole for part in parts),
        invertible=all(part.invertible for part in parts), rank=parts[0].rank,
        event=parts[0].event, simplex=all(part.simplex for part in parts),
    )  # fmt: skip
    return _joined(whole, weights, consumed=1)


def _weights_fit(weights: Given, count: int, env: Environment) -> bool:
    """One weight for each component, none negative."""
    report = env.scope.report
    own, have = weights.value.own, weights.items
    if own == ():
        report.error(
            "Q0608", f"the weights of a Mixture are a vector, got `{report.text(weights.span)}`",
            weights.span, hint="write a list, as in `[0.2, 0.8]`",
        )  # fmt: skip
        return False
    if have is None and own:
        size = own[-1].obj.size
        have = size if isinstance(size, int) else None
    if have is not None and have != count:
        report.error("Q0610", f"a Mixture has {have} weights and {count} components", weights.span)
        return False
    items = weights.slot if isinstance(weights.slot, tuple) else ()
    numbers = [item.value for item in items if isinstance(item, Literal)]
    if any(not 0 <= n < inf for n in numbers) or (
        numbers and len(numbers) == have and not any(numbers)
    ):
        report.error(
            "Q0605", "the weights of a Mixture are not negative, and not all 0", weights.span
        )
        return False
    return True


def _alike(parts: list[Known], components: tree.ArgList, env: Environment) -> bool:
    """Components have values of one shape; vectors have densities, all or none."""
    first = parts[0]
    for part, item in zip(parts, components.items, strict=True):
        sizes = (first.event, part.event)
        if part.rank != first.rank or (None not in sizes and part.event != first.event):
            _unfit(item, "the components of a Mixture have values of one shape", env)
            return False
        if part.rank and (part.smooth != first.smooth or part.mixed):
            _unfit(item, "vectors of points and vectors of numbers do not mix", env)
            return False
    return True


def _pushforward(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 2, 2)
    inner = None if args is None else _distribution(args[0], call, env)
    if inner is None or args is None:
        return None
    named = read_bijector(args[1], env)
    if named is None:
        return None
    name, given = named
    if not inner.smooth or inner.mixed:
        _unfit(args[0], "Pushforward takes a distribution of numbers, and this one has points", env)
        return None
    domain = IMAGES[name][0]
    if not inside(inner.interval, domain):
        env.scope.report.error(
            "Q0611",
            f"{name} is defined on {span_of(domain)}",
            args[1].span,
            because=[
                Because(f"the distribution is spread over {span_of(inner.interval)}", args[0].span)
            ],
            hint="restrict the distribution first, as in `Restrict(Normal(0.0, 1.0), 0.0)`",
        )
        return None
    term = MeasureCall("Pushforward", (inner.call,), tuple(g.slot for g in given), bijector=name)
    if name == "StickBreaking":
        return _onto_simplex(inner, term, args[0], env)
    interval = image(name, inner.interval, given)
    return _joined(replace(inner, call=term, interval=interval), *given)


def _onto_simplex(
    inner: Known, term: MeasureCall, arg: tree.StepArg, env: Environment
) -> Known | None:
    if inner.rank != 1:
        _unfit(arg, "StickBreaking takes vectors: `Independent(D, 1)`", env)
        return None
    event = None if inner.event is None else (inner.event[0] + 1,)
    return replace(
        inner, call=term, event=event, simplex=True, invertible=False, interval=(0.0, 1.0)
    )


def _independent(call: Written, env: Environment) -> Known | None:
    args = _arguments(call, env, 2, 2)
    inner = None if args is None else _distribution(args[0], call, env)
    if inner is None or args is None:
        return None
    number = args[1].value if isinstance(args[1], tree.Number) else None
    if not isinstance(number, int) or number < 1:
        env.scope.report.error(
            "Q0610", "Independent takes a number of axes: a whole number, at least 1", args[1].span
        )
        return None
    lefts = [(Value(axes=left.axes), left.span) for left in inner.remainders]
    axes = aligned(lefts, env)
    if axes is not None and len(axes) < number:
        _unfit(
            args[0],
            f"Independent takes the last {number} own axes of the arguments, and there are "
            f"{len(axes)}",
            env,
        )
        return None
    remainders = tuple(replace(left, axes=_without(left.axes, number)) for left in inner.remainders)
    event = None if axes is None or inner.event is None else _sizes(axes[-number:], inner.event)
    term = MeasureCall("Independent", (inner.call,), count=number)
    return replace(
        inner, call=term, remainders=remainders, rank=inner.rank + number, event=event,
        invertible=False,
    )  # fmt: skip


def _without(axes: Axes | None, count: int) -> Axes | None:
    return axes if axes is None else axes[: max(0, len(axes) - count)]


def _sizes(axes: Axes, event: tuple[int, ...]) -> tuple[int, ...] | None:
    sizes = [axis.obj.size for axis in axes]
    known = tuple(size for size in sizes if isinstance(size, int))
    return (*known, *event) if len(known) == len(sizes) else None


OPERATORS: Mapping[str, Callable[[Written, Environment], Known | None]] = {
    "PointMass": _point_mass,
    "Restrict": _restrict,
    "Normalize": _normalize,
    "Mixture": _mixture,
    "Pushforward": _pushforward,
    "Independent": _independent,
}
