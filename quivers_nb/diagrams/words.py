"""Deterministic expressions of programs in words, and the variables that they read."""

from collections.abc import Iterator

from quivers_nb.check.term import (
    Apply,
    Argument,
    Arithmetic,
    Factor,
    Gather,
    Indexed,
    Items,
    Lambda,
    LetTerm,
    Literal,
    Negate,
    Source,
    Text,
    Variable,
)

_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}


def expression_text(term: LetTerm) -> str:
    """An expression as one would write it."""
    match term:
        case Literal() | Text():
            return str(term.value)
        case Variable():
            return term.name
        case Arithmetic():
            return _arithmetic(term)
        case Negate():
            return f"-{_operand(term.operand, 3)}"
        case _:
            return _compound(term)


def variables(term: LetTerm) -> tuple[Variable, ...]:
    """The free variables of an expression, each once, in the order of reading."""
    return _distinct(_free(term, frozenset()))


def source_variables(source: Source) -> tuple[Variable, ...]:
    """The variables that the right-hand side of a random step reads, each once."""
    return _distinct(v for arg in source.args or () for v in argument_variables(arg))


def argument_variables(arg: Argument | tuple[Argument, ...]) -> tuple[Variable, ...]:
    """The variables in one argument."""
    match arg:
        case tuple():
            return tuple(v for inner in arg for v in argument_variables(inner))
        case Indexed():
            return (arg.base, *arg.indices)
        case Variable():
            return (arg,)
        case Literal():
            return ()


def _arithmetic(term: Arithmetic) -> str:
    level = _BINDING[term.op]
    right = _operand(term.right, level + (term.op in {"-", "/"}))
    return f"{_operand(term.left, level)} {term.op} {right}"


def _operand(term: LetTerm, level: int) -> str:
    text = expression_text(term)
    loose = isinstance(term, Arithmetic) and _BINDING[term.op] < level
    return f"({text})" if loose else text


def _compound(term: LetTerm) -> str:
    match term:
        case Apply():
            return f"{term.function}({', '.join(map(expression_text, term.args))})"
        case Gather():
            return f"{term.base.name}[{', '.join(map(expression_text, term.indices))}]"
        case Items():
            return f"[{', '.join(map(expression_text, term.items))}]"
        case Lambda():
            return f"{term.param} -> {expression_text(term.body)}"
        case Factor():
            over = ", ".join(f"{name} : {axis.name or axis.obj}" for name, axis in term.binders)
            inner = "…" if term.body is None else expression_text(term.body)
            return f"factor {over} in {inner}"
        case _:
            return "…"


def _free(term: LetTerm, bound: frozenset[str]) -> Iterator[Variable]:
    match term:
        case Variable():
            if term.name not in bound:
                yield term
        case Gather():
            yield from _free(term.base, bound)
        case Lambda():
            bound |= {term.param}
        case Factor():
            bound |= {name for name, _ in term.binders}
        case _:
            pass
    for inner in _inner(term):
        yield from _free(inner, bound)


def _inner(term: LetTerm) -> tuple[LetTerm, ...]:
    match term:
        case Arithmetic():
            return (term.left, term.right)
        case Negate():
            return (term.operand,)
        case Apply():
            return term.args
        case Gather() | Items():
            return term.indices if isinstance(term, Gather) else term.items
        case Lambda() | Factor():
            cases = term.cases if isinstance(term, Factor) else None
            return (*(() if term.body is None else (term.body,)), *(cases or ()))
        case _:
            return ()


def _distinct(found: Iterator[Variable]) -> tuple[Variable, ...]:
    return tuple({variable.name: variable for variable in found}.values())
