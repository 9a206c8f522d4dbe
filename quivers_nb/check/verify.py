"""The laws of the typed term, executable: run on every checked program of the test suite."""

from collections.abc import Iterator
from itertools import pairwise

from quivers_nb.check.expect import events_meet
from quivers_nb.check.paths import child_segments, occurrences, parameter_paths, step_paths
from quivers_nb.check.term import (
    CheckedModule,
    Compose,
    FamilyCall,
    Fan,
    Generator,
    Morphism,
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
    Term,
)
from quivers_nb.check.variables import names_read
from quivers_nb.check.walk import all_steps
from quivers_nb.diagnostics.errors import InternalError
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import product, width


def verify(module: CheckedModule) -> None:
    """Check every law on every term of a module.

    Raises:
        InternalError: a law is broken; the message names it and the place.
    """
    owners: dict[Owner, Morphism] = {}
    for _, value in module.morphisms:
        _verify(value, owners)
    for export in module.exports:
        _verify(export.value, owners)
        if isinstance(export.value, Program):
            _names_are_unique(export.value)


def terms(value: Term | Program) -> Iterator[Term]:
    """Every term under a term or a program, itself included."""
    if isinstance(value, Program):
        for _, step in step_paths(value):
            if isinstance(step.source, MorphismCall):
                yield from terms(step.source.term)
        return
    yield value
    for _, child in child_segments(value):
        yield from terms(child)


def _require(law: str, holds: bool, what: object) -> None:
    if not holds:
        raise InternalError(f"the typed term breaks the law `{law}`: {what}")


def _verify(value: Term | Program, owners: dict[Owner, Morphism]) -> None:
    for term in terms(value):
        if isinstance(term, Generator):
            known = owners.setdefault(term.owner, term.morphism)
            _require("sharing", known == term.morphism, term.morphism.label)
        if isinstance(term, ProgramTerm):
            _scoping(term.program)
        _types_meet(term)
    if isinstance(value, Program):
        _scoping(value)


# --- types meet ---------------------------------------------------------------------------------


def _types_meet(term: Term) -> None:
    match term:
        case Generator():
            same = (term.dom, term.cod) == (term.morphism.dom, term.morphism.cod)
            _require("a generator has its morphism's type", same, term.morphism.label)
        case Compose() | Stack():
            parts = term.parts if isinstance(term, Compose) else term.copies
            _chain(term, parts)
        case Parallel() | Fan():
            cod = product(tuple(part.cod for part in term.parts))
            _require("cod is the product", term.cod == cod, term)
            fan_in = all(events_meet(term.dom, part.dom) for part in term.parts)
            _require("a fan reads one input", fan_in or isinstance(term, Parallel), term)
        case Named() | Repeat():
            _require("a name keeps the type", (term.dom, term.cod) == _ends(term.body), term)
        case Scan():
            state = width(term.cell.dom) - width(term.dom)
            _require("a cell returns its state", state == width(term.cod), term)
        case _:
            pass


def _chain(term: Term, parts: tuple[Term, ...]) -> None:
    flat = not any(isinstance(part, Compose) for part in parts) or isinstance(term, Stack)
    _require("chains are flat", flat, term)
    ends = (parts[0].dom, parts[-1].cod)
    _require("a chain has the type of its ends", (term.dom, term.cod) == ends, term)
    for left, right in pairwise(parts):
        _require("types meet", events_meet(left.cod, right.dom), (left.cod, right.dom))


def _ends(term: Term) -> tuple[object, object]:
    return term.dom, term.cod


# --- names ----------------------------------------------------------------------------------------


def _names_are_unique(program: Program) -> None:
    found = occurrences(program)
    places = [occurrence.path for occurrence in found]
    _require("an occurrence path names one place", len(set(places)) == len(places), places)
    paths = parameter_paths(program)
    _require("a parameter path names one owner", len(set(paths.values())) == len(paths), paths)


# --- scoping --------------------------------------------------------------------------------------


def _scoping(program: Program) -> None:
    bound = {slot.name for slot in program.inputs}
    host = set(program.host_names)
    for step in all_steps(program.steps):
        for variable in names_read(step):
            known = variable.name in host if variable.host else variable.name in bound
            _require("scoping", known, f"{program.name} reads {variable.name}")
        if isinstance(step, SampleStep | ObserveStep):
            _family_arity(step)
        bound |= set(step.names) if isinstance(step, SampleStep) else {step.name}
    for _, name in program.returns:
        _require("scoping", name in bound | host, f"{program.name} returns {name}")


def _family_arity(step: SampleStep | ObserveStep) -> None:
    if isinstance(step.source, FamilyCall):
        row = FAMILIES[step.source.family]
        _require(
            "as many arguments as parameters", len(step.source.args) == len(row.parameters), step
        )
