"""Deterministic expressions of programs in words."""

from quivers_nb.check.term import (
    Apply,
    Arithmetic,
    Factor,
    Gather,
    Items,
    Lambda,
    LetTerm,
    Literal,
    Negate,
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
