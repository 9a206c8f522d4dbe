"""The variables that expressions and steps read."""

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
    LetStep,
    LetTerm,
    Literal,
    MarginalizeStep,
    Negate,
    ObserveStep,
    SampleStep,
    ScoreStep,
    Source,
    Step,
    Variable,
)


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


def names_read(step: Step) -> Iterator[Variable]:
    """The names that a step reads; of a marginalize step, those of its own call."""
    match step:
        case SampleStep():
            yield from source_variables(step.source)
        case ObserveStep() | MarginalizeStep():
            yield from source_variables(step.source)
            yield from step.via
        case LetStep() | ScoreStep():
            yield from variables(step.value)


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
