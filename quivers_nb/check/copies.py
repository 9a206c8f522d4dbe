"""Copies of a term with parameters of their own (`stack`): equal in all but their owners."""

from dataclasses import replace

from quivers_nb.check.term import (
    Compose,
    Fan,
    Generator,
    Identity,
    MarginalizeStep,
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
    copied: Term = term
    match term:
        case Generator():
            copied = replace(term, owner=mark + term.owner)
        case Compose() | Parallel() | Fan():
            copied = replace(term, parts=tuple(copy_of(part, mark) for part in term.parts))
        case Stack():
            copied = replace(term, copies=tuple(copy_of(copy, mark) for copy in term.copies))
        case Repeat() | Named():
            copied = replace(term, body=copy_of(term.body, mark))
        case Scan():
            copied = replace(term, cell=copy_of(term.cell, mark), owner=mark + term.owner)
        case ProgramTerm():
            copied = replace(term, program=_program(term.program, mark))
        case Identity():
            pass
    return copied


def _program(program: Program, mark: Owner) -> Program:
    return replace(program, steps=tuple(_step(step, mark) for step in program.steps))


def _step(step: Step, mark: Owner) -> Step:
    if isinstance(step, MarginalizeStep):
        return replace(step, body=tuple(_step(inner, mark) for inner in step.body))
    if isinstance(step, SampleStep | ObserveStep) and isinstance(step.source, MorphismCall):
        source = replace(step.source, term=copy_of(step.source.term, mark))
        return replace(step, source=source)
    return step
