"""`marginalize`: a discrete or unit-interval site that is summed out, with its block (7.8)."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace

from quivers_nb.check.axes import match, shown_all
from quivers_nb.check.draw import Draw
from quivers_nb.check.environment import Environment
from quivers_nb.check.families import find_family
from quivers_nb.check.indices import OPTIONS, VIA, Index, check_index, group_index, size_hint
from quivers_nb.check.inline import inline_draw
from quivers_nb.check.objects import axes_of, check_finite
from quivers_nb.check.options import NAME, Kind, Settings, read_options
from quivers_nb.check.plates import check_plate
from quivers_nb.check.term import (
    Axis,
    FamilyCall,
    Gather,
    Indexed,
    MarginalizeStep,
    Reduction,
    Step,
    TermNode,
    Variable,
)
from quivers_nb.check.values import SITE, UNKNOWN, Value, own_axes
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Finite
from quivers_nb.spaces.support import UNIT_INTERVAL, Counts
from quivers_nb.syntax import tree

CheckStep = Callable[[tree.Step, Environment], Step | None]
MARGINAL_OPTIONS: dict[str, Kind] = {**OPTIONS, "reduction": NAME, "via": VIA}
REDUCTIONS = tuple(reduction.value for reduction in Reduction)


def check_marginalize(
    step: tree.MarginalizeStep, env: Environment, check_step: CheckStep
) -> Step | None:
    """Check the source and the block; the names bound inside stay inside."""
    report = env.scope.report
    before = report.count
    options = read_options(step.options, MARGINAL_OPTIONS, report, what="a marginalize step")
    grouped = "over" in options
    checked = _grouped(step, options, env) if grouped else _ungrouped(step, options, env)
    head, value = (None, UNKNOWN) if checked is None else checked
    with env.block(head.over if head is not None and grouped else None):
        env.bind(step.name, value)
        body = tuple(done for inner in step.body if (done := check_step(inner, env)) is not None)
        if report.count == before and head is not None and head.plate is not None:
            _warn_of_classes_as_a_plate(step, head.plate, body, env)
    if report.count > before or head is None:
        return None
    return replace(head, body=body)


def _warn_of_classes_as_a_plate(
    step: tree.MarginalizeStep, plate: tuple[Axis, ...], body: tuple[Step, ...], env: Environment
) -> None:
    """One class per class is hardly ever meant: the object behind the colon is the data's (7.8)."""
    over = {axis.name for axis in plate} - {None}
    for base in _indexed_by(step.name.text, body):
        known = env.value(tree.Name(base.name, span=base.span))
        axis = known.own[0] if known.own else None
        if axis is None or axis.name not in over:
            continue
        env.scope.report.warning(
            "Q0523",
            f"`{step.name.text}` is one class for each element of {axis.name}, and indexes "
            f"{axis.name} itself",
            step.name.span,
            because=[Because(f"without `over`, {axis.name} is a plate, as behind `sample`")],
            hint=f"write the object of the data, `marginalize {step.name.text} : Obs <- …` with "
            "`observe y : Obs` in it; one class for a group of rows takes `[over=Groups]`",
        )
        return


def _indexed_by(name: str, node: object) -> Iterator[Variable]:
    """The variables in steps that are indexed by ``name``."""
    if isinstance(node, Indexed | Gather):
        if any(isinstance(each, Variable) and each.name == name for each in node.indices):
            yield node.base
    elif isinstance(node, tuple):
        for each in node:
            yield from _indexed_by(name, each)
    elif is_dataclass(node) and not isinstance(node, TermNode):
        for each in fields(node):
            yield from _indexed_by(name, getattr(node, each.name))


def _ungrouped(
    step: tree.MarginalizeStep, options: Settings, env: Environment
) -> tuple[MarginalizeStep, Value] | None:
    """One value per row, or per element of a plate, summed over its support."""
    report = env.scope.report
    grouped = env.groups is not None and step.index is not None
    for key in ("reduction",) if grouped else ("reduction", "via"):
        if key in options:
            report.warning(
                "Q0515", f"`{key}` has no effect without `over`", options[key].key_span,
                hint="drop it",
            )  # fmt: skip
    index = check_index(step.index, env)
    draw = _draw(step, options, index, env)
    if draw is None or index is None or not isinstance(draw.source, FamilyCall):
        return None
    if index.space is not None:
        report.error(
            "Q0518", "a marginalized site is over a plate, not in a space", index.span or step.span
        )
        return None
    value = Value(rows=draw.rows | {SITE}, axes=(), discrete=draw.discrete)
    if index.plate is None and not _one_each(step, draw, env):
        return None
    if index.plate is not None:
        if not check_plate(step, index.plate, draw, env, observed=False):
            return None
        value = Value(axes=index.plate, discrete=draw.discrete, plate=True)
    via = _outer_index(step, options, index.plate, env)
    head = MarginalizeStep(
        step.name.text, draw.source, (), plate=index.plate, via=via, span=step.span
    )
    return head, value


def _one_each(step: tree.MarginalizeStep, draw: Draw, env: Environment) -> bool:
    """Without a plate there is one site per row: no argument may have axes left over."""
    report = env.scope.report
    for left in draw.remainders:
        if left.axes:
            report.error(
                "Q0513",
                f"`{report.text(left.span)}` has {shown_all(left.axes)} left over, and "
                f"`{step.name.text}` is over no plate",
                left.span,
                hint=f"declare the plate: `marginalize {step.name.text} : A <- …`",
            )
            return False
    return True


