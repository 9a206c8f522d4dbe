"""Cutting a loop in stages: no stage holds more than the registers do.

A regression whose eighty coefficients are eighty sites is one loop over its rows with eighty
columns, eighty coefficients and eighty sums. Processors have thirty-two vector registers and read
ahead in some twelve columns, so that loop waits for memory most of its time. Its rows are therefore
taken in blocks, and each block is walked through several times, a few columns at a time: what one
stage makes and another reads is kept for the rows of a block, in the first cache.

A *lane* is what a stage keeps in a register: an array that it reads, a number from outside the
loop, a sum. Expressions are cut where they have too many lanes, and where several kernels share
them; no sum is reordered.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from quivers_nb.inference.native.expression import Algebra, Buffer, Expression
from quivers_nb.inference.native.fuse import Nest
from quivers_nb.inference.native.program import Kernel, Store

LANES = 25  # of a stage: twelve columns with their coefficients or sums, and the rows they go to
LANES_AT_CALLS = 12  # calls clobber the vector registers: what is held is written out around them
GREATEST_LOOP = 24  # lanes: loops with as many run as fast whole


def stages(nest: Nest, names: Iterator[str]) -> tuple[Nest, ...]:
    """The nest as loops to be run one after the other for some rows at a time.

    ``names`` are those of new buffers, one element per row. A nest that gains nothing is returned
    as it is.
    """
    if not (nest.extent and nest.may_be_cut):
        return (nest,)
    whole = _Stage()
    for kernel in nest.kernels:
        whole.append(_Need.of(kernel))
    if len(whole.lanes) <= GREATEST_LOOP:
        return (nest,)
    cutter = _Cutter(nest.extent, names, _shared(nest.kernels))
    for kernel in nest.kernels:
        cutter.add(kernel)
    needs = list(map(_Need.of, cutter.kernels))
    return tuple(_nest(nest.extent, kernels) for kernels in _staged(needs))


def _nest(extent: tuple[int, ...], kernels: Iterable[Kernel]) -> Nest:
    nest = Nest(extent, in_order=False)
    for kernel in kernels:
        nest.append(kernel)
    return nest


# --- lanes ---


def _lanes(root: Expression) -> frozenset[Expression]:
    """What ``root`` reads: elements of arrays, and the largest parts that no loop changes."""
    if root.level == 0:
        return frozenset() if root.op == "literal" else frozenset({root})
    found: set[Expression] = set()
    for node in root.walk():
        if node.level > 0:
            found |= {node} if node.op == "load" else set()
            found |= {a for a in node.args if a.level == 0 and a.op != "literal"}
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a kernel asks of its stage."""

    kernel: Kernel
    read: frozenset[Expression]
    total: frozenset[Buffer]  # of one element: what it adds to, if it does
    calls: bool

    @classmethod
    def of(cls, kernel: Kernel) -> "_Need":
        store = kernel.store
        folds = store.fold != "set"
        return cls(
            kernel,
            _lanes(store.value) | _lanes(store.index),
            frozenset({store.buffer} if folds else ()),
            any(node.op == "call" for node in store.value.walk()),
        )


@dataclass(slots=True)
class _Stage:
    kernels: list[Kernel] = field(default_factory=list)
    lanes: set[object] = field(default_factory=set)
    made: set[Buffer] = field(default_factory=set)
    calls: bool = False

    def append(self, need: _Need) -> None:
        self.lanes |= self.new(need) | need.total
        self.calls |= need.calls
        self.kernels.append(need.kernel)
        if not need.total:
            self.made.add(need.kernel.writes)

    def new(self, need: _Need) -> set[Expression]:
        """What the kernel reads that nobody here reads or makes."""
        return {e for e in need.read if e not in self.lanes and e.detail not in self.made}

    def takes(self, need: _Need) -> bool:
        new = self.new(need)
        if self.calls and not need.calls:
            return not new
        most = LANES_AT_CALLS if need.calls else LANES
        return len(self.lanes | need.total) + len(new) <= most


