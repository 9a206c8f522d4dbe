"""Own axes: how they align from the right, and how they are matched to a plate by name (R11)."""

from dataclasses import dataclass

from quivers_nb.check.term import Axis

Axes = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Clash:
    """Two axes that cannot be one: of different names, or of different known sizes."""

    left: Axis
    right: Axis

    @property
    def named(self) -> bool:
        return self.left.name is not None and self.right.name is not None

    def __str__(self) -> str:
        return f"axis {shown(self.left)} does not align with axis {shown(self.right)}"


def shown(axis: Axis) -> str:
    """An axis in words."""
    size = axis.obj.size
    return f"`{axis.name}`" if axis.name is not None else f"of length {size}"


def shown_all(axes: Axes) -> str:
    """A tuple of axes in words."""
    return ", ".join(map(shown, axes)) if axes else "no axes"


def align(left: Axes | None, right: Axes | None) -> Axes | Clash | None:
    """The common own axes of two values, aligned from the right; None if either is not known."""
    if left is None or right is None:
        return None
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    merged = list(longer)
    for i in range(1, len(shorter) + 1):
        both = _merge(longer[-i], shorter[-i])
        if isinstance(both, Clash):
            return Clash(left[-i], right[-i])
        merged[-i] = both
    return tuple(merged)


def match(plate: Axes, argument: Axes | None) -> Axis | Clash | None:
    """Why an argument cannot be read over a plate; None if it can, or if data will tell.

    Named axes are matched to factors of the plate by name; where a name is missing or repeated,
    axes are aligned from the right.
    """
    if argument is None:
        return None
    if _by_name(plate) and _by_name(argument):
        names = {axis.name for axis in plate}
        return next((axis for axis in argument if axis.name not in names), None)
    if len(argument) > len(plate):
        return argument[0]
    aligned = align(plate, argument)
    return aligned if isinstance(aligned, Clash) else None


def _by_name(axes: Axes) -> bool:
    names = [axis.name for axis in axes]
    return None not in names and len(set(names)) == len(names)


def _merge(left: Axis, right: Axis) -> Axis | Clash:
    if left.name is not None and right.name is not None and left.name != right.name:
        return Clash(left, right)
    a, b = left.obj.size, right.obj.size
    if isinstance(a, int) and isinstance(b, int) and a != b:
        if a == 1:
            return right
        if b == 1:
            return left
        return Clash(left, right)
    return left if left.name is not None else right
