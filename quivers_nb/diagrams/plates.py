"""From a list of things with edges between them to a diagram with regions.

A region holds things with the same set of plates. Contracting the regions must leave no cycle:
a thing joins the newest region of its set if that keeps the regions in an order, else it opens
another one. Edges cross the border of a region by ports of their own.
"""

from dataclasses import dataclass, field, replace

from quivers_nb.check.paths import join
from quivers_nb.diagrams.graph import (
    IN,
    OUT,
    Diagram,
    GroupKind,
    Item,
    Kind,
    Port,
    Wire,
    WireType,
)

EDGE = WireType("", "", 0)  # what an edge of a program carries: nothing that has a colour


@dataclass(slots=True)
class Entry:
    """A thing and its plates. ``fixed``: its ports are those of a morphism, in order."""

    item: Item
    plate: frozenset[str]
    fixed: bool = False


@dataclass(slots=True)
class Draft:
    """Entries in the order of the program, and the edges between them."""

    entries: dict[str, Entry] = field(default_factory=dict)
    edges: list[tuple[str, str, int]] = field(default_factory=list)  # from, to, output if fixed
    enters: list[str] = field(default_factory=list)  # what the wires of the boundary lead to
    leaves: list[str] = field(default_factory=list)
    types: tuple[WireType, ...] = ()

    def add(self, entry: Entry) -> str:
        """A new entry; returns its id, numbered where the wish is taken."""
        ident, count = entry.item.id, 1
        while ident in self.entries:
            count += 1
            ident = f"{entry.item.id}#{count}"
        self.entries[ident] = replace(entry, item=replace(entry.item, id=ident))
        return ident

    def join(self, source: str, target: str, out: int = 0) -> None:
        """An edge."""
        self.edges.append((source, target, out))

    def enter(self, types: tuple[WireType, ...], targets: list[str]) -> None:
        """Let the inputs of the whole lead to entries."""
        self.types = types
        self.enters = targets if types else []

    def leave(self, source: str, count: int) -> None:
        """Let an entry lead to the outputs of the whole."""
        self.leaves = [source] * count


def drawn(
    draft: Draft,
    title: str,
    dom: tuple[WireType, ...] = (),
    cod: tuple[WireType, ...] = (),
    path: str = "",
) -> Diagram:
    """The diagram of a draft: regions as groups, edges as wires that never branch.

    ``path`` is where in the whole picture the draft stands.
    """
    ports = _Ports(draft, dom, cod)
    regions = _regions(draft)
    where = {name: k for k, members in enumerate(regions) for name in members}
    order = _topological(draft, regions, where)
    outer = _Level(ports, path)
    for k in order:
        members = regions[k]
        plate = draft.entries[members[0]].plate
        if plate:
            outer.items.append(_region(ports, members, plate, outer))
        else:
            outer.items.append(ports.items[members[0]])
    inside = {name for k in order if draft.entries[regions[k][0]].plate for name in regions[k]}
    wires = [ports.outer(wire, inside, outer.crossed) for wire in ports.wires]
    return Diagram(
        dom=dom,
        cod=cod,
        items=tuple(outer.items),
        wires=tuple(wire for wire in wires if wire is not None),
        title=title,
        planar=False,
    )


@dataclass(slots=True)
class _Level:
    """The outermost level: its items, and where wires cross the borders of regions."""

    ports: "_Ports"
    path: str
    items: list[Item] = field(default_factory=list)
    crossed: dict[tuple[Port, Port], tuple[Port, Port]] = field(default_factory=dict)


class _Ports:
    """Entries with as many ports as they have edges, and the edges as wires between them."""

    def __init__(self, draft: Draft, dom: tuple[WireType, ...], cod: tuple[WireType, ...]) -> None:
        self.draft = draft
        self.ins: dict[str, list[WireType]] = {name: [] for name in draft.entries}
        self.outs: dict[str, list[WireType]] = {name: [] for name in draft.entries}
        self.wires: list[Wire] = []
        for i, (name, wire) in enumerate(zip(draft.enters, dom, strict=True)):
            self.wires.append(Wire(Port(IN, i), self._into(name), wire))
            self.ins[name].append(wire)
        for source, target, out in draft.edges:
            self.wires.append(self._edge(source, target, out))
        for i, (name, wire) in enumerate(zip(draft.leaves, cod, strict=True)):
            self.wires.append(Wire(Port(name, len(self.outs[name])), Port(OUT, i), wire))
            self.outs[name].append(wire)
        self.items = {name: self._item(entry) for name, entry in draft.entries.items()}

    def _edge(self, source: str, target: str, out: int) -> Wire:
        fixed = self.draft.entries[source].fixed
        carried = EDGE
        index = len(self.outs[source])
        if fixed:
            types = self.draft.entries[source].item.outs
            carried, index = (types[out], out) if out < len(types) else (EDGE, out)
        wire = Wire(Port(source, index), self._into(target), carried)
        self.outs[source].append(carried)
        self.ins[target].append(carried)
        return wire

    def _into(self, target: str) -> Port:
        return Port(target, len(self.ins[target]))

    def _item(self, entry: Entry) -> Item:
        item = entry.item
        if entry.fixed:
            return item
        return replace(item, ins=tuple(self.ins[item.id]), outs=tuple(self.outs[item.id]))

    def outer(
        self, wire: Wire, inside: set[str], crossed: dict[tuple[Port, Port], tuple[Port, Port]]
    ) -> Wire | None:
        """A wire as the outermost level sees it; None if it stays in one region."""
        key = (wire.source, wire.target)
        if key in crossed:
            source, target = crossed[key]
            return None if source.item == target.item else Wire(source, target, wire.type)
        both = wire.source.item in inside and wire.target.item in inside
        return None if both else wire