def _staged(needs: Sequence[_Need]) -> Iterator[list[Kernel]]:
    """Each kernel in the first stage that has room and comes after what it needs."""
    found: list[_Stage] = []
    set_at: dict[Buffer, int] = {}
    used_at: dict[Buffer, int] = {}  # read or added to, last
    for need in needs:
        kernel = need.kernel
        earliest = max(set_at.get(buffer, 0) for buffer in (*kernel.reads, kernel.writes))
        if not need.total:  # what was there is no longer wanted
            earliest = max(earliest, used_at.get(kernel.writes, 0))
        places = range(earliest, len(found))
        place = next((p for p in places if found[p].takes(need)), len(found))
        if place == len(found):
            found.append(_Stage())
        found[place].append(need)
        used = {*kernel.reads, *need.total}
        used_at.update((buffer, max(place, used_at.get(buffer, 0))) for buffer in used)
        if not need.total:
            set_at[kernel.writes] = place
    return (stage.kernels for stage in found)


# --- cutting ---


def _shared(kernels: Sequence[Kernel]) -> frozenset[Expression]:
    """The largest parts that more kernels than one compute."""
    owners: Counter[Expression] = Counter()
    for kernel in kernels:
        owners.update(_parts(kernel))
    found: set[Expression] = set()
    for kernel in kernels:
        found.add(kernel.store.value)
        found.update(
            part for node in _parts(kernel) for part in node.args if owners[part] > owners[node]
        )
    return frozenset(node for node in found if owners[node] > 1 and _is_work(node))


def _parts(kernel: Kernel) -> set[Expression]:
    return {*kernel.store.value.walk(), *kernel.store.index.walk()}


def _is_work(node: Expression) -> bool:
    """Whether keeping ``node`` for a row saves anything."""
    return node.level > 0 and node.kind == "real" and node.op != "load"


@dataclass(slots=True)
class _Cutter:
    """Rewrites kernels, in order, so that each has few lanes."""

    extent: tuple[int, ...]
    names: Iterator[str]
    shared: frozenset[Expression]
    algebra: Algebra = field(default_factory=Algebra)
    kernels: list[Kernel] = field(default_factory=list)
    new: dict[Expression, Expression] = field(default_factory=dict)
    lanes: dict[Expression, frozenset[Expression]] = field(default_factory=dict)  # of new ones

    def add(self, kernel: Kernel) -> None:
        store = kernel.store
        value, index = self.rewritten(store.value), self.rewritten(store.index)
        self.kernels.append(replace(kernel, store=replace(store, value=value, index=index)))

    def rewritten(self, root: Expression) -> Expression:
        for node in root.walk():
            if node not in self.new:
                self.new[node] = self.cut(node)
        return self.new[root]

    def cut(self, node: Expression) -> Expression:
        """``node`` with what it is made of kept for the row where that is too much for a loop."""
        args = [self.new[a] for a in node.args]
        while len(self.read_by(args)) > LANES:
            large = [a for a in args if _is_work(a)]
            if not large:
                break
            most = max(large, key=lambda a: len(self.lanes[a]))
            kept = self.kept(most)
            args = [kept if a is most else a for a in args]
        made = self.algebra.node(node.op, args, node.kind, node.detail)
        self.lanes[made] = _lanes(made) if node.op == "load" else self.read_by(args)
        return self.kept(made) if node in self.shared else made

    def read_by(self, args: Iterable[Expression]) -> frozenset[Expression]:
        """The lanes of something made of ``args``."""
        found: set[Expression] = set()
        for a in args:
            found |= self.lanes[a] if a.level > 0 else _lanes(a)
        return frozenset(found)

    def kept(self, node: Expression) -> Expression:
        """``node`` in memory, one number per row."""
        buffer = Buffer(next(self.names), self.extent[0], "real", "scratch")
        row = self.algebra.variable(0)
        self.kernels.append(Kernel(self.extent, Store(buffer, row, node)))
        load = self.algebra.load(buffer, row)
        self.lanes[load] = frozenset({load})
        return load
