"""From typed term to nodes: the one place where terms become things that can be evaluated.

Names come from `quivers_nb.check.paths` and are only consumed here.
Members of a replicated group side by side in one ``fan`` become a single leaf, evaluated by one
batched product.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from quivers_nb.check import term as ir
from quivers_nb.check.paths import (
    child_segments,
    join,
    own_segment,
    parameter_paths,
    root_segment,
)
from quivers_nb.check.walk import is_flat
from quivers_nb.lower.cells import by_time, chain_size, end_paths, linear_gaussian, outputs
from quivers_nb.lower.frame import CompiledProgram
from quivers_nb.lower.lanes import Units, equal_kernels, equal_lanes
from quivers_nb.lower.nodes import (
    Beside,
    Chain,
    Columns,
    Lanes,
    Leaf,
    Node,
    Recur,
    Spread,
    Sub,
    Wire,
)
from quivers_nb.lower.parameters import TABLE, KernelPlan, has_no_weights, tensor_names
from quivers_nb.lower.parts import Parts
from quivers_nb.lower.steps import ProgramInExpression
from quivers_nb.lower.storage import Slot, Storage
from quivers_nb.spaces.space import ProductSet, sizes_of, width

Place = tuple[str, ir.Generator]


@dataclass
class Compilation:
    """One program or expression being compiled.

    ``owners`` maps owners to parameter paths; ``paths`` collects those in use, ``keys`` the storage
    blocks by first occurrence, ``middle_paths`` the sites of kernels.
    """

    storage: Storage
    owners: Mapping[ir.Owner, str]
    paths: dict[ir.Owner, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    middle_paths: list[str] = field(default_factory=list)
    observed_paths: list[str] = field(default_factory=list)  # of programs inside

    # --- programs

    def program(self, program: ir.Program, prefix: str = "") -> CompiledProgram:
        """A program whose sites' paths begin with ``prefix``."""
        return self.steps(program, program.steps, prefix)

    def steps(
        self, program: ir.Program, steps: tuple[ir.Step, ...], prefix: str
    ) -> CompiledProgram:
        """The steps of a program, or of a marginalize block in it."""
        nodes: dict[int, Node] = {}
        subs: dict[int, CompiledProgram] = {}
        blocks: dict[int, CompiledProgram] = {}
        for index, step in enumerate(steps):
            if isinstance(step, ir.MarginalizeStep):
                blocks[index] = self.steps(program, step.body, prefix)
            elif isinstance(step, ir.SampleStep | ir.ObserveStep):
                place = prefix + step_name(step)
                if prefix:
                    self.middle_paths.append(place)
                    if isinstance(step, ir.ObserveStep):
                        self.observed_paths.append(place)
                if isinstance(step.source, ir.MorphismCall):
                    self._morphism_step(step.source.term, place, index, nodes, subs)
        return CompiledProgram(program, steps, nodes, subs, blocks)

    def _morphism_step(
        self,
        term: ir.Term,
        place: str,
        index: int,
        nodes: dict[int, Node],
        subs: dict[int, CompiledProgram],
    ) -> None:
        whole = _whole_program(term)
        if whole is None:
            nodes[index] = self.node(term, join(place, root_segment(term)))
        else:
            subs[index] = self.program(whole, f"{place}/")

    # --- terms

    def node(self, term: ir.Term, path: str) -> Node:
        """The node of a term that stands at ``path``."""
        if isinstance(term, ir.Generator):
            return self._leaf(term, path)
        if isinstance(term, ir.ProgramTerm):
            inner = self.program(term.program, f"{path}/")
            return Sub(path, ProgramInExpression(inner))
        if isinstance(term, ir.Fan):
            return self._fan(term, path)
        if isinstance(term, ir.Parallel):
            return self._parallel(term, path)
        return self._composite(term, path)

    def _composite(self, term: ir.Term, path: str) -> Node:
        match term:
            case ir.Identity():
                return Wire()
            case ir.Scan():
                return self._scan(term, path)
            case ir.Named():
                return self._children(term, path)[0]
            case _:  # chains of one kind or another
                return Chain(self._linked(term, path))

    def _linked(self, term: ir.Term, path: str) -> tuple[Node, ...]:
        """The links of a chain; a flat index is taken apart for what reads its factors."""
        found: list[Node] = []
        flat = False  # whether a product comes out of the link before as one index
        for seg, child in child_segments(term):
            if flat and isinstance(child.dom, ProductSet):
                found.append(Columns(sizes_of(child.dom)))
            found.append(self.node(child, join(path, seg)))
            flat = isinstance(child.cod, ProductSet) and is_flat(child)
        return tuple(found)

    def _children(self, term: ir.Term, path: str) -> tuple[Node, ...]:
        return tuple(self.node(child, join(path, seg)) for seg, child in child_segments(term))

    def _leaf(self, generator: ir.Generator, path: str) -> Leaf:
        if has_no_weights(generator.morphism):
            return self._table(generator, path)
        self.storage.place([generator], self.owners[generator.owner])
        return self._single(generator, path)

    def _table(self, generator: ir.Generator, path: str) -> Leaf:
        """A table of data, or one that the program draws from its prior."""
        morphism = generator.morphism
        self.middle_paths.append(path)
        drawn = None if morphism.prior is None else generator.owner
        known = self.storage.known(morphism) if drawn is None else None
        plan = KernelPlan(morphism, ((TABLE, TABLE),), known=known, drawn=drawn)
        return Leaf(path, plan, generator.cod)

    def _single(self, generator: ir.Generator, path: str) -> Leaf:
        slot = self._use(generator, path)
        keys = _keys(generator.morphism, slot.key)
        return Leaf(path, KernelPlan(generator.morphism, keys, slot.index), generator.cod)

    def _fan(self, term: ir.Fan, path: str) -> Node:
        generators = [part for part in term.parts if isinstance(part, ir.Generator)]
        if len(generators) == len(term.parts) > 1 and equal_kernels(generators):
            whole = self._batch(list(leaves(term, path)), lanes=1)
            if whole is not None:
                return whole
        return Spread(self._children(term, path), tuple(part.cod for part in term.parts))

    def _parallel(self, term: ir.Parallel, path: str) -> Node:
        """Equal layers side by side become lanes of one node; anything else stays apart."""
        parts = term.parts
        lanes = equal_lanes(parts)
        if lanes is not None:
            places = [list(leaves(child, join(path, seg))) for seg, child in child_segments(term)]
            chain = self._lanes(lanes, places)
            if chain is not None:
                return Lanes(chain, len(parts), parts[0].dom)
        nodes = self._children(term, path)
        return Beside(nodes, tuple(p.dom for p in parts), tuple(p.cod for p in parts))

    def _lanes(self, lanes: Sequence[Units], places: Sequence[Sequence[Place]]) -> Node | None:
        count, start = len(lanes), 0
        chain: list[Node] = []
        for unit in lanes[0]:
            stop = start + len(unit)
            leaf = self._batch([p for lane in places for p in lane[start:stop]], lanes=count)
            if leaf is None:
                return None
            chain.append(leaf)
            start = stop
        return chain[0] if len(chain) == 1 else Chain(tuple(chain))

    def _batch(self, places: Sequence[Place], *, lanes: int) -> Leaf | None:
        """One leaf for all, if their weights can be (or are) stacked in this order."""
        generators = [generator for _, generator in places]
        key = _common_key([self.owners[g.owner] for g in generators], lanes)
        self.storage.place(generators, key)
        if not self.storage.is_block([generator.owner for generator in generators]):
            return None
        slots = [self._use(generator, path) for path, generator in places]
        first = generators[0].morphism
        members = len(generators) // lanes
        plan = KernelPlan(first, _keys(first, slots[0].key), lanes=lanes, members=members)
        paths = tuple(path for path, _ in places)
        parts = Parts(paths, tuple(width(g.cod) for g in generators), stacked=True)
        return Leaf(_common_path(paths), plan, first.cod, parts)

    def _scan(self, term: ir.Scan, path: str) -> Recur:
        ((segment, cell),) = child_segments(term)
        inner = self.node(cell, join(path, segment))
        init = None
        if term.learned_init:
            key = self.owners[term.owner].removesuffix(".init")
            zeros = torch.zeros(chain_size(term.cod) or width(term.cod))
            self.storage.place_tensor(term.owner, key, "init", zeros)
            slot = self.storage.slots[term.owner]
            self._note(slot.key)
            self.paths[term.owner] = slot.key
            init = f"{slot.key}.init"
        self.middle_paths.append(f"{path}/mask")
        if init is not None and chain_size(term.cod):
            self.middle_paths.append(f"{path}/init")
        return Recur(
            inner, path, term.dom, term.cod, init, end_paths(inner),
            outputs(inner), by_time(inner), linear_gaussian(inner, term.cell.dom, term.cod),
        )  # fmt: skip

    # --- storage

    def _use(self, generator: ir.Generator, path: str) -> Slot:
        slot = self.storage.slots[generator.owner]
        self._note(slot.key)
        self.middle_paths.append(path)
        self.paths.setdefault(generator.owner, self.owners[generator.owner])
        return slot

    def _note(self, key: str) -> None:
        if key not in self.keys:
            self.keys.append(key)


def leaves(term: ir.Term, path: str) -> Iterator[Place]:
    """The generators of a term that stands at ``path``, with theirs, in evaluation order."""
    if isinstance(term, ir.Generator):
        yield path, term
    for segment, child in child_segments(term):
        yield from leaves(child, join(path, segment))


def step_name(step: ir.SampleStep | ir.ObserveStep) -> str:
    """What a step's sites are called: several names are joined."""
    return step.name if isinstance(step, ir.ObserveStep) else "_".join(step.names)


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
    work = Compilation(storage, parameter_paths(program))
    return work.program(program), work


def compile_term(term: ir.Term, storage: Storage) -> tuple[Node, Compilation]:
    """The node of a bare expression."""
    work = Compilation(storage, parameter_paths(term))
    return work.node(term, own_segment(term)), work
