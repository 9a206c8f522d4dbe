"""A module, top to bottom: every declaration in its turn, exports at the end (section 2)."""

from collections.abc import Callable, Mapping

from quivers_nb.check.drawn import drawn_in, with_tables
from quivers_nb.check.expect import latent_in
from quivers_nb.check.expressions import check_expression, declare_let
from quivers_nb.check.extent import check_extent
from quivers_nb.check.morphisms import declare_morphism
from quivers_nb.check.objects import axes_of, check_finite, check_object, declare_object
from quivers_nb.check.programs import declare_program
from quivers_nb.check.report import Report
from quivers_nb.check.scope import Group, MorphismBinding, Scope, Template
from quivers_nb.check.term import (
    CheckedModule,
    DataSpec,
    Export,
    Program,
    ProgramTerm,
    TemplateSignature,
    Term,
)
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.check.walk import entered
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.errors import CompileError
from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.spaces.space import Object
from quivers_nb.spaces.table import Table
from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse


def check_source(
    text: str | SourceText,
    *,
    tables: Mapping[str, Table] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> CheckedModule:
    """Parse a text and check it.

    Raises:
        ParseError: it is not a module; CompileError: it is, but means nothing.
    """
    source = text if isinstance(text, SourceText) else SourceText(text)
    return check_module(parse(source), source, tables=tables, sizes=sizes)


def check_module(
    module: tree.Module,
    source: SourceText,
    *,
    tables: Mapping[str, Table] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> CheckedModule:
    """The typed terms of a module. ``sizes`` fixes names in ``FinSet n`` (R8), ``tables`` are the
    data that `from_data` reads, by key.

    Raises:
        CompileError: with every independent error of the module.
    """
    report = Report(source)
    scope = Scope(report, dict(tables or {}), dict(sizes or {}))
    scope.later = _names_to_come(module)
    for decl in module.declarations:
        _declare(decl, scope)
    exports = _exports(module, scope)
    if report.errors:
        raise CompileError(report.errors, source)
    return _checked(scope, exports)


def _names_to_come(module: tree.Module) -> dict[str, Span]:
    found: dict[str, Span] = {}
    for decl in module.declarations:
        name = getattr(decl, "name", None)
        if isinstance(name, tree.Name):
            found.setdefault(name.text, name.span)
    return found


def _declare(decl: tree.Declaration, scope: Scope) -> None:
    action = DECLARE.get(type(decl))
    if action is not None:
        action(decl, scope)
    elif not isinstance(decl, tree.ExportDecl | tree.PragmaLine):
        _refuse(decl, scope)
    name = getattr(decl, "name", None)
    if isinstance(name, tree.Name):
        scope.later.pop(name.text, None)


DECLARE: dict[type, Callable[..., None]] = {
    tree.ObjectDecl: declare_object,
    tree.MorphismDecl: declare_morphism,
    tree.LetDecl: declare_let,
    tree.ProgramDecl: declare_program,
}


CONSTRUCTS: dict[type, str] = {
    tree.CompositionDecl: "composition", tree.CategoryDecl: "category", tree.RuleDecl: "rule",
    tree.SchemaDecl: "schema", tree.BundleDecl: "bundle", tree.ContractionDecl: "contraction",
    tree.DeductionDecl: "deduction", tree.SignatureDecl: "signature", tree.LossDecl: "loss",
}  # fmt: skip


def _refuse(decl: tree.Declaration, scope: Scope) -> None:
    """A declaration that is not supported yet; what it would bind becomes unknown."""
    construct = decl.kind if isinstance(decl, tree.CoderDecl) else CONSTRUCTS[type(decl)]
    name = decl.names[0] if isinstance(decl, tree.CategoryDecl) else decl.name  # type: ignore[union-attr]
    not_lowered(f"`{construct}`", name.span, scope.report)
    if isinstance(decl, tree.CompositionDecl):
        scope.composition = name.span
    elif isinstance(decl, tree.ContractionDecl | tree.CoderDecl):
        scope.declare_morphism(name, MorphismBinding(None, name.span, construct))


def declare_data(decl: tree.DataDecl, scope: Scope) -> None:
    """Bind a declared key of the observations: own axes named by DOM, an event of COD (R8)."""
    dom = check_finite(decl.dom, scope, code="Q0211", what="the domain of data")
    cod = check_object(decl.cod, scope)
    if decl.name.text in scope.data:
        scope.already(decl.name, "data", scope.data[decl.name.text][1])
        return
    spec = None
    if dom is not None and cod is not None:
        spec = DataSpec(decl.name.text, axes_of(decl.dom, scope), cod, span=decl.name.span)
    scope.data[decl.name.text] = (spec, decl.name.span)


DECLARE[tree.DataDecl] = declare_data


# --- exports ------------------------------------------------------------------------------------


def _exports(module: tree.Module, scope: Scope) -> list[Export]:
    found: list[Export] = []
    first: dict[str, Span] = {}
    for decl in module.declarations:
        if not isinstance(decl, tree.ExportDecl):
            continue
        key = scope.report.text(decl.value.span)
        if key in first:
            scope.report.warning(
                "Q0416", f"`{key}` is exported twice", decl.value.span,
                labels=[Label(first[key], "first here")],
            )  # fmt: skip
            continue
        first[key] = decl.value.span
        value = _exported(decl.value, scope)
        if value is not None:
            found.append(Export(key, value))
    return found


def _exported(expr: tree.Expr, scope: Scope) -> Term | Program | None:
    if isinstance(expr, tree.ExprName) and not _exportable(expr.name, scope):
        return None
    term = check_expression(expr, scope)
    key = scope.report.text(expr.span)
    if term is None or not check_extent(term, 1, key, expr.span, scope):
        return None
    whole = entered(term)
    if isinstance(whole, ProgramTerm):
        return with_tables(whole.program)
    if latent_in(term) is not None:
        not_lowered("exporting a latent relation", expr.span, scope.report)
        return None
    drawn = next(iter(drawn_in(term)), None)
    if drawn is not None:
        not_lowered(
            f"exporting an expression that draws the table `{drawn}`", expr.span, scope.report,
            hint="use it in a program: its prior makes the table a site of the program",
        )  # fmt: skip
        return None
    return term


def _exportable(name: tree.Name, scope: Scope) -> bool:
    """Whether a name denotes a morphism or a program; says why not. A template is kept apart."""
    binding = scope.morphisms.get(name.text)
    if binding is None:
        _undefined_export(name, scope)
        return False
    if isinstance(binding.value, Group):
        members = binding.value.members
        scope.report.error(
            "Q0415",
            f"`{name.text}` is a group of {len(members)} morphisms, not one",
            name.span,
            labels=[Label(binding.span, "replicated here")],
            hint=f"export a member, as in `{members[0]}`, or `fan({name.text})`",
        )
        return False
    if isinstance(binding.value, Template):
        scope.templates[name.text] = binding.value
        return False
    return True


def _undefined_export(name: tree.Name, scope: Scope) -> None:
    hint = scope.hint(name.text, tuple(scope.morphisms))
    if name.text in scope.posteriors:
        hint = f"`{name.text}` is a posterior program: evaluate `module.posteriors[…]` at draws"
    if name.text in scope.objects:
        scope.report.error(
            "Q0415",
            f"`{name.text}` is an object: exports are morphisms and programs",
            name.span,
            labels=[Label(scope.objects[name.text].span, "declared here")],
        )
        return
    scope.report.error("Q0414", f"undefined name `{name.text}`", name.span, hint=hint)


def _checked(scope: Scope, exports: list[Export]) -> CheckedModule:
    objects: list[tuple[str, Object]] = []
    for name, bound in scope.objects.items():
        if isinstance(bound.value, Object):
            objects.append((name, bound.value))
    morphisms: list[tuple[str, Term | Program]] = []
    groups: list[tuple[str, tuple[str, ...]]] = []
    for name, binding in scope.morphisms.items():
        if isinstance(binding.value, Group):
            groups.append((name, binding.value.members))
        elif isinstance(binding.value, ProgramTerm):
            morphisms.append((name, with_tables(binding.value.program)))
        elif isinstance(binding.value, Term):
            morphisms.append((name, binding.value))
    return CheckedModule(
        source=scope.report.source,
        objects=tuple(objects),
        morphisms=tuple(morphisms),
        groups=tuple(groups),
        data=tuple(spec for spec, _ in scope.data.values() if spec is not None),
        exports=tuple(exports),
        sizes=tuple(scope.free_sizes),
        warnings=scope.report.warnings,
        posteriors=tuple(each for each, _ in scope.posteriors.values() if each is not None),
        templates=tuple(_signature(name, each) for name, each in scope.templates.items()),
        data_keys=tuple(scope.read),
    )


def _signature(name: str, template: Template) -> TemplateSignature:
    """What a call of an exported template takes."""
    params = template.decl.params
    kinds = (p.kind.text if isinstance(p.kind, tree.Name) else "Mor" for p in params)
    return TemplateSignature(name, tuple(zip((p.name.text for p in params), kinds, strict=True)))
