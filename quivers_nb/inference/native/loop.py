"""The statements of one loop nest.

Everything a loop does not change is computed outside it, and what is used twice has a name.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from quivers_nb.inference.native.expression import Buffer, Expression, Kind
from quivers_nb.inference.native.program import START, Kernel

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "eq": "==", "ne": "!=", "and": "&", "or": "|", "mod": "%",
}  # fmt: skip
_FORMS = {op: f"({{0}} {sign} {{1}})" for op, sign in _INFIX.items()} | {
    "neg": "(-{0})", "not": "(!{0})", "where": "({0} ? {1} : {2})", "cast": "(({type}){0})",
    "apart": "APART({0}, {1}, one)",
}  # fmt: skip
C_TYPE = {"real": "real", "int": "int64_t", "bool": "int"}
# Masks are as wide as numbers: with a vector of bytes a loop takes 64 rows at a time, and compilers
# write out its body for as many, for half of them, and for one.
STORED_TYPE = {"real": "real", "int": "int64_t", "bool": "mask"}
DATA_TYPE = STORED_TYPE | {"bool": "int32_t"}
ALIGN = 8  # elements of scratch; 64 bytes of doubles
_LEAVES = frozenset({"literal", "variable"})


def stored_type(buffer: Buffer) -> str:
    """The type of a buffer's elements."""
    return (STORED_TYPE if buffer.role == "scratch" else DATA_TYPE)[buffer.kind]


def variable_type(buffer: Buffer, wide: frozenset[Buffer]) -> str:
    """The type of a variable. ``wide``: those that are doubles where numbers are floats."""
    return "double" if buffer in wide else C_TYPE[buffer.kind]


