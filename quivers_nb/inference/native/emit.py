"""The text of a fused program: one C function, no headers but the C library's.

    double density(const real *q, real *g, const void *const *data, real *w)

``data[0]`` holds the numbers that the source leaves open, ``data[1:]`` the arrays and then the
arguments, and ``w`` is scratch. Everything a loop does not change is computed outside it.

Where ``real`` is float, sums and what is made of single numbers are doubles: a log density of a
hundred thousand rows keeps its digits. `chain_density` is then the same function for chains, whose
state is double.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from quivers_nb.inference.native.blocks import Blocked, block
from quivers_nb.inference.native.expression import Buffer
from quivers_nb.inference.native.fuse import Nest, Step, stored
from quivers_nb.inference.native.loop import C_TYPE, Calls, Loop, count_uses, literal, stored_type
from quivers_nb.inference.native.program import START, Call, Kernel, Program

ALIGN = 8  # elements of scratch; 64 bytes of doubles
ROW = 16  # floats in 64 bytes


@dataclass(frozen=True, slots=True)
class Source:
    """C text, the scratch elements its function wants, and the characters of the function alone."""

    text: str
    scratch: int
    length: int


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
    temporaries: int = 0

    def nest(self, nest: Nest) -> None:
        """One loop nest."""
        for kernel in nest.kernels:
            self.begin(kernel)
        self.lines += self.loops(nest, nest.extent[0] if nest.extent else 1)
        self.settle(nest)

    def blocked(self, blocked: Blocked) -> None:
        """A nest, whole or in stages, and the products around it, for some rows at a time."""
        self.block_rows.update(dict.fromkeys(blocked.local, blocked.rows))
        for kernel in (kernel for nest in blocked.stages for kernel in nest.kernels):
            self.begin(kernel)
        for call in blocked.after:
            self.begun.add(call.writes)
            sums, size = pointer(call.writes), call.writes.size
            self.lines.append(f"memset({sums}, 0, sizeof(real) * {size});")
        calls = self.stages(blocked) if len(blocked.stages) > 1 else Calls(0, {})
        self.lines += calls.begin()
        m = blocked.extent[0]
        self.lines += [
            f"for (int64_t row = 0; row < {m}; row += {blocked.rows}) {{",
            f"const int64_t end = row + {blocked.rows} < {m} ? row + {blocked.rows} : {m};",
        ]
        for call in blocked.before:
            self.begun.add(call.writes)
            (y, a, x), (_, k, stride) = _product(call)
            rows = f"{_from_row(y, blocked)}, {_from_row(a, blocked)}"
            self.lines.append(f"{call.routine}({rows}, {pointer(*x)}, end - row, {k}, {stride});")
        if len(blocked.stages) == 1:
            self.lines += self.loops(blocked.stages[0], "end", "row", blocked.local)
        self.lines += calls.lines
        for call in blocked.after:
            (y, a, x), (n, _, stride) = _product(call)
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
        self, nest: Nest, end: int | str, start: int | str = 0,
        local: frozenset[Buffer] = frozenset(),
    ) -> list[str]:  # fmt: skip
        """The loops, the outer one from ``start`` to ``end``."""
        depth, block = len(nest.extent), self.statements(nest, local)
        self.temporaries += block.count
        lines = ["{"]
        for level in range(depth):
            lines.extend(block.before[level])
            if level == depth - 1 and not nest.in_order:
                lines.append("INDEPENDENT")
            first, n, i = (0, nest.extent[level], f"i{level}") if level else (start, end, "i0")
            lines.append(f"for (int64_t {i} = {first}; {i} < {n}; {i}++) {{")
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
                calls.lines += self.loops(nest, "end", "row", blocked.local)
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

    def declare(self, scratch: Sequence[Buffer]) -> tuple[list[str], int]:
        """Local names for everything the statements mention."""
        lines = ["const real *restrict k = data[0];", "real zero = 0, one = 1;"]
        lines += ["SETTLED(zero)", "SETTLED(one)"]
        given = (*self.program.data, *self.program.arguments)
        for number, buffer in enumerate(given, start=1):
            lines.append(f"const {stored_type(buffer)} *restrict {buffer.name} = data[{number}];")
        offset = 0
        for buffer in scratch:
            if buffer.is_variable:
                ctype = "double" if buffer in self.wide else C_TYPE[buffer.kind]
                lines.append(f"{ctype} {buffer.name};")
            else:
                ctype = stored_type(buffer)
                cast = "" if ctype == "real" else f"({ctype} *)"
                lines.append(f"{ctype} *restrict {buffer.name} = {cast}(w + {offset});")
                width = 2 if ctype == "int64_t" else 1  # enough for a float32 workspace
                size = self.block_rows.get(buffer, buffer.size)
                offset += -(-size * width // ALIGN) * ALIGN
        return lines, offset


def _product(call: Call) -> tuple[list[tuple[Buffer, int]], tuple[int, ...]]:
    """Result, matrix and vector of a product, and its three numbers."""
    buffers = [argument for argument in call.arguments if isinstance(argument, tuple)]
    return buffers, tuple(argument for argument in call.arguments if isinstance(argument, int))


def _from_row(place: tuple[Buffer, int], blocked: Blocked) -> str:
    """Where the rows of a block begin in a buffer."""
    return pointer(*place) + ("" if place[0] in blocked.local else " + row")


def emit(program: Program, steps: Sequence[Step], *, real: str) -> Source:
    """The C source of a program; ``real`` is double or float."""
    wide = _wide(program) if real == "float" else frozenset()
    blocks = block(steps, program)
    parts = [p for step in blocks for p in (step.parts if isinstance(step, Blocked) else (step,))]
    printer = _Printer(program, real, in_memory=stored(parts, program), wide=wide)
    for step in blocks:
        if isinstance(step, Nest):
            printer.nest(step)
        elif isinstance(step, Blocked):
            printer.blocked(step)
        else:
            printer.call(step)
    uses = count_uses([program.value])
    tail = Loop(0, real, printer.in_memory, uses, printer.temporaries, wide=wide)
    result = tail.text(program.value)
    added = [b for step in blocks if isinstance(step, Blocked) for b in step.local]
    used = [b for b in dict.fromkeys((*program.scratch, *added)) if b in printer.in_memory]
    declarations, scratch = printer.declare(used)
    body = [*declarations, *printer.lines, *tail.before[0], f"return {result};"]
    stages = [f"STAGE {name}{text}" for text, name in printer.functions.items()]
    text = "\n".join(
        (
            f"typedef {real} real;",
            header("scalar.h"),
            header("vector.h"),
            header("linear.h"),
            *([header("gemm.h")] if program.calls_library else ()),
            header("loops.h"),
            *stages,
            "double density(const real *restrict q, real *restrict g,",
            "               const void *const *restrict data, real *restrict w) {",
            *body,
            "}\n",
        )
    )
    length = sum(map(len, (*stages, *body)))
    if real == "double":
        return Source(text, max(scratch, ALIGN), length)
    dim = program.gradient.size
    text += f"enum {{ DIM = {dim}, PLACE = {-(-dim // ROW) * ROW} }};\n" + header("single.h")
    return Source(text, max(scratch, ALIGN) + 2 * -(-dim // ROW) * ROW, length)


def _wide(program: Program) -> frozenset[Buffer]:
    """Variables that hold single real numbers, except those that routines read or write."""
    calls = [step for step in program if isinstance(step, Call)]
    called = frozenset[Buffer]().union(*(call.reads | {call.writes} for call in calls))
    return frozenset(b for b in program.scratch if b.is_variable and b.kind == "real") - called
