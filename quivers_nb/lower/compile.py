"""From typed term to nodes: the one place where terms become things that can be evaluated.

Names come from `quivers_nb.check.paths`, in the order of evaluation, and are only consumed here.
Members of a replicated group side by side in one ``fan`` become a single leaf, evaluated by one
batched product.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from quivers_nb.check import term as ir
from quivers_nb.check.paths import Occurrence, leaf_paths, occurrences, parameter_paths
from quivers_nb.lower.frame import CompiledProgram
from quivers_nb.lower.nodes import Beside, Chain, Leaf, Node, Recur, Spread, Sub, Wire
from quivers_nb.lower.parameters import KernelPlan, batchable, tensor_names
from quivers_nb.lower.steps import ProgramInExpression
from quivers_nb.lower.storage import Storage
from quivers_nb.spaces.space import width


@dataclass
class Compilation:
    """One program or expression being compiled; ``paths`` collects each owner's parameter path."""

    storage: Storage
    names: Iterator[Occurrence]
    owners: Mapping[ir.Owner, str]  # parameter paths, learned starts of scans included
    paths: dict[ir.Owner, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # storage blocks in use, by first occurrence
    middle_paths: list[str] = field(default_factory=list)

    # --- programs

    def program(self, program: ir.Program) -> CompiledProgram:
        nodes: dict[int, Node] = {}
        subs: dict[int, CompiledProgram] = {}
        for index, step in enumerate(program.steps):
            if not isinstance(step, ir.SampleStep | ir.ObserveStep):
                continue
            if not isinstance(step.source, ir.MorphismCall):
                continue
            whole = _whole_program(step.source.term)
            if whole is None:
                nodes[index] = self.node(step.source.term)
            else:
                subs[index] = self.program(whole)
        return CompiledProgram(program, nodes, subs)

    # --- terms

    def node(self, term: ir.Term) -> Node:
        """The node of a term; names are consumed in the order of evaluation."""
        if isinstance(term, ir.Generator):
            return self._leaf(term)
        if isinstance(term, ir.Fan):
            return self._fan(term.parts)
        if isinstance(term, ir.Scan):
            return self._scan(term)
        if isinstance(term, ir.ProgramTerm):
            return Sub(term.program.name, ProgramInExpression(self.program(term.program)))
        return self._composite(term)

    def _composite(self, term: ir.Term) -> Node:
        match term:
            case ir.Named(body=body):
                return self.node(body)
            case ir.Compose(parts=parts):
                return Chain(tuple(self.node(part) for part in parts))
            case ir.Parallel(parts=parts):
                nodes = tuple(self.node(part) for part in parts)
                return Beside(nodes, tuple(p.dom for p in parts), tuple(p.cod for p in parts))
            case ir.Repeat(body=body, count=count):
                return Chain(tuple(self.node(body) for _ in range(count)))
            case ir.Stack(copies=copies):
                return Chain(tuple(self.node(copy) for copy in copies))
            case _:
                return Wire()

    def _leaf(self, generator: ir.Generator) -> Leaf:
        name = self._next(generator)
        self.storage.place([generator], name.parameter_path)
        slot = self._use(generator, name)
        plan = KernelPlan(generator.morphism, _keys(generator.morphism, slot.key), slot.index)
        return Leaf(name.path, plan, generator.cod)

    def _fan(self, parts: Sequence[ir.Term]) -> Node:
        generators = [part for part in parts if isinstance(part, ir.Generator)]
        if len(generators) < len(parts) or not _equal_members(generators):
            nodes = tuple(self.node(part) for part in parts)
            return Spread(nodes, tuple(part.cod for part in parts))
        names = [self._next(generator) for generator in generators]
        self.storage.place(generators, _group_key(names[0].parameter_path))
        slots = [self._use(g, n) for g, n in zip(generators, names, strict=True)]
        first = generators[0].morphism
        whole = [(s.key, s.index) for s in slots] == [(slots[0].key, k) for k in range(len(slots))]
        if whole and self.storage.members(slots[0].key) == len(slots):
            keys = _keys(first, slots[0].key)
            columns = tuple((n.path, width(g.cod)) for n, g in zip(names, generators, strict=True))
            return Leaf(
                _group_path(names[0].path),
                KernelPlan(first, keys, members=len(slots)),
                first.cod,
                columns,
            )
        leaves = tuple(
            Leaf(n.path, KernelPlan(g.morphism, _keys(g.morphism, s.key), s.index), g.cod)
            for n, g, s in zip(names, generators, slots, strict=True)
        )
        return Spread(leaves, tuple(g.cod for g in generators))

    def _scan(self, term: ir.Scan) -> Recur:
        cell = self.node(term.cell)
        init = None
        if term.learned_init:
            key = self.owners[term.owner].removesuffix(".init")
            self.storage.place_tensor(term.owner, key, "init", torch.zeros(width(term.cod)))
            slot = self.storage.slots[term.owner]
            self._note(slot.key)
            self.paths[term.owner] = slot.key
            init = f"{slot.key}.init"
        return Recur(cell, width(term.cod), init)

    # --- names and storage

    def _next(self, generator: ir.Generator) -> Occurrence:
        name = next(self.names)
        assert name.generator.owner == generator.owner, (name.path, generator.morphism.label)
        return name

    def _use(self, generator: ir.Generator, name: Occurrence) -> "_Slot":
        slot = self.storage.slots[generator.owner]
        self._note(slot.key)
        self.middle_paths.append(name.path)
        self.paths.setdefault(generator.owner, name.parameter_path)
        return _Slot(slot.key, slot.index)

    def _note(self, key: str) -> None:
        if key not in self.keys:
            self.keys.append(key)


@dataclass(frozen=True, slots=True)
class _Slot:
    key: str
    index: int | None


def _whole_program(term: ir.Term) -> ir.Program | None:
    """The program, if it is all there is to a step's morphism (R3)."""
    while isinstance(term, ir.Named):
        term = term.body
    return term.program if isinstance(term, ir.ProgramTerm) else None


def _equal_members(generators: Sequence[ir.Generator]) -> bool:
    """Whether generators are different members of one group that can share a batched product."""
    first = generators[0].morphism
    if len(generators) < 2 or not batchable(first):
        return False
    plain = [replace(g.morphism, member=None) for g in generators]
    owners = {g.owner for g in generators}
    return all(m == plain[0] for m in plain) and len(owners) == len(generators)


def _group_key(path: str) -> str:
    return path[: path.rindex("[")] if path.endswith("]") else path


def _group_path(path: str) -> str:
    """Where a whole group stands: ``…/fan[0]/head[0]`` becomes ``…/fan/head``."""
    front, fan, member = path.rsplit("/", 2)
    return f"{front}/{_group_key(fan)}/{_group_key(member)}"


def _keys(morphism: ir.Morphism, key: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{key}.{name}") for name in tensor_names(morphism))


def compile_program(program: ir.Program, storage: Storage) -> tuple[CompiledProgram, Compilation]:
    """A program's nodes, with its weights placed in ``storage``."""
    paths = parameter_paths(program)
    work = Compilation(storage, iter(occurrences(program, paths)), paths)
    return work.program(program), work


def compile_term(term: ir.Term, storage: Storage, name: str) -> tuple[Node, Compilation]:
    """The node of a bare expression exported as ``name``."""
    paths = parameter_paths(term)
    names = [Occurrence(path, name, g, paths[g.owner]) for path, g in leaf_paths(term)]
    work = Compilation(storage, iter(names), paths)
    return work.node(term), work
