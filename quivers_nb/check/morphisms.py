"""Morphism declarations: the six roles, their options and what they need (section 4)."""

from dataclasses import dataclass, replace

from quivers_nb.check.expressions import check_expression, resolve
from quivers_nb.check.kernels import check_kernel
from quivers_nb.check.objects import check_object, declared_label
from quivers_nb.check.options import (
    COUNT,
    NAME,
    NAMES,
    POSITIVE,
    SOURCE,
    Kind,
    Settings,
    kind_of,
    read_options,
)
from quivers_nb.check.priors import check_prior
from quivers_nb.check.scope import Group, MorphismBinding, Scope
from quivers_nb.check.tables import constant
from quivers_nb.check.term import Generator, Morphism, Named, Role, Term
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.check.weights import check_weights
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Object, Space, is_finite
from quivers_nb.syntax import tree

ROLES = tuple(role.value for role in Role)
COMMON: dict[str, Kind] = {"role": NAME, "replicate": COUNT}
AXES: dict[str, Kind] = {"over": NAMES, "iid_over": NAMES, "iid": NAMES}
ROLE_OPTIONS: dict[Role, dict[str, Kind]] = {
    Role.LATENT: {"scale": POSITIVE, "init": NAME, **AXES},
    Role.OBSERVED: {},
    Role.KERNEL: {"scale": POSITIVE, "hidden_dim": COUNT, "param_source": SOURCE, **AXES},
    Role.EMBED: {"scale": POSITIVE},
    Role.DISCRETIZE: {"bins": COUNT},
    Role.LET: {},
}
NETWORK_OPTIONS = ("hidden_dim", "param_source")


@dataclass(frozen=True, slots=True)
class Declared:
    """A morphism line with its types resolved and its options read."""

    decl: tree.MorphismDecl
    role: Role
    dom: Object
    cod: Object
    options: Settings


def declare_morphism(decl: tree.MorphismDecl, scope: Scope) -> None:
    """Bind the name of a `morphism` line, or the names of a replicated group."""
    before = scope.report.count
    dom, cod = check_object(decl.dom, scope), check_object(decl.cod, scope)
    role, options = _options(decl, scope)
    morphism = None
    if role is not None and dom is not None and cod is not None:
        declared = Declared(decl, role, dom, cod, options)
        if role is Role.LET:
            value = _declare_let(declared, scope)
            scope.declare_morphism(decl.name, MorphismBinding(value, decl.name.span, "morphism"))
            return
        morphism = _by_role(declared, scope)
    if scope.report.count > before:
        morphism = None
    count = options["replicate"].integer if "replicate" in options else None
    if morphism is not None and not check_weights(morphism, count or 1, decl, scope):
        morphism = None
    _bind(decl, morphism, count, scope)


def _bind(
    decl: tree.MorphismDecl, morphism: Morphism | None, count: int | None, scope: Scope
) -> None:
    name, span = decl.name.text, decl.name.span
    if count is None:
        value = None if morphism is None else _generator(morphism, (name,))
        scope.declare_morphism(decl.name, MorphismBinding(value, span, "morphism"))
        return
    members = tuple(f"{name}_{i}" for i in range(count))
    for i, member in enumerate(members):
        value = None
        if morphism is not None:
            value = _generator(replace(morphism, member=i), (name, i))
        at = replace(decl.name, text=member)
        scope.declare_morphism(at, MorphismBinding(value, span, "morphism"))
    group = Group(members)
    scope.declare_morphism(decl.name, MorphismBinding(group, span, "replicated morphism"))


def _generator(morphism: Morphism, owner: tuple[str | int, ...]) -> Generator:
    attends = morphism.source is not None and morphism.source.kind.value == "attention"
    from_sequence = attends or morphism.family == "GP"
    return Generator(
        dom=morphism.dom, cod=morphism.cod, sequence=from_sequence, span=morphism.span,
        morphism=morphism, owner=owner,
    )  # fmt: skip


def _options(decl: tree.MorphismDecl, scope: Scope) -> tuple[Role | None, Settings]:
    """The role and the options it takes; None after saying what is wrong with the role."""
    entry = next((e for e in decl.options.entries if e.key.text == "role"), None)
    report = scope.report
    if entry is None:
        _no_role(decl, scope)
        return None, {}
    role = next((r for r in Role if _text(entry.value) == r.value), None)
    if role is None:
        got = report.text(entry.value.span) if entry.value is not None else "nothing"
        near = nearest(got, ROLES)
        report.error(
            "Q0302",
            f"unknown role `{got}`; the roles are {', '.join(ROLES)}",
            entry.key.span if entry.value is None else entry.value.span,
            hint=None if near is None else f"did you mean `{near}`?",
        )
        return None, {}
    what = f"a morphism of role {role.value}"
    allowed = {**COMMON, **ROLE_OPTIONS[role], **_family_options(decl, role)}
    if role is Role.KERNEL and not _has_network(decl):
        allowed = {key: kind for key, kind in allowed.items() if key not in NETWORK_OPTIONS}
    found = read_options(decl.options, allowed, report, what=what)
    init = found.get("init")
    if init is not None and init.name != "auto":
        report.error("Q0305", f"`init` expects auto, got `{init.name}`", init.span)
    return role, found


