"""Terms in words: signatures, one line per site, an outline. For cards, hovers and messages."""

from collections.abc import Iterator
from dataclasses import dataclass

from quivers_nb.check.expect import signature_texts
from quivers_nb.check.let_text import let_text
from quivers_nb.check.paths import own_segment, step_paths
from quivers_nb.check.term import (
    Axis,
    CheckedModule,
    Compose,
    FamilyCall,
    Fan,
    Generator,
    Indexed,
    LetStep,
    Literal,
    MarginalizeStep,
    MeasureCall,
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
    Source,
    Stack,
    Step,
    Term,
    VariableInfo,
)
from quivers_nb.check.walk import parts
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


def distribution(source: Source) -> str:
    """``Normal(mu, 1.0)`` or ``lm_head(h)``; a bare name reads the input."""
    if isinstance(source, FamilyCall):
        return f"{source.written or source.family}({', '.join(map(_argument, source.args))})"
    if isinstance(source, MeasureCall):
        return f"{source.operator}({', '.join(_operands(source))})"
    name = _called(source.term)
    return name if source.args is None else f"{name}({', '.join(map(_argument, source.args))})"


def _operands(call: MeasureCall) -> Iterator[str]:
    """The arguments of a measure operator in the order in which they are written."""
    numbers = list(map(_argument, call.numbers))
    inner = list(map(distribution, call.inner))
    if call.operator == "Mixture":
        yield from (*numbers, f"[{', '.join(inner)}]")
        return
    yield from inner
    if call.bijector is None:
        yield from numbers
    else:
        yield f"{call.bijector}({', '.join(numbers)})" if numbers else call.bijector
    if call.operator == "Independent":
        yield str(call.count)


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
    if morphism.data is not None:
        return f"table of data, {morphism.data}"
    if morphism.prior is not None:
        return f"table, {distribution(morphism.prior.source)}"
    if morphism.family is None:
        return "Markov table" if morphism.role.value == "kernel" else morphism.role.value
    source = morphism.source
    if source is None:
        return f"{morphism.family} kernel"
    widths = f"({', '.join(map(str, source.widths))})" if source.widths else ""
    return f"{morphism.family} kernel, {source.kind.value}{widths}"


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
    dom, cod = signature_texts(value)
    yield depth, f"{_title(value)} : {dom} -> {cod}{_note(value)}"
    for part in _below(value):
        yield from _outline(part, depth + 1)


def _returned(program: Program) -> Iterator[str]:
    for name, variable in program.returns:
        yield name if name == variable else f"{name}: {variable}"


def _step(step: Step, depth: int) -> Iterator[tuple[int, str]]:
    match step:
        case SampleStep():
            names = ", ".join(step.names) + _over(step.plate)
            yield depth, f"sample {names} ~ {distribution(step.source)}"
        case ObserveStep():
            name = step.name + _over(step.plate)
            yield depth, f"observe {name} ~ {distribution(step.source)}{_via(step)}"
        case LetStep():
            yield depth, f"let {step.name} = {let_text(step.value)}"
        case ScoreStep():
            yield depth, f"score {step.name} = {let_text(step.value)}"
        case MarginalizeStep():
            name = step.name + _over(step.plate)
            over = f" over {_axes(step.over)}" if step.over else ""
            yield depth, f"marginalize {name} ~ {distribution(step.source)}{over}{_via(step)}"
            for inner in step.body:
                yield from _step(inner, depth + 1)
    source = step.source if isinstance(step, SampleStep | ObserveStep) else None
    if isinstance(source, MorphismCall) and not isinstance(source.term, Generator):
        yield from _outline(source.term, depth + 1)


def _over(plate: tuple[Axis, ...] | None) -> str:
    """Behind a name: the plate that it was declared over."""
    return f" : {_axes(plate)}" if plate else ""


def _axes(axes: tuple[Axis, ...]) -> str:
    return " * ".join(axis.name or str(axis.obj) for axis in axes)


def _via(step: ObserveStep | MarginalizeStep) -> str:
    return f" via {', '.join(each.name for each in step.via)}" if step.via else ""


def _title(term: Term) -> str:
    """What stands before the types in the line of a term."""
    match term:
        case Generator():
            return term.morphism.label
        case Named():
            return term.name
        case ProgramTerm():
            return f"program {term.program.name}"
        case Repeat():
            return f"repeat {term.count} times"
        case Stack():
            return f"stack of {len(term.copies)} copies"
        case _:
            return _combined(term)


def _combined(term: Term) -> str:
    match term:
        case Scan():
            return f"scan from {'learned' if term.learned_init else 'zeros'}"
        case Fan():
            group = _group(term)
            return "fan" if group is None else f"fan of {len(term.parts)} {group.name}"
        case Parallel():
            return "side by side"
        case Compose():
            return "chain"
        case _:
            return "identity"


def _below(term: Term) -> tuple[Term, ...]:
    """The terms that get lines of their own: of a stack one copy, of a group none."""
    if isinstance(term, Stack):
        return term.copies[:1]
    if isinstance(term, Named) and isinstance(term.body, Compose):
        return term.body.parts
    return () if isinstance(term, Fan) and _group(term) is not None else parts(term)


def _group(term: Fan) -> Morphism | None:
    """The morphism, if all parts of a fan are members of one replicated morphism."""
    members = [part.morphism for part in term.parts if isinstance(part, Generator)]
    names = {member.name for member in members}
    group = all(member.member is not None for member in members)
    same = group and len(members) == len(term.parts) > 1 and len(names) == 1
    return members[0] if same else None


def _note(term: Term) -> str:
    """In brackets after the types of a morphism or a group: what it is."""
    morphism = _group(term) if isinstance(term, Fan) else None
    if isinstance(term, Generator):
        morphism = term.morphism
    return "" if morphism is None else f"  ({kernel(morphism)})"