def _region(ports: _Ports, members: list[str], plate: frozenset[str], outer: _Level) -> Item:
    """The group of a region; notes in ``outer.crossed`` by which ports its edges cross."""
    own = set(members)
    ident = wish = join(outer.path, f"plate {title_of(plate)}")
    taken = {item.id for item in outer.items}
    count = 1
    while ident in taken:
        count += 1
        ident = f"{wish}#{count}"
    wires: list[Wire] = []
    ins: list[WireType] = []
    outs: list[WireType] = []
    for wire in ports.wires:
        enters, leaves = wire.target.item in own, wire.source.item in own
        key = (wire.source, wire.target)
        source, target = outer.crossed.get(key, key)
        if enters and leaves:
            wires.append(wire)
            outer.crossed[key] = (Port(ident, -1), Port(ident, -1))
        elif enters:
            wires.append(Wire(Port(IN, len(ins)), wire.target, wire.type))
            outer.crossed[key] = (source, Port(ident, len(ins)))
            ins.append(wire.type)
        elif leaves:
            wires.append(Wire(wire.source, Port(OUT, len(outs)), wire.type))
            outer.crossed[key] = (Port(ident, len(outs)), target)
            outs.append(wire.type)
    body = Diagram(
        dom=tuple(ins),
        cod=tuple(outs),
        items=tuple(ports.items[name] for name in members),
        wires=tuple(wires),
        title=title_of(plate),
        planar=False,
    )
    return Item(
        id=ident,
        kind=Kind.GROUP,
        label=title_of(plate),
        ins=tuple(ins),
        outs=tuple(outs),
        group=GroupKind.PLATE,
        body=body,
    )


def title_of(plate: frozenset[str]) -> str:
    """``items · 20  ×  subjects · 30``."""
    return " × ".join(sorted(plate))


def _regions(draft: Draft) -> list[list[str]]:
    """Entries that stand together, in the order of their first members."""
    regions: list[list[str]] = []
    where: dict[str, int] = {}
    newest: dict[frozenset[str], int] = {}
    parents: dict[str, set[str]] = {name: set() for name in draft.entries}
    for source, target, _ in draft.edges:
        parents[target].add(source)
    for name in _entry_order(draft, parents):
        plate = draft.entries[name].plate
        k = newest.get(plate) if plate else None
        if k is not None and _closes_cycle(k, name, parents, where, regions):
            k = None
        if k is None:
            k = len(regions)
            regions.append([])
            if plate:
                newest[plate] = k
        regions[k].append(name)
        where[name] = k
    return regions


def _entry_order(draft: Draft, parents: dict[str, set[str]]) -> list[str]:
    """Entries after what they depend on, else in the order of the program."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        for parent in sorted(parents[name], key=list(draft.entries).index):
            visit(parent)
        done[name] = None

    for name in draft.entries:
        visit(name)
    return list(done)


def _closes_cycle(
    k: int,
    name: str,
    parents: dict[str, set[str]],
    where: dict[str, int],
    regions: list[list[str]],
) -> bool:
    """Whether a parent of ``name`` outside region ``k`` depends on region ``k``."""
    seen: set[int] = set()
    todo = [where[parent] for parent in parents[name] if where[parent] != k]
    while todo:
        region = todo.pop()
        if region == k:
            return True
        if region not in seen:
            seen.add(region)
            todo.extend(where[p] for m in regions[region] for p in parents[m] if where[p] != region)
    return False


def _topological(draft: Draft, regions: list[list[str]], where: dict[str, int]) -> list[int]:
    """The regions in an order in which edges lead forward."""
    before: dict[int, set[int]] = {k: set() for k in range(len(regions))}
    for source, target, _ in draft.edges:
        if where[source] != where[target]:
            before[where[target]].add(where[source])
    order: list[int] = []
    left = list(before)
    while left:
        k = next(k for k in left if before[k] <= set(order))
        order.append(k)
        left.remove(k)
    return order