def _no_role(decl: tree.MorphismDecl, scope: Scope) -> None:
    """The role is missing: misspelled (`rol=embed`), bare (`[embed]`), or not there."""
    for entry in decl.options.entries:
        key = entry.key.text
        if entry.value is not None and nearest(key, ("role",)) is not None:
            scope.report.error(
                "Q0303", f"unknown option `{key}` on a morphism", entry.key.span,
                hint="did you mean `role`?",
            )  # fmt: skip
            return
        if entry.value is None and key in ROLES:
            scope.report.error(
                "Q0301", f"morphism `{decl.name.text}` misses the option `role`", entry.key.span,
                hint=f"write `role={key}`",
            )  # fmt: skip
            return
    scope.report.error(
        "Q0301",
        f"morphism `{decl.name.text}` misses the option `role`",
        decl.options.span,
        hint=f"write one of {', '.join(f'[role={r}]' for r in ROLES)}",
    )


def _family_options(decl: tree.MorphismDecl, role: Role) -> dict[str, Kind]:
    """The settings of the family of a kernel: `temperature`, `rank`, …"""
    name = family_name(decl)
    if role is not Role.KERNEL or name is None or name.text not in FAMILIES:
        return {}
    return {key: kind_of(default) for key, default in FAMILIES[name.text].settings}


def _has_network(decl: tree.MorphismDecl) -> bool:
    name = family_name(decl)
    return name is None or name.text not in FAMILIES or FAMILIES[name.text].network


def family_name(decl: tree.MorphismDecl) -> tree.Name | None:
    """The name after `~` when it can be a family: ``~ Normal`` or ``~ Normal(…)``."""
    if isinstance(decl.init, tree.Call | tree.ExprName):
        return decl.init.name
    return None


def _text(value: tree.OptionValue | None) -> str | None:
    return value.text if isinstance(value, tree.Name) else None


def _by_role(declared: Declared, scope: Scope) -> Morphism | None:
    match declared.role:
        case Role.KERNEL:
            return check_kernel(declared.decl, declared.dom, declared.cod, declared.options, scope)
        case Role.EMBED:
            return _embed(declared, scope)
        case Role.LATENT:
            return _latent(declared, scope)
        case Role.DISCRETIZE:
            return _discretize(declared, scope)
        case Role.OBSERVED:
            return _observed(declared, scope)
        case Role.LET:  # bound by `_declare_let`: it has no weights of its own
            return None


def _embed(d: Declared, scope: Scope) -> Morphism | None:
    _no_initializer(d, scope)
    if not is_finite(d.dom):
        _unfit(d, "an embed goes from a finite set to a space", d.decl.dom, scope)
        return None
    if not isinstance(d.cod, Space):
        _unfit(d, "an embed goes from a finite set to a space", d.decl.cod, scope)
        return None
    return make_morphism(d, scope, scale=d.options)


def _latent(d: Declared, scope: Scope) -> Morphism | None:
    for side, obj in ((d.decl.dom, d.dom), (d.decl.cod, d.cod)):
        if not is_finite(obj):
            _unfit(d, "a latent morphism needs finite sets", side, scope)
            return None
    prior = check_prior(d.decl, d.cod, d.options, scope)
    made = make_morphism(d, scope, scale=d.options)
    init = d.decl.init
    if isinstance(init, tree.Call | tree.ExprName):
        return replace(made, prior=prior, settings=(("prior", init.name.text),))
    return made


def _discretize(d: Declared, scope: Scope) -> Morphism | None:
    before = scope.report.count
    _no_initializer(d, scope)
    if "bins" not in d.options and "bins" not in _written(d.decl):
        scope.report.error(
            "Q0301",
            f"morphism `{d.decl.name.text}` misses the option `bins`",
            d.decl.options.span,
            hint="write the number of bins: `[role=discretize, bins=8]`",
        )
    if not (isinstance(d.dom, Space) and d.dom.ctor == "Real" and d.dom.dim == 1 and d.dom.bounded):
        _unfit(
            d, "the domain of discretize must be 1-dimensional and bounded", d.decl.dom, scope,
            hint="declare it as `Real 1 [low=0.0, high=1.0]`",
        )  # fmt: skip
    if not is_finite(d.cod):
        _unfit(d, "the codomain of discretize must be a finite set", d.decl.cod, scope)
    elif "bins" in d.options and d.cod.size != d.options["bins"].integer:  # type: ignore[union-attr]
        bins = d.options["bins"]
        scope.report.error(
            "Q0306", f"{bins.integer} bins do not make {d.cod}", bins.span,
            because=[Because("the codomain is written here", d.decl.cod.span)],
        )  # fmt: skip
    if scope.report.count > before:
        return None
    return make_morphism(d, scope, scale={})


