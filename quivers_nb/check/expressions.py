"""Morphism expressions: from `f >> g`, `fan(…)`, `stack(…)` to a typed term (section 5)."""

from dataclasses import dataclass, replace

from quivers_nb.check.copies import copy_of
from quivers_nb.check.expect import (
    cod_text,
    dom_text,
    events_meet,
    is_table,
    label,
    latent_in,
    mismatch,
    same_finite,
    why,
)
from quivers_nb.check.objects import check_object
from quivers_nb.check.scope import Group, MorphismBinding, Scope, Template
from quivers_nb.check.templates import check_template_call
from quivers_nb.check.term import (
    Compose,
    Fan,
    Identity,
    Named,
    Parallel,
    Repeat,
    Scan,
    Stack,
    Term,
)
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Object, factors, is_finite, product, width
from quivers_nb.syntax import tree

FORWARD = frozenset({">>", ">=>"})
TENSOR_OPERATORS = frozenset({"*>", "~>", "||>", "?>", "&&>", "+>", "$>", "%>"})
COMBINATORS = ("fan", "stack", "repeat", "scan", "identity")
INITS = ("zeros", "learned")


def declare_let(decl: tree.LetDecl, scope: Scope) -> None:
    """Bind the name of a `let` line; its `where` is seen by its expression only."""
    seen = scope
    if decl.where:
        seen = scope.inner()
        for local in decl.where:
            declare_let(local, seen)
    body = check_expression(decl.value, seen)
    value = None if body is None else _entered(decl.name.text, body)
    scope.declare_morphism(decl.name, MorphismBinding(value, decl.name.span, "let"))


def _entered(name: str, body: Term) -> Named:
    return Named(
        dom=body.dom, cod=body.cod, sequence=body.sequence, span=body.span, name=name, body=body
    )


def check_expression(expr: tree.Expr, scope: Scope) -> Term | None:
    """The term that an expression denotes, or None after saying why there is none."""
    match expr:
        case tree.ExprName():
            return _name(expr.name, scope)
        case tree.ExprBinary():
            return _binary(expr, scope)
        case tree.ExprFan():
            return _fan(expr, scope)
        case tree.ExprStack():
            return _stack(expr, scope)
        case tree.ExprRepeat():
            return _repeat(expr, scope)
        case tree.ExprScan():
            return _scan(expr, scope)
        case tree.ExprStructural():
            return _structural(expr, scope)
        case _:
            return _other(expr, scope)


def resolve(name: tree.Name, scope: Scope, also: tuple[str, ...] = ()) -> MorphismBinding | None:
    """The binding of a name in morphism position, or None after reporting that there is none.

    ``also``: words of the language that may have been meant.
    """
    binding = scope.morphisms.get(name.text)
    if binding is None:
        hint = scope.hint(name.text, (*also, *scope.morphisms))
        if name.text in FAMILIES:
            hint = f"`{name.text}` is a family: declare `morphism f : A -> B [role=kernel] ~ {name.text}`"
        elif name.text in scope.objects:
            hint = f"`{name.text}` is an object, not a morphism"
        scope.report.error("Q0401", f"undefined morphism `{name.text}`", name.span, hint=hint)
    return binding


def _name(name: tree.Name, scope: Scope) -> Term | None:
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


@dataclass(frozen=True, slots=True)
class _Link:
    """One operand of a chain, with the operator that joins it to the one before."""

    term: Term | None
    op_span: Span
    span: Span


def _binary(expr: tree.ExprBinary, scope: Scope) -> Term | None:
    links = _links(expr, scope)
    if expr.op in TENSOR_OPERATORS or expr.op == ">>>":
        not_lowered(f"the operator `{expr.op}`", expr.op_span, scope.report)
        return None
    if expr.op == "@":
        return _parallel([link.term for link in links], expr.span, scope)
    return _chain(links, expr.span, scope)


def _links(expr: tree.ExprBinary, scope: Scope) -> list[_Link]:
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
    links = [_Link(check_expression(e, scope), op, e.span) for e, op in written]
    if expr.op != "<<":
        return links
    ops = [link.op_span for link in links[1:]]
    return [
        replace(link, op_span=op)
        for link, op in zip(reversed(links), [expr.op_span, *reversed(ops)], strict=True)
    ]


