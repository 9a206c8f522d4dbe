"""What the axes of values are called: plates by name, their elements by label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quivers_nb.inference.columns import by_name

Label = str | int | float


@dataclass(frozen=True, slots=True)
class Labels:
    """``dims`` maps sites to the names of their axes, None for one without a name; ``coords`` maps
    names of axes to the labels of their elements, where these have any.

    Axes of rows come first, then own axes, then those of the event, of which nothing is said here.
    """

    dims: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    coords: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)

    def names(self, site: str, shape: Sequence[int]) -> tuple[str, ...]:
        """A name for every axis of a value of ``shape``; ``site_dim_k`` where there is none.

        Names that do not fit the shape, or that the value has twice, are not used.
        """
        known = self.dims.get(site, ())
        if len(known) > len(shape):
            known = ()
        found: list[str] = []
        for k, size in enumerate(shape):
            name = known[k] if k < len(known) else None
            labels = self.coords.get(name) if name else None
            fits = name and name not in found and (labels is None or len(labels) == size)
            found.append(name if name and fits else f"{site}_dim_{k}")
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """For the manifest of a saved file."""
        return {
            "dims": {name: list(axes) for name, axes in self.dims.items()},
            "coords": {name: list(labels) for name, labels in self.coords.items()},
        }

    @classmethod
    def from_json(cls, data: Any) -> "Labels":
        """Raises `KeyError`, `TypeError` or `ValueError` if ``data`` is not what `as_json` made."""
        dims = {str(name): tuple(axes) for name, axes in dict(data["dims"]).items()}
        return cls(dims, {str(k): tuple(labels) for k, labels in dict(data["coords"]).items()})


def labels_of(target: Any, given: Any) -> Labels:
    """The labels of a model's sites; none for a density that was written by hand."""
    find = getattr(target, "labels", None)
    found: Labels = Labels() if find is None else find(by_name(given))
    return found


def index_labels(value: Any) -> tuple[Label, ...] | None:
    """The labels that a column of a table has for its rows; None for plain positions."""
    index = getattr(value, "index", None)
    if index is None or callable(index) or not hasattr(index, "is_unique"):
        return None
    plain = type(index).__name__ == "RangeIndex"
    if plain or not index.is_unique or getattr(index, "nlevels", 1) > 1:
        return None
    return tuple(item if isinstance(item, int | float) else str(item) for item in index.tolist())
