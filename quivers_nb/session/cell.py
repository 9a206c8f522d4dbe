"""What running a cell gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module

Exported = Model | Kernel
Made = Module | Exported  # what cells put into a namespace, and what has a card


@dataclass(frozen=True, slots=True)
class CellResult:
    """A compiled cell.

    Attributes:
        module: what `quivers_nb.dsl.loads` gives for the cell's text.
        name: the name the user gave the module, if any.
        label: how people find the cell, for example ``cell [3]``.
        seconds: how long the compilation took.
        unchanged: the text was compiled before and ``module`` is that same object.
    """

    module: Module
    name: str | None
    label: str
    seconds: float
    unchanged: bool = False

    @property
    def names(self) -> Mapping[str, Made]:
        """The objects the cell offers, by name: the module, then its exports.

        An export of the same name as the module comes before it.
        """
        named: dict[str, Made] = {} if self.name is None else {self.name: self.module}
        return MappingProxyType({**named, **exports(self.module)})

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the checker remarked."""
        return self.module.checked.warnings


def exports(module: Module) -> Mapping[str, Exported]:
    """The exports of a module; they are programs and morphisms, and nothing else."""
    return cast("Mapping[str, Exported]", module.exports)
