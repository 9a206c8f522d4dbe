"""The parts of a term: all of them, those that make its result, those that read its input."""

from collections.abc import Iterator

from quivers_nb.check.term import (
    Compose,
    Fan,
    Generator,
    MarginalizeStep,
    Named,
    Parallel,
    Program,
    ProgramTerm,
    Repeat,
    Scan,
    Stack,
    Step,
    Term,
)


def parts(term: Term) -> tuple[Term, ...]:
    """The terms directly under a term, in the order of data flow; programs are leaves."""
    match term:
        case Compose() | Parallel() | Fan():
            return term.parts
        case Stack():
            return term.copies
        case Named() | Repeat():
            return (term.body,)
        case Scan():
            return (term.cell,)
        case _:
            return ()


def last_parts(term: Term) -> tuple[Term, ...]:
    """The parts whose results make the result."""
    return parts(term)[-1:] if isinstance(term, Compose | Stack) else parts(term)


def first_parts(term: Term) -> tuple[Term, ...]:
    """The parts that read the input."""
    return parts(term)[:1] if isinstance(term, Compose | Stack) else parts(term)


def is_flat(term: Term) -> bool:
    """Whether a product of finite sets comes out as one row-major index: from a single kernel."""
    inner = last_parts(term)
    single = not isinstance(term, Parallel | Fan)
    return single and all(map(is_flat, inner)) if inner else isinstance(term, Generator)


def entered(term: Term) -> Term:
    """What a term is behind the names that were given to it."""
    while isinstance(term, Named):
        term = term.body
    return term


def programs_in(term: Term) -> tuple[Program, ...]:
    """The programs that stand in a term."""
    if isinstance(term, ProgramTerm):
        return (term.program,)
    return tuple(program for part in parts(term) for program in programs_in(part))


def all_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps of a program in order, those of `marginalize` blocks included."""
    for step in steps:
        yield step
        if isinstance(step, MarginalizeStep):
            yield from all_steps(step.body)
