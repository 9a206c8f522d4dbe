"""Copies of a term with parameters of their own (`stack`): equal in all but their owners."""

from dataclasses import replace

from quivers_nb.check.term import (
    Compose,
    Fan,
    Generator,
    Identity,
    MorphismCall,
    Named,
    ObserveStep,
    Owner,
    Parallel,
    Program,
    ProgramTerm,
    Repeat,
    SampleStep,
    Scan,
    Stack,
    Step,
    Term,
)


def copy_of(term: Term, mark: Owner) -> Term:
    """``term`` with ``mark`` in front of every owner."""
    match term:
        case Generator():
            return replace(term, owner=mark + term.owner)
        case Identity():
            return term
        case Compose() | Parallel() | Fan():
            return replace(term, parts=tuple(copy_of(part, mark) for part in term.parts))
        case Stack():
            return replace(term, copies=tuple(copy_of(copy, mark) for copy in term.copies))
        case Repeat() | Named():
            return replace(term, body=copy_of(term.body, mark))
        case Scan():
            return replace(term, cell=copy_of(term.cell, mark), owner=mark + term.owner)
        case ProgramTerm():
            return replace(term, program=_program(term.program, mark))


def _program(program: Program, mark: Owner) -> Program:
    return replace(program, steps=tuple(_step(step, mark) for step in program.steps))


def _step(step: Step, mark: Owner) -> Step:
    if isinstance(step, SampleStep | ObserveStep) and isinstance(step.source, MorphismCall):
        source = replace(step.source, term=copy_of(step.source.term, mark))
        return replace(step, source=source)
    return step
