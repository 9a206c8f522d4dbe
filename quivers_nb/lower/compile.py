"""From typed term to nodes: the one place where terms become things that can be evaluated.

Names come from `quivers_nb.check.paths`, in the order of evaluation, and are only consumed here.
Members of a replicated group side by side in one ``fan`` become a single leaf, evaluated by one
batched product.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from quivers_nb.check import term as ir
from quivers_nb.check.paths import Occurrence, leaf_paths, occurrences, parameter_paths
from quivers_nb.lower.frame import CompiledProgram
from quivers_nb.lower.lanes import Units, equal_kernels, equal_lanes
from quivers_nb.lower.nodes import Beside, Chain, Lanes, Leaf, Node, Recur, Spread, Sub, Wire
from quivers_nb.lower.parameters import KernelPlan, tensor_names
from quivers_nb.lower.parts import Parts
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
        return self.steps(program, program.steps)

    def steps(self, program: ir.Program, steps: tuple[ir.Step, ...]) -> CompiledProgram:
        """The steps of a program, or of a marginalize block in it."""
        nodes: dict[int, Node] = {}
        subs: dict[int, CompiledProgram] = {}
        blocks: dict[int, CompiledProgram] = {}
        for index, step in enumerate(steps):
            if isinstance(step, ir.MarginalizeStep):
                blocks[index] = self.steps(program, step.body)
                continue
            if not isinstance(step, ir.SampleStep | ir.ObserveStep):
                continue
            if not isinstance(step.source, ir.MorphismCall):
                continue
            whole = _whole_program(step.source.term)
            if whole is None:
                nodes[index] = self.node(step.source.term)
            else:
                subs[index] = self.program(whole)
        return CompiledProgram(program, steps, nodes, subs, blocks)

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
                return self._parallel(parts)
            case ir.Repeat(body=body, count=count):
                return Chain(tuple(self.node(body) for _ in range(count)))
            case ir.Stack(copies=copies):
                return Chain(tuple(self.node(copy) for copy in copies))
            case _:
                return Wire()

    def _leaf(self, generator: ir.Generator) -> Leaf:
        name = self._next(generator)
        self.storage.place([generator], name.parameter_path)
        return self._single(generator, name)

    def _single(self, generator: ir.Generator, name: Occurrence) -> Leaf:
        slot = self._use(generator, name)
        keys = _keys(generator.morphism, slot.key)
        return Leaf(name.path, KernelPlan(generator.morphism, keys, slot.index), generator.cod)

    def _fan(self, parts: Sequence[ir.Term]) -> Node:
        generators = [part for part in parts if isinstance(part, ir.Generator)]
        if len(generators) == len(parts) > 1 and equal_kernels(generators):
            names = [self._next(generator) for generator in generators]
            whole = self._batch(generators, names, lanes=1)
            leaves = [self._single(g, n) for g, n in zip(generators, names, strict=True)]
            return whole or Spread(tuple(leaves), tuple(g.cod for g in generators))
        nodes = tuple(self.node(part) for part in parts)
        return Spread(nodes, tuple(part.cod for part in parts))

    def _parallel(self, parts: Sequence[ir.Term]) -> Node:
        """Equal layers side by side become lanes of one node; anything else stays apart."""
        lanes = equal_lanes(parts)
        if lanes is not None:
            names = [[[self._next(g) for g in unit] for unit in lane] for lane in lanes]
            chain = self._lanes(lanes, names)
            if chain is not None:
                return Lanes(chain, len(parts), parts[0].dom)
            flat = [name for lane in names for unit in lane for name in unit]
            self.names = itertools.chain(flat, self.names)
        nodes = tuple(self.node(part) for part in parts)
        return Beside(nodes, tuple(p.dom for p in parts), tuple(p.cod for p in parts))

    def _lanes(self, lanes: Sequence[Units], names: list[list[list[Occurrence]]]) -> Node | None:
        count = len(lanes)
        leaves: list[Node] = []
        for k in range(len(lanes[0])):
            generators = [g for lane in lanes for g in lane[k]]
            leaf = self._batch(generators, [n for lane in names for n in lane[k]], lanes=count)
            if leaf is None:
                return None
            leaves.append(leaf)
        return leaves[0] if len(leaves) == 1 else Chain(tuple(leaves))

    def _batch(
        self, generators: Sequence[ir.Generator], names: Sequence[Occurrence], *, lanes: int
    ) -> Leaf | None:
        """One leaf for all, if their weights can be (or are) stacked in this order."""
        key = _common_key([name.parameter_path for name in names], lanes)
        self.storage.place(generators, key)
        if not self.storage.is_block([generator.owner for generator in generators]):
            return None
        slots = [self._use(g, n) for g, n in zip(generators, names, strict=True)]
        first = generators[0].morphism
        members = len(generators) // lanes
        plan = KernelPlan(first, _keys(first, slots[0].key), lanes=lanes, members=members)
        parts = Parts(
            tuple(n.path for n in names), tuple(width(g.cod) for g in generators), stacked=True
        )
        return Leaf(_common_path([name.path for name in names]), plan, first.cod, parts)

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


def _common_key(paths: Sequence[str], lanes: int) -> str:
    """A block's key: the group of each lane, ``…enc_head|…dec_head``."""
    firsts = [paths[k * len(paths) // lanes] for k in range(lanes)]
    if len(paths) == lanes > 1:
        return "|".join(firsts)
    return "|".join(path.removesuffix("[0]") for path in firsts)


def _common_path(paths: Sequence[str]) -> str:
    """Where a whole group stands: segment by segment, ``a|b`` where its members differ."""
    rows = [path.split("/") for path in paths]
    return "/".join("|".join(dict.fromkeys(column)) for column in zip(*rows, strict=True))


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
