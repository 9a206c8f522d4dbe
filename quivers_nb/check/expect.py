"""When two types meet, and why each of them is what it is (3.5, 3.6)."""

from quivers_nb.check.report import Report
from quivers_nb.check.term import (
    Fan,
    Generator,
    Identity,
    Morphism,
    Named,
    Parallel,
    ProgramTerm,
    Role,
    Scan,
    Term,
)
from quivers_nb.check.walk import entered, first_parts, last_parts, parts
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.spaces.space import (
    Object,
    ProductSet,
    Space,
    factors,
    is_finite,
    width,
)


def sizes_agree(left: Object, right: Object) -> bool:
    """Equal cardinalities; a size that is not known yet agrees with any."""
    a, b = left.size, right.size  # type: ignore[union-attr]
    return a == b or not (isinstance(a, int) and isinstance(b, int))


def same_finite(left: Object, right: Object) -> bool:
    """Equality of finite types in the tensor strata; unknown sizes agree with any FinSet."""
    if left == right:
        return True
    return type(left) is type(right) and not _both_known(left, right) and sizes_agree(left, right)


def events_meet(cod: Object, dom: Object) -> bool:
    """Event compatibility: whether a value of ``cod`` can be read as a value of ``dom``."""
    if is_finite(cod) and is_finite(dom):
        return sizes_agree(cod, dom)
    if is_finite(cod):
        return not isinstance(cod, ProductSet) and isinstance(dom, Space) and dom.dim == 1
    return not is_finite(dom) and width(cod) == width(dom)


def mismatch(cod: Object, dom: Object) -> str:
    """How two types fail to meet, in words."""
    if is_finite(cod) and is_finite(dom):
        a, b = cod.size, dom.size  # type: ignore[union-attr]
        if a == b:
            return f"{cod} and {dom} have {a} elements each, but are different sets"
        return f"{cod} has {a} elements and {dom} has {b}"
    if is_finite(dom):
        return f"{cod} is a space and {dom} a finite set"
    if is_finite(cod):
        return (
            f"{cod} is a finite set, which meets Real 1 only, and {dom} has dimension {width(dom)}"
        )
    return f"event dimensions {width(cod)} and {width(dom)} differ"


def is_table(term: Term) -> bool:
    """Whether a term lies in stratum S: finite Markov tables and what is built from them."""
    if isinstance(term, Generator):
        return _table(term.morphism)
    inner = () if isinstance(term, Scan) else parts(term)
    return bool(inner) and all(map(is_table, inner))


def _table(morphism: Morphism) -> bool:
    """Rows that are distributions: of logits, of data, or drawn from a simplex."""
    match morphism.role:
        case Role.KERNEL:
            return morphism.family is None
        case Role.LATENT:
            return morphism.prior is not None and morphism.prior.rows
        case role:
            return role is Role.OBSERVED


def latent_in(term: Term) -> Generator | None:
    """A latent relation used directly, through names only, whose rows need not sum to one."""
    whole = entered(term)
    latent = isinstance(whole, Generator) and whole.morphism.role is Role.LATENT
    if isinstance(whole, Generator) and latent and not _table(whole.morphism):
        return whole
    return None


def label(term: Term, report: Report) -> str:
    """What to call a term in a message: its text, shortened."""
    match term:
        case Named():
            return term.name
        case Generator():
            return written_name(term)
        case ProgramTerm():
            return term.program.name
        case _:
            text = report.text(term.span)
            return text if len(text) <= 40 else text[:37] + "…"


def written_name(term: Generator) -> str:
    """The name by which a generator is written in expressions."""
    morphism = term.morphism
    return morphism.name if morphism.member is None else f"{morphism.name}_{morphism.member}"


def cod_text(term: Term) -> str:
    """The codomain as it was written, with its meaning when that says more."""
    return _both(_written(term, cod=True), term.cod)


def dom_text(term: Term) -> str:
    """The domain as it was written, with its meaning when that says more."""
    return _both(_written(term, cod=False), term.dom)


def signature_texts(term: Term) -> tuple[str, str]:
    """Domain and codomain in the words of the declarations they come from."""
    return (
        _written(term, cod=False) or str(term.dom),
        _written(term, cod=True) or str(term.cod),
    )


def why(term: Term, *, cod: bool) -> tuple[Because, ...]:
    """The chain of declarations that decides the codomain (or domain) of a term."""
    match term:
        case Generator():
            said = f"{term.morphism.dom_text} -> {term.morphism.cod_text}"
            text = f"`{written_name(term)} : {said}` is declared so"
            return (Because(text, term.morphism.span),)
        case ProgramTerm():
            program = term.program
            text = f"`program {program.name} : {program.dom_text} -> {program.cod_text}` says so"
            return (Because(text, program.span),)
        case Named():
            shown = f"ends in {cod_text(term)}" if cod else f"starts at {dom_text(term)}"
            because = Because(f"`{term.name}` {shown}", term.body.span)
            return (because, *why(term.body, cod=cod))
        case Parallel() | Fan() if cod or isinstance(term, Parallel):
            return _parts_add_up(term, cod=cod)
        case _:
            inner = last_parts(term) if cod else _readers(term)
            return why(inner[0], cod=cod) if inner else ()


def _readers(term: Term) -> tuple[Term, ...]:
    """The parts whose domain is the domain of the whole: not the cell of a scan."""
    return () if isinstance(term, Scan) else first_parts(term)


def _parts_add_up(term: Fan | Parallel, *, cod: bool) -> tuple[Because, ...]:
    sides = [part.cod if cod else part.dom for part in term.parts]
    kind = "fan" if isinstance(term, Fan) else "@"
    widths = " + ".join(str(width(side)) for side in sides)
    total = sum(width(side) for side in sides)
    return (
        Because(f"the parts of `{kind}` side by side have dimension {widths} = {total}", term.span),
    )


def _written(term: Term, *, cod: bool) -> str:
    match term:
        case Generator():
            return term.morphism.cod_text if cod else term.morphism.dom_text
        case ProgramTerm():
            return term.program.cod_text if cod else term.program.dom_text
        case Identity():
            return term.text
        case Scan() if not cod:
            return _without_state(term)
        case Parallel() | Fan() if cod or isinstance(term, Parallel):
            return " * ".join(_factor(_written(part, cod=cod)) for part in term.parts)
        case _:
            inner = last_parts(term) if cod else first_parts(term)
            return _written(inner[0], cod=cod)


def _without_state(term: Scan) -> str:
    """The domain of a scan: that of its cell without the last factor."""
    parts = _written(term.cell, cod=False).split(" * ")
    return " * ".join(parts[:-1]) if len(parts) == len(factors(term.cell.dom)) else ""


def _factor(text: str) -> str:
    return f"({text})" if "+" in text else text


def _both(text: str, obj: Object) -> str:
    meaning = str(obj)
    return f"`{meaning}`" if text in {"", meaning} else f"`{text}` ({meaning})"


def _both_known(left: Object, right: Object) -> bool:
    return isinstance(left.size, int) and isinstance(right.size, int)  # type: ignore[union-attr]
