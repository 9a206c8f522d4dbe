"""Joining loops: kernels over the same extent share one nest, and values pass in variables.

Kernels are placed one by one into the earliest nest that comes after everything they need. A value
that is stored and read at the same index of the same nest never touches memory unless somebody
outside reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from quivers_nb.inference.native.expression import Buffer, Expression
from quivers_nb.inference.native.program import Call, Kernel, Program

GREATEST_NEST = 40  # stores in one loop: beyond, registers spill and compilers slow down
LONG_LOOP = 64  # iterations: loops as long as this may be cut in stages instead (see `stages`)


@dataclass(slots=True)
class Nest:
    """Kernels that run in one loop nest, in this order."""

    extent: tuple[int, ...]
    in_order: bool
    kernels: list[Kernel] = field(default_factory=list)
    stores: dict[Buffer, list[Kernel]] = field(default_factory=dict)

    def takes(self, kernel: Kernel) -> bool:
        """Whether the loops are the same."""
        same = self.extent == kernel.extent and self.in_order == kernel.in_order
        return same and (self.may_be_cut or len(self.kernels) < GREATEST_NEST)

    @property
    def may_be_cut(self) -> bool:
        """Whether many stores here cost no registers: straight lines, and what has stages."""
        alone = len(self.extent) == 1 and not self.in_order
        return not self.extent or (alone and self.extent[0] >= LONG_LOOP)

    def admits(self, kernel: Kernel) -> bool:
        """Whether ``kernel`` may run here although it needs what this nest makes.

        What it reads must have been stored earlier in the same iteration; what it adds to must
        only be added to.
        """
        if not all(_commute(other, kernel) for other in self.stores.get(kernel.writes, ())):
            return False
        return all(
            other.store.fold == "set" and load.args[0] is other.store.index
            for load in kernel.loads
            for other in self.stores.get(load.detail, ())
        )

    def append(self, kernel: Kernel) -> None:
        self.kernels.append(kernel)
        self.stores.setdefault(kernel.writes, []).append(kernel)


def _commute(first: Kernel, second: Kernel) -> bool:
    """Two stores into one buffer that may share a loop whose iterations are overlapped."""
    same_place = first.store.index is second.store.index
    if first.in_order or second.in_order or not first.extent:
        return first.store.fold == second.store.fold != "set"
    if first.store.fold == second.store.fold != "set":
        return same_place or _apart(first, second)
    return same_place


def _apart(first: Kernel, second: Kernel) -> bool:
    """Whether two stores surely never meet, in whichever iterations."""
    one, two = (_range(kernel.store.index, kernel.extent) for kernel in (first, second))
    return one is not None and two is not None and (one[1] < two[0] or two[1] < one[0])


def _range(index: Expression, extent: tuple[int, ...]) -> tuple[int, int] | None:
    """The least and greatest value of an affine index; None if it is not affine."""
    if index.op == "literal":
        return index.detail, index.detail
    if index.op == "variable":
        return 0, extent[index.detail] - 1
    parts = [_range(a, extent) for a in index.args] if index.op in ("add", "mul", "neg") else []
    known = [part for part in parts if part is not None]
    if not parts or len(known) < len(parts):
        return None
    if index.op == "neg":
        return -known[0][1], -known[0][0]
    if index.op == "add":
        return known[0][0] + known[1][0], known[0][1] + known[1][1]
    ends = [p * q for p in known[0] for q in known[1]]
    return min(ends), max(ends)


Step = Nest | Call


def fuse(program: Program) -> tuple[Step, ...]:
    """The program's steps with kernels joined into nests."""
    steps: list[Step] = []
    last_write: dict[Buffer, int] = {}
    for step in program:
        touched = [*step.reads, step.writes]
        needed = max((last_write[b] for b in touched if b in last_write), default=-1)
        if isinstance(step, Call):
            steps.append(step)
            place = len(steps) - 1
        else:
            place = _place(steps, step, needed)
        last_write[step.writes] = max(place, last_write.get(step.writes, -1))
    return tuple(steps)


def _place(steps: list[Step], kernel: Kernel, needed: int) -> int:
    """Put ``kernel`` into the first nest at or after ``needed`` that takes it."""
    for place in range(max(needed, 0), len(steps)):
        nest = steps[place]
        if (
            isinstance(nest, Nest)
            and nest.takes(kernel)
            and (place > needed or nest.admits(kernel))
        ):
            nest.append(kernel)
            return place
    fresh = Nest(kernel.extent, kernel.in_order)
    fresh.append(kernel)
    steps.append(fresh)
    return len(steps) - 1


def stored(steps: Sequence[Step], program: Program) -> frozenset[Buffer]:
    """Buffers that must be in memory: read outside the nest that sets them, or folded into."""
    needed: set[Buffer] = {program.gradient}
    needed.update(load.detail for load in program.value.loads())
    for step in steps:
        if isinstance(step, Call):
            needed |= {*step.reads, step.writes}
            continue
        made = {k.writes for k in step.kernels if k.store.fold == "set" and not k.in_order}
        made -= {k.writes for k in step.kernels if k.store.fold != "set"}
        for kernel in step.kernels:
            needed |= kernel.reads - made
            if kernel.store.fold != "set" or kernel.in_order:
                needed.add(kernel.writes)
    return frozenset(needed)
