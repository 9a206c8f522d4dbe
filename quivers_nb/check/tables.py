"""Tables of data as finite kernels: `from_data`, the roles observed and let (4.4, 5.9, 5.10)."""

import re
from math import prod

from quivers_nb.check.expect import label
from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Generator, Identity, Morphism, Role, Term
from quivers_nb.check.walk import entered, parts
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.space import FinSet
from quivers_nb.spaces.table import TOLERANCE
from quivers_nb.syntax import tree


def check_from_data(expr: tree.ExprFromData, scope: Scope) -> Generator | None:
    """``from_data("K")``: a vector is ``n -> 1``, a table ``n0 -> n1·n2·…`` (5.9)."""
    key = expr.key.raw
    scope.read[key] = None
    table = scope.tables.get(key)
    if table is None:
        _unknown(expr, scope)
        return None
    if not table.shape or not prod(table.shape):
        got = "one number" if not table.shape else f"an array of shape {table.shape}"
        scope.report.error(
            "Q0413",
            f'`from_data("{key}")` is {got}, and a table has rows',
            expr.key.span,
            because=[Because("the first axis are the elements of the domain")],
            hint="give a vector (one weight each) or a matrix (one row of weights each)",
        )
        return None
    dom, cod = FinSet(table.shape[0]), FinSet(prod(table.shape[1:]))
    morphism = Morphism(
        name=re.sub(r"\W", "_", key), member=None, role=Role.OBSERVED, dom=dom, cod=cod, data=key,
        span=expr.span, dom_text=str(dom), cod_text=str(cod),
    )  # fmt: skip
    return Generator(dom=dom, cod=cod, span=expr.span, morphism=morphism, owner=("from_data", key))


def _unknown(expr: tree.ExprFromData, scope: Scope) -> None:
    key, near = expr.key.raw, nearest(expr.key.raw, scope.tables)
    known = ", ".join(sorted(scope.tables)) or "no data were given"
    pass_it = f'pass it when loading, `data={{"{key}": …}}`; in a notebook, bind a variable `{key}`'
    scope.report.error(
        "Q0412",
        f'unknown data key "{key}"',
        expr.key.span,
        because=[Because(f"keys of the data: {known}")],
        hint=pass_it if near is None else f"did you mean `{near}`?",
    )


def constant(term: Term) -> Generator | Identity | None:
    """The table that a term is through names: of data, or the identity; None if it is computed."""
    whole = entered(term)
    if isinstance(whole, Identity):
        return whole
    known = isinstance(whole, Generator) and whole.morphism.role is Role.OBSERVED
    return whole if isinstance(whole, Generator) and known else None


def rows_sum_to_one(terms: tuple[Term, ...], span: Span, scope: Scope) -> bool:
    """Whether tables that are multiplied are Markov tables (5.1); the first that is not is told."""
    for generator in (leaf for term in terms for leaf in _generators(term)):
        key = generator.morphism.data
        table = scope.tables.get(key) if key is not None else None
        if table is None or table.uneven is None or generator.morphism.role is not Role.OBSERVED:
            continue
        row, total = table.uneven
        scope.report.error(
            "Q0403",
            f"`{label(generator, scope.report)}` is no Markov table: row {row} of `{key}` sums to "
            f"{total:.6g}",
            span,
            because=[
                Because("tables are composed row by row, as probabilities", generator.span),
                Because(f"rows of a Markov table sum to 1 (within {TOLERANCE:g})"),
            ],
            hint=f"divide rows by their sums before loading: `{key} / {key}.sum(1, keepdims=True)`",
        )
        return False
    return True


def _generators(term: Term) -> tuple[Generator, ...]:
    if isinstance(term, Generator):
        return (term,)
    return tuple(leaf for part in parts(term) for leaf in _generators(part))
