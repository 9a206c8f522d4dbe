"""Two pictures with a sign between them: an equation, or two versions of a model.

The result is a geometry like any other, so every painter reads it. Ids of the right side start with
``right:``. In a comparison, what only one side has is marked by its role.
"""

from dataclasses import replace

from quivers_nb.diagrams.geometry import End, Frame, Geometry, Label, Node, Path

GAP = 48.0  # between the two sides, with the sign in the middle
_OF_RIGHT = "right:"


def equation(left: Geometry, right: Geometry, sign: str = "=") -> Geometry:
    """``left`` and ``right`` beside each other, centred on one line, with ``sign`` between."""
    height = max(left.height, right.height)
    types = tuple(dict.fromkeys((*left.types, *right.types)))
    one = _moved(left, 0.0, (height - left.height) / 2, "", types)
    other = _moved(right, left.width + GAP, (height - right.height) / 2, _OF_RIGHT, types)
    middle = Node(
        id="sign",
        parent="",
        shape="word",
        label=sign,
        badge="",
        about="the two sides are compared",
        role="sign",
        x=round(left.width + GAP / 2 - 10, 2),
        y=round(height / 2 - 10, 2),
        width=20.0,
        height=20.0,
        kind="word",
    )
    return replace(
        one,
        title=left.title if left.title == right.title else f"{left.title} {sign} {right.title}",
        width=round(left.width + GAP + right.width, 2),
        height=height,
        frames=(*one.frames, *other.frames),
        nodes=(*one.nodes, middle, *other.nodes),
        wires=(*one.wires, *other.wires),
        labels=(*one.labels, *other.labels),
        ends=(*one.ends, *other.ends),
        types=types,
        note="; ".join(filter(None, (left.note, right.note))),
    )


def differences(old: Geometry, new: Geometry) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of nodes that only the old picture has or that read otherwise; those of the new."""
    before, after = _facts(old), _facts(new)
    changed = {ident for ident in before.keys() & after.keys() if before[ident] != after[ident]}
    gone = frozenset(before.keys() - after.keys()) | changed
    return gone, frozenset(after.keys() - before.keys()) | changed


def _facts(geometry: Geometry) -> dict[str, list[tuple[str, ...]]]:
    """What a node says, and what its wires carry."""
    facts: dict[str, list[tuple[str, ...]]] = {
        node.id: [(node.label, node.badge, node.about)] for node in geometry.nodes
    }
    for wire in geometry.wires:
        for side, ident, port in (("out", wire.source, wire.out), ("in", wire.target, wire.into)):
            facts.setdefault(ident, []).append((side, str(port), wire.type, wire.size))
    return {ident: [said[0], *sorted(said[1:])] for ident, said in facts.items()}


def comparison(old: Geometry, new: Geometry) -> Geometry:
    """Two versions beside each other; what differs has the role ``differs``."""
    gone, come = differences(old, new)
    return equation(_marked(old, gone), _marked(new, come), "→")


def _marked(geometry: Geometry, idents: frozenset[str]) -> Geometry:
    return replace(
        geometry,
        nodes=tuple(replace(n, role="differs") if n.id in idents else n for n in geometry.nodes),
    )


def _moved(
    geometry: Geometry, dx: float, dy: float, prefix: str, types: tuple[str, ...]
) -> Geometry:
    """A geometry elsewhere, with other ids, and with the colours of a common list of types."""
    color = {i: types.index(name) for i, name in enumerate(geometry.types)}

    def frame(f: Frame) -> Frame:
        return replace(
            f,
            id=prefix + f.id,
            parent=prefix + f.parent if f.parent else "",
            x=_r(f.x + dx),
            y=_r(f.y + dy),
            title_x=_r(f.title_x + dx),
            title_y=_r(f.title_y + dy),
        )

    def node(n: Node) -> Node:
        parent = prefix + n.parent if n.parent else ""
        hue = color.get(n.color, -1)
        return replace(
            n, id=prefix + n.id, parent=parent, x=_r(n.x + dx), y=_r(n.y + dy), color=hue
        )

    def wire(w: Path) -> Path:
        points = tuple((_r(x + dx), _r(y + dy)) for x, y in w.points)
        source, target = prefix + w.source, prefix + w.target
        ident = f"{source}.{w.out}>{target}.{w.into}"
        hue = color.get(w.color, -1)
        return replace(w, id=ident, source=source, target=target, points=points, color=hue)

    def label(t: Label) -> Label:
        hue = color.get(t.color, -1)
        return replace(t, wire=prefix + t.wire, x=_r(t.x + dx), y=_r(t.y + dy), color=hue)

    def end(e: End) -> End:
        hue = color.get(e.color, -1)
        return replace(e, id=prefix + e.id, x=_r(e.x + dx), y=_r(e.y + dy), color=hue)

    return replace(
        geometry,
        frames=tuple(map(frame, geometry.frames)),
        nodes=tuple(map(node, geometry.nodes)),
        wires=tuple(map(wire, geometry.wires)),
        labels=tuple(map(label, geometry.labels)),
        ends=tuple(map(end, geometry.ends)),
    )


def _r(value: float) -> float:
    return round(value, 2) + 0.0
