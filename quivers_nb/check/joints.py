"""Where parts of an expression meet: types, algebras, sequences, endomorphisms (section 5)."""

from dataclasses import dataclass
from itertools import pairwise

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
from quivers_nb.check.scope import Scope
from quivers_nb.check.tables import rows_sum_to_one
from quivers_nb.check.term import (
    Compose,
    Parallel,
    Term,
)
from quivers_nb.check.unlowered import not_lowered
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.space import Object, is_finite, product, width
from quivers_nb.syntax import tree


@dataclass(frozen=True, slots=True)
class Link:
    """One operand of a chain, with the operator that joins it to the one before."""

    term: Term | None
    op_span: Span
    span: Span


def chain(links: list[Link], span: Span, scope: Scope) -> Term | None:
    """Check every joint; None if any operand is unknown or any joint fails."""
    whole = all(link.term is not None for link in links)
    consumer: Term | None = None
    for left, right in pairwise(links):
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


def _first_to_consume(consumer: Term | None, link: Link, scope: Scope) -> bool:
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
    """A latent relation meets a kernel as a finite kernel (5.10); relations need their algebra."""
    latents = [term for term in (left, right) if latent_in(term) is not None]
    tables = [term for term in (left, right) if is_table(term)]
    if not latents:
        return len(tables) < 2 or rows_sum_to_one((left, right), span, scope)
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
    if len(latents) == 1 and not tables:
        return read_as_kernel(latents[0], span, scope)
    _latent_refused(latents[0], span, scope)
    return False


def read_as_kernel(term: Term, span: Span, scope: Scope) -> bool:
    """Whether a latent relation may be read as a kernel; a prior of no weights is refused (R10)."""
    latent = latent_in(term)
    prior = None if latent is None else dict(latent.morphism.settings).get("prior")
    if latent is None or prior is None or latent.morphism.prior is not None:
        return True
    not_lowered(
        f"the prior {prior} of the latent relation `{label(term, scope.report)}`",
        span,
        scope.report,
        hint="entries of a table lie in [0, 1], `~ Beta(1.0, 1.0)`, or its rows on a simplex, "
        "`[role=latent, over=cod] ~ Dirichlet(1.0)`",
    )
    return False


def beside_kernels(terms: tuple[Term, ...], scope: Scope) -> bool:
    """Whether latent relations among operands stand beside a kernel, which they are read like."""
    if all(is_table(term) or latent_in(term) is not None for term in terms):
        return no_latent(terms, scope)
    return all(read_as_kernel(term, term.span, scope) for term in terms)


def _latent_refused(term: Term, span: Span, scope: Scope) -> None:
    name = label(term, scope.report)
    not_lowered(f"composing the latent relation `{name}`", span, scope.report)


def no_latent(terms: tuple[Term, ...], scope: Scope) -> bool:
    """Whether no latent relation is among the operands; the first one is refused by name."""
    for term in terms:
        if latent_in(term) is not None:
            _latent_refused(term, term.span, scope)
            return False
    return True


def parallel(found: list[Term | None], span: Span, scope: Scope) -> Term | None:
    """Parts side by side, flattened; None if any is unknown."""
    terms = [term for term in found if term is not None]
    if len(terms) < len(found) or not beside_kernels(tuple(terms), scope):
        return None
    parts = tuple(
        part for term in terms for part in (term.parts if isinstance(term, Parallel) else (term,))
    )
    return Parallel(
        dom=product(tuple(part.dom for part in parts)),
        cod=product(tuple(part.cod for part in parts)),
        sequence=read_alike(parts, scope), span=span, parts=parts,
    )  # fmt: skip


def read_alike(parts: tuple[Term, ...], scope: Scope) -> bool:
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


def same_input(first: Object, other: Object) -> bool:
    """Whether two components of a fan can read one input."""
    if is_finite(first) != is_finite(other):
        return False
    return events_meet(first, other)


def component_differs(i: int, first: Term, part: Term, scope: Scope) -> None:
    """Report a component of a fan over another input."""
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


def run_time_repeat(body: Term, expr: tree.ExprRepeat, scope: Scope) -> None:
    """`repeat(e)`: for finite tables only, and those are not composed yet."""
    if is_table(body) or latent_in(body) is not None:
        not_lowered("`repeat` without a count", expr.span, scope.report)
        return
    scope.report.error(
        "Q0406",
        "`repeat` without a count is for finite tables, not for kernels",
        expr.span,
        hint=f"write `repeat({label(body, scope.report)}, 2)`",
    )


def endomorphism(body: Term, count: int, what: str, span: Span, scope: Scope) -> bool:
    """Whether a second pass can read what the first gives; says so where not."""
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
    return not tensor or rows_sum_to_one((body,), span, scope)


def state_factors(parts: tuple[Object, ...], state: Object) -> int:
    """How many of the last factors of a cell's domain are its state; 0 if none are."""
    counts = range(1, len(parts))
    return next((k for k in counts if events_meet(state, product(parts[-k:]))), 0)


def no_cell(cell: Term, last: Object, scope: Scope) -> None:
    """Report a cell that does not go from A * H to H (H may be several factors)."""
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
