"""The prior of a latent morphism, and the axis roles `over` and `iid_over` (4.2, 4.6)."""

from quivers_nb.check.families import find_family
from quivers_nb.check.objects import check_object
from quivers_nb.check.options import Settings
from quivers_nb.check.scope import Scope
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object
from quivers_nb.syntax import tree


def check_prior(
    decl: tree.MorphismDecl, dom: Object, cod: Object, options: Settings, scope: Scope
) -> None:
    """A latent takes no initializer, or ``Family(args)`` with axes that fit its event rank."""
    del dom, cod  # names decide, not sizes
    if decl.init is None:
        check_axes(decl, None, options, scope)
        return
    name = decl.init.name if isinstance(decl.init, tree.Call | tree.ExprName) else None
    if name is None or name.text in scope.morphisms:
        scope.report.error(
            "Q0307",
            "latent takes a family prior, not an expression",
            decl.init.span,
            hint="a table given by an expression has `[role=let]`",
        )
        return
    family = find_family(name, scope)
    if family is not None:
        check_axes(decl, family, options, scope)


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