def _chain(links: list[_Link], span: Span, scope: Scope) -> Term | None:
    """Check every joint; None if any operand is unknown or any joint fails."""
    whole = all(link.term is not None for link in links)
    consumer: Term | None = None
    for left, right in zip(links, links[1:], strict=False):
        if left.term is None or right.term is None:
            continue
        met = _types_meet(left.term, right.term, right.op_span, scope)
        whole = met and _algebras_meet(left.term, right.term, right.op_span, scope) and whole
    for link in links:
        if link.term is not None and link.term.sequence:
            whole = _first_to_consume(consumer, link, scope) and whole
            consumer = consumer or link.term
    if not whole:
        return None
    terms = [link.term for link in links if link.term is not None]
    return Compose(
        dom=terms[0].dom, cod=terms[-1].cod, sequence=consumer is not None, span=span,
        parts=tuple(part for term in terms for part in _parts(term)),
    )  # fmt: skip


def _first_to_consume(consumer: Term | None, link: _Link, scope: Scope) -> bool:
    if consumer is None or link.term is None:
        return True
    scope.report.error(
        "Q0410",
        f"`{label(link.term, scope.report)}` consumes a sequence, but "
        f"`{label(consumer, scope.report)}` has already consumed it",
        link.span,
        labels=[Label(consumer.span, "consumes the sequence axis")],
        hint="scan once, over one cell that does the work of both",
    )
    return False


def _parts(term: Term) -> tuple[Term, ...]:
    return term.parts if isinstance(term, Compose) else (term,)


def _types_meet(left: Term, right: Term, span: Span, scope: Scope) -> bool:
    tensor = (is_table(left) or latent_in(left)) and (is_table(right) or latent_in(right))
    meet = same_finite if tensor else events_meet
    if meet(left.cod, right.dom):
        return True
    report = scope.report
    report.error(
        "Q0402",
        f"cannot compose: `{label(left, report)}` has codomain {cod_text(left)}, "
        f"`{label(right, report)}` has domain {dom_text(right)}: {mismatch(left.cod, right.dom)}",
        span,
        because=[*why(left, cod=True), *why(right, cod=False)],
    )
    return False


def _algebras_meet(left: Term, right: Term, span: Span, scope: Scope) -> bool:
    """Latent relations: never composed yet, and never with a Markov table without a conversion."""
    latents = [term for term in (left, right) if latent_in(term) is not None]
    if not latents:
        return True
    tables = [term for term in (left, right) if is_table(term)]
    if tables and scope.composition is None:
        a, b = ("product_fuzzy", "markov") if latents[0] is left else ("markov", "product_fuzzy")
        scope.report.error(
            "Q0403",
            f"incompatible algebras {a} and {b}",
            span,
            because=[
                Because("a latent carries the module's algebra, product_fuzzy", latents[0].span),
                Because("a kernel without a family is a Markov table", tables[0].span),
            ],
            hint="convert one of the two with `.change_base(…)`",
        )
        return False
    _latent_refused(latents[0], span, scope)
    return False


def _latent_refused(term: Term, span: Span, scope: Scope) -> None:
    name = label(term, scope.report)
    not_lowered(f"composing the latent relation `{name}`", span, scope.report)


def _no_latent(terms: tuple[Term, ...], scope: Scope) -> bool:
    for term in terms:
        if latent_in(term) is not None:
            _latent_refused(term, term.span, scope)
            return False
    return True


def _parallel(found: list[Term | None], span: Span, scope: Scope) -> Term | None:
    terms = [term for term in found if term is not None]
    if len(terms) < len(found) or not _no_latent(tuple(terms), scope):
        return None
    parts = tuple(
        part for term in terms for part in (term.parts if isinstance(term, Parallel) else (term,))
    )
    return Parallel(
        dom=product(tuple(part.dom for part in parts)),
        cod=product(tuple(part.cod for part in parts)),
        sequence=_read_alike(parts, scope), span=span, parts=parts,
    )  # fmt: skip


