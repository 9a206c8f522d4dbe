"""Weights that outlive the cell in which they were made.

A weight belongs to what declares it: to a morphism, or to a copy that `stack` has made. When a cell
is compiled anew, or a later cell uses a morphism of an earlier one, the new module takes the tensor
that is there: training one of the two trains the other, as if both had been exported by one cell. A
tensor whose shape has changed cannot be kept and begins anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass

from torch import Tensor
from torch.nn import Parameter

from quivers_nb.check.term import CheckedModule, Owner
from quivers_nb.lower.module import Module

MARKS = {"stack": 3, "scan": 2}  # lengths of what the checker puts in front of a copy's owner
Whose = tuple[object, ...]  # an owner in words that are the same in every module of a workspace


@dataclass(frozen=True, slots=True)
class Adopted:
    """Paths of weights, in order. ``reset``: a tensor of another shape was there."""

    kept: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Weights that are there: whole tensors by the owners stacked in them, and one by one."""

    whole: dict[tuple[tuple[Whose, ...], str], Parameter] = field(default_factory=dict)
    single: dict[tuple[Whose, str], Tensor] = field(default_factory=dict)

    def put(self, owners: tuple[Whose, ...], tensor: str, parameter: Parameter) -> None:
        """Add a tensor, where there is none yet."""
        self.whole.setdefault((owners, tensor), parameter)
        for owner, value in zip(owners, _members(parameter.data, owners), strict=True):
            self.single.setdefault((owner, tensor), value)

    def copy(self) -> "Held":
        return Held(dict(self.whole), dict(self.single))


def weights(modules: Iterable[Module]) -> Held:
    """The weights of modules; what comes first is held."""
    held = Held()
    for module in modules:
        owners = _owners(module)
        for export in module.exports.values():
            for name, parameter in export.named_parameters():
                block, _, tensor = name.rpartition("/")
                held.put(owners[block], tensor, parameter)
    return held


def adopt(modules: Iterable[Module], before: Held) -> Adopted:
    """Let new modules use the tensors that were there, and each other's.

    A tensor is shared where it is stacked in the same way, and its values are copied elsewhere.
    """
    held = before.copy()
    kept: dict[str, None] = {}
    reset: dict[str, None] = {}
    for module in modules:
        owners = _owners(module)
        for name, parameter in dict(_parameters(module)).items():
            block, _, tensor = name.rpartition("/")
            same = _same_shape(before, owners[block], tensor, parameter)
            if same is not None:
                (kept if same else reset)[name.replace("/", ".")] = None
            used = _taken(held, owners[block], tensor, parameter)
            for export in module.exports.values():
                if name in dict(export.named_parameters()):
                    export.register_parameter(name, used)
            held.put(owners[block], tensor, used)
    return Adopted(tuple(kept), tuple(reset))


def _parameters(module: Module) -> Iterator[tuple[str, Parameter]]:
    for export in module.exports.values():
        yield from export.named_parameters()


def _same_shape(
    held: Held, owners: tuple[Whose, ...], tensor: str, parameter: Parameter
) -> bool | None:
    """Whether what was there has the shape that is wanted; None if nothing was there."""
    there = [held.single.get((owner, tensor)) for owner in owners]
    wanted = _members(parameter.data, owners)
    pairs = [(old, new) for old, new in zip(there, wanted, strict=True) if old is not None]
    return all(old.shape == new.shape for old, new in pairs) if pairs else None


def _taken(held: Held, owners: tuple[Whose, ...], tensor: str, parameter: Parameter) -> Parameter:
    """The tensor to use: the one that is there, or the new one with the values that are there."""
    whole = held.whole.get((owners, tensor))
    if whole is not None and _alike(whole, parameter):
        return whole
    for owner, new in zip(owners, _members(parameter.data, owners), strict=True):
        old = held.single.get((owner, tensor))
        if old is not None and old.shape == new.shape:
            new.copy_(old)
    # from here on these values are the ones in use
    held.whole.pop((owners, tensor), None)
    for owner in owners:
        held.single.pop((owner, tensor), None)
    return parameter


def _alike(old: Parameter, new: Parameter) -> bool:
    return old.shape == new.shape and old.dtype == new.dtype and old.device == new.device


def _members(tensor: Tensor, owners: tuple[Whose, ...]) -> tuple[Tensor, ...]:
    """The tensor of each owner: (k, *shape) -> k times (*shape), a lone one as it is."""
    return tuple(tensor) if len(owners) > 1 else (tensor,)


# --- owners ---------------------------------------------------------------------------------------


def _owners(module: Module) -> Mapping[str, tuple[Whose, ...]]:
    """Whose weights the blocks of a module hold."""
    places = _places(module.checked)
    return {
        block: tuple(tuple(_said(owner, places)) for owner in owners)
        for block, owners in module.owners.items()
    }


def _said(owner: Owner, places: Mapping[object, object]) -> Iterator[object]:
    """An owner with the place of declaration instead of the number of a copy."""
    length = MARKS.get(str(owner[0]), 0) if owner else 0
    if length and len(owner) >= length and owner[1] in places:
        yield (owner[0], places[owner[1]], *owner[2:length])
        yield from _said(owner[length:], places)
    else:
        yield from owner


def _places(checked: CheckedModule) -> Mapping[object, object]:
    """Where each number of a copy was given out: the declaration, and which one in it.

    Numbers are given out from top to bottom, but they begin at 1 in every module.
    """
    places: dict[object, object] = {}
    exports = ((f"export {each.key}", each.value) for each in checked.exports)
    for name, value in (*checked.morphisms, *exports):
        new = sorted({number for number in _numbers(value) if number not in places})
        places.update((number, (name, order)) for order, number in enumerate(new))
    return places


def _numbers(node: object) -> Iterator[int]:
    """The numbers of copies in the owners of a term."""
    if isinstance(node, tuple):
        for item in node:
            yield from _numbers(item)
    elif is_dataclass(node):
        owner: Owner = getattr(node, "owner", ())
        while owner and (length := MARKS.get(str(owner[0]), 0)) and len(owner) >= length:
            yield int(owner[1])
            owner = owner[length:]
        for each in fields(node):
            if each.name not in ("owner", "span", "dom", "cod", "morphism"):
                yield from _numbers(getattr(node, each.name))
