"""The text of a fused program: one C function, no headers but the C library's.

    double density(const real *q, real *g, const void *const *data, real *w)

``data[0]`` holds the numbers that the source leaves open, ``data[1:]`` the arrays and then the
arguments, and ``w`` is scratch. Everything a loop does not change is computed outside it.

Where ``real`` is float, sums and what is made of single numbers are doubles: a log density of a
hundred thousand rows keeps its digits. `chain_density` is then the same function for chains, whose
state is double.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from quivers_nb.inference.native.blocks import Blocked, block
from quivers_nb.inference.native.expression import Buffer, Expression, Kind
from quivers_nb.inference.native.fuse import Nest, Step, stored
from quivers_nb.inference.native.program import START, Call, Kernel, Program

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip
_FORMS = {op: f"({{0}} {sign} {{1}})" for op, sign in _INFIX.items()} | {
    "neg": "(-{0})", "not": "(!{0})", "where": "({0} ? {1} : {2})", "cast": "(({type}){0})",
}  # fmt: skip
_C_TYPE = {"real": "real", "int": "int64_t", "bool": "int"}
_STORED_TYPE = {"real": "real", "int": "int64_t", "bool": "uint8_t"}
# Masks are as wide as they can be without widening the loop: a vector of bytes would ask for 64
# rows at a time, and leave up to 63 to scalar code.
_DATA_TYPE = _STORED_TYPE | {"bool": "int32_t"}
_LEAVES = frozenset({"literal", "variable"})
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


def literal(value: float, kind: str, real: str) -> str:
    """A number as C writes it."""
    if kind != "real":
        extreme = "INT64_MAX" if value > 0 else "INT64_MIN"
        return extreme if math.isinf(value) else str(int(value))
    if math.isnan(value):
        return "(real)NAN"
    if math.isinf(value):
        return "(real)INFINITY" if value > 0 else "(-(real)INFINITY)"
    text = repr(float(value)) + ("f" if real == "float" else "")
    return f"({text})" if value < 0 else text


def pointer(buffer: Buffer, offset: int = 0) -> str:
    """A buffer as an argument of a routine."""
    if buffer.is_variable:
        return f"&{buffer.name}"
    return f"{buffer.name} + {offset}" if offset else buffer.name


@dataclass(slots=True)
class _Block:
    """Statements of one nest, by the number of loops around them."""

    depth: int
    real: str
    in_memory: frozenset[Buffer]
    uses: Counter[int]
    first: int  # number of the first temporary
    local: frozenset[Buffer] = frozenset()  # memory for the rows of one block
    wide: frozenset[Buffer] = frozenset()  # doubles although ``real`` is float
    made: set[Buffer] = field(default_factory=set)
    before: list[list[str]] = field(default_factory=list)
    after: list[list[str]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.before = [[] for _ in range(self.depth + 1)]
        self.after = [[] for _ in range(self.depth + 1)]

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.first + self.count}"

    # --- expressions ---

    def text(self, root: Expression) -> str:
        """``root`` as C, with what is shared or loop-invariant put into temporaries first."""
        for node in root.walk():
            if id(node) not in self.names:
                self.names[id(node)] = self._settled(node)
        return self.names[id(root)]

    def _settled(self, node: Expression) -> str:
        plain = self._written(node)
        if node.op in _LEAVES or (node.op == "load" and node.detail in self.made):
            return plain
        shared = self.uses[id(node)] > 1 and (node.kind != "int" or node.op == "load")
        if not (shared or node.op in ("call", "where", "div") or node.level < self.depth):
            return plain
        if node.kind == "int" and node.op != "load" and node.cost < 3:
            return plain
        name = self.fresh()
        self.before[node.level].append(f"const {self._type(node.kind)} {name} = {plain};")
        return name

    def _type(self, kind: Kind) -> str:
        """The type of temporaries: those outside all loops are double."""
        return "double" if kind == "real" and self.depth == 0 else _C_TYPE[kind]

    def _written(self, node: Expression) -> str:
        args = [self.names[id(a)] for a in node.args]
        if node.op == "mul" and node.kind == "real":
            # 0 x is NaN where x is not finite; gcc 12.2 takes it for 0 if it sees the 0.
            zeros = [a.op == "literal" and a.detail == 0 for a in node.args]
            args = ["zero" if zero else text for zero, text in zip(zeros, args, strict=True)]
        if node.op in _FORMS:
            return _FORMS[node.op].format(*args, type=_C_TYPE[node.kind])
        if node.op == "literal":
            return literal(node.detail, node.kind, self.real)
        if node.op == "variable":
            return f"i{node.detail}"
        if node.op == "load":
            return self._loaded(node.detail, args[0])
        single = self.real == "float" and self.depth > 0 and not node.detail.startswith("q_")
        suffix = "f" if single else ""
        return f"{node.detail}{suffix}({', '.join(args)})"

    def _loaded(self, buffer: Buffer, index: str) -> str:
        if buffer in self.made:
            return f"v_{buffer.name}"
        place = self._place(buffer, index)
        return f"((real){place})" if buffer in self.wide and self.depth > 0 else place

    def _place(self, buffer: Buffer, index: str) -> str:
        if buffer.is_variable:
            return buffer.name
        return (
            f"{buffer.name}[{index} - row]" if buffer in self.local else f"{buffer.name}[{index}]"
        )

    # --- stores ---

    def store(self, kernel: Kernel) -> None:
        """The statements of one kernel."""
        store, inner = kernel.store, self.before[self.depth]
        value, buffer = self.text(store.value), store.buffer
        if store.fold != "set":
            self._fold(kernel, value)
            return
        place = self._place(buffer, self.text(store.index))
        if kernel.in_order:
            inner.append(f"{place} = {value};")
            return
        inner.append(f"const {self._type(buffer.kind)} v_{buffer.name} = {value};")
        self.made.add(buffer)
        # Loads printed before this store came from elsewhere; later ones are this variable.
        if buffer in self.in_memory:
            inner.append(f"{place} = v_{buffer.name};")

    def _fold(self, kernel: Kernel, value: str) -> None:
        store, buffer = kernel.store, kernel.store.buffer
        place = self._place(buffer, self.text(store.index))
        level = store.index.level
        if level < self.depth and not buffer.is_variable and not kernel.in_order:
            total = self.fresh()
            start = literal(START[store.fold], buffer.kind, self.real)
            ctype = "double" if store.fold == "add" and buffer.kind == "real" else None
            self.before[level].append(f"{ctype or _C_TYPE[buffer.kind]} {total} = {start};")
            self.after[level].append(folded(place, total, store.fold))
            place = total
        self.before[self.depth].append(folded(place, value, store.fold))


def folded(place: str, value: str, fold: str) -> str:
    """One step of a fold; extremes keep NaN."""
    if fold in ("add", "mul"):
        return f"{place} {'+' if fold == 'add' else '*'}= {value};"
    sign = ">" if fold == "max" else "<"
    return f"{place} = (({value} {sign} {place}) | ({value} != {value})) ? {value} : {place};"


def _count_uses(roots: Iterable[Expression]) -> Counter[int]:
    """How often each expression is an argument or a root."""
    uses: Counter[int] = Counter()
    seen: set[int] = set()
    for root in roots:
        uses[id(root)] += 1
        for node in root.walk():
            if id(node) not in seen:
                seen.add(id(node))
                uses.update(id(a) for a in node.args)
    return uses


@dataclass(slots=True)
class _Printer:
    program: Program
    steps: Sequence[Step]
    real: str
    lines: list[str] = field(default_factory=list)
    in_memory: frozenset[Buffer] = frozenset()
    wide: frozenset[Buffer] = frozenset()
    begun: set[Buffer] = field(default_factory=set)
    block_rows: dict[Buffer, int] = field(default_factory=dict)  # of buffers for one block
    temporaries: int = 0

    def nest(self, nest: Nest) -> None:
        """One loop nest."""
        for kernel in nest.kernels:
            self.begin(kernel)
        self.loops(nest, nest.extent[0] if nest.extent else 1)
        self.settle(nest)

    def blocked(self, blocked: Blocked) -> None:
        """A nest and the products around it, for some rows at a time."""
        nest = blocked.nest
        self.block_rows.update(dict.fromkeys(blocked.local, blocked.rows))
        for kernel in nest.kernels:
            self.begin(kernel)
        for call in blocked.after:
            self.begun.add(call.writes)
            sums, size = pointer(call.writes), call.writes.size
            self.lines.append(f"memset({sums}, 0, sizeof(real) * {size});")
        m = nest.extent[0]
        self.lines += [
            f"for (int64_t row = 0; row < {m}; row += {blocked.rows}) {{",
            f"const int64_t end = row + {blocked.rows} < {m} ? row + {blocked.rows} : {m};",
        ]
        for call in blocked.before:
            self.begun.add(call.writes)
            (y, a, x), (_, k, stride) = _product(call)
            rows = f"{_from_row(y, blocked)}, {_from_row(a, blocked)}"
            self.lines.append(f"{call.routine}({rows}, {pointer(*x)}, end - row, {k}, {stride});")
        self.loops(nest, "end", "row", blocked.local)
        for call in blocked.after:
            (y, a, x), (n, _, stride) = _product(call)
            rows = f"{_from_row(a, blocked)}, {_from_row(x, blocked)}"
            self.lines.append(
                f"{call.routine}_add({pointer(*y)}, {rows}, {n}, end - row, {stride});"
            )
        self.lines.append("}")
        self.settle(nest)

    def settle(self, nest: Nest) -> None:
        """What comes after a nest is not drawn into its loops."""
        sums = {k.writes: None for k in nest.kernels if k.store.fold != "set" and nest.extent}
        self.lines.extend(f"SETTLED({b.name})" for b in sums if b.is_variable and b.kind == "real")

    def loops(
        self, nest: Nest, end: int | str, start: int | str = 0,
        local: frozenset[Buffer] = frozenset(),
    ) -> None:  # fmt: skip
        """The loops, the outer one from ``start`` to ``end``."""
        roots = [e for k in nest.kernels for e in (k.store.value, k.store.index)]
        depth = len(nest.extent)
        block = _Block(
            depth, self.real, self.in_memory, _count_uses(roots), self.temporaries, local,
            self.wide,
        )  # fmt: skip
        for kernel in nest.kernels:
            block.store(kernel)
        self.temporaries += block.count
        self.lines.append("{")
        for level in range(depth):
            self.lines.extend(block.before[level])
            if level == depth - 1 and not nest.in_order:
                self.lines.append("INDEPENDENT")
            first, n, i = (0, nest.extent[level], f"i{level}") if level else (start, end, "i0")
            self.lines.append(f"for (int64_t {i} = {first}; {i} < {n}; {i}++) {{")
        self.lines.extend(block.before[depth])
        for level in reversed(range(depth)):
            self.lines.append("}")
            self.lines.extend(block.after[level])
        self.lines.append("}")

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
        lines = ["const real *restrict k = data[0];", "real zero = 0;", "SETTLED(zero)"]
        given = (*self.program.data, *self.program.arguments)
        for number, buffer in enumerate(given, start=1):
            ctype = _DATA_TYPE[buffer.kind]
            lines.append(f"const {ctype} *restrict {buffer.name} = data[{number}];")
        offset = 0
        for buffer in scratch:
            if buffer.is_variable:
                ctype = "double" if buffer in self.wide else _C_TYPE[buffer.kind]
                lines.append(f"{ctype} {buffer.name};")
            else:
                ctype = _STORED_TYPE[buffer.kind]
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
    printer = _Printer(program, steps, real, in_memory=stored(steps, program), wide=wide)
    for step in block(steps, program):
        if isinstance(step, Nest):
            printer.nest(step)
        elif isinstance(step, Blocked):
            printer.blocked(step)
        else:
            printer.call(step)
    uses = _count_uses([program.value])
    tail = _Block(0, real, printer.in_memory, uses, printer.temporaries, wide=wide)
    result = tail.text(program.value)
    used = [b for b in program.scratch if b in printer.in_memory]
    declarations, scratch = printer.declare(used)
    body = [*declarations, *printer.lines, *tail.before[0], f"return {result};"]
    text = "\n".join(
        (
            f"typedef {real} real;",
            header("scalar.h"),
            header("vector.h"),
            header("linear.h"),
            *([header("gemm.h")] if program.calls_library else ()),
            header("loops.h"),
            "double density(const real *restrict q, real *restrict g,",
            "               const void *const *restrict data, real *restrict w) {",
            *body,
            "}\n",
        )
    )
    length = sum(map(len, body))
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
