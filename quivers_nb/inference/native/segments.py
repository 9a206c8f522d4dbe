"""Segments of rows: a long loop is cut where its shape says, so that several cores can share it.

The cuts are the same whoever runs the segments (`team.c`). Each adds into memory of its own, and
what they have found is combined in their order: one thread or sixteen, the sums are the same to
the last bit. Loops too short to be worth handing over are printed as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from quivers_nb.inference.native.blocks import Blocked, numbers
from quivers_nb.inference.native.expression import Buffer, Expression
from quivers_nb.inference.native.fuse import Nest, Step
from quivers_nb.inference.native.program import Call, Fold, Kernel

# Work of one segment, in such units that one is about a seventh of a nanosecond where data are in
# the second cache. Handing a loop over costs some microseconds.
SEGMENT = 150_000
MOST_SEGMENTS = 64  # more than cores, so that a core that is late is waited for only briefly
SUMMING = 8  # work per number that segments have for themselves, and that is summed up again
QUANTUM = 64  # rows: a segment's part of a vector of results ends on a cache line
_WORK = {"literal": 0.0, "variable": 0.0, "load": 1.0, "div": 2.0}
_CALL, _SCALAR_CALL, _OPERATION = 4.0, 40.0, 0.25
_QUICK_CALLS = frozenset({"fabs", "sqrt", "floor", "ceil", "rint"})


@dataclass(frozen=True, slots=True)
class Cut:
    """``step`` in ``count`` segments of ``rows`` iterations of loop number ``loop``.

    ``own`` is what each segment adds up for itself, ``given`` are variables made before.
    """

    step: Nest | Blocked
    loop: int
    rows: int
    count: int
    own: tuple[tuple[Buffer, Fold], ...]
    given: tuple[Buffer, ...]

    @property
    def local(self) -> dict[Buffer, int]:
        """Memory for one block of rows, and the numbers it holds."""
        step = self.step
        return dict.fromkeys(step.local, step.rows) if isinstance(step, Blocked) else {}


def segment(steps: Sequence[Step | Blocked]) -> tuple[Step | Blocked | Cut, ...]:
    """The same steps, with the long ones cut."""
    return tuple(step if isinstance(step, Call) else _cut(step) or step for step in steps)


def _cut(step: Nest | Blocked) -> Cut | None:
    work = _work(step)
    if work < 2 * SEGMENT or not step.extent:
        return None
    loop = 0 if isinstance(step, Blocked) else step.extent.index(max(step.extent))
    own, given = _own(step, loop), _given(step)
    if own is None or any(buffer.kind == "int" for buffer in given):
        return None
    summed = sum(buffer.size for buffer, _ in own)
    most = min(work // SEGMENT, MOST_SEGMENTS, work // (SUMMING * summed) if summed else work)
    if most < 2:
        return None
    length = step.extent[loop]
    quantum = step.rows if isinstance(step, Blocked) else QUANTUM
    rows = -(-length // (int(most) * quantum)) * quantum
    count = -(-length // rows)
    return Cut(step, loop, rows, count, own, given) if count > 1 else None


def _kernels(step: Nest | Blocked) -> list[Kernel]:
    parts = step.stages if isinstance(step, Blocked) else (step,)
    return [kernel for nest in parts for kernel in nest.kernels]


def _products(step: Nest | Blocked) -> list[Call]:
    return [*step.before, *step.after] if isinstance(step, Blocked) else []


def _work(step: Nest | Blocked) -> float:
    """How much there is to do."""
    kernels = _kernels(step)
    nodes = {id(e): e for kernel in kernels for e in _inside(kernel, len(step.extent))}
    call = _SCALAR_CALL if any(kernel.in_order for kernel in kernels) else _CALL
    body = sum(_weight(node, call) for node in nodes.values())
    return prod(step.extent) * body + sum(prod(numbers(c)[:2]) for c in _products(step)) / 2


def _inside(kernel: Kernel, depth: int) -> Iterator[Expression]:
    """What is computed in every iteration."""
    for root in (kernel.store.value, kernel.store.index):
        yield from (node for node in root.walk() if node.level == depth)


def _weight(node: Expression, call: float) -> float:
    if node.op == "call":
        return 1.0 if node.detail in _QUICK_CALLS else call
    return _WORK.get(node.op, _OPERATION)


def _given(step: Nest | Blocked) -> tuple[Buffer, ...]:
    """The variables that a step reads."""
    read = [*(k.reads for k in _kernels(step)), *(call.reads for call in _products(step))]
    found = {buffer for each in read for buffer in each if buffer.is_variable}
    return tuple(sorted(found, key=lambda buffer: buffer.name))


def _own(step: Nest | Blocked, loop: int) -> tuple[tuple[Buffer, Fold], ...] | None:
    """What segments add up for themselves; None if they would be in each other's way."""
    every = _kernels(step)
    found: dict[Buffer, Fold] = {}
    for buffer in dict.fromkeys(kernel.writes for kernel in every):
        kernels = [kernel for kernel in every if kernel.writes == buffer]
        if _apart(kernels, loop) and not _read_elsewhere(every, buffer, kernels[0].store.index):
            continue
        folds = {kernel.store.fold for kernel in kernels}
        read = any(buffer in kernel.reads for kernel in every)
        if len(folds) > 1 or "set" in folds or buffer.kind != "real" or read:
            return None
        found[buffer] = kernels[0].store.fold
    if isinstance(step, Blocked):
        found |= {call.writes: "add" for call in step.after}
    return tuple(found.items())


def _apart(kernels: Sequence[Kernel], loop: int) -> bool:
    """Whether the stores of different iterations of ``loop`` never meet."""
    index, extent = kernels[0].store.index, kernels[0].extent
    factors = _factors(index)
    if any(k.store.index is not index for k in kernels) or factors is None or loop not in factors:
        return False
    reach = 0
    for number, factor in sorted(factors.items(), key=lambda item: abs(item[1])):
        if abs(factor) <= reach:  # as in a number whose digits run over
            return False
        reach += abs(factor) * (extent[number] - 1)
    return True


def _read_elsewhere(kernels: Sequence[Kernel], buffer: Buffer, index: Expression) -> bool:
    loads = (load for kernel in kernels for load in kernel.loads)
    return any(load.detail == buffer and load.args[0] is not index for load in loads)


def _factors(index: Expression) -> dict[int, int] | None:
    """The factors of loop variables in an index; None if it is not affine."""
    match index.op, [_factors(argument) for argument in index.args]:
        case "literal", _:
            return {}
        case "variable", _:
            return {index.detail: 1}
        case "add", [dict(one), dict(other)]:
            return {d: one.get(d, 0) + other.get(d, 0) for d in {*one, *other}}
        case "neg", [dict(one)]:
            return {d: -factor for d, factor in one.items()}
        case "mul", [dict(one), dict(other)]:
            for factor, rest in zip(index.args, (other, one), strict=True):
                if factor.op == "literal":
                    return {d: factor.detail * each for d, each in rest.items()}
        case _:
            pass
    return None