def _initializer(d: Declared, scope: Scope) -> Term | None:
    """Roles observed and let: an initializer that is an expression of as many entries."""
    report, decl, role = scope.report, d.decl, d.role.value
    if decl.init is None:
        report.error(
            "Q0307",
            f"{role} requires an initializer",
            decl.name.span,
            hint=f'write what `{decl.name.text}` is: `~ from_data("{decl.name.text}")`',
        )
        return None
    name = family_name(decl)
    if name is not None and name.text in FAMILIES and name.text not in scope.morphisms:
        report.error(
            "Q0307",
            f"`{name.text}` is a family, given where {role} expects an expression",
            name.span,
            hint="to place a prior on a table, write `[role=latent] ~ Family(…)`",
        )
        return None
    if isinstance(decl.init, tree.Call):
        if resolve(decl.init.name, scope) is not None:
            not_lowered(f"the role {role} with a call", decl.init.span, report)
        return None
    term = check_expression(decl.init, scope)
    if term is None:
        return None
    if not (_numel_fits(term.dom, d.dom) and _numel_fits(term.cod, d.cod)):
        _shape(d, f"{_size(term.dom)} -> {_size(term.cod)}", scope)
        return None
    return term


def _observed(d: Declared, scope: Scope) -> Morphism | None:
    """A table that never changes: data, or an identity; its entries are refactored as declared."""
    term = _initializer(d, scope)
    if term is None:
        return None
    for side, obj in ((d.decl.dom, d.dom), (d.decl.cod, d.cod)):
        if not is_finite(obj):
            _unfit(d, "an observed table needs finite sets", side, scope)
            return None
    table = constant(term)
    if table is None:
        not_lowered("an observed table that is computed", term.span, scope.report)
        return None
    data = table.morphism.data if isinstance(table, Generator) else None
    return replace(make_morphism(d, scope, scale={}), data=data)


def _declare_let(d: Declared, scope: Scope) -> Named | None:
    """Role let: another name of an expression, whose declared types are checked."""
    term = _initializer(d, scope)
    if term is None:
        return None
    if "replicate" in d.options or (term.dom, term.cod) != (d.dom, d.cod):
        what = "`replicate` on" if "replicate" in d.options else "other factors than its own in"
        not_lowered(f"{what} the role let", d.decl.options.span, scope.report)
        return None
    return Named(
        dom=term.dom, cod=term.cod, sequence=term.sequence, span=d.decl.name.span,
        name=d.decl.name.text, body=term,
    )  # fmt: skip


def _shape(d: Declared, got: str, scope: Scope) -> None:
    wanted = f"{_size(d.dom)} -> {_size(d.cod)}"
    assert d.decl.init is not None
    scope.report.error(
        "Q0310",
        f"the shape {got} of the initializer does not fit {wanted}",
        d.decl.init.span,
        because=[
            Because(
                f"`{d.decl.name.text}` is declared {scope.report.text(d.decl.dom.span)} -> "
                f"{scope.report.text(d.decl.cod.span)}",
                d.decl.dom.span | d.decl.cod.span,
            )
        ],
        hint=_one_row(d, got),
    )


def _one_row(d: Declared, got: str) -> str | None:
    """A vector of weights is given where one distribution is wanted."""
    if _size(d.dom) == 1 and got == f"{_size(d.cod)} -> 1":
        return "a vector has one row per entry: give one row of weights, `w[None]`"
    return None


def _numel_fits(have: Object, want: Object) -> bool:
    a, b = _size(have), _size(want)
    return a == b or not (isinstance(a, int) and isinstance(b, int))


def _size(obj: Object) -> object:
    return obj.size if is_finite(obj) else obj.dim  # type: ignore[union-attr]


def _no_initializer(d: Declared, scope: Scope) -> None:
    if d.decl.init is not None:
        scope.report.error(
            "Q0307", f"{d.role.value} takes no initializer", d.decl.init.span,
            hint="drop what follows the option block",
        )  # fmt: skip


def _unfit(
    d: Declared, message: str, side: tree.Obj, scope: Scope, hint: str | None = None
) -> None:
    value = d.dom if side is d.decl.dom else d.cod
    text = scope.report.text(side.span)
    kind = "a finite set" if is_finite(value) else "a space"
    shown = f"`{text}`" if text == str(value) else f"`{text}` ({value})"
    scope.report.error(
        "Q0306",
        f"{message}; {shown} is {kind}",
        side.span,
        labels=declared_label(side, scope),
        hint=hint,
    )


def make_morphism(d: Declared, scope: Scope, *, scale: Settings) -> Morphism:
    """The record of a declared morphism without a family."""
    return Morphism(
        name=d.decl.name.text, member=None, role=d.role, dom=d.dom, cod=d.cod,
        scale=scale["scale"].number if "scale" in scale else None,
        init=d.options["init"].name if "init" in d.options else None,
        span=d.decl.name.span,
        dom_text=scope.report.text(d.decl.dom.span), cod_text=scope.report.text(d.decl.cod.span),
    )  # fmt: skip


def _written(decl: tree.MorphismDecl) -> set[str]:
    return {entry.key.text for entry in decl.options.entries}
