"""What running a cell gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import JoinedText
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module

Exported = Model | Kernel
Made = Module | Exported  # what cells put into a namespace, and what has a card


@dataclass(frozen=True, slots=True)
class CellResult:
    """A compiled cell.

    Attributes:
        module: what `quivers_nb.dsl.loads` gives for the cell and what it uses of others.
        name: the name the user gave the module, if any.
        label: how people find the cell, for example ``cell [3]``.
        seconds: how long the compilation took.
        unchanged: it was compiled before, with the same meaning, and ``module`` is that same
            object.
        rebuilt: the results of other cells that were compiled anew because they depend on it.
        shortened: those of cells that do not, and lost a declaration to it.
        kept, reset: paths of weights that were there before; reset ones have changed their shape.
    """

    module: Module
    name: str | None
    label: str
    seconds: float
    unchanged: bool = False
    rebuilt: tuple["CellResult", ...] = ()
    shortened: tuple["CellResult", ...] = ()
    kept: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()

    @property
    def names(self) -> Mapping[str, Made]:
        """The objects the cell offers, by name: the module, then its exports.

        An export of the same name as the module comes before it.
        """
        named: dict[str, Made] = {} if self.name is None else {self.name: self.module}
        return MappingProxyType({**named, **exports(self.module)})

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the checker remarked on this cell, not on what it uses of others."""
        source = self.module.checked.source
        own = source.excerpts[-1].start if isinstance(source, JoinedText) else 0
        return tuple(w for w in self.module.checked.warnings if w.span.start >= own)


def exports(module: Module) -> Mapping[str, Exported]:
    """The exports of a module; they are programs and morphisms, and nothing else."""
    return cast("Mapping[str, Exported]", module.exports)
