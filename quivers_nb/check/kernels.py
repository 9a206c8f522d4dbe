"""Kernel declarations: a family, what it needs of the codomain, a parameter source (4.5)."""

import ast
import operator
from dataclasses import replace

from quivers_nb.check.families import find_family
from quivers_nb.check.objects import declared_label
from quivers_nb.check.options import Setting, Settings
from quivers_nb.check.priors import axis_objects, check_axes
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Morphism, ParamSource, Role, SourceKind
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES, MATRIX_SPACES
from quivers_nb.spaces.family import Codomain, Family
from quivers_nb.spaces.space import Object, ProductSpace, Space, is_finite, width
from quivers_nb.spaces.support import SimplexSupport
from quivers_nb.syntax import tree

HIDDEN = 64  # default width of the two hidden layers of an mlp
COVARIANCES = ("rbf", "matern52", "linear")


def check_kernel(
    decl: tree.MorphismDecl, dom: Object, cod: Object, options: Settings, scope: Scope
) -> Morphism | None:
    """The record of a kernel: with a family, or a plain Markov table without one."""
    report = scope.report
    plain = Morphism(
        name=decl.name.text, member=None, role=Role.KERNEL, dom=dom, cod=cod,
        span=decl.name.span,
        dom_text=report.text(decl.dom.span), cod_text=report.text(decl.cod.span),
    )  # fmt: skip
    if decl.init is None:
        _table(decl, dom, cod, options, scope)
        return plain
    if not isinstance(decl.init, tree.Call | tree.ExprName):
        report.error(
            "Q0307",
            "a kernel takes the name of a family after `~`, not an expression",
            decl.init.span,
            hint="to name a composite, write `let`",
        )
        return None
    family = find_family(decl.init.name, scope)
    if family is None:
        return None
    _ignored_arguments(decl, family, scope)
    if not _codomain_fits(decl, family, cod, scope):
        return None
    if family.kernel is None:
        report.error(
            "Q0614",
            f"{family.name} has no kernel form: nothing computes its parameters from an input",
            decl.init.name.span,
            hint=f"draw it in a step: `sample v <- {family.name}(…)`",
        )
        return None
    check_axes(replace(decl, init=None), family, options, scope)
    settings = tuple(
        (key, options[key].plain if key in options else default) for key, default in family.settings
    )
    if family.name == "MatrixNormal":
        settings = _rows_and_columns(decl, dom, cod, options, scope)
    _covariance_known(options, scope)
    source = None
    if family.network:
        source = _source(decl, family, dom, cod, dict(settings), options, scope)
    _scale(family, source, options, scope)
    return replace(
        plain,
        family=family.name,
        source=source,
        scale=options["scale"].number if "scale" in options else None,
        settings=settings,
    )


def _table(
    decl: tree.MorphismDecl, dom: Object, cod: Object, options: Settings, scope: Scope
) -> None:
    for side, obj in ((decl.dom, dom), (decl.cod, cod)):
        if not is_finite(obj):
            text = scope.report.text(side.span)
            scope.report.error(
                "Q0306",
                f"a kernel without a family needs finite sets; `{text}` is a space ({obj})",
                side.span,
                labels=declared_label(side, scope),
                hint="name a family: `~ Normal`",
            )
    for key in ("scale", "hidden_dim", "param_source", "over", "iid_over", "iid"):
        if key in options:
            scope.report.error(
                "Q0311",
                f"`{key}` needs a family: a kernel without one is a plain Markov table",
                options[key].key_span,
                hint=f"drop `{key}`, or name a family after `~`",
            )


def _ignored_arguments(decl: tree.MorphismDecl, family: Family, scope: Scope) -> None:
    if isinstance(decl.init, tree.Call) and decl.init.args:
        names = ", ".join(p.name for p in family.parameters)
        scope.report.warning(
            "Q0315",
            f"the arguments of `{family.name}` have no effect on a kernel",
            decl.init.span,
            because=[Because(f"the kernel computes {names} from its input")],
            hint=f"write `~ {family.name}`",
        )


def _codomain_fits(decl: tree.MorphismDecl, family: Family, cod: Object, scope: Scope) -> bool:
    need = _need(family, cod)
    if need is None:
        return True
    text = scope.report.text(decl.cod.span)
    shown = f"`{text}`" if text == str(cod) else f"`{text}` is {cod}"
    scope.report.error(
        "Q0309",
        f"{family.name} needs {need}; {shown}",
        decl.cod.span,
        labels=declared_label(decl.cod, scope),
        because=[Because(f"{family.name}: {family.summary}", _family_span(decl))],
    )
    return False


