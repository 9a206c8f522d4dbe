"""The laws of the typed term, executable: run on every checked program of the test suite."""

from collections.abc import Iterator
from itertools import pairwise

from quivers_nb.check.expect import events_meet
from quivers_nb.check.paths import child_segments, occurrences, parameter_paths, step_paths
from quivers_nb.check.term import (
    Apply,
    Arithmetic,
    CheckedModule,
    Compose,
    Factor,
    FamilyCall,
    Fan,
    Gather,
    Generator,
    Indexed,
    Items,
    Lambda,
    LetStep,
    LetTerm,
    MarginalizeStep,
    Morphism,
    MorphismCall,
    Named,
    Negate,
    ObserveStep,
    Owner,
    Parallel,
    Program,
    ProgramTerm,
    Repeat,
    SampleStep,
    Scan,
    ScoreStep,
    Stack,
    Step,
    Term,
    Variable,
)
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


def names_read(step: Step) -> Iterator[Variable]:
    """The names that a step reads; of a marginalize step, those of its own call."""
    match step:
        case SampleStep() | ObserveStep():
            for arg in step.source.args or ():
                yield from _in_argument(arg)
            yield from step.via if isinstance(step, ObserveStep) else ()
        case MarginalizeStep():
            for arg in step.source.args:
                yield from _in_argument(arg)
            yield from step.via
        case LetStep() | ScoreStep():
            yield from _in_let(step.value, frozenset())


def _in_argument(arg: object) -> Iterator[Variable]:
    match arg:
        case Variable():
            yield arg
        case Indexed():
            yield arg.base
            yield from arg.indices
        case tuple():
            for item in arg:
                yield from _in_argument(item)
        case _:
            pass


def _in_let(term: LetTerm, local: frozenset[str]) -> Iterator[Variable]:
    if isinstance(term, Variable):
        if term.name not in local:
            yield term
        return
    children, binders = _parts(term)
    for child in children:
        yield from _in_let(child, local | binders)


def _parts(term: LetTerm) -> tuple[tuple[LetTerm, ...], frozenset[str]]:
    """The parts of an expression, and the names bound in them."""
    match term:
        case Lambda():
            return (term.body,), frozenset({term.param})
        case Factor():
            inside = term.cases if term.cases is not None else (term.body,)
            names = frozenset(name for name, _ in term.binders)
            return tuple(part for part in inside if part is not None), names
        case _:
            return _operands(term), frozenset()


def _operands(term: LetTerm) -> tuple[LetTerm, ...]:
    match term:
        case Arithmetic():
            return term.left, term.right
        case Negate():
            return (term.operand,)
        case Apply():
            return term.args
        case Items():
            return term.items
        case Gather():
            return (term.base, *term.indices)
        case _:
            return ()
