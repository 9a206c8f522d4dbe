"""Names of axes and labels of their elements, from a program and the data it was given."""

from collections.abc import Iterator, Mapping
from typing import Any

from quivers_nb.check import term as ir
from quivers_nb.inference.labels import Label, Labels, index_labels
from quivers_nb.spaces.space import EnumSet, SizeVar

ROW = "row"


def labels(
    program: ir.Program,
    data: Mapping[str, ir.DataSpec],
    given: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch_rank: int,
) -> Labels:
    """Plates are called as their objects, rows ``row``.

    Elements of an enum have its labels. Those of another set have labels if something over it was
    given as a column with an index of its own (a pandas Series).
    """
    axes = {v.name: v.axes for v in program.variables if v.axes is not None}
    rows = (ROW, *(None,) * (batch_rank - 1)) if batch_rank else ()
    dims = {
        v.name: (*(rows if v.row_wise else ()), *(axis.name for axis in v.axes))
        for v in program.variables
        if v.axes is not None
    }
    over = {name: spec.axes for name, spec in data.items()} | axes
    coords: dict[str, tuple[Label, ...]] = {}
    for axis in (axis for several in over.values() for axis in several):
        if axis.name and isinstance(axis.obj, EnumSet):
            coords[axis.name] = axis.obj.labels
    for name, found, size in _indexed(given, over, sizes, dims):
        if size in (None, len(found)):
            coords.setdefault(name, found)
    return Labels(dims, coords)


def _indexed(
    given: Mapping[str, Any],
    over: Mapping[str, tuple[ir.Axis, ...]],
    sizes: Mapping[str, int],
    dims: Mapping[str, tuple[str | None, ...]],
) -> Iterator[tuple[str, tuple[Label, ...], int | None]]:
    """Axes with the labels of what was given over them, and their size where it is known."""
    for key, value in given.items():
        found = index_labels(value)
        if found is None:
            continue
        if dims.get(key, ())[:1] == (ROW,):
            yield ROW, found, None
        elif over.get(key):
            axis = over[key][0]
            size = axis.obj.size
            if axis.name:
                yield axis.name, found, sizes.get(size.name) if isinstance(size, SizeVar) else size
