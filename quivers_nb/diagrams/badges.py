"""Badge channels: what the second line of a box says."""

from math import prod
from typing import Any

from quivers_nb.check.paths import calls, leaf_paths, own_segment, parameter_paths
from quivers_nb.check.term import Program, Term
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.graph import Diagram, Item, Kind, signature, walk

CHANNELS = ("kernel", "types", "params", "none")


def channel(
    name: str, diagram: Diagram, value: Term | Program | Diagram, obj: Any
) -> dict[str, str]:
    """The texts of a channel by item id.

    Raises:
        UserError: no such channel, or it needs something that ``obj`` does not have.
    """
    match name:
        case "kernel":
            return {}
        case "types":
            things = {Kind.BOX, Kind.CONTRACTION, Kind.GROUP}
            return {item.id: signature(item) for _, item in walk(diagram) if item.kind in things}
        case "none":
            return {item.id: "" for _, item in walk(diagram)}
        case "params" if not isinstance(value, Diagram):
            return params(diagram, value, obj)
        case _:
            raise UserError(f"There is no badge channel {name!r}. Channels: {', '.join(CHANNELS)}.")


def params(diagram: Diagram, value: Term | Program, obj: Any) -> dict[str, str]:
    """How many parameters every box and group has, shared ones counted once in a group.

    ``obj`` is a model: its ``parameter_sites()`` have a ``path`` and a ``shape``.
    """
    if not hasattr(obj, "parameter_sites"):
        raise UserError("The badge channel 'params' counts the weights of a model: give a model.")
    sizes: dict[str, int] = {}
    for site in obj.parameter_sites():
        path = site.path.rsplit(".", 1)[0]
        sizes[path] = sizes.get(path, 0) + prod(site.shape)
    owners = parameter_paths_of(diagram, value)
    found: dict[str, str] = {}
    for item in diagram.items:
        _count(item, owners, sizes, found)
    return found


def parameter_paths_of(diagram: Diagram, value: Term | Program) -> dict[str, str]:
    """Whose weights every box uses: parameter paths by the id of the box."""
    names = parameter_paths(value)
    if isinstance(value, Program):
        leaves = [leaf for step, term in calls(value) for leaf in leaf_paths(term, step)]
    else:
        alone = diagram.title in {own_segment(value), "expression"}
        leaves = list(leaf_paths(value, "" if alone else diagram.title))
    return {path: names[generator.owner] for path, generator in leaves}


def _count(
    item: Item, owners: dict[str, str], sizes: dict[str, int], found: dict[str, str]
) -> set[str]:
    """The owners in an item; notes the texts of the item and of what is in it."""
    inside = {owners[item.id]} if item.id in owners else set()
    for inner in item.body.items if item.body is not None else ():
        inside |= _count(inner, owners, sizes, found)
    if inside:
        total = sum(sizes.get(owner, 0) for owner in inside)
        found[item.id] = f"{f'{item.note} · ' if item.note else ''}{total:,} params"
    return inside
