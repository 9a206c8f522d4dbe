"""Names, made once: occurrence paths and parameter paths (ruling R13).

An *occurrence path* says where a morphism stands in a program: the step, then one segment for each
let name, ``stack[i]``, ``repeat[i]``, ``fan[i]``, ``@[i]`` and ``[t]`` that is entered, then the
morphism. What stands a second time in one chain gets ``#2``. A *parameter path* says whose weights
it uses: the let names, ``stack[i]`` and the morphism, joined by dots, of the first place in which
the owner stands. Whoever walks a term takes the segments from `child_segments`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from quivers_nb.check.term import (
    CheckedModule,
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
    Term,
)
from quivers_nb.check.walk import all_steps, parts

MARKERS: Mapping[type, str] = {
    Parallel: "@[{i}]",
    Fan: "fan[{i}]",
    Stack: "stack[{i}]",
    Repeat: "repeat[{i}]",
    Scan: "[t]",
}

ParameterPaths = Mapping[Owner, str]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A declared morphism in use. ``step``: the name of the step it stands in."""

    path: str
    step: str
    generator: Generator
    parameter_path: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A term and where it stands; ``keys`` are the segments of the parameter path."""

    path: str
    keys: tuple[str, ...]
    term: Term


def own_segment(term: Term) -> str:
    """The segment a term adds by itself: a morphism's label, a let or program name, or none."""
    match term:
        case Generator():
            return term.morphism.label
        case Named():
            return term.name
        case ProgramTerm():
            return term.program.name
        case Identity():
            return "identity"
        case _:
            return ""


def child_segments(term: Term) -> tuple[tuple[str, Term], ...]:
    """The parts of a term in evaluation order, with the segments between its path and theirs.

    A segment may be empty, or several joined by ``/`` (``fan[2]/enc_head[2]``).
    """
    if isinstance(term, ProgramTerm):
        return tuple((join(name, root_segment(t)), t) for name, t in calls(term.program))
    inner = (term.body,) * term.count if isinstance(term, Repeat) else parts(term)
    if isinstance(term, Compose):
        return tuple(zip(_distinct(inner), inner, strict=True))
    if isinstance(term, Named):
        return ((root_segment(term.body), term.body),)
    word = MARKERS.get(type(term), "")
    return tuple((join(word.format(i=i), own_segment(t)), t) for i, t in enumerate(inner))


def root_segment(term: Term) -> str:
    """The segment after a step's name; a program that is the whole step adds none (R3)."""
    return "" if isinstance(term, ProgramTerm) else own_segment(term)


def join(*segments: str) -> str:
    """Segments joined by ``/``, empty ones left out."""
    return "/".join(segment for segment in segments if segment)


def step_paths(program: Program) -> tuple[tuple[str, SampleStep | ObserveStep], ...]:
    """The random steps with their paths: the bound name; a second ``_`` is ``_#2``."""
    found = all_steps(program.steps)
    steps = [step for step in found if isinstance(step, SampleStep | ObserveStep)]
    names = ["_".join(s.names) if isinstance(s, SampleStep) else s.name for s in steps]
    return tuple(zip(_counted(names), steps, strict=True))


def calls(program: Program) -> tuple[tuple[str, Term], ...]:
    """The steps that use a morphism: path of the step, and its term."""
    return tuple(
        (path, step.source.term)
        for path, step in step_paths(program)
        if isinstance(step.source, MorphismCall)
    )


def leaf_paths(term: Term, prefix: str = "") -> Iterator[tuple[str, Generator]]:
    """The generators of a term in evaluation order, each with its occurrence path.

    ``prefix`` is the path of what the term stands in: the step, for the term of a step.
    """
    for place in _leaves(_Place(join(prefix, root_segment(term)), (), term)):
        if isinstance(place.term, Generator):
            yield place.path, place.term