def _family_span(decl: tree.MorphismDecl) -> Span:
    return decl.init.span if decl.init is not None else decl.name.span


def _need(family: Family, cod: Object) -> str | None:
    """What the codomain lacks for a family; None if nothing."""
    continuous = not is_finite(cod) and not _has_finite_factor(cod)
    match family.codomain:
        case Codomain.CONTINUOUS if not continuous:
            return "a continuous codomain"
        case Codomain.BOUNDED if not (isinstance(cod, Space) and cod.bounded):
            return "a codomain with both bounds, as in `Real 1 [low=0.0, high=1.0]`"
        case Codomain.FINITE if not is_finite(cod):
            return "a finite codomain"
        case Codomain.PAIR if not is_finite(cod):
            return "a two-element codomain"
        case Codomain.PAIR if isinstance(_size(cod), int) and _size(cod) != 2:
            return f"a two-element codomain, got {_size(cod)}"
        case _:
            return _special_need(family, cod)


def _rows_and_columns(
    decl: tree.MorphismDecl, dom: Object, cod: Object, options: Settings, scope: Scope
) -> tuple[tuple[str, float | int | str], ...]:
    """Rows and columns of a normal matrix: of `over`, else of a codomain `Real r c` (4.6)."""
    sizes: list[object] = []
    if "over" in options:
        objects = axis_objects(decl, dom, cod, scope)
        found = [objects.get(name.text) for name in options["over"].names]
        sizes = [_size(obj) for obj in found if obj is not None]
    elif isinstance(cod, Space) and cod.ctor == "Real":
        sizes = list(cod.sizes)
    whole = all(isinstance(size, int) for size in sizes)
    if len(sizes) == 2 and whole and sizes[0] * sizes[1] == _size(cod):  # type: ignore[operator]
        return (("rows", int(sizes[0])), ("cols", int(sizes[1])))  # type: ignore[call-overload]
    if "over" not in options or len(sizes) == 2:
        fault = "does not say how many there are of each"
        if len(sizes) == 2:
            shown = " by ".join(map(str, sizes))
            fault = f"has dimension {_size(cod)}, and the matrix is {shown}"
        scope.report.error(
            "Q0309",
            f"MatrixNormal needs a codomain of rows times columns; {cod} {fault}",
            decl.cod.span,
            labels=declared_label(decl.cod, scope),
            hint="declare it as `Real r c`, or give two axes: `over=[rows, cols]`",
        )
    return (("rows", 1), ("cols", 1))


def matrix_event(morphism: Morphism) -> tuple[int, int] | None:
    """Rows and columns of the values of a kernel of a matrix family; None for others."""
    if morphism.family is None or FAMILIES[morphism.family].event_rank != 2:
        return None
    known, cod = dict(morphism.settings), morphism.cod
    size = cod.matrix_size if isinstance(cod, Space) else width(cod)
    return int(known.get("rows", size)), int(known.get("cols", size))


def _covariance_known(options: Settings, scope: Scope) -> None:
    given = options.get("kernel")
    if given is None or given.name in COVARIANCES:
        return
    near = nearest(given.name, COVARIANCES)
    scope.report.error(
        "Q0305",
        f"`kernel` expects one of {', '.join(COVARIANCES)}, got `{given.name}`",
        given.span,
        hint=None if near is None else f"did you mean `{near}`?",
    )


def _special_need(family: Family, cod: Object) -> str | None:
    ctor = MATRIX_SPACES.get(family.name)
    if ctor is not None and not (isinstance(cod, Space) and cod.ctor == ctor):
        return f"a codomain `{ctor} d`"
    if isinstance(family.support, SimplexSupport) and width(cod) < 2:
        return "a codomain of dimension at least 2"
    if family.name == "Flow" and width(cod) < 2:
        return "a codomain of dimension at least 2: its layers move one part given the other"
    if family.name == "MixtureNormal" and width(cod) != 1:
        return "a codomain of dimension 1"
    if family.name == "OrderedLogistic" and isinstance(_size(cod), int) and _size(cod) < 2:  # type: ignore[operator]
        return "a codomain of at least 2 elements"
    return None


def _has_finite_factor(obj: Object) -> bool:
    return isinstance(obj, ProductSpace) and any(map(is_finite, obj.factors))


def _size(obj: Object) -> object:
    return obj.size if is_finite(obj) else obj.dim  # type: ignore[union-attr]


