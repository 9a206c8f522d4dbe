"""Let expressions as text again, for outlines and hovers: what is computed, on one line."""

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

_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}  # how tightly (section 1.5)
_ATOM = 4


def let_text(value: LetTerm, limit: int = 72) -> str:
    """The expression in the language's own notation, cut after ``limit`` characters."""
    text, _ = _text(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(value: LetTerm) -> tuple[str, int]:
    """The text, and how tightly its outermost operator binds."""
    match value:
        case Arithmetic(op=op, left=left, right=right):
            level = _BINDS[op]  # left associative: the right side binds tighter or is bracketed
            return f"{_inside(left, level)} {op} {_inside(right, level + 1)}", level
        case Negate(operand=operand):
            return f"-{_inside(operand, _ATOM)}", 3
        case Lambda(param=param, body=body):
            return f"{param} -> {_text(body)[0]}", 0
        case Factor():
            return _factor(value), 0
        case _:
            return _atom(value), _ATOM


def _inside(value: LetTerm, level: int) -> str:
    text, binds = _text(value)
    return text if binds >= level else f"({text})"


def _atom(value: LetTerm) -> str:
    match value:
        case Literal(value=number):
            return str(number)
        case Text(value=text):
            return f'"{text}"'
        case Variable(name=name):
            return name
        case Apply(function=function, args=args):
            return f"{function}({_list(args)})"
        case Gather(base=base, indices=indices):
            return f"{base.name}[{_list(indices)}]"
        case Items(items=items):
            return f"[{_list(items)}]"
        case _:
            raise AssertionError(f"{type(value).__name__} is not an atom")


def _list(values: tuple[LetTerm, ...]) -> str:
    return ", ".join(_text(value)[0] for value in values)


def _factor(value: Factor) -> str:
    binders = ", ".join(f"{name} : {axis.name or axis.obj}" for name, axis in value.binders)
    if value.cases is not None:
        cases = ", ".join(f"{label} -> {_text(case)[0]}" for label, case in enumerate(value.cases))
        return f"factor {binders} in {{ {cases} }}"
    assert value.body is not None  # the other form has cases
    return f"factor {binders} in {_text(value.body)[0]}"