def _grouped(
    step: tree.MarginalizeStep, options: Settings, env: Environment
) -> tuple[MarginalizeStep, Value] | None:
    """One class per group, from a named tensor of probabilities."""
    over = _groups(options, env)
    reduction = _reduction(options, env)
    classes = _classes(step, env)
    via = _outer_index(step, options, over, env)
    named = _named_probabilities(step, env)
    if over is None or reduction is None or classes is None or not named:
        return None
    draw = _draw(step, {}, Index(), env)
    if draw is None or not isinstance(draw.source, FamilyCall):
        return None
    if not _probabilities_fit(step, draw, over, classes, env):
        return None
    head = MarginalizeStep(
        step.name.text, draw.source, (), over=over, classes=classes, reduction=reduction, via=via,
        span=step.span,
    )  # fmt: skip
    return head, Value(axes=(), discrete=True)


def _draw(
    step: tree.MarginalizeStep, options: Settings, index: Index | None, env: Environment
) -> Draw | None:
    """The draw of a family that can be summed or integrated out."""
    name = step.call.name
    if name.text in env.scope.morphisms:
        env.scope.report.error(
            "Q0519",
            f"`{name.text}` is a {env.scope.morphisms[name.text].kind}: marginalize takes an "
            "inline family",
            name.span,
            hint="write the family with its parameters, as in `Categorical(p)`",
        )
        return None
    family = find_family(name, env.scope)
    if family is None:
        return None
    if not _can_be_summed(family):
        env.scope.report.error(
            "Q0519",
            f"the support of {family.name} is neither finite nor [0, 1]",
            name.span,
            because=[Because(f"{family.name}: {family.summary}")],
            hint="a site with another support is sampled: `sample`",
        )
        return None
    hint = replace(size_hint(options, index, env), marginal=True)
    return inline_draw(step.call, env, hint)


def _can_be_summed(family: Family) -> bool:
    support = family.support
    if isinstance(support, Counts):
        return support.labels or support.high is not None
    return support == UNIT_INTERVAL


def _groups(options: Settings, env: Environment) -> tuple[Axis, ...] | None:
    axes: list[Axis] = []
    for name in options["over"].names:
        if name.text not in env.scope.objects:
            near = nearest(name.text, env.scope.objects)
            env.scope.report.error(
                "Q0521",
                f"undeclared plate `{name.text}`",
                name.span,
                hint=None if near is None else f"did you mean `{near}`?",
            )
            return None
        obj = tree.ObjName(name, span=name.span)
        if check_finite(obj, env.scope, code="Q0521", what="a plate of groups") is None:
            return None
        axes.extend(axes_of(obj, env.scope))
    return tuple(axes)


def _reduction(options: Settings, env: Environment) -> Reduction | None:
    setting = options.get("reduction")
    if setting is None:
        return Reduction.LOGSUMEXP
    if setting.name in REDUCTIONS:
        return Reduction(setting.name)
    env.scope.report.error(
        "Q0521",
        f"`reduction` is logsumexp, sum or mean, got `{setting.name}`",
        setting.span,
    )
    return None


def _classes(step: tree.MarginalizeStep, env: Environment) -> Finite | None:
    if step.index is not None:
        return check_finite(step.index, env.scope, code="Q0521", what="the set of classes")
    env.scope.report.error(
        "Q0521",
        f"the classes of `{step.name.text}` are not named",
        step.name.span,
        hint=f"write `marginalize {step.name.text} : Classes <- Categorical(p) [over=…]`",
    )
    return None


def _outer_index(
    step: tree.MarginalizeStep, options: Settings, over: tuple[Axis, ...] | None, env: Environment
) -> tuple[Variable, ...]:
    """Inside another grouped block, over another plate: the index into the outer groups."""
    if env.groups is None or (over == env.groups and "via" not in options):
        return ()
    return group_index(step, step.index, options, env.groups, env)


def _named_probabilities(step: tree.MarginalizeStep, env: Environment) -> bool:
    args = step.call.args or ()
    named = len(args) == 1 and isinstance(args[0], tree.Name | tree.ArgIndexed)
    if step.call.name.text in {"Categorical", "CategoricalProbs"} and named:
        return True
    env.scope.report.error(
        "Q0521",
        "a grouped `marginalize` needs `Categorical(p)` with p a named tensor of probabilities",
        step.call.span,
        hint="bind the probabilities with `let` or `sample` first",
    )
    return False


def _probabilities_fit(
    step: tree.MarginalizeStep,
    draw: Draw,
    over: tuple[Axis, ...],
    classes: Finite,
    env: Environment,
) -> bool:
    """p has one axis of the classes, after axes of the groups, if any."""
    report = env.scope.report
    (left,) = draw.remainders
    name = step.call.args[0] if step.call.args else step.call.name
    base = name.name if isinstance(name, tree.ArgIndexed) else name
    known = env.look_up(base) if isinstance(base, tree.Name) else None
    own = known.own if known is not None and isinstance(name, tree.Name) else None
    count = own[-1].obj.size if own else None
    if isinstance(count, int) and isinstance(classes.size, int) and count != classes.size:
        span = known.span if known is not None else None
        report.error(
            "Q0521",
            f"`{report.text(left.span)}` has {count} probabilities, and there are {classes.size} "
            "classes",
            left.span,
            labels=[] if span is None else [Label(span, "bound here")],
        )
        return False
    if match(own_axes(over), left.axes) is not None:
        report.error(
            "Q0521",
            f"the axes of `{report.text(left.span)}` before its classes are not those of the "
            f"groups, {shown_all(over)}",
            left.span,
        )
        return False
    return True
