"""Row blocking: a matrix that two products read is read once.

The gradient of a regression multiplies by X, does something to every row, and multiplies by X'.
The three are done block by block: the rows of a block are still in the first cache when the second
product wants them, and what is made for a row is kept for the rows of one block only. A million
of twenty doubles then cost little more than reading X once (`benchmarks/`, line `growth`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from quivers_nb.inference.native.expression import Buffer, Expression
from quivers_nb.inference.native.fuse import Nest, Step
from quivers_nb.inference.native.program import Call, Program
from quivers_nb.inference.native.stages import stages

# Numbers of the matrix in a block: 32 KiB of doubles, two thirds of a first cache. The processor
# reads each column ahead, and so far only: larger blocks are found in memory, not in a cache.
BLOCK = 4_096
LEAST_ROWS = 64
STAGED_ROWS = 256  # of a loop in stages without a matrix: a stage reads few columns
FORWARD, BACK = "q_mv_columns", "q_mv_rows"  # (y, a, x, m, k, stride): y = a x


@dataclass(frozen=True, slots=True)
class Blocked:
    """``before``, ``stages`` and ``after`` for ``rows`` iterations of one nest at a time.

    Products in ``before`` make rows that the nest reads, those in ``after`` sum what it writes.
    ``local`` are those rows that nobody else reads: memory for one block is enough for them.
    """

    stages: tuple[Nest, ...]  # one nest, or several loops that were one (see `stages`)
    before: tuple[Call, ...]
    after: tuple[Call, ...]
    rows: int
    local: frozenset[Buffer] = frozenset()

    @property
    def extent(self) -> tuple[int, ...]:
        return self.stages[0].extent

    @property
    def parts(self) -> tuple[Step, ...]:
        return (*self.before, *self.stages, *self.after)


def block(steps: Sequence[Step], program: Program) -> tuple[Step | Blocked, ...]:
    """The same steps, with those joined that share a large matrix, and wide loops in stages."""
    names = (f"s{number}" for number in count())
    out = [_in_stages(step, names) for step in _around_matrices(steps)]
    return tuple(_with_local(step, out, program) for step in out)


def _in_stages(step: Step | Blocked, names: Iterator[str]) -> Step | Blocked:
    """The step with its loop cut where it holds too much."""
    if isinstance(step, Blocked):
        return replace(step, stages=stages(step.stages[0], names))
    parts = stages(step, names) if isinstance(step, Nest) else ()
    return Blocked(parts, (), (), STAGED_ROWS) if len(parts) > 1 else step


def _around_matrices(steps: Sequence[Step]) -> list[Step | Blocked]:
    """The same steps, with those joined that share a large matrix."""
    out: list[Step | Blocked] = list(steps)
    for nest in (step for step in steps if isinstance(step, Nest)):
        place = _place(out, nest)
        before = [c for c in _calls(out[:place]) if _leads_to(c, nest, out[_place(out, c) : place])]
        made = frozenset(call.writes for call in before) | _writes(nest)
        after = [
            c
            for c in _calls(out[place:])
            if _matrix_is_there(c, made) and _follows(c, nest, out, _place(out, c), place)
        ]
        shared = {_matrix(call) for call in before} & {_matrix(call) for call in after}
        if not shared or nest.in_order:
            continue
        columns = max(int(numbers(call)[1]) for call in before)
        rows = max(LEAST_ROWS, BLOCK // columns // LEAST_ROWS * LEAST_ROWS)
        if nest.extent[0] > rows:
            out[place] = Blocked((nest,), tuple(before), tuple(after), rows)
            moved = {id(call) for call in (*before, *after)}
            out = [step for step in out if id(step) not in moved]
    return out


def _with_local(
    step: Step | Blocked, steps: Sequence[Step | Blocked], program: Program
) -> Step | Blocked:
    """The step, knowing which of its rows it has for itself."""
    if not isinstance(step, Blocked):
        return step
    rows = {call.writes for call in step.before} | {_buffer(call, 2) for call in step.after}
    rows |= _passed_on(step.stages)
    elsewhere = {load.detail for load in program.value.loads()}
    for other in steps:
        elsewhere |= set() if other is step else _reads(other) | _writes(other)
    own = {buffer for buffer in rows - elsewhere if buffer.role == "scratch"}
    return replace(step, local=frozenset(own))


def _passed_on(parts: Sequence[Nest]) -> set[Buffer]:
    """Buffers that stages set and read row by row."""
    kernels = [kernel for part in parts for kernel in part.kernels]
    by_row = {k.writes for k in kernels if k.store.fold == "set" and _is_row(k.store.index)}
    for kernel in kernels:
        by_row -= {load.detail for load in kernel.loads if not _is_row(load.args[0])}
        by_row -= {kernel.writes} if not _is_row(kernel.store.index) else set()
    return by_row


def _is_row(index: Expression) -> bool:
    return index.op == "variable"


def _place(steps: Sequence[Step | Blocked], wanted: Step) -> int:
    return next(i for i, step in enumerate(steps) if step is wanted)


def _calls(steps: Iterable[Step | Blocked]) -> list[Call]:
    return [step for step in steps if isinstance(step, Call)]


def _buffer(call: Call, place: int) -> Buffer:
    argument = call.arguments[place]
    assert isinstance(argument, tuple)
    return argument[0]


def _matrix(call: Call) -> Buffer:
    return _buffer(call, 1)


def numbers(call: Call) -> tuple[int, ...]:
    """The numbers of a product: m, k, stride."""
    return tuple(argument for argument in call.arguments if isinstance(argument, int))


def product(call: Call) -> tuple[list[tuple[Buffer, int]], tuple[int, ...]]:
    """Result, matrix and vector of a product, and its three numbers."""
    buffers = [argument for argument in call.arguments if isinstance(argument, tuple)]
    return buffers, numbers(call)


def _leads_to(call: Call, nest: Nest, between: Sequence[Step | Blocked]) -> bool:
    """Whether each iteration of the nest needs one row of the product, and all can wait for it."""
    if call.routine != FORWARD or nest.extent != (numbers(call)[0],):
        return False
    loads = [load for k in nest.kernels for load in k.loads if load.detail == call.writes]
    by_row = bool(loads) and all(_is_row(load.args[0]) for load in loads)
    kept = {*call.reads, call.writes}
    return by_row and not any(
        call.writes in _reads(step) or _writes(step) & kept for step in between[1:]
    )


def _matrix_is_there(call: Call, made: frozenset[Buffer]) -> bool:
    """Whether no row of the product's matrix is yet to come: overlapping views read ahead."""
    return call.routine == BACK and _matrix(call) not in made


