"""What is true of a picture, read from its geometry alone: crossings, overlaps, straightness."""

from collections.abc import Iterator

import numpy as np

from quivers_nb.diagrams.geometry import Frame, Geometry, Node, Path

STEPS = (7, 10)  # straight pieces for one bend; a crossing in a corner of one is not in the other
NEAR = 0.06  # twice the rounding of coordinates

Rectangle = tuple[float, float, float, float]


def polyline(path: Path, steps: int = 7) -> np.ndarray:  # (points, 2)
    """A path as straight pieces; bends of one gap are cut at the same places along the flow."""
    points = np.asarray(path.points)
    found = [points[:1]]
    for k in range(1, len(points), 3):
        a, (b, c, d) = points[k - 1], points[k : k + 3]
        if _is_straight(a, b, c, d):
            found.append(d[None])
            continue
        t = np.linspace(0, 1, steps + 1)[1:, None]
        u = 1 - t
        found.append(u**3 * a + 3 * u**2 * t * b + 3 * u * t**2 * c + t**3 * d)
    return np.concatenate(found)


def _is_straight(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    along = d - a
    return all(abs(along[0] * (p - a)[1] - along[1] * (p - a)[0]) < 0.1 for p in (b, c))


def segments(geometry: Geometry, steps: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """All straight pieces (pieces, 2, 2) of all wires, and which wire each belongs to."""
    pieces, owner = [np.zeros((0, 2, 2))], [np.zeros(0, int)]
    for k, path in enumerate(geometry.wires):
        line = polyline(path, steps)
        pieces.append(np.stack([line[:-1], line[1:]], axis=1))
        owner.append(np.full(len(line) - 1, k))
    return np.concatenate(pieces), np.concatenate(owner)


def crossings(geometry: Geometry) -> list[tuple[str, str]]:
    """Pairs of wires that cross properly, each as often as it crosses."""
    return max((_crossings(geometry, steps) for steps in STEPS), key=len)


def _crossings(geometry: Geometry, steps: int) -> list[tuple[str, str]]:
    pieces, owner = segments(geometry, steps)
    i, j = _close_pairs(pieces, owner)
    start, end = pieces[:, 0], pieces[:, 1]
    apart = np.ones(len(i), bool)
    for one, other in ((i, j), (j, i)):
        side_start = _side(start[one], end[one], start[other])  # (pairs,)
        side_end = _side(start[one], end[one], end[other])
        near = np.minimum(abs(side_start), abs(side_end)) <= NEAR
        apart &= (side_start * side_end < 0) & ~near
    names = [path.id for path in geometry.wires]
    pairs = zip(owner[i[apart]], owner[j[apart]], strict=True)
    return [(names[one], names[other]) for one, other in pairs]


def _close_pairs(pieces: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of two wires whose bounding boxes meet."""
    low, high = pieces.min(1), pieces.max(1)  # (pieces, 2)
    meets = owner[:, None] < owner[None]
    for axis in (0, 1):
        meets &= low[:, None, axis] <= high[None, :, axis]
        meets &= low[None, :, axis] <= high[:, None, axis]
    i, j = np.nonzero(meets)
    return i, j


def _side(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Signed distance of ``p`` from the line through ``a`` and ``b``."""
    along = b - a
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)
    cross = along[..., 0] * (p - a)[..., 1] - along[..., 1] * (p - a)[..., 0]
    return cross / length


def rectangle(thing: Node | Frame) -> Rectangle:
    return thing.x, thing.y, thing.x + thing.width, thing.y + thing.height


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] - NEAR and b[0] < a[2] - NEAR and a[1] < b[3] - NEAR and b[1] < a[3] - NEAR


def inside(a: Rectangle, b: Rectangle) -> bool:
    """Whether ``a`` lies in ``b``."""
    return (
        a[0] >= b[0] - NEAR and a[1] >= b[1] - NEAR and a[2] <= b[2] + NEAR and a[3] <= b[3] + NEAR
    )


def overlaps(geometry: Geometry) -> Iterator[str]:
    """Nodes or frames of one parent that overlap, and what sticks out of its frame."""
    frames = {frame.id: frame for frame in geometry.frames}
    things: list[Node | Frame] = [*geometry.nodes, *geometry.frames]
    for k, one in enumerate(things):
        parent = frames.get(one.parent)
        if parent is not None and not inside(rectangle(one), rectangle(parent)):
            yield f"{one.id} sticks out of {parent.id}"
        for other in things[:k]:
            if one.parent == other.parent and overlap(rectangle(one), rectangle(other)):
                yield f"{one.id} overlaps {other.id}"


def wires_through_boxes(geometry: Geometry) -> list[tuple[str, str]]:
    """Wires that run through a node to which they are not attached."""
    pieces, owner = segments(geometry)
    found: list[tuple[str, str]] = []
    for node in geometry.nodes:
        x0, y0, x1, y1 = rectangle(node)
        inner = (x0 + 1, y0 + 1, x1 - 1, y1 - 1)
        for i in np.flatnonzero(_hits(pieces, inner)):
            path = geometry.wires[owner[i]]
            if node.id not in {path.source, path.target}:
                found.append((path.id, node.id))
    return found


def _hits(pieces: np.ndarray, box: Rectangle) -> np.ndarray:
    """Which pieces have a point in a rectangle (sampled)."""
    t = np.linspace(0, 1, 5)
    points = pieces[:, None, 0] * (1 - t)[None, :, None] + pieces[:, None, 1] * t[None, :, None]
    x, y = points[..., 0], points[..., 1]
    return ((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).any(axis=1)


def backward(geometry: Geometry) -> list[str]:
    """Wires that run against the flow somewhere."""
    axis = 1 if geometry.orient == "tb" else 0
    found = []
    for path in geometry.wires:
        steps = np.diff(polyline(path)[:, axis])
        if len(steps) and steps.min() < -NEAR:
            found.append(path.id)
    return found
