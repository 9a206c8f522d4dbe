"""What running a cell gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from quivers_nb.check.term import CheckedModule
from quivers_nb.diagnostics.diagnostic import Diagnostic


class Module(Protocol):
    """A compiled module, as far as a session looks into it."""

    @property
    def checked(self) -> CheckedModule: ...
    @property
    def exports(self) -> Mapping[str, object]: ...


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
    def names(self) -> Mapping[str, object]:
        """The objects the cell offers, by name: the module itself first, then its exports."""
        named: dict[str, object] = {} if self.name is None else {self.name: self.module}
        return MappingProxyType({**self.module.exports, **named})

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the checker remarked."""
        return self.module.checked.warnings
