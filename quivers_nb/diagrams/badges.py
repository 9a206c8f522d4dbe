"""Badge channels: what the second line of a box says."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from quivers_nb.check.paths import calls, leaf_paths, own_segment, parameter_paths
from quivers_nb.check.term import Program, Term
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.graph import Diagram, Kind, signature, walk

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
        case "types" | "shape":
            return {
                i.id: signature(i) for _, i in walk(diagram) if i.kind in {Kind.BOX, Kind.GROUP}
            }
        case "none":
            return {item.id: "" for _, item in walk(diagram)}
        case "params" if not isinstance(value, Diagram):
            return params(diagram, value, obj)
        case _:
            raise UserError(f"There is no badge channel {name!r}. Channels: {', '.join(CHANNELS)}.")


def params(diagram: Diagram, value: Term | Program, obj: Any) -> dict[str, str]:
    """How many parameters every box and group has; ``obj`` is a model with named parameters."""
    if not hasattr(obj, "named_parameters"):
        raise UserError(
            "The badge channel 'params' counts the parameters of a model: give a model."
        )
    sizes: dict[str, int] = defaultdict(int)
    for path, tensor in obj.named_parameters():
        sizes[path] += tensor.numel()
    owned = _by_occurrence(diagram, value)
    found: dict[str, str] = {}
    for _, item in walk(diagram):
        if item.kind not in {Kind.BOX, Kind.GROUP}:
            continue
        keys = {key for path, key in owned if path == item.id or _is_in(item, path)}
        total = sum(size for path, size in sizes.items() if _below(path, keys))
        if item.kind is Kind.GROUP or keys:
            note = f"{item.note} · " if item.note else ""
            found[item.id] = f"{note}{total:,} params"
    return found


def _by_occurrence(diagram: Diagram, value: Term | Program) -> list[tuple[str, str]]:
    """The parameter path of every occurrence."""
    names = parameter_paths(value)
    if isinstance(value, Program):
        leaves = [leaf for step, term in calls(value) for leaf in leaf_paths(term, step)]
    else:
        start = own_segment(value)
        prefix = "" if start == diagram.title else diagram.title
        leaves = list(leaf_paths(value, prefix if prefix != "expression" else ""))
    return [(path, names[generator.owner]) for path, generator in leaves]


def _is_in(item: Any, path: str) -> bool:
    return item.body is not None and any(inner.id == path for _, inner in walk(item.body))


def _below(path: str, keys: Iterable[str]) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in keys)
