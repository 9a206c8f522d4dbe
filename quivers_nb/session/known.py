"""What the names of a workspace are: the word for each, its type and its cell. No torch."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from quivers_nb.check.expect import signature_texts
from quivers_nb.check.term import CheckedModule, DataSpec, Program, Term
from quivers_nb.session.workspace import Cell
from quivers_nb.spaces.space import Object


@dataclass(frozen=True, slots=True)
class Known:
    """A declared name. ``type`` is in the words of the declaration; of a group, of a member."""

    name: str
    word: str  # "object", "morphism", "let", "program", "data"
    type: str
    label: str  # of its cell
    value: Object | DataSpec | Term | Program
    members: tuple[str, ...] = ()

    @property
    def cod(self) -> Object | None:
        """The codomain of what can be composed."""
        return self.value.cod if self.is_morphism else None  # type: ignore[union-attr]

    @property
    def dom(self) -> Object | None:
        """The domain of what can be composed."""
        return self.value.dom if self.is_morphism else None  # type: ignore[union-attr]

    @property
    def is_morphism(self) -> bool:
        return self.word not in ("object", "data")


def known(cells: Iterable[tuple[Cell, CheckedModule]]) -> tuple[Known, ...]:
    """The names that cells declare, in order."""
    return tuple(each for cell, checked in cells for each in _of_cell(cell, checked))


def type_text(value: Object | DataSpec | Term | Program) -> str:
    """A type as it would be written."""
    if isinstance(value, DataSpec):
        axes = " * ".join(axis.name or str(axis.obj) for axis in value.axes) or "1"
        return f"{axes} -> {value.cod}"
    if isinstance(value, Program):
        return f"{value.dom_text} -> {value.cod_text}"
    if isinstance(value, Object):
        return str(value)
    return " -> ".join(signature_texts(value))


def _of_cell(cell: Cell, checked: CheckedModule) -> Iterator[Known]:
    tables: Mapping[str, Mapping[str, Object | DataSpec | Term | Program]] = {
        "object": dict(checked.objects),
        "data": {spec.name: spec for spec in checked.data},
        "morphism": dict(checked.morphisms),
    }
    groups = dict(checked.groups)
    for declared in cell.declared:
        space, name = declared.key
        members = groups.get(name, ()) if space == "morphism" else ()
        value = tables[space].get(members[0] if members else name)
        if value is not None:
            yield Known(name, declared.word, type_text(value), cell.label, value, members)