def parameter_paths(*roots: Program | Term) -> dict[Owner, str]:
    """The parameter path of every owner (generators, learned initial states), first place first."""
    paths: dict[Owner, str] = {}
    taken: set[str] = set()
    for root in roots:
        for place in _root_places(root):
            for leaf in _leaves(place):
                _record(leaf, paths, taken)
    return paths


def module_parameter_paths(module: CheckedModule) -> dict[Owner, str]:
    """Parameter paths for all exports of a module, the first export first."""
    return parameter_paths(*(export.value for export in module.exports))


def occurrences(program: Program, paths: ParameterPaths | None = None) -> tuple[Occurrence, ...]:
    """Every use of a declared morphism in a program, in evaluation order."""
    known = parameter_paths(program) if paths is None else paths
    return tuple(
        Occurrence(path, step, generator, known[generator.owner])
        for step, term in calls(program)
        for path, generator in leaf_paths(term, step)
    )


def term_occurrences(
    term: Term, name: str, paths: ParameterPaths | None = None
) -> tuple[Occurrence, ...]:
    """Every use of a declared morphism in an expression; paths start with ``name``."""
    known = parameter_paths(term) if paths is None else paths
    prefix = "" if own_segment(term) == name else name
    start = _Place(join(prefix, own_segment(term)), (), term)
    return tuple(
        Occurrence(place.path, name, place.term, known[place.term.owner])
        for place in _leaves(start)
        if isinstance(place.term, Generator)
    )


def _root_places(root: Program | Term) -> Iterator[_Place]:
    if isinstance(root, Program):
        for step, term in calls(root):
            key = root_segment(term)
            yield _Place(join(step, key), (key,) if key else (), term)
    else:
        key = own_segment(root)
        yield _Place(key, (key,) if key else (), root)


def _leaves(place: _Place) -> Iterator[_Place]:
    """Generators, and scans with a learned start, under a place."""
    term = place.term
    if isinstance(term, Generator) or (isinstance(term, Scan) and term.learned_init):
        yield place
    for (segment, child), keys in zip(child_segments(term), _child_keys(term), strict=True):
        yield from _leaves(_Place(join(place.path, segment), place.keys + keys, child))


def _child_keys(term: Term) -> tuple[tuple[str, ...], ...]:
    """What `child_segments` adds to parameter paths: names and copies, not positions."""
    match term:
        case Stack():
            return tuple(
                _keys(f"stack[{i}]", own_segment(copy)) for i, copy in enumerate(term.copies)
            )
        case Named():
            return (_keys(root_segment(term.body)),)
        case ProgramTerm():
            return tuple(_keys(root_segment(inner)) for _, inner in calls(term.program))
        case _:
            return tuple(_keys(own_segment(child)) for _, child in child_segments(term))


def _keys(*segments: str) -> tuple[str, ...]:
    return tuple(segment for segment in segments if segment)


def _record(leaf: _Place, paths: dict[Owner, str], taken: set[str]) -> None:
    if isinstance(leaf.term, Generator):
        owner, wanted = leaf.term.owner, ".".join(leaf.keys)
    elif isinstance(leaf.term, Scan):
        owner, wanted = leaf.term.owner, ".".join((*leaf.keys, "init"))
    else:
        return
    if owner in paths:
        return
    path, count = wanted, 1
    while path in taken:
        count += 1
        path = f"{wanted}#{count}"
    taken.add(path)
    paths[owner] = path


def _distinct(chain: tuple[Term, ...]) -> tuple[str, ...]:
    """Segments of a chain: a name's second occurrence, or a second fan, stack, …, gets ``#2``."""
    seen: dict[tuple[str, type], int] = {}
    segments: list[str] = []
    for part in chain:
        own = own_segment(part)
        key = (own, type(part))
        seen[key] = seen.get(key, 0) + 1
        segments.append(own if seen[key] == 1 else f"{own}#{seen[key]}")
    return tuple(segments)


def _counted(names: list[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    counted: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        counted.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(counted)