def _read_alike(parts: tuple[Term, ...], scope: Scope) -> bool:
    """Whether side-by-side parts read a sequence; it is an error if only some do (R1)."""
    scanning = [part for part in parts if part.sequence]
    by_row = [part for part in parts if not part.sequence]
    if scanning and by_row:
        scope.report.error(
            "Q0410",
            f"one input cannot be read per row by `{label(by_row[0], scope.report)}` and as a "
            f"sequence by `{label(scanning[0], scope.report)}`",
            by_row[0].span,
            labels=[Label(scanning[0].span, "consumes a sequence")],
        )
    return bool(scanning)


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
    if not _no_latent(tuple(parts), scope):
        return None
    for i, other in enumerate(parts[1:], start=1):
        if not _same_input(first.dom, other.dom):
            _component_differs(i, first, other, scope)
            known = False
    if not known:
        return None
    return Fan(
        dom=first.dom, cod=product(tuple(part.cod for part in parts)),
        sequence=_read_alike(tuple(parts), scope), span=expr.span, parts=tuple(parts),
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


def _same_input(first: Object, other: Object) -> bool:
    if is_finite(first) != is_finite(other):
        return False
    return events_meet(first, other)


def _component_differs(i: int, first: Term, part: Term, scope: Scope) -> None:
    report = scope.report
    report.error(
        "Q0404",
        f"component {i} of `fan` has domain {dom_text(part)}, component 0 has {dom_text(first)}: "
        f"{mismatch(first.dom, part.dom)}",
        part.span,
        labels=[Label(first.span, "component 0")],
        because=[*why(first, cod=False), *why(part, cod=False)],
        hint="the components of a fan read the same input",
    )


def _stack(expr: tree.ExprStack, scope: Scope) -> Term | None:
    body = check_expression(expr.body, scope)
    count = _count(expr.count, "stack", scope)
    if body is None or count is None:
        return None
    if not _no_latent((body,), scope) or not _endomorphism(body, count, "stack", expr.span, scope):
        return None
    inner = body.body if isinstance(body, Named) else body
    mark = scope.fresh()
    copies = tuple(copy_of(inner, ("stack", mark, i)) for i in range(count))
    return Stack(dom=body.dom, cod=body.cod, sequence=body.sequence, span=expr.span, copies=copies)


def _repeat(expr: tree.ExprRepeat, scope: Scope) -> Term | None:
    body = check_expression(expr.body, scope)
    count = 2 if expr.count is None else _count(expr.count, "repeat", scope)
    if body is None or count is None:
        return None
    if not _endomorphism(body, count, "repeat", expr.span, scope):
        return None
    if expr.count is None:
        _run_time_repeat(body, expr, scope)
        return None
    if not _no_latent((body,), scope):
        return None
    return Repeat(
        dom=body.dom, cod=body.cod, sequence=body.sequence, span=expr.span, body=body, count=count
    )


def _run_time_repeat(body: Term, expr: tree.ExprRepeat, scope: Scope) -> None:
    if is_table(body) or latent_in(body) is not None:
        not_lowered("`repeat` without a count", expr.span, scope.report)
        return
    scope.report.error(
        "Q0406",
        "`repeat` without a count is for finite tables; a kernel is repeated a fixed number of times",
        expr.span,
        hint=f"write `repeat({label(body, scope.report)}, 2)`",
    )


def _count(number: tree.Number, what: str, scope: Scope) -> int | None:
    if isinstance(number.value, int) and number.value >= 1:
        return number.value
    scope.report.error(
        "Q0406", f"`{what}` needs a count of at least 1, got {number.value}", number.span
    )
    return None


def _endomorphism(body: Term, count: int, what: str, span: Span, scope: Scope) -> bool:
    if count == 1:
        return True
    tensor = is_table(body) or latent_in(body) is not None
    if not (same_finite if tensor else events_meet)(body.cod, body.dom):
        report = scope.report
        report.error(
            "Q0405",
            f"{what} needs an endomorphism, but `{label(body, report)}` goes from "
            f"{dom_text(body)} to {cod_text(body)}: {mismatch(body.cod, body.dom)}",
            body.span,
            because=[*why(body, cod=False), *why(body, cod=True)],
        )
        return False
    if body.sequence:
        scope.report.error(
            "Q0410",
            f"`{label(body, scope.report)}` consumes a sequence, so a second pass finds none",
            span,
        )
        return False
    return True


def _scan(expr: tree.ExprScan, scope: Scope) -> Term | None:
    cell = check_expression(expr.cell, scope)
    learned = expr.init is not None and expr.init.text == "learned"
    if expr.init is not None and expr.init.text not in INITS:
        scope.report.error(
            "Q0408", f"`init` is zeros or learned, got `{expr.init.text}`", expr.init.span
        )
        return None
    if cell is None or not _no_latent((cell,), scope):
        return None
    parts = factors(cell.dom)
    if len(parts) < 2 or not events_meet(cell.cod, parts[-1]):
        _no_cell(cell, parts[-1], scope)
        return None
    if cell.sequence:
        scope.report.error(
            "Q0410", f"`{label(cell, scope.report)}` consumes a sequence: it cannot be a cell",
            cell.span,
        )  # fmt: skip
        return None
    dom = product(parts[:-1])
    owner = ("scan", scope.fresh())
    return Scan(
        dom=dom, cod=cell.cod, sequence=True, span=expr.span, cell=cell, learned_init=learned,
        owner=owner,
    )  # fmt: skip


def _no_cell(cell: Term, last: Object, scope: Scope) -> None:
    report = scope.report
    scope.report.error(
        "Q0407",
        f"a scan cell needs domain A * H with H the codomain, but `{label(cell, report)}` goes "
        f"from {dom_text(cell)} to {cod_text(cell)}",
        cell.span,
        because=[
            *why(cell, cod=False),
            Because(
                f"the last factor of the domain has dimension {width(last)}, "
                f"the codomain {width(cell.cod)}"
            ),
        ],
    )


# --- structural morphisms, and what is not lowered --------------------------------------------


def _structural(expr: tree.ExprStructural, scope: Scope) -> Term | None:
    obj = check_object(tree.ObjName(expr.obj, span=expr.obj.span), scope)
    if expr.kind.text != "identity":
        not_lowered(f"`{expr.kind.text}`", expr.span, scope.report)
        return None
    if obj is None:
        return None
    return Identity(dom=obj, cod=obj, span=expr.span, text=expr.obj.text)


def _other(expr: tree.Expr, scope: Scope) -> None:
    report = scope.report
    match expr:
        case tree.ExprMethod():
            before = len(report.errors)
            check_expression(expr.receiver, scope)
            if len(report.errors) == before:
                not_lowered(f"`.{expr.method.text}`", expr.method.span, report)
        case tree.ExprCall():
            _call(expr, scope)
        case tree.ExprFromData():
            if expr.key.raw not in scope.data_keys:
                known = ", ".join(sorted(scope.data_keys)) or "no data were given"
                report.error(
                    "Q0412",
                    f'unknown data key "{expr.key.raw}"',
                    expr.key.span,
                    because=[Because(f"keys of the data: {known}")],
                    hint=f'pass it when loading: `data={{"{expr.key.raw}": …}}`',
                )
            else:
                not_lowered("`from_data`", expr.span, report)
        case tree.ExprParser():
            not_lowered(f"`{expr.kind.text}`", expr.span, report)


def _call(expr: tree.ExprCall, scope: Scope) -> None:
    binding = resolve(expr.name, scope, COMBINATORS)
    if binding is None or binding.value is None:
        return
    if isinstance(binding.value, Template):
        check_template_call(binding.value, expr.name, expr.args, scope)
        return
    scope.report.error(
        "Q0411",
        f"`{expr.name.text}` is a {binding.kind}: it takes no arguments in an expression",
        expr.span,
        labels=[Label(binding.span, "declared here")],
        hint=f"compose it instead, as in `f >> {expr.name.text}`",
    )
