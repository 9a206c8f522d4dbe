"""The outlines of signs and boxes, for every painter."""

from quivers_nb.diagrams.geometry import Node, Point

_SLANT = 7.0


def slanted(node: Node, *, down: bool) -> list[Point]:
    """The corners of a box that has a converse; the converse is its mirror image."""
    x, y, w, h = node.x, node.y, node.width, node.height
    cut = (_SLANT, 0.0) if node.dagger else (0.0, _SLANT)
    if down:
        return [(x, y), (x + w - cut[0], y), (x + w - cut[1], y + h), (x, y + h)]
    return [(x, y), (x + w, y), (x + w, y + h - cut[1]), (x, y + h - cut[0])]


def triangle(node: Node, *, down: bool) -> list[Point]:
    """The delay sign, pointing back against the flow."""
    x, y, w, h = node.x, node.y, node.width, node.height
    if down:
        return [(x + w / 2, y), (x + w, y + h), (x, y + h)]
    return [(x, y + h / 2), (x + w, y), (x + w, y + h)]


def arc_points(node: Node, *, down: bool) -> tuple[Point, ...]:
    """The half circle of a cup or a cap."""
    x, y, w, h = node.x, node.y, node.width, node.height
    reach = 4 / 3
    if down:
        a, b = (x + 1, y), (x + w - 1, y)
        deep = y + h * reach
        if node.shape == "cap":
            a, b, deep = (x + 1, y + h), (x + w - 1, y + h), y + h - h * reach
        return (a, (a[0], deep), (b[0], deep), b)
    a, b = (x, y + 1), (x, y + h - 1)
    deep = x + w * reach
    if node.shape == "cap":
        a, b, deep = (x + w, y + 1), (x + w, y + h - 1), x + w - w * reach
    return (a, (deep, a[1]), (deep, b[1]), b)


def teeth(node: Node, *, down: bool) -> list[Point]:
    """The broken line where two types do not meet, across the flow."""
    x, y, w, h = node.x, node.y, node.width, node.height
    count = 2 * max(4, round((w if down else h) / 10))
    steps = [(i / count, 3.0 if i % 2 else -3.0) for i in range(count + 1)]
    if down:
        return [(x + w * t, y + h / 2 + tooth) for t, tooth in steps]
    return [(x + w / 2 + tooth, y + h * t) for t, tooth in steps]


def direction(points: tuple[Point, ...]) -> Point:
    """The unit vector in which a path arrives."""
    x, y = points[-1]
    for px, py in reversed(points[:-1]):
        length = ((x - px) ** 2 + (y - py) ** 2) ** 0.5
        if length > 0.5:
            return (x - px) / length, (y - py) / length
    return 0.0, 1.0
