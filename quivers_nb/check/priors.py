"""The prior of a latent morphism, and the axis roles `over` and `iid_over` (4.2, 4.6)."""

from quivers_nb.check.draw import Draw
from quivers_nb.check.environment import Environment
from quivers_nb.check.families import find_family
from quivers_nb.check.inline import SizeHint, inline_draw
from quivers_nb.check.objects import axes_of, check_object
from quivers_nb.check.options import Settings
from quivers_nb.check.plates import check_plate
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Axis, FamilyCall, Literal, Prior, VariableInfo
from quivers_nb.check.values import info as value_info
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object, factors
from quivers_nb.spaces.support import Between, SimplexSupport, is_discrete
from quivers_nb.syntax import tree


def check_prior(
    decl: tree.MorphismDecl, cod: Object, options: Settings, scope: Scope
) -> Prior | None:
    """A latent takes no initializer, or ``Family(args)`` with axes that fit its event rank.

    None without a prior, after an error, and where the prior's values are no weights of a kernel.
    """
    if decl.init is None:
        check_axes(decl, None, options, scope)
        return None
    name = decl.init.name if isinstance(decl.init, tree.Call | tree.ExprName) else None
    if name is None or name.text in scope.morphisms:
        scope.report.error(
            "Q0307",
            "latent takes a family prior, not an expression",
            decl.init.span,
            hint="a table given by an expression has `[role=let]`",
        )
        return None
    family = find_family(name, scope)
    if family is None:
        return None
    before = scope.report.count
    check_axes(decl, family, options, scope)
    if scope.report.count > before or not _on_last_axis(decl, options):
        return None
    return _drawn(decl, family, cod, options, scope)


def _on_last_axis(decl: tree.MorphismDecl, options: Settings) -> bool:
    """Whether an event runs along the last factor of the codomain, as rows of a kernel do."""
    if "over" not in options:
        return True
    last = decl.cod.factors[-1] if isinstance(decl.cod, tree.ObjProduct) else decl.cod
    names = {"cod"} if last is decl.cod else set[str]()
    names |= {last.name.text} if isinstance(last, tree.ObjName) else set()
    return [name.text in names for name in options["over"].names] == [True]


def _drawn(
    decl: tree.MorphismDecl, family: Family, cod: Object, options: Settings, scope: Scope
) -> Prior | None:
    """The family at its arguments, over a plate of the axes that are not its event's."""
    assert isinstance(decl.init, tree.Call | tree.ExprName)
    init = decl.init
    call = init if isinstance(init, tree.Call) else tree.Call(init.name, None, span=init.span)
    axes = (*axes_of(decl.dom, scope), *axes_of(decl.cod, scope))
    plate, last = (axes[:-1], axes[-1]) if "over" in options else (axes, None)
    env = Environment(
        scope=scope, reads=False, dom=None, dom_span=decl.dom.span, cod=None,
        cod_span=decl.cod.span, dom_name=None,
    )  # fmt: skip
    hint = SizeHint() if last is None else SizeHint(over=last.obj, over_name=last.name)
    draw = inline_draw(call, env, hint)
    step = tree.SampleStep((decl.name,), decl.dom, call, span=decl.span)
    if draw is None or not check_plate(step, plate, draw, env, observed=False):
        return None
    assert isinstance(draw.source, FamilyCall)
    if last is not None and draw.event not in {None, (last.obj.size,)}:
        _components(decl, family, draw, last, scope)
        return None
    if not weights_of_outcomes(family, draw.source):
        return None
    for key in ("scale", "init"):
        if key in options:
            scope.report.warning(
                "Q0315", f"`{key}` has no effect on a table with a prior", options[key].key_span,
                because=[Because("its entries are drawn, and have no raw values to start from")],
            )  # fmt: skip
    info = VariableInfo(decl.name.text, False, plate, draw.event or (), simplex=draw.simplex)
    rows = last is not None and len(factors(cod)) == 1
    read = tuple(value_info(name, value) for name, value in env.used_data.items())
    return Prior(draw.source, plate, info, rows, tuple(env.host), read)


