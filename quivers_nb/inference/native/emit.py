"""The text of a fused program: one C function, no headers but the C library's.

    double density(const real *q, real *g, const void *const *data, real *w)

``data[0]`` holds the numbers that the source leaves open, ``data[1:]`` the arrays, the arguments
and at last the chain's desk or 0 (`sharing`), and ``w`` is scratch. Everything a loop does not
change is computed outside it.

Where ``real`` is float, sums and what is made of single numbers are doubles: a log density of a
hundred thousand rows keeps its digits. `chain_density` is then the same function for chains, whose
state is double.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from quivers_nb.inference.native.blocks import Blocked, block, product
from quivers_nb.inference.native.expression import Buffer
from quivers_nb.inference.native.fuse import Nest, Step, stored
from quivers_nb.inference.native.loop import (
    ALIGN,
    Calls,
    Loop,
    count_uses,
    literal,
    placed,
    room,
    stored_type,
    variable_type,
)
from quivers_nb.inference.native.program import START, Call, Kernel, Program
from quivers_nb.inference.native.segments import Cut, segment
from quivers_nb.inference.native.sharing import Segment, task_type

ROW = 16  # floats in 64 bytes


@dataclass(frozen=True, slots=True)
class Source:
    """C text, the scratch elements its function wants, and the characters of the function alone.

    ``segments`` is how many threads can work on its longest loop.
    """

    text: str
    scratch: int
    length: int
    segments: int = 1


@cache
def header(name: str) -> str:
    """A file of C that ships with the package."""
    return (files("quivers_nb.inference.native") / name).read_text(encoding="utf-8")


def pointer(buffer: Buffer, offset: int = 0) -> str:
    """A buffer as an argument of a routine."""
    if buffer.is_variable:
        return f"&{buffer.name}"
    return f"{buffer.name} + {offset}" if offset else buffer.name


@dataclass(slots=True)
class _Printer:
    program: Program
    real: str
    lines: list[str] = field(default_factory=list)
    in_memory: frozenset[Buffer] = frozenset()
    wide: frozenset[Buffer] = frozenset()
    begun: set[Buffer] = field(default_factory=set)
    block_rows: dict[Buffer, int] = field(default_factory=dict)  # of buffers for one block
    functions: dict[str, str] = field(default_factory=dict)  # names of stages by their text
    staged: int = 0
    segments: list[Segment] = field(default_factory=list)
    temporaries: int = 0

    def step(self, step: Step | Blocked | Cut) -> None:
        """One step of the program."""
        if isinstance(step, Call):
            self.call(step)
        elif isinstance(step, Cut):
            self.cut(step)
        else:
            self.begin_step(step)
            self.rows(step, 0, step.extent[0] if step.extent else 1)

    def cut(self, cut: Cut) -> None:
        """Loops in segments that others may run."""
        self.begin_step(cut.step)
        outside, self.lines = self.lines, []
        self.rows(cut.step, "first", "last", cut.loop)
        made = Segment(len(self.segments), cut, self.lines, self.real, self.wide)
        self.segments.append(made)
        desk = 1 + len(self.program.data) + len(self.program.arguments)
        self.lines = [*outside, *made.shared(desk)]

    def begin_step(self, step: Nest | Blocked) -> None:
        """What the loops of a step fold into."""
        parts = step.stages if isinstance(step, Blocked) else (step,)
        for kernel in (kernel for nest in parts for kernel in nest.kernels):
            self.begin(kernel)
        for call in step.after if isinstance(step, Blocked) else ():
            self.begun.add(call.writes)
            sums, size = pointer(call.writes), call.writes.size
            self.lines.append(f"memset({sums}, 0, sizeof(real) * {size});")

    def rows(self, step: Nest | Blocked, first: int | str, last: int | str, loop: int = 0) -> None:
        """The loops of a step, number ``loop`` from ``first`` to ``last``."""
        if isinstance(step, Blocked):
            self.blocked(step, first, last)
        else:
            self.lines += self.loops(step, first, last, loop=loop)
            self.settle(step)

    def blocked(self, blocked: Blocked, first: int | str, last: int | str) -> None:
        """A nest, whole or in stages, and the products around it, for some rows at a time."""
        self.block_rows.update(dict.fromkeys(blocked.local, blocked.rows))
        calls = self.stages(blocked) if len(blocked.stages) > 1 else Calls(0, {})
        self.lines += calls.begin()
        self.lines += [
            f"for (int64_t row = {first}; row < {last}; row += {blocked.rows}) {{",
            f"const int64_t end = row + {blocked.rows} < {last} ? row + {blocked.rows} : {last};",
        ]
        for call in blocked.before:
            self.begun.add(call.writes)
            (y, a, x), (_, k, stride) = product(call)
            rows = f"{_from_row(y, blocked)}, {_from_row(a, blocked)}"
            self.lines.append(f"{call.routine}({rows}, {pointer(*x)}, end - row, {k}, {stride});")
        if len(blocked.stages) == 1:
            self.lines += self.loops(blocked.stages[0], "row", "end", blocked.local)
        self.lines += calls.lines
        for call in blocked.after:
            (y, a, x), (n, _, stride) = product(call)
            rows = f"{_from_row(a, blocked)}, {_from_row(x, blocked)}"
            self.lines.append(
                f"{call.routine}_add({pointer(*y)}, {rows}, {n}, end - row, {stride});"
            )
        self.lines += ["}", *calls.after]
        for nest in blocked.stages:
            self.settle(nest)

    def settle(self, nest: Nest) -> None:
        """What comes after a nest is not drawn into its loops."""
        sums = {k.writes: None for k in nest.kernels if k.store.fold != "set" and nest.extent}
        self.lines.extend(f"SETTLED({b.name})" for b in sums if b.is_variable and b.kind == "real")

    def loops(
        self, nest: Nest, start: int | str, end: int | str,
        local: frozenset[Buffer] = frozenset(), loop: int = 0,
    ) -> list[str]:  # fmt: skip
        """The loops, number ``loop`` from ``start`` to ``end`` and the others over all."""
        depth, block = len(nest.extent), self.statements(nest, local)
        self.temporaries += block.count
        lines = ["{"]
        for level in range(depth):
            lines.extend(block.before[level])
            if level == depth - 1 and not nest.in_order:
                lines.append("INDEPENDENT")
            first, n = (start, end) if level == loop else (0, nest.extent[level])
            lines.append(f"for (int64_t i{level} = {first}; i{level} < {n}; i{level}++) {{")
        lines.extend(block.before[depth])
        for level in reversed(range(depth)):
            lines.append("}")
            lines.extend(block.after[level])
        lines.append("}")
        return lines

    def stages(self, blocked: Blocked) -> Calls:
        """Loops over the rows of a block as calls: one function for all that do the same."""
        self.staged += 1
        given = enumerate((*self.program.data, *self.program.arguments), start=1)
        calls = Calls(self.staged, {buffer: number for number, buffer in given})
        head = "INDEPENDENT\nfor (int64_t i0 = row; i0 < end; i0++) {"
        for nest in blocked.stages:
            loop = self.statements(nest, blocked.local, apart=True)
            if not loop.can_be_apart:
                calls.lines += self.loops(nest, "row", "end", blocked.local)
                continue
            text = loop.function(head)
            calls.add(self.functions.setdefault(text, f"stage{len(self.functions)}"), loop)
        return calls

    def statements(self, nest: Nest, local: frozenset[Buffer], *, apart: bool = False) -> Loop:
        """What the loops of a nest do."""
        roots = [e for k in nest.kernels for e in (k.store.value, k.store.index)]
        loop = Loop(
            len(nest.extent), self.real, self.in_memory, count_uses(roots),
            0 if apart else self.temporaries, local, self.wide, apart,
        )  # fmt: skip
        for kernel in nest.kernels:
            loop.store(kernel)
        return loop

    def begin(self, kernel: Kernel) -> None:
        """The start value of a buffer that is folded into before it is set."""
        buffer = kernel.writes
        if buffer in self.begun:
            return
        self.begun.add(buffer)
        if kernel.store.fold == "set":
            return
        start = literal(START[kernel.store.fold], buffer.kind, self.real)
        if buffer.is_variable:
            self.lines.append(f"{buffer.name} = {start};")
        elif kernel.store.fold == "add":
            self.lines.append(f"memset({buffer.name}, 0, sizeof *{buffer.name} * {buffer.size});")
        else:
            self.lines.append(
                f"for (int64_t i = 0; i < {buffer.size}; i++) {buffer.name}[i] = {start};"
            )

    def call(self, call: Call) -> None:
        """One routine."""
        self.begun.add(call.writes)
        given = (str(a) if isinstance(a, int) else pointer(*a) for a in call.arguments)
        self.lines.append(f"{call.routine}({', '.join(given)});")

    def apart(self, scratch: Sequence[Buffer]) -> list[str]:
        """The functions of stages and segments, and what they are made of."""
        stages = [f"STAGE {name}{text}" for text, name in self.functions.items()]
        if not self.segments:
            return stages
        names, _ = self.declare(scratch, "restrict")
        functions = (line for made in self.segments for line in made.function(names))
        return [*stages, header("team.h"), task_type(self.segments), *functions]

    def declare(
        self, scratch: Sequence[Buffer], alone: str
    ) -> tuple[list[tuple[Buffer | None, str]], int]:
        """Local names for everything the statements mention, by buffer; and the scratch taken.

        ``alone``: "restrict", where nobody else reaches the memory of a name.
        """
        lines: list[tuple[Buffer | None, str]] = [
            (None, "const real *restrict k = data[0];"), (None, "real zero = 0, one = 1;"),
            (None, "SETTLED(zero)"), (None, "SETTLED(one)"),
        ]  # fmt: skip
        given = (*self.program.data, *self.program.arguments)
        for number, buffer in enumerate(given, start=1):
            ctype = stored_type(buffer)
            lines.append((buffer, f"const {ctype} *restrict {buffer.name} = data[{number}];"))
        offset = 0
        for buffer in scratch:
            if buffer.is_variable:
                lines.append((buffer, f"{variable_type(buffer, self.wide)} {buffer.name};"))
            else:
                lines.append((buffer, placed(buffer, f"w + {offset}", alone)))
                offset += room(buffer, self.block_rows.get(buffer, buffer.size))
        return lines, offset


def _from_row(place: tuple[Buffer, int], blocked: Blocked) -> str:
    """Where the rows of a block begin in a buffer."""
    return pointer(*place) + ("" if place[0] in blocked.local else " + row")


def emit(program: Program, steps: Sequence[Step], *, real: str) -> Source:
    """The C source of a program; ``real`` is double or float."""
    wide = _wide(program) if real == "float" else frozenset()
    blocks = block(steps, program)
    parts = [p for step in blocks for p in (step.parts if isinstance(step, Blocked) else (step,))]
    printer = _Printer(program, real, in_memory=stored(parts, program), wide=wide)
    for step in segment(blocks):
        printer.step(step)
    uses = count_uses([program.value])
    tail = Loop(0, real, printer.in_memory, uses, printer.temporaries, wide=wide)
    result = tail.text(program.value)
    added = [b for step in blocks if isinstance(step, Blocked) for b in step.local]
    used = [b for b in dict.fromkeys((*program.scratch, *added)) if b in printer.in_memory]
    alone = "" if printer.segments else "restrict"
    declarations, scratch = printer.declare(used, alone)
    parts_begin = [f"real *parts = w + {scratch};"] if printer.segments else []
    scratch += max((made.size for made in printer.segments), default=0)
    most = max((made.cut.count for made in printer.segments), default=1)
    lines = [*parts_begin, *(text for _, text in declarations), *printer.lines, *tail.before[0]]
    apart, body = printer.apart(used), [*lines, f"return {result};"]
    text = "\n".join(
        (
            f"typedef {real} real;",
            header("scalar.h"),
            header("vector.h"),
            header("linear.h"),
            header("order.h"),
            *([header("gemm.h")] if program.calls_library else ()),
            header("loops.h"),
            *apart,
            f"double density(const real *restrict q, real *{alone} g,",
            f"               const void *const *restrict data, real *{alone} w) {{",
            *body,
            "}\n",
        )
    )
    length = sum(map(len, (*apart, *body)))
    if real == "double":
        return Source(text, max(scratch, ALIGN), length, most)
    dim = program.gradient.size
    text += f"enum {{ DIM = {dim}, PLACE = {-(-dim // ROW) * ROW} }};\n" + header("single.h")
    return Source(text, max(scratch, ALIGN) + 2 * -(-dim // ROW) * ROW, length, most)


def _wide(program: Program) -> frozenset[Buffer]:
    """Variables that hold single real numbers, except those that routines read or write."""
    calls = [step for step in program if isinstance(step, Call)]
    called = frozenset[Buffer]().union(*(call.reads | {call.writes} for call in calls))
    return frozenset(b for b in program.scratch if b.is_variable and b.kind == "real") - called
