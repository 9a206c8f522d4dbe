"""Terms in words: signatures, one line per site, an outline. For cards, hovers and messages."""

from collections.abc import Iterator
from dataclasses import dataclass

from quivers_nb.check.expect import signature_texts
from quivers_nb.check.paths import own_segment, step_paths
from quivers_nb.check.term import (
    Arithmetic,
    Axis,
    CheckedModule,
    Compose,
    FamilyCall,
    Fan,
    Generator,
    Identity,
    Indexed,
    LetStep,
    Literal,
    Morphism,
    MorphismCall,
    Named,
    ObserveStep,
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
    VariableInfo,
)
from quivers_nb.spaces.space import SizeVar

LINES = 40  # of an outline


@dataclass(frozen=True, slots=True)
class SiteLine:
    """One declared site in words. ``shape``: own shape and event, ``rows`` in front if per row."""

    name: str
    distribution: str
    shape: str
    sharing: str  # "one per row" or "shared"
    observed: bool

    def __str__(self) -> str:
        word = "observe" if self.observed else "sample"
        return f"{word} {self.name} ~ {self.distribution}, shape {self.shape}, {self.sharing}"


def signature(value: Term | Program, name: str | None = None) -> str:
    """``seq2seq : Source * Target -> Target``, in the words of the declarations."""
    if isinstance(value, Program):
        return f"{name or value.name} : {value.dom_text} -> {value.cod_text}"
    dom, cod = signature_texts(value)
    return f"{name or own_segment(value) or 'expression'} : {dom} -> {cod}"


def signatures(module: CheckedModule) -> tuple[str, ...]:
    """The signature of every morphism, let and program, in the order of declaration."""
    return tuple(signature(value, name) for name, value in module.morphisms)


def site_lines(program: Program) -> tuple[SiteLine, ...]:
    """The declared sites of a program, in order."""
    known = {variable.name: variable for variable in program.variables}
    lines: list[SiteLine] = []
    for _, step in step_paths(program):
        names = step.names if isinstance(step, SampleStep) else (step.name,)
        lines.extend(_site(name, step, known.get(name), program) for name in names)
    return tuple(lines)


def distribution(source: FamilyCall | MorphismCall) -> str:
    """``Normal(mu, 1.0)`` or ``lm_head(h)``; a bare name reads the input."""
    if isinstance(source, FamilyCall):
        return f"{source.family}({', '.join(map(_argument, source.args))})"
    name = _called(source.term)
    return name if source.args is None else f"{name}({', '.join(map(_argument, source.args))})"


def outline(value: Term | Program) -> str:
    """An indented tree of a term, cut at `LINES` lines."""
    lines: list[str] = []
    for depth, text in _outline(value, 0):
        if len(lines) == LINES - 1:
            lines.append("…")
            break
        lines.append("  " * depth + text)
    return "\n".join(lines)


def kernel(morphism: Morphism) -> str:
    """What a declared morphism is: ``Normal kernel, mlp(64, 64)``, ``embed``, ``Markov table``."""
    if morphism.family is None:
        return "Markov table" if morphism.role.value == "kernel" else morphism.role.value
    source = morphism.source
    how = "" if source is None else f", {source.kind.value}"
    widths = (
        "" if source is None or not source.widths else f"({', '.join(map(str, source.widths))})"
    )
    return f"{morphism.family} kernel{how}{widths}"


def _site(
    name: str, step: SampleStep | ObserveStep, info: VariableInfo | None, program: Program
) -> SiteLine:
    rows = step.row_wise
    return SiteLine(
        name=name,
        distribution=distribution(step.source),
        shape=_shape(info, rows=rows and program.reads_input),
        sharing="one per row" if rows else "shared",
        observed=isinstance(step, ObserveStep),
    )


def _shape(info: VariableInfo | None, *, rows: bool) -> str:
    front = ["rows"] if rows else []
    if info is None or info.axes is None:
        return "(" + ", ".join([*front, "…"]) + ")"
    parts = [*front, *map(_axis, info.axes), *map(str, info.event)]
    return f"({', '.join(parts)})"