def weights_of_outcomes(family: Family, call: FamilyCall) -> bool:
    """Whether values lie on a simplex or in [0, 1], as the entries of a latent's table do (4.2)."""
    support = family.support
    if is_discrete(support):
        return False
    if isinstance(support, Between):
        ends = [_end(end, family, call) for end in (support.low, support.high)]
        return all(end is not None and 0.0 <= end <= 1.0 for end in ends)
    return isinstance(support, SimplexSupport)


def _end(end: float | str, family: Family, call: FamilyCall) -> float | None:
    """An end of an interval; one that a parameter names is known if the argument is a number."""
    if not isinstance(end, str):
        return float(end)
    named = dict(zip((p.name for p in family.parameters), call.args, strict=True))
    given = named.get(end)
    return float(given.value) if isinstance(given, Literal) else None


def _components(
    decl: tree.MorphismDecl, family: Family, draw: Draw, last: Axis, scope: Scope
) -> None:
    assert decl.init is not None
    got = (draw.event or (0,))[0]
    scope.report.error(
        "Q0310",
        f"{family.name} gives {got} components, and a row of `{decl.name.text}` has "
        f"{last.obj.size}",
        decl.init.span,
        because=[Because("the codomain is written here", decl.cod.span)],
    )


def check_axes(
    decl: tree.MorphismDecl, family: Family | None, options: Settings, scope: Scope
) -> None:
    """`over` lists as many axes as the event rank; names are available; the two are disjoint."""
    available = axis_names(decl)
    for key in ("over", "iid_over", "iid"):
        for name in options[key].names if key in options else ():
            if name.text not in available:
                near = nearest(name.text, available)
                scope.report.error(
                    "Q0313",
                    f"unknown axis `{name.text}`; available are {', '.join(available)}",
                    name.span,
                    hint=None if near is None else f"did you mean `{near}`?",
                )
    over = options.get("over")
    _disjoint(options, scope)
    if family is None:
        return
    count = len(over.names) if over is not None else 0
    if (over is not None or decl.init is not None) and count != family.event_rank:
        _rank(decl, family, count, options, scope)


def axis_names(decl: tree.MorphismDecl) -> tuple[str, ...]:
    """The axis names of a declaration: its named factors, then `dom` and `cod` where single."""
    names: dict[str, None] = {}
    for side in (decl.dom, decl.cod):
        parts = side.factors if isinstance(side, tree.ObjProduct) else (side,)
        names.update((part.name.text, None) for part in parts if isinstance(part, tree.ObjName))
    for word, side in (("dom", decl.dom), ("cod", decl.cod)):
        if isinstance(side, tree.ObjName):
            names[word] = None
    return tuple(names)


def axis_objects(
    decl: tree.MorphismDecl, dom: Object, cod: Object, scope: Scope
) -> dict[str, Object]:
    """The objects of `axis_names`."""
    found: dict[str, Object] = {}
    for side in (decl.dom, decl.cod):
        for part in side.factors if isinstance(side, tree.ObjProduct) else (side,):
            if isinstance(part, tree.ObjName):
                obj = check_object(part, scope)
                if obj is not None:
                    found[part.name.text] = obj
    return {**found, "dom": dom, "cod": cod}


def _rank(
    decl: tree.MorphismDecl, family: Family, count: int, options: Settings, scope: Scope
) -> None:
    over = options.get("over")
    plural = "axis" if count == 1 else "axes"
    scope.report.error(
        "Q0312",
        f"{family.name} has event rank {family.event_rank}, but `over` lists {count} {plural}",
        over.span if over is not None else decl.options.span,
        because=[Because(f"{family.name}: {family.summary}")],
        hint=f"available axes are {', '.join(axis_names(decl))}",
    )


def _disjoint(options: Settings, scope: Scope) -> None:
    over = {name.text: name for name in options["over"].names} if "over" in options else {}
    for key in ("iid_over", "iid"):
        for name in options[key].names if key in options else ():
            if name.text in over:
                scope.report.error(
                    "Q0313",
                    f"axis `{name.text}` is in both `over` and `{key}`",
                    name.span,
                    labels=[Label(over[name.text].span, "an event axis here")],
                    hint="an axis is either part of one draw (`over`) or repeats it (`iid_over`)",
                )
