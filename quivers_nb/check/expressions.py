"""Morphism expressions: from `f >> g`, `fan(…)`, `stack(…)` to a typed term (section 5)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from quivers_nb.check.copies import copy_of
from quivers_nb.check.expect import label
from quivers_nb.check.extent import check_extent
from quivers_nb.check.inlining import instantiated
from quivers_nb.check.joints import (
    Link,
    beside_kernels,
    chain,
    component_differs,
    endomorphism,
    no_cell,
    no_latent,
    parallel,
    read_alike,
    read_as_kernel,
    run_time_repeat,
    same_input,
    state_factors,
)
from quivers_nb.check.objects import check_object
from quivers_nb.check.programs import check_program, program_term, read_program_options
from quivers_nb.check.scope import Group, MorphismBinding, Scope, Template
from quivers_nb.check.tables import check_from_data
from quivers_nb.check.term import (
    Fan,
    Identity,
    Named,
    Repeat,
    Scan,
    Stack,
    Term,
)
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import factors, product
from quivers_nb.syntax import tree

FORWARD = frozenset({">>", ">=>"})
TENSOR_OPERATORS = frozenset({"*>", "~>", "||>", "?>", "&&>", "+>", "$>", "%>"})
COMBINATORS = ("fan", "stack", "repeat", "scan", "identity")
INITS = ("zeros", "learned")
MOST = 1_000  # copies of a stack, passes of a repeat


def declare_let(decl: tree.LetDecl, scope: Scope) -> None:
    """Bind the name of a `let` line; its `where` is seen by its expression only."""
    seen = scope
    if decl.where:
        seen = scope.inner()
        for local in decl.where:
            declare_let(local, seen)
    body = check_expression(decl.value, seen)
    if body is not None and not check_extent(body, 1, decl.name.text, decl.name.span, scope):
        body = None
    value = None if body is None else _entered(decl.name.text, body)
    scope.declare_morphism(decl.name, MorphismBinding(value, decl.name.span, "let"))


def _entered(name: str, body: Term) -> Named:
    return Named(
        dom=body.dom, cod=body.cod, sequence=body.sequence, span=body.span, name=name, body=body
    )


def check_expression(expr: tree.Expr, scope: Scope) -> Term | None:
    """The term that an expression denotes, or None after saying why there is none."""
    return EXPRESSIONS[type(expr)](expr, scope)


def resolve(name: tree.Name, scope: Scope, also: tuple[str, ...] = ()) -> MorphismBinding | None:
    """The binding of a name in morphism position, or None after reporting that there is none.

    ``also``: words of the language that may have been meant.
    """
    binding = scope.morphisms.get(name.text)
    if binding is None:
        hint = scope.hint(name.text, (*also, *scope.morphisms))
        if name.text in FAMILIES:
            declared = f"morphism f : A -> B [role=kernel] ~ {name.text}"
            hint = f"`{name.text}` is a family: declare `{declared}`"
        elif name.text in scope.objects:
            hint = f"`{name.text}` is an object, not a morphism"
        message = f"undefined morphism `{name.text}`"
        scope.report.undefined("Q0401", message, name.span, key=(name.text,), hint=hint)
    return binding


def _name(expr: tree.ExprName, scope: Scope) -> Term | None:
    name = expr.name
    binding = resolve(name, scope)
    if binding is None:
        return None
    if isinstance(binding.value, Group):
        members = binding.value.members
        scope.report.error(
            "Q0409",
            f"`{name.text}` is a group of {len(members)} morphisms: only `fan` takes a group",
            name.span,
            labels=[Label(binding.span, "replicated here")],
            hint=f"write `fan({name.text})`, or one of its members, as in `{members[0]}`",
        )
        return None
    if binding.value is None or isinstance(binding.value, Template):
        return None
    return replace(binding.value, span=name.span)


# --- sequential and parallel composition ----------------------------------------------------


def _binary(expr: tree.ExprBinary, scope: Scope) -> Term | None:
    links = _links(expr, scope)
    if expr.op in TENSOR_OPERATORS or expr.op == ">>>":
        not_lowered(f"the operator `{expr.op}`", expr.op_span, scope.report)
        return None
    if expr.op == "@":
        return parallel([link.term for link in links], expr.span, scope)
    return chain(links, expr.span, scope)


def _links(expr: tree.ExprBinary, scope: Scope) -> list[Link]:
    """The operands of a chain in the order of data flow, without recursion along the left.

    The link of an operand holds the operator between it and the operand before.
    """
    family = FORWARD if expr.op in FORWARD else frozenset({expr.op})
    written: list[tuple[tree.Expr, Span]] = []
    node: tree.Expr = expr
    while isinstance(node, tree.ExprBinary) and node.op in family:
        written.append((node.right, node.op_span))
        node = node.left
    written.append((node, expr.op_span))
    written.reverse()
    links = [Link(check_expression(e, scope), op, e.span) for e, op in written]
    if expr.op != "<<":
        return links
    ops = [link.op_span for link in links[1:]]
    return [
        replace(link, op_span=op)
        for link, op in zip(reversed(links), [expr.op_span, *reversed(ops)], strict=True)
    ]


# --- fan, stack, repeat, scan ---------------------------------------------------------------


def _fan(expr: tree.ExprFan, scope: Scope) -> Term | None:
    parts: list[Term] = []
    known = True
    for part in expr.parts:
        found = _fan_parts(part, scope)
        known = known and found is not None
        parts.extend(found or ())
    if not known or not parts:
        return None
    first = parts[0]
    if not beside_kernels(tuple(parts), scope):
        return None
    for i, other in enumerate(parts[1:], start=1):
        if not same_input(first.dom, other.dom):
            component_differs(i, first, other, scope)
            known = False
    if not known:
        return None
    return Fan(
        dom=first.dom, cod=product(tuple(part.cod for part in parts)),
        sequence=read_alike(tuple(parts), scope), span=expr.span, parts=tuple(parts),
    )  # fmt: skip


def _fan_parts(part: tree.Expr, scope: Scope) -> tuple[Term, ...] | None:
    if isinstance(part, tree.ExprName):
        binding = scope.morphisms.get(part.name.text)
        if binding is not None and isinstance(binding.value, Group):
            members = [scope.morphisms[name].value for name in binding.value.members]
            known = [m for m in members if isinstance(m, Term)]
            at = tuple(replace(member, span=part.span) for member in known)
            return at if len(at) == len(members) else None
    term = check_expression(part, scope)
    return None if term is None else (term,)


def _stack(expr: tree.ExprStack, scope: Scope) -> Term | None:
    body = check_expression(expr.body, scope)
    count = _count(expr.count, "stack", scope)
    if body is None or count is None:
        return None
    if not no_latent((body,), scope) or not endomorphism(body, count, "stack", expr.span, scope):
        return None
    inner = body.body if isinstance(body, Named) else body
    if not check_extent(inner, count, "stack", expr.span, scope):
        return None
    mark = scope.fresh()
    copies = tuple(copy_of(inner, ("stack", mark, i)) for i in range(count))
    return Stack(dom=body.dom, cod=body.cod, sequence=body.sequence, span=expr.span, copies=copies)


def _repeat(expr: tree.ExprRepeat, scope: Scope) -> Term | None:
    body = check_expression(expr.body, scope)
    count = 2 if expr.count is None else _count(expr.count, "repeat", scope)
    if body is None or count is None:
        return None
    if not endomorphism(body, count, "repeat", expr.span, scope):
        return None
    if expr.count is None:
        run_time_repeat(body, expr, scope)
        return None
    if not no_latent((body,), scope):
        return None
    return Repeat(
        dom=body.dom, cod=body.cod, sequence=body.sequence, span=expr.span, body=body, count=count
    )


def _count(number: tree.Number, what: str, scope: Scope) -> int | None:
    if isinstance(number.value, int) and 1 <= number.value <= MOST:
        return number.value
    scope.report.error(
        "Q0406",
        f"`{what}` needs a count of at least 1 and at most {MOST}, got {number.value}",
        number.span,
    )
    return None


def _scan(expr: tree.ExprScan, scope: Scope) -> Term | None:
    cell = check_expression(expr.cell, scope)
    learned = expr.init is not None and expr.init.text == "learned"
    if expr.init is not None and expr.init.text not in INITS:
        scope.report.error(
            "Q0408", f"`init` is zeros or learned, got `{expr.init.text}`", expr.init.span
        )
        return None
    if cell is None or not read_as_kernel(cell, cell.span, scope):
        return None
    parts = factors(cell.dom)
    count = state_factors(parts, cell.cod)
    if not count:
        no_cell(cell, parts[-1], scope)
        return None
    if cell.sequence:
        scope.report.error(
            "Q0410", f"`{label(cell, scope.report)}` consumes a sequence: it cannot be a cell",
            cell.span,
        )  # fmt: skip
        return None
    dom = product(parts[:-count])
    owner = ("scan", scope.fresh())
    return Scan(
        dom=dom, cod=cell.cod, sequence=True, span=expr.span, cell=cell, learned_init=learned,
        owner=owner,
    )  # fmt: skip


# --- structural morphisms, and what is not lowered --------------------------------------------


def _structural(expr: tree.ExprStructural, scope: Scope) -> Term | None:
    obj = check_object(tree.ObjName(expr.obj, span=expr.obj.span), scope)
    if expr.kind.text != "identity":
        not_lowered(f"`{expr.kind.text}`", expr.span, scope.report)
        return None
    if obj is None:
        return None
    return Identity(dom=obj, cod=obj, span=expr.span, text=expr.obj.text)


def _method(expr: tree.ExprMethod, scope: Scope) -> None:
    before = scope.report.count
    check_expression(expr.receiver, scope)
    if scope.report.count == before:
        not_lowered(f"`.{expr.method.text}`", expr.method.span, scope.report)


def _parser(expr: tree.ExprParser, scope: Scope) -> None:
    not_lowered(f"`{expr.kind.text}`", expr.span, scope.report)


def _call(expr: tree.ExprCall, scope: Scope) -> Term | None:
    binding = resolve(expr.name, scope, COMBINATORS)
    if binding is None or binding.value is None:
        return None
    if isinstance(binding.value, Template):
        return _instance(binding.value, expr, scope)
    scope.report.error(
        "Q0411",
        f"`{expr.name.text}` is a {binding.kind}: it takes no arguments in an expression",
        expr.span,
        labels=[Label(binding.span, "declared here")],
        hint=f"compose it instead, as in `f >> {expr.name.text}`",
    )
    return None


def _instance(template: Template, expr: tree.ExprCall, scope: Scope) -> Term | None:
    """A template applied to arguments: a program of its own (7.9)."""
    decl = instantiated(template, expr.name, expr.args, scope)
    if decl is None:
        return None
    program = check_program(decl, read_program_options(decl, scope), scope)
    return None if program is None else program_term(program, expr.span)


EXPRESSIONS: dict[type, Callable[[Any, Scope], Term | None]] = {
    tree.ExprName: _name,
    tree.ExprBinary: _binary,
    tree.ExprFan: _fan,
    tree.ExprStack: _stack,
    tree.ExprRepeat: _repeat,
    tree.ExprScan: _scan,
    tree.ExprStructural: _structural,
    tree.ExprMethod: _method,
    tree.ExprCall: _call,
    tree.ExprFromData: check_from_data,
    tree.ExprParser: _parser,
}
