"""Sites of a scan: one value for all steps, asked for step by step or for a span of steps at once.

A kernel inside ``scan(cell)`` stands at a path with the mark ``[t]`` and is one site for the whole
sequence: its value is ``(*s, *lead, L, *event)``, time after the rows. A run that goes through the
steps one by one asks for ``(*s, *lead, *event)`` at each; a run that knows the states takes a span
of steps as one more lead axis. `Step` says which, so that whoever answers can cut its piece.

Padding. With a mask the real steps of each row are moved to the end (``order``), so that the last
step is a real one in every row; values given or shown stay in the order of the input.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from quivers_nb.lower.answers import SiteKey


@dataclass(eq=False)
class Timeline:
    """One scan under way. ``axis``: how many lead axes stand before time.

    ``ends``: paths whose last step is not asked for here, because it is a declared site.
    """

    axis: int
    length: int
    ends: frozenset[str] = frozenset()
    order: Tensor | None = None  # (*lead, L): the input's step at each place, padding first
    mask: Tensor | None = None  # (*lead, L), in that order: which steps are real
    cut: dict[Hashable, tuple[Tensor, ...]] = field(default_factory=dict)
    kept: dict[str, list["Kept"]] = field(default_factory=dict)

    def count(self, path: str) -> int:
        """How many steps the site at ``path`` has."""
        return self.length - (path in self.ends)

    def counted(self, step: "Step", term: Tensor) -> Tensor:
        """The term of one site at a step or span, ``(*s, *lead)``, without that of padding."""
        if step.stop is None:
            mask = None if self.mask is None else self.mask[..., step.at]
            return term if mask is None else torch.where(mask, term, 0.0)
        if self.mask is not None:
            term = torch.where(self.mask[..., step.at : step.stop], term, 0.0)
        return term.sum(-1)


@dataclass(frozen=True, slots=True)
class Step:
    """Step ``at``, or with ``stop`` the steps ``at … stop - 1`` as one more lead axis."""

    timeline: Timeline
    at: int
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A site as it was at a step, to be shown with the others; ``behind``: axes after the stack."""

    step: Step
    site: "SiteKey"
    value: Tensor
    log_prob: Tensor
    label: str
    given: bool
    behind: int
    deterministic: bool = False


Steps = tuple[Step, ...]  # from the outermost scan inwards


def whole_lead(steps: Steps, path: str, lead: tuple[int, ...]) -> tuple[int, ...]:
    """The lead axes of the whole site, of which ``lead`` is one piece."""
    shape, inserted = list(lead), 0
    for step in steps:
        place, count = step.timeline.axis + inserted, step.timeline.count(path)
        if step.stop is None:
            shape.insert(place, count)
            inserted += 1
        else:
            shape[place] = count
    return tuple(shape)


def piece(
    steps: Steps, key: Hashable, whole: Callable[[], Tensor], behind: int, *, ordered: bool = False
) -> Tensor:
    """What ``whole()`` holds at these steps; ``behind``: its axes after the outermost lead.

    ``behind`` counts the lead axes of one piece plus its event. Whole tensors are cut once and
    kept; ``ordered`` ones come in the order of the input.
    """
    if not steps:
        return whole()
    *outer, step = steps
    line, dim = step.timeline, _dim(step, behind)
    if step.stop is not None:
        tensor = piece(tuple(outer), (key, "span"), whole, behind, ordered=ordered)
        tensor = _arranged(tensor, line, dim) if ordered else tensor
        return tensor.narrow(dim, step.at, step.stop - step.at)
    if key not in line.cut:
        tensor = piece(tuple(outer), key, whole, behind + 1, ordered=ordered)
        tensor = _arranged(tensor, line, dim) if ordered else tensor
        line.cut[key] = tensor.unbind(dim)
    return line.cut[key][step.at]


def _dim(step: Step, behind: int) -> int:
    """Where time stands in the whole, counted from the right."""
    return -(behind - step.timeline.axis) - (step.stop is None)


def _arranged(tensor: Tensor, line: Timeline, dim: int) -> Tensor:
    """From the order of the input to padding first."""
    if line.order is None:
        return tensor
    count = tensor.shape[dim]
    index = line.order[..., :count].clamp_max(count - 1)
    index = index.reshape((*index.shape, *((1,) * (-dim - 1))))
    return along(tensor, index, dim)


def along(tensor: Tensor, index: Tensor, dim: int) -> Tensor:
    """`torch.take_along_dim` with an index that may lack axes in front; ``dim`` from the right."""
    front = (1,) * (tensor.ndim - index.ndim)
    return torch.take_along_dim(tensor, index.reshape((*front, *index.shape)), dim)


def joined(line: Timeline, pieces: list[tuple[Step, Tensor]], behind: int) -> Tensor:
    """Pieces at successive steps as one whole, in the order of the input.

    ``behind``: the axes after the outermost lead of a value at one step.
    """
    dim = -(behind - line.axis) - 1
    parts = [t if s.stop is not None else t.unsqueeze(dim) for s, t in pieces]
    front = [(*p.shape[:dim], *p.shape[p.ndim + dim + 1 :]) for p in parts]
    shape = torch.broadcast_shapes(*front)
    cut = len(shape) + dim + 1
    wide = [p.expand((*shape[:cut], p.shape[dim], *shape[cut:])) for p in parts]
    whole = torch.cat(wide, dim) if len(wide) > 1 else wide[0]
    if line.order is None:
        return whole
    count = whole.shape[dim]
    index = line.order[..., :count].reshape((*line.order.shape[:-1], count, *((1,) * (-dim - 1))))
    full = (*whole.shape[: whole.ndim + dim], line.length, *whole.shape[whole.ndim + dim + 1 :])
    out = whole.new_zeros(full).scatter(dim, index.expand(whole.shape), whole)
    return out.narrow(dim, 0, count)


def numbered(steps: Steps, path: str) -> str:
    """The path at one step, ``[t]`` marks filled from the outside in; spans leave theirs."""
    for step in steps:
        mark = "[t]" if step.stop is not None else f"[{step.at}]"
        path = path.replace("[t]", "\0" if mark == "[t]" else mark, 1)
    return path.replace("\0", "[t]")


@dataclass
class Gathered:
    """Values by path as they are asked for; pieces of a sequence become one."""

    found: dict[str, Tensor] = field(default_factory=dict)
    pieces: dict[str, list[tuple[Steps, Tensor, int]]] = field(default_factory=dict)

    def add(self, path: str, steps: Steps, value: Tensor, behind: int) -> None:
        """``behind``: the axes of a value without those of the stack."""
        if steps:
            self.pieces.setdefault(path, []).append((steps, value, behind))
        else:
            self.found[path] = value

    def whole(self) -> dict[str, Tensor]:
        """Every value, sequences with all their steps."""
        out = dict(self.found)
        for path, pieces in self.pieces.items():
            level = pieces
            while level[0][0]:
                level = _one_level(level)
            out[path] = level[0][1]
        return out


def _one_level(pieces: list[tuple[Steps, Tensor, int]]) -> list[tuple[Steps, Tensor, int]]:
    """The innermost scans put together; each pass through one has a timeline of its own."""
    lines: dict[int, list[tuple[Steps, Tensor, int]]] = {}
    for each in pieces:
        lines.setdefault(id(each[0][-1].timeline), []).append(each)
    out = []
    for group in lines.values():
        steps, _, behind = group[0]
        last = [(s[-1], value) for s, value, _ in group]
        single = behind - (steps[-1].stop is not None)
        out.append((steps[:-1], joined(steps[-1].timeline, last, single), single + 1))
    return out
