"""The picture of a program: its sites, what they depend on, and the plates that they stand in.

Edges come from the checked program, never from a run, so a deterministic step in between drops
nothing. A plate is the set of axes a value has: one region for each set, so overlapping plates are
shown as what they are. A region is split where it would enclose its own consequences.

Every use of a value is an edge of its own; an applied morphism is a folded group that opens into
its string diagram.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from quivers_nb.check.describe import distribution
from quivers_nb.check.paths import join, root_segment, step_paths
from quivers_nb.check.term import (
    Axis,
    Factor,
    Generator,
    LetStep,
    MarginalizeStep,
    MorphismCall,
    ObserveStep,
    Program,
    ProgramTerm,
    SampleStep,
    ScoreStep,
    Step,
    Term,
    Variable,
    VariableInfo,
)
from quivers_nb.check.variables import argument_variables, source_variables, variables
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.factors import size_text, wires_of
from quivers_nb.diagrams.graph import Diagram, GroupKind, Item, Kind, WireType
from quivers_nb.diagrams.pieces import One, Piece
from quivers_nb.diagrams.plates import EDGE, Draft, Entry, drawn
from quivers_nb.diagrams.words import expression_text
from quivers_nb.spaces.space import Object, factors

Morphisms = Callable[[Term, str], Piece]  # how an applied morphism is drawn

ROWS = "rows"


def program_diagram(program: Program, morphisms: Morphisms) -> Diagram:
    """The picture of a program by itself."""
    draft = _Draft(program, "", morphisms)
    draft.inputs(())
    draft.steps()
    draft.returned(())
    return drawn(draft.draft, program.name)


def program_item(
    program: Program,
    path: str,
    ins: tuple[WireType, ...],
    outs: tuple[WireType, ...],
    morphisms: Morphisms,
) -> Item:
    """A program used as a morphism: a group with the boundary of the morphism."""
    draft = _Draft(program, path, morphisms)
    draft.inputs(ins)
    draft.steps()
    draft.returned(outs)
    body = drawn(draft.draft, program.name, ins, outs, path)
    return Item(
        id=path or program.name,
        kind=Kind.GROUP,
        label=program.name,
        ins=ins,
        outs=outs,
        group=GroupKind.PROGRAM,
        body=body,
        span=program.span,
    )


@dataclass(slots=True)
class _Draft:
    """A program step by step: entries, and which of them a name is bound to."""

    program: Program
    prefix: str
    morphisms: Morphisms
    draft: Draft = field(default_factory=Draft)
    bound: dict[str, str] = field(default_factory=dict)
    known: dict[str, VariableInfo] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)  # the entries of the input

    def __post_init__(self) -> None:
        self.known = {variable.name: variable for variable in self.program.variables}

    # --- boundary ---

    def inputs(self, ins: tuple[WireType, ...]) -> None:
        """Words for the parts of the input; inside a string diagram its wires lead to them."""
        if ins or self.program.reads_input:
            self.draft.enter(ins, self._bar(self._input(), len(ins)))

    def _input(self) -> list[str]:
        """The words of the input, made when the first thing reads them."""
        if self.words:
            return self.words
        named = [(slot.name, slot.name, _sizes(slot.obj)) for slot in self.program.inputs]
        if not named:
            types = wires_of(self.program.dom, self.program.dom_text).types
            named = [(f"input[{i}]", wire.name, wire.size) for i, wire in enumerate(types)]
        for name, label, size in named:
            item = Item(join(self.prefix, name), Kind.WORD, label, (), (), role="input", note=size)
            self.words.append(self._add(item, self._rows()))
            self.bound[name] = self.words[-1]
        return self.words

    def returned(self, outs: tuple[WireType, ...]) -> None:
        """The word `return`, and what it gives back."""
        labels = [label for label, variable in self.program.returns if label != variable]
        note = ", ".join(labels)
        item = Item(join(self.prefix, "return"), Kind.WORD, "return", (), (), "return", note)
        ident = self._add(item, frozenset())
        for _, variable in self.program.returns:
            self._edge(Variable(variable), ident)
        self.draft.leave(ident, len(outs))

    # --- steps ---

    def steps(self) -> None:
        paths = {id(step): path for path, step in step_paths(self.program)}
        for step in self.program.steps:
            self._step(step, paths)

    def _step(self, step: Step, paths: dict[int, str]) -> None:
        match step:
            case SampleStep() | ObserveStep():
                name = "_".join(step.names) if isinstance(step, SampleStep) else step.name
                self._random(step, join(self.prefix, paths.get(id(step), name)))
            case MarginalizeStep():
                self._summed(step)
                for inner in step.body:
                    self._step(inner, paths)
            case LetStep() | ScoreStep():
                self._fixed(step)

    def _summed(self, step: MarginalizeStep) -> None:
        """A site whose value is summed out; what depends on it stands in its block."""
        text = distribution(step.source)
        item = Item(
            id=join(self.prefix, step.name),
            kind=Kind.SITE,
            label=step.name,
            ins=(),
            outs=(),
            role="marginalize",
            note=f"{_short(text)} · summed",
            about=f"marginalize {step.name} ~ {text}",
            span=step.span,
        )
        axes = [*(step.over or ()), *(step.plate or ())]
        ident = self._add(item, self._plate(step.name, axes))
        for variable in source_variables(step.source):
            self._edge(variable, ident)
        self.bound[step.name] = ident

    def _random(self, step: SampleStep | ObserveStep, path: str) -> None:
        names = step.names if isinstance(step, SampleStep) else (step.name,)
        role = "sample" if isinstance(step, SampleStep) else "observe"
        plate = self._plate(names[0], step.plate or (), row_wise=step.row_wise)
        item = Item(
            id=path,
            kind=Kind.SITE,
            label=", ".join(names),
            ins=(),
            outs=(),
            role=role,
            note=self._note(step, names[0]),
            about=f"{role} {', '.join(names)} ~ {distribution(step.source)}",
            span=step.span,
        )
        if isinstance(step.source, MorphismCall):
            applied = self._applied(step.source, path, plate)
            ident = self._add(item, plate)
            for k in range(len(self.draft.entries[applied].item.outs)):
                self.draft.join(applied, ident, k)
        else:
            ident = self._add(item, plate)
            for variable in source_variables(step.source):
                self._edge(variable, ident)
        self.bound.update(dict.fromkeys(names, ident))

    def _fixed(self, step: LetStep | ScoreStep) -> None:
        role = "let" if isinstance(step, LetStep) else "score"
        text = expression_text(step.value)
        body = step.value.body if isinstance(step.value, Factor) else None
        note = text if body is None else expression_text(body)  # its axes are the plates
        item = Item(
            id=join(self.prefix, step.name),
            kind=Kind.SITE,
            label=step.name,
            ins=(),
            outs=(),
            role=role,
            note=note if len(note) <= 30 else note[:29] + "…",
            about=f"{role} {step.name} = {text}",
            span=step.span,
        )
        ident = self._add(item, self._plate(step.name, ()))
        for variable in variables(step.value):
            self._edge(variable, ident)
        self.bound[step.name] = ident

    def _applied(self, call: MorphismCall, path: str, plate: frozenset[str]) -> str:
        """The box of an applied morphism, with the edges of its arguments."""
        inside = join(path, root_segment(call.term))
        item = self._applied_item(call.term, inside)
        sources = self._input() if call.args is None else self._arguments(call)
        ident = self._add(item, plate)
        count = len(item.ins)
        self.draft.entries[ident].fixed = True
        target = ident
        if sources and len(sources) != count:
            target = self._regroup(ident, plate)
        for source in sources:
            self.draft.join(source, target)
        if target != ident:
            for _ in range(count):
                self.draft.join(target, ident)
        return ident

    def _applied_item(self, term: Term, path: str) -> Item:
        piece = self.morphisms(term, path)
        if isinstance(piece, One):
            return piece.item if piece.item.outs else self._with_an_output(term, piece.item, path)
        whole = assemble(piece)
        if isinstance(term, Generator) or (len(whole.items) == 1 and whole.items[0].id == path):
            return whole.items[0]
        kind = GroupKind.PROGRAM if isinstance(term, ProgramTerm) else GroupKind.LET
        ident = join(path, "expression")
        return Item(ident, Kind.GROUP, "expression", whole.dom, whole.cod, group=kind, body=whole)

    def _with_an_output(self, term: Term, item: Item, path: str) -> Item:
        """What a step binds comes from somewhere, even if the codomain is the unit (7.1)."""
        if isinstance(term, ProgramTerm):
            return program_item(term.program, path, item.ins, (EDGE,), self.morphisms)
        return replace(item, outs=(EDGE,)) if item.body is None else item

    def _arguments(self, call: MorphismCall) -> list[str]:
        found = [v for arg in call.args or () for v in argument_variables(arg)]
        return [self._source(variable) for variable in found]

    # --- edges ---

    def _edge(self, variable: Variable, target: str) -> None:
        self.draft.join(self._source(variable), target)

    def _source(self, variable: Variable) -> str:
        """The entry that binds a name; a key of the data gets a word of its own."""
        if variable.name not in self.bound:
            item = Item(
                join(self.prefix, "data", variable.name),
                Kind.WORD,
                variable.name,
                (),
                (),
                "data",
                "data",
            )
            self.bound[variable.name] = self._add(item, self._plate(variable.name, ()))
        return self.bound[variable.name]

    def _regroup(self, beside: str, plate: frozenset[str]) -> str:
        item = Item(join(beside, "regroup"), Kind.REGROUP, "regroup", (), ())
        return self._add(item, plate)

    def _bar(self, words: list[str], count: int) -> list[str]:
        """What the wires of the boundary lead to: the words, or a bar before them."""
        if not count or len(words) == count:
            return words
        bar = self._regroup(join(self.prefix, "input"), self._rows())
        for word in words:
            self.draft.join(bar, word)
        return [bar] * count

    def _add(self, item: Item, plate: frozenset[str]) -> str:
        return self.draft.add(Entry(item, plate))

    # --- plates and words ---

    def _rows(self) -> frozenset[str]:
        return frozenset({ROWS}) if self.program.reads_input else frozenset()

    def _plate(self, name: str, axes: Iterable[Axis], *, row_wise: bool = False) -> frozenset[str]:
        """The plates of a value: its own named axes, and the rows of a program that has them."""
        info = self.known.get(name)
        if info is not None:
            axes = info.axes if info.axes is not None else axes
            row_wise = info.row_wise
        titles = {plate_title(axis) for axis in axes if axis.obj.size != 1}
        return frozenset(titles) | (self._rows() if row_wise else frozenset())

    def _note(self, step: SampleStep | ObserveStep, name: str) -> str:
        info = self.known.get(name)
        size = _value_text(step, info)
        if not isinstance(step.source, MorphismCall):
            return f"{_short(distribution(step.source))} · {size}"
        return f"{'observed · ' if isinstance(step, ObserveStep) else ''}{size}"


def plate_title(axis: Axis) -> str:
    """``School · 8``."""
    size = str(axis.obj.size)
    return (
        size if axis.name is None else axis.name if axis.name == size else f"{axis.name} · {size}"
    )


def _value_text(step: SampleStep | ObserveStep, info: VariableInfo | None) -> str:
    """What one value of a site is: ``ℝ``, ``ℝ32``, ``ℤ``, ``Simplex 3``."""
    if step.space is not None:
        return _sizes(step.space)
    if isinstance(step.source, MorphismCall) and len(factors(step.source.term.cod)) == 1:
        return _sizes(step.source.term.cod)
    event = "×".join(map(str, info.event)) if info is not None else ""
    if info is not None and info.simplex:
        return f"Simplex {event}"
    return f"{'ℤ' if info is not None and info.integer else 'ℝ'}{event}"


def _sizes(obj: Object) -> str:
    parts = [size_text(factor) for factor in factors(obj)]
    return " * ".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= 26 else text[:25] + "…"