def _follows(call: Call, nest: Nest, steps: Sequence[Step | Blocked], at: int, place: int) -> bool:
    """Whether the product sums what each iteration writes, and nobody minds it being earlier."""
    if nest.extent != (numbers(call)[1],):
        return False
    vector = _buffer(call, 2)
    made = [k for k in nest.kernels if k.writes == vector]
    by_row = bool(made) and all(k.store.fold == "set" and _is_row(k.store.index) for k in made)
    alone = sum(vector in _writes(step) for step in steps) == 1
    between = steps[place + 1 : at]
    return (
        by_row
        and alone
        and not any(
            call.writes in _reads(step) or _writes(step) & {*call.reads, call.writes}
            for step in between
        )
    )


def _reads(step: Step | Blocked) -> frozenset[Buffer]:
    if isinstance(step, Blocked):
        return frozenset().union(*map(_reads, step.parts))
    if isinstance(step, Call):
        return step.reads
    return frozenset().union(*(kernel.reads for kernel in step.kernels))


def _writes(step: Step | Blocked) -> frozenset[Buffer]:
    if isinstance(step, Blocked):
        return frozenset().union(*map(_writes, step.parts))
    if isinstance(step, Call):
        return frozenset({step.writes})
    return frozenset(kernel.writes for kernel in step.kernels)