def _axis(axis: Axis) -> str:
    size = axis.obj.size
    if axis.name is None or (isinstance(size, SizeVar) and size.name == axis.name):
        return str(size)
    return f"{axis.name}={size}"


def _argument(arg: object) -> str:
    if isinstance(arg, Literal):
        return str(arg.value)
    if isinstance(arg, Indexed):
        return f"{arg.base.name}[{', '.join(index.name for index in arg.indices)}]"
    if isinstance(arg, tuple):
        return f"[{', '.join(map(_argument, arg))}]"
    return str(getattr(arg, "name", arg))


def _called(term: Term) -> str:
    if isinstance(term, Generator) and term.morphism.member is not None:
        return f"{term.morphism.name}_{term.morphism.member}"
    return own_segment(term)


# --- outline --------------------------------------------------------------------------------


def _outline(value: Term | Program, depth: int) -> Iterator[tuple[int, str]]:
    if isinstance(value, Program):
        yield depth, f"program {signature(value)}"
        for step in value.steps:
            yield from _step(step, depth + 1)
        yield depth + 1, "return " + ", ".join(_returned(value))
        return
    head, parts = _head(value)
    yield depth, head
    for part in parts:
        yield from _outline(part, depth + 1)


def _returned(program: Program) -> Iterator[str]:
    for name, variable in program.returns:
        yield name if name == variable else f"{name}: {variable}"


def _step(step: Step, depth: int) -> Iterator[tuple[int, str]]:
    match step:
        case SampleStep():
            yield depth, f"sample {', '.join(step.names)} ~ {distribution(step.source)}"
        case ObserveStep():
            yield depth, f"observe {step.name} ~ {distribution(step.source)}"
        case LetStep():
            yield depth, f"let {step.name} = {_short(step.value)}"
        case ScoreStep():
            yield depth, f"score {step.name} = {_short(step.value)}"
    if isinstance(step, SampleStep | ObserveStep) and isinstance(step.source, MorphismCall):
        if not isinstance(step.source.term, Generator):
            yield from _outline(step.source.term, depth + 1)


def _short(value: object) -> str:
    if isinstance(value, Arithmetic):
        return f"… {value.op} …"
    return type(value).__name__.lower()


def _head(term: Term) -> tuple[str, tuple[Term | Program, ...]]:
    dom, cod = signature_texts(term)
    types = f"{dom} -> {cod}"
    match term:
        case Generator():
            return f"{term.morphism.label} : {types}  ({kernel(term.morphism)})", ()
        case Identity():
            return f"identity : {types}", ()
        case Named():
            inner = term.body
            parts = inner.parts if isinstance(inner, Compose) else (inner,)
            return f"{term.name} : {types}", parts
        case ProgramTerm():
            return f"program {term.program.name} : {types}", ()
        case Repeat():
            return f"repeat {term.count} times : {types}", (term.body,)
        case Scan():
            start = "learned" if term.learned_init else "zeros"
            return f"scan from {start} : {types}", (term.cell,)
        case Stack():
            return f"stack of {len(term.copies)} copies : {types}", term.copies[:1]
        case Compose():
            return f"chain : {types}", term.parts
        case Parallel():
            return f"side by side : {types}", term.parts
        case Fan():
            return _fan(term, types)


def _fan(term: Fan, types: str) -> tuple[str, tuple[Term | Program, ...]]:
    """Members of one group side by side are one line."""
    first = term.parts[0]
    if isinstance(first, Generator) and len(term.parts) > 1:
        names = {part.morphism.name for part in term.parts if isinstance(part, Generator)}
        same = len(names) == 1 and all(isinstance(part, Generator) for part in term.parts)
        if same:
            count = len(term.parts)
            return f"fan of {count} {first.morphism.name} : {types}  ({kernel(first.morphism)})", ()
    return f"fan : {types}", term.parts
