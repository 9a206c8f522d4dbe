"""Weights that outlive the cell in which they were made.

A weight belongs to the workspace, by its path. When a cell is compiled anew, or a later cell uses a
morphism of an earlier one, the new module takes the tensor that is there: training one of the two
trains the other. A tensor whose shape has changed cannot be kept and begins anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch.nn import Parameter

from quivers_nb.lower.module import Module


@dataclass(frozen=True, slots=True)
class Adopted:
    """Paths of weights, in order. ``reset``: a tensor of another shape was there."""

    kept: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()


def weights(modules: Iterable[Module]) -> dict[str, Parameter]:
    """The weights of modules by path; what comes first holds a path."""
    found: dict[str, Parameter] = {}
    for module in modules:
        for export in module.exports.values():
            for name, parameter in export.named_parameters():
                found.setdefault(name, parameter)
    return found


def adopt(modules: Iterable[Module], held: Mapping[str, Parameter]) -> Adopted:
    """Let new modules use the tensors of ``held``, and each other's, where path and shape agree."""
    there = dict(held)
    kept: dict[str, None] = {}
    reset: dict[str, None] = {}
    for export in (export for module in modules for export in module.exports.values()):
        for name, parameter in list(export.named_parameters()):
            old = there.get(name)
            if old is not None and _alike(old, parameter):
                export.register_parameter(name, old)
            else:
                there[name] = parameter
            if name in held:
                (kept if there[name] is held[name] else reset)[name] = None
    return Adopted(_paths(kept), _paths(reset))


def _alike(old: Parameter, new: Parameter) -> bool:
    return old.shape == new.shape and old.dtype == new.dtype and old.device == new.device


def _paths(names: Iterable[str]) -> tuple[str, ...]:
    """Registered names are paths with slashes where a path has dots."""
    return tuple(name.replace("/", ".") for name in names)
