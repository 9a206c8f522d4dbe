"""Where everything is: the one geometry that all painters read, as frozen values and as JSON.

Units are points, y grows downwards, the origin is the upper left corner. Ids are those of the
diagram; a wire is called ``source.index>target.index``. Lists are in the order of painting.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
DASHED = frozenset({"fan", "bracket", "segment"})  # frames that say how a thing is written

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """An open group. ``title_end``: the title ends at ``title_x`` instead of starting there."""

    id: str
    parent: str
    kind: str
    label: str
    about: str
    x: float
    y: float
    width: float
    height: float
    depth: int
    title_x: float
    title_y: float
    title_end: bool = False
    dagger: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A box, a sign, a site, a folded group, a delay. ``color``: of the wire of a sign, or -1."""

    id: str
    parent: str
    shape: str
    label: str
    badge: str
    about: str
    role: str
    x: float
    y: float
    width: float
    height: float
    color: int = -1
    folded: bool = False
    dagger: bool = False
    kind: str = ""

    @property
    def center(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Path:
    """A wire between two nodes (or ends), through every open boundary: a chain of cubics."""

    id: str
    source: str
    out: int
    target: str
    into: int
    type: str
    size: str
    color: int
    weight: int
    points: tuple[Point, ...]
    arrow: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a type beside the wire on which it changes."""

    wire: str
    text: str
    x: float
    y: float
    end: bool
    color: int


@dataclass(frozen=True, slots=True)
class End:
    """An object on the boundary of the whole. ``side`` is ``in`` or ``out``."""

    id: str
    side: str
    label: str
    size: str
    x: float
    y: float
    color: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """A whole picture. ``note`` is what had to be left out, in words."""

    title: str
    orient: str
    width: float
    height: float
    frames: tuple[Frame, ...]
    nodes: tuple[Node, ...]
    wires: tuple[Path, ...]
    labels: tuple[Label, ...]
    ends: tuple[End, ...]
    types: tuple[str, ...]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a live view."""
        return {"v": VERSION, **asdict(self)}

    def to_json(self) -> str:
        """The same on every machine."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":"))
