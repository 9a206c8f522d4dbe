"""What stands after `:` in a step, and the options that speak of axes: over, iid_over, via."""

from dataclasses import dataclass

from quivers_nb.check.draw import Draw
from quivers_nb.check.environment import Environment
from quivers_nb.check.inline import SizeHint
from quivers_nb.check.objects import axes_of, check_object
from quivers_nb.check.options import NAME, NAMES, Kind, Setting, Settings, names_of
from quivers_nb.check.term import Axis, FamilyCall, Variable
from quivers_nb.check.values import own_axes
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import ProductSpace, Space, is_finite
from quivers_nb.syntax import tree


def read_via(value: tree.OptionValue | None) -> tuple[tree.Name, ...] | None:
    """``via=i``, ``via=[i, j]`` or ``via=product(i, j)``."""
    if isinstance(value, tree.OptionCall):
        items = tuple(item for key, item in value.args if key is None)
        names = tuple(item for item in items if isinstance(item, tree.Name))
        whole = value.name.text == "product" and len(names) == len(value.args) > 0
        return names if whole else None
    return names_of(value)


OPTIONS: dict[str, Kind] = {"over": NAMES, "iid_over": NAMES, "iid": NAMES}
SAMPLE_OPTIONS: dict[str, Kind] = {**OPTIONS, "per": NAME}
VIA = Kind("an index, a list of them, or product(i, j)", read_via)
OBSERVE_OPTIONS: dict[str, Kind] = {**OPTIONS, "via": VIA}


@dataclass(frozen=True, slots=True)
class Index:
    """What stands after `:` in a step: a plate of finite axes, or one space."""

    plate: tuple[Axis, ...] | None = None
    space: Space | None = None
    span: Span | None = None


def check_index(obj: tree.Obj | None, env: Environment) -> Index | None:
    """The plate or the space of a step; None after an error."""
    if obj is None:
        return Index()
    value = check_object(obj, env.scope)
    if value is None:
        return None
    if is_finite(value):
        return Index(plate=axes_of(obj, env.scope), span=obj.span)
    if isinstance(value, ProductSpace):
        if any(is_finite(factor) for factor in value.factors):
            env.scope.report.error(
                "Q0518",
                f"`{env.scope.report.text(obj.span)}` mixes finite sets and spaces: a step is over "
                "a plate (finite) or in a space",
                obj.span,
                hint="draw a vector per element from a kernel, or write two steps",
            )
            return None
        value = Space("Real", (value.dim,))
    return Index(space=value, span=obj.span)  # type: ignore[arg-type]


def size_hint(options: Settings, index: Index | None, env: Environment) -> SizeHint:
    """Where the size of an event axis may come from."""
    over, over_name = None, None
    setting = options.get("over")
    if setting is not None and len(setting.names) == 1:
        name = setting.names[0]
        over_name = name.text
        over = check_object(tree.ObjName(name, span=name.span), env.scope)
    _repeated_axes(options, index, env)
    return SizeHint(
        over=over, over_name=over_name, space=index.space if index is not None else None,
        cod=env.cod, cod_span=env.cod_span,
    )  # fmt: skip


def _repeated_axes(options: Settings, index: Index | None, env: Environment) -> None:
    """`iid_over` names axes of the plate, none of them in `over`."""
    over = {name.text for name in options["over"].names} if "over" in options else set()
    plate = [axis.name for axis in (index.plate or ())] if index is not None else []
    for key in ("iid_over", "iid"):
        setting: Setting | None = options.get(key)
        for name in setting.names if setting is not None else ():
            if name.text in over:
                message = f"axis `{name.text}` is in both `over` and `{key}`"
            elif name.text not in plate:
                message = f"`{name.text}` is not an axis of this step's plate"
            else:
                continue
            near = nearest(name.text, [p for p in plate if p is not None])
            hint = None if near is None else f"did you mean `{near}`?"
            if name.text in over:
                hint = f"drop `{key}`: the object behind the colon says how many there are"
            env.scope.report.error("Q0313", message, name.span, hint=hint)


def via_indices(options: Settings, env: Environment) -> tuple[Variable, ...]:
    """The indices of `via=`: bound names or host data."""
    names = options["via"].names if "via" in options else ()
    found: list[Variable] = []
    for name in names:
        env.value(name)
        found.append(Variable(name.text, host=env.is_host(name.text), span=name.span))
    return tuple(found)


def group_index(
    step: tree.ObserveStep | tree.MarginalizeStep,
    index: tree.Obj | None,
    options: Settings,
    groups: tuple[Axis, ...],
    env: Environment,
) -> tuple[Variable, ...]:
    """The indices of a step directly in a grouped block: one per axis of the groups (7.8)."""
    report = env.scope.report
    keyword = "observe" if isinstance(step, tree.ObserveStep) else "marginalize"
    if "via" not in options:
        report.error(
            "Q0520",
            f"every {keyword} in a grouped `marginalize` needs `via`: which group each row is in",
            step.name.span,
            hint="name the index of each row: `[via=group_of]`",
        )
        return ()
    indices = via_indices(options, env)
    if len(indices) != len(groups):
        report.error(
            "Q0520",
            f"`via` gives {len(indices)} indices, and the groups have {len(groups)} axes",
            options["via"].span,
        )
    if index is None:
        report.error(
            "Q0520",
            f"an {keyword} in a grouped `marginalize` is over a plate: `{keyword} "
            f"{step.name.text} : Rows <- …`",
            step.name.span,
        )
    return indices


def check_one_per_group(step: tree.SampleStep, index: Index, env: Environment) -> bool:
    """A draw directly in a grouped block has one value for each of its groups (7.8)."""
    if env.groups is None or (index.plate is not None and own_axes(index.plate) == env.groups):
        return True
    name = step.names[0].text
    groups = " * ".join(str(axis.name or axis.obj) for axis in env.groups)
    env.scope.report.error(
        "Q0520",
        f"`{name}` has no group: a `sample` in a grouped `marginalize` is one value per group",
        step.names[0].span,
        hint=f"write `sample {name} : {groups} <- …`, or draw it before the block",
    )
    return False


def check_event_axes(call: tree.Call, options: Settings, draw: Draw, env: Environment) -> bool:
    """`over` sizes the vector or matrix that a family draws, and agrees with its arguments."""
    setting = options.get("over")
    if setting is None:
        return True
    source, name, report = draw.source, call.name.text, env.scope.report
    rank = FAMILIES[source.family].event_rank if isinstance(source, FamilyCall) else 0
    if rank == 0:
        numbers = "single numbers" if isinstance(source, FamilyCall) else "what it says itself"
        report.error(
            "Q0312",
            f"`over` sizes a vector, and `{name}` draws {numbers}",
            setting.key_span,
            hint="drop it; a plate stands behind the name, as in `sample v : A <- …`",
        )
        return False
    sizes = [check_object(tree.ObjName(each, span=each.span), env.scope) for each in setting.names]
    counts = [getattr(size, "size", None) for size in sizes]  # None of a space
    for count, length, each in zip(counts, draw.event or (), setting.names, strict=False):
        if isinstance(count, int) and count != length:
            report.error(
                "Q0609",
                f"`{name}` has {length} components by its arguments, and `{each.text}` has {count}",
                each.span,
                because=[Because("the arguments are here", call.span)],
            )
            return False
    return True