def room(buffer: Buffer, size: int) -> int:
    """How much of a workspace of real numbers ``size`` elements of a buffer take, in such numbers.

    Whole numbers are given twice their count, for they are as wide as two floats.
    """
    width = 2 if stored_type(buffer) == "int64_t" else 1
    return -(-size * width // ALIGN) * ALIGN


def placed(buffer: Buffer, place: str, qualifier: str) -> str:
    """The declaration of a buffer that lies at ``place`` in a workspace."""
    ctype = stored_type(buffer)
    cast = "" if ctype == "real" else f"({ctype} *)"
    return f"{ctype} *{qualifier} {buffer.name} = {cast}({place});"


def literal(value: float, kind: str, real: str) -> str:
    """A number as C writes it."""
    if kind == "bool":
        return str(int(value > 0))
    if kind != "real":
        extreme = "INT64_MAX" if value > 0 else "INT64_MIN"
        return extreme if math.isinf(value) else str(int(value))
    if math.isnan(value):
        return "(real)NAN"
    if math.isinf(value):
        return "(real)INFINITY" if value > 0 else "(-(real)INFINITY)"
    text = repr(float(value)) + ("f" if real == "float" else "")
    return f"({text})" if value < 0 else text


@dataclass(frozen=True, slots=True)
class Total:
    """A variable of a loop that is folded into a place outside when the loop has ended."""

    ctype: str
    name: str
    start: str


@dataclass(slots=True)
class Loop:
    """Statements of one nest, by the number of loops around them."""

    depth: int
    real: str
    in_memory: frozenset[Buffer]
    uses: Counter[int]
    first: int  # number of the first temporary
    local: frozenset[Buffer] = frozenset()  # memory for the rows of one block
    wide: frozenset[Buffer] = frozenset()  # doubles although ``real`` is float
    apart: bool = False  # whether the innermost loop is a function of its own (see `function`)
    made: set[Buffer] = field(default_factory=set)
    before: list[list[str]] = field(default_factory=list)
    after: list[list[str]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    count: int = 0
    buffers: dict[Buffer, str] = field(default_factory=dict)  # what the function calls them
    arrays: dict[Buffer, bool] = field(default_factory=dict)  # its arrays: whether it writes them
    numbers: dict[str, str] = field(default_factory=dict)  # what it reads: type by name
    totals: list[Total] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = [[] for _ in range(self.depth + 1)]
        self.after = [[] for _ in range(self.depth + 1)]

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.first + self.count}"

    # --- expressions ---

    def text(self, root: Expression) -> str:
        """``root`` as C, with what is shared or loop-invariant put into temporaries first.

        Where there is a choice, so is all that is read: gcc 12.2 reads under a mask what stands in
        one branch alone, and gets the lanes wrong if the innermost axis has 3, 5, 6 or 7 places.
        """
        chooses = any(node.op == "where" for node in root.walk())
        for node in root.walk():
            if id(node) not in self.names:
                self.names[id(node)] = self._settled(node, chooses=chooses)
        return self.names[id(root)]

    def _settled(self, node: Expression, *, chooses: bool) -> str:
        plain = self._written(node)
        if node.op in _LEAVES or (node.op == "load" and node.detail in self.made):
            return plain
        shared = self.uses[id(node)] > 1 and (node.kind != "int" or node.op == "load")
        shared = shared or (chooses and node.op == "load")
        if not (shared or node.op in ("call", "where", "div") or node.level < self.depth):
            return plain
        if node.kind == "int" and node.op != "load" and node.cost < 3:
            return plain
        name, ctype = self.fresh(), self._type(node.kind)
        self.before[node.level].append(f"const {ctype} {name} = {plain};")
        if node.level < self.depth:
            self.numbers[name] = ctype
        return name

    def _type(self, kind: Kind) -> str:
        """The type of temporaries: those outside all loops are double."""
        return "double" if kind == "real" and self.depth == 0 else C_TYPE[kind]

    def _written(self, node: Expression) -> str:
        args = [self.names[id(a)] for a in node.args]
        if node.op == "mul" and node.kind == "real":
            # 0 x is NaN where x is not finite; gcc 12.2 takes it for 0 if it sees the 0.
            zeros = [a.op == "literal" and a.detail == 0 for a in node.args]
            args = ["zero" if zero else text for zero, text in zip(zeros, args, strict=True)]
            self.numbers |= {"zero": "real"} if any(zeros) else {}
        if node.op in _FORMS:
            return _FORMS[node.op].format(*args, type=C_TYPE[node.kind])
        if node.op == "literal":
            return literal(node.detail, node.kind, self.real)
        if node.op == "variable":
            return f"i{node.detail}"
        if node.op == "load":
            return self._loaded(node, args[0])
        single = self.real == "float" and self.depth > 0 and not node.detail.startswith("q_")
        suffix = "f" if single else ""
        return f"{node.detail}{suffix}({', '.join(args)})"

    def _loaded(self, load: Expression, index: str) -> str:
        buffer: Buffer = load.detail
        if buffer in self.made:
            return f"v_{self._called(buffer)}"
        outside = load.level < self.depth
        place = self._place(buffer, index, outside=outside)
        return f"((real){place})" if buffer in self.wide and self.depth > 0 else place

    def _called(self, buffer: Buffer) -> str:
        """The name of a buffer among the innermost statements."""
        if not self.apart:
            return buffer.name
        return self.buffers.setdefault(buffer, f"p{len(self.buffers)}")

    def _place(
        self, buffer: Buffer, index: str, *, outside: bool = False, written: bool = False
    ) -> str:
        name = buffer.name if outside else self._called(buffer)
        if buffer.is_variable:
            return name
        if not outside:
            self.arrays[buffer] = self.arrays.get(buffer, False) or written
        return f"{name}[{index} - row]" if buffer in self.local else f"{name}[{index}]"

    # --- stores ---

    def store(self, kernel: Kernel) -> None:
        """The statements of one kernel."""
        store, inner = kernel.store, self.before[self.depth]
        value, buffer = self.text(store.value), store.buffer
        if store.fold != "set":
            self._fold(kernel, value)
            return
        index, name = self.text(store.index), self._called(buffer)
        if kernel.in_order:
            inner.append(f"{self._place(buffer, index, written=True)} = {value};")
            return
        inner.append(f"const {self._type(buffer.kind)} v_{name} = {value};")
        self.made.add(buffer)
        # Loads printed before this store came from elsewhere; later ones are this variable.
        if buffer in self.in_memory:
            inner.append(f"{self._place(buffer, index, written=True)} = v_{name};")

    def _fold(self, kernel: Kernel, value: str) -> None:
        store, buffer = kernel.store, kernel.store.buffer
        index, level = self.text(store.index), store.index.level
        if level == self.depth or kernel.in_order or (buffer.is_variable and not self.apart):
            place = self._place(buffer, index, written=True)
        else:
            outside = self._place(buffer, index, outside=True)
            place = self._total(kernel, outside)
        self.before[self.depth].append(folded(place, value, store.fold))

    def _total(self, kernel: Kernel, outside: str) -> str:
        """The name of a total that is folded into ``outside`` behind the loop."""
        fold, kind, level = kernel.store.fold, kernel.writes.kind, kernel.store.index.level
        ctype = "double" if fold == "add" and kind == "real" else C_TYPE[kind]
        total = Total(ctype, self.fresh(), literal(START[fold], kind, self.real))
        if not self.apart:
            self.before[level].append(f"{ctype} {total.name} = {total.start};")
        self.after[level].append(folded(outside, total.name, fold))
        self.totals.append(total)
        return total.name

    # --- functions ---

    @property
    def can_be_apart(self) -> bool:
        """Whether its function is given nothing but arrays and real numbers."""
        types = {*self.numbers.values(), *(total.ctype for total in self.totals)}
        return self.apart and types <= {"real", "double"}

    def function(self, head: str) -> str:
        """Parameters and body of a function: the innermost loop, which ``head`` opens.

        Names follow from what is computed, not from what it is computed of: loops that do the same
        have the same text.
        """
        lines = ["(const void *const *arrays, const real *numbers, double *sums,"]
        lines.append("int64_t row, int64_t end) {")
        for place, (buffer, written) in enumerate(self.arrays.items()):
            ctype = stored_type(buffer) if written else f"const {stored_type(buffer)}"
            lines.append(f"{ctype} *restrict {self.buffers[buffer]} = ({ctype} *)arrays[{place}];")
        for place, name in enumerate(self.numbers):
            lines.append(f"const real {name} = numbers[{place}];")
        for place, total in enumerate(self.totals):
            lines.append(f"{total.ctype} {total.name} = sums[{place}];")
        kept = (f"sums[{place}] = {total.name};" for place, total in enumerate(self.totals))
        return "\n".join((*lines, head, *self.before[self.depth], "}", *kept, "}\n"))


@dataclass(slots=True)
class Calls:
    """Loops in functions of their own, one behind the other: calls and what these are given."""

    number: int  # of these calls in the program
    given: Mapping[Buffer, int]  # where the caller's ``data`` has an array
    arrays: list[Buffer] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    sums: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def add(self, name: str, loop: Loop) -> None:
        """A call of the function ``name``, which is that of ``loop``."""
        places = (len(self.arrays), len(self.numbers), len(self.sums))
        own = [f"{what}{self.number}" for what in ("arrays", "numbers", "sums")]
        given = [f"{array} + {place}" for array, place in zip(own, places, strict=True)]
        self.lines.append(f"{name}({', '.join(given)}, row, end);")
        begin = len(self.numbers)
        kept = [f"{own[1]}[{begin + place}] = {n};" for place, n in enumerate(loop.numbers)]
        self.before += ["{", *loop.before[0], *kept, "}"] if kept else []
        begin = len(self.sums)
        found = (
            f"const {total.ctype} {total.name} = {own[2]}[{begin + place}];"
            for place, total in enumerate(loop.totals)
        )
        self.after += ["{", *found, *loop.after[0], "}"] if loop.totals else []
        self.arrays += loop.arrays
        self.numbers += loop.numbers
        self.sums += (total.start for total in loop.totals)

    def begin(self) -> list[str]:
        """What stands before the first call."""
        if not self.lines:
            return []
        n, own = len(self.arrays), f"arrays{self.number}"
        where = ", ".join(str(self.given.get(buffer, 0)) for buffer in self.arrays)
        others = [(i, buffer) for i, buffer in enumerate(self.arrays) if buffer not in self.given]
        return [
            # By table: compilers would keep hundreds of pointers alive from one use to the next.
            f"static const int32_t where{self.number}[] = {{{where}}};",
            f"const void *{own}[{n}];",
            f"for (int64_t i = 0; i < {n}; i++) {own}[i] = data[where{self.number}[i]];",
            *(f"{own}[{i}] = {buffer.name};" for i, buffer in others),
            f"real numbers{self.number}[{len(self.numbers) + 1}];",
            f"double sums{self.number}[] = {{{', '.join([*self.sums, '0'])}}};",
            *self.before,
        ]


def folded(place: str, value: str, fold: str) -> str:
    """One step of a fold; extremes keep NaN."""
    if fold in ("add", "mul"):
        return f"{place} {'+' if fold == 'add' else '*'}= {value};"
    sign = ">" if fold == "max" else "<"
    return f"{place} = (({value} {sign} {place}) | ({value} != {value})) ? {value} : {place};"


def count_uses(roots: Iterable[Expression]) -> Counter[int]:
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