def _source(
    decl: tree.MorphismDecl,
    family: Family,
    dom: Object,
    cod: Object,
    settings: dict[str, object],
    options: Settings,
    scope: Scope,
) -> ParamSource:
    """The parameter source, with the widths of an mlp filled in."""
    written = options.get("param_source")
    source = written.value if written is not None else None
    assert source is None or isinstance(source, ParamSource)
    if family.name == "Flow":
        return _coupling_source(source, written, options, scope)
    if is_finite(dom):
        _always_looked_up(decl, source, options, scope)
        return ParamSource(SourceKind.LOOKUP, explicit=source is not None)
    if source is None or source.kind is SourceKind.MLP:
        hidden = options["hidden_dim"].integer if "hidden_dim" in options else HIDDEN
        widths = source.widths if source is not None and source.widths else (hidden, hidden)
        if source is not None and source.widths:
            _no_hidden(options, scope, "`mlp(…)` gives the widths itself")
        return ParamSource(SourceKind.MLP, widths, explicit=source is not None)
    _no_hidden(options, scope, f"the parameter source `{source.kind.value}` has no hidden layers")
    assert written is not None
    _source_fits(family, source, dom, raw_width(family, cod, settings), written.span, scope)
    return source


def _coupling_source(
    source: ParamSource | None, written: Setting | None, options: Settings, scope: Scope
) -> ParamSource:
    """The networks of coupling layers: two tanh layers of one width."""
    hidden = options["hidden_dim"].integer if "hidden_dim" in options else HIDDEN
    wanted = source is None or (source.kind is SourceKind.MLP and not source.widths)
    if written is not None and not wanted:
        scope.report.error(
            "Q0314",
            "the networks of a Flow are two tanh layers of one width",
            written.span,
            hint="give the width: `hidden_dim=64`",
        )
    return ParamSource(SourceKind.MLP, (hidden, hidden), explicit=source is not None)


def _always_looked_up(
    decl: tree.MorphismDecl, source: ParamSource | None, options: Settings, scope: Scope
) -> None:
    because = [Because("the domain is finite, so the parameters are looked up", decl.dom.span)]
    if source is not None and source.kind is not SourceKind.LOOKUP:
        scope.report.warning(
            "Q0315",
            f"`param_source={source.kind.value}` has no effect on a finite domain",
            options["param_source"].span,
            because=because,
        )
    _no_hidden(options, scope, because[0].text)


def _no_hidden(options: Settings, scope: Scope, reason: str) -> None:
    if "hidden_dim" in options:
        scope.report.warning(
            "Q0315", "`hidden_dim` has no effect here", options["hidden_dim"].key_span,
            because=[Because(reason)],
        )  # fmt: skip


def _source_fits(
    family: Family, source: ParamSource, dom: Object, raw: int, span: Span, scope: Scope
) -> None:
    d = width(dom)
    message = None
    if source.kind is SourceKind.LOOKUP:
        message = f"`lookup` needs a finite domain, {dom} is a space"
    elif source.kind is SourceKind.IDENTITY and d != raw:
        message = (
            f"`identity` uses the input as raw parameters: {family.name} needs {raw} of them, "
            f"the domain has dimension {d}"
        )
    elif source.kind is SourceKind.ATTENTION and d % source.heads:
        message = f"{source.heads} attention heads do not divide the domain's dimension {d}"
    if message is not None:
        scope.report.error("Q0314", message, span)


def _scale(family: Family, source: ParamSource | None, options: Settings, scope: Scope) -> None:
    """R5: `scale` means something, or it is an error."""
    if "scale" not in options:
        return
    reason = None
    if family.scale_block is None:
        reason = f"{family.name} has no scale parameter"
    elif source is not None and source.kind is SourceKind.IDENTITY:
        reason = "an `identity` source has no weights to set it with"
    if reason is not None:
        scope.report.error(
            "Q0311", f"`scale` has nothing to set here: {reason}", options["scale"].key_span,
            hint="drop `scale`",
        )  # fmt: skip


OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def raw_width(family: Family, cod: Object, settings: dict[str, object]) -> int:
    """How many raw numbers a kernel of ``family`` cuts into parameters (section 8, P)."""
    d = _size(cod)
    matrix = cod.matrix_size if isinstance(cod, Space) else d
    long = {"r": "rank", "k": "num_components", "rows": "rows", "cols": "cols"}
    names = {"d": d, "m": matrix, **{short: settings.get(name) for short, name in long.items()}}
    return sum(_formula(block.width, names) for block in family.kernel or ())


def _formula(text: str, names: dict[str, object]) -> int:
    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return int(names[name])  # type: ignore[call-overload,no-any-return]
            case ast.BinOp(left=left, op=op, right=right):
                return int(OPERATORS[type(op)](value(left), value(right)))
            case _:
                raise ValueError(f"not a width formula: {text}")

    return value(ast.parse(text, mode="eval").body)
