"""Exported templates: functions from arguments to modules (7.9, 11.2)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quivers_nb.check import check_source
from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.spaces.table_data import described
from quivers_nb.syntax import tree
from quivers_nb.syntax.parser import parse

if TYPE_CHECKING:
    from quivers_nb.lower.module import Module

WANTED: Mapping[str, str] = {
    "FinSet": "the name of a finite object, or its size",
    "Space": "the name of a space",
    "Object": "the name of an object",
    "Real": "a number",
    "Nat": "a whole number that is not negative",
    "Mor": "the name of a morphism",
}


class ExportedTemplate:
    """``export offsets`` of a program with typed parameters, as a function.

        module.offsets("Herd", 2.0)          names of the module's objects and morphisms, numbers
        module.offsets(Level=9, width=2.0)   a size stands for a finite set of its own

    Each call checks the program at its arguments and returns a module of its own, whose
    ``morphism`` it is.
    """

    def __init__(
        self,
        template: ir.TemplateSignature,
        checked: ir.CheckedModule,
        sizes: Mapping[str, int],
        data: Mapping[str, np.ndarray],
    ) -> None:
        self.name = template.name
        self.params = template.params
        self._checked = checked
        self._sizes = dict(sizes)
        self._data = data

    def __repr__(self) -> str:
        return (
            f"<template {self.name}({', '.join(f'{name} : {kind}' for name, kind in self.params)})>"
        )

    def __call__(self, *args: Any, **named: Any) -> "Module":
        """The module of the program at these arguments.

        Raises `UserError` for a wrong number or kind of arguments, `CompileError` where the program
        means nothing at them.
        """
        from quivers_nb.lower.module import lower  # noqa: PLC0415  (which builds templates)

        given = self._bound(args, named)
        objects: list[str] = []
        words = [self._word(name, kind, given[name], objects) for name, kind in self.params]
        source = self._checked.source
        lines = [*objects, f"export {self.name}({', '.join(words)})"]
        text = f"{_without_exports(source)}\n" + "\n".join(lines) + "\n"
        tables = {key: described(array) for key, array in self._data.items()}
        checked = check_source(SourceText(text, source.name), tables=tables, sizes=self._sizes)
        return lower(checked, self._sizes, self._data)

    def _bound(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for name, _ in self.params]
        given = dict(zip(names, args, strict=False))
        wrong = [name for name in named if name not in names or name in given]
        if len(args) > len(names) or wrong or len(given) + len(named) != len(names):
            got = ", ".join([*(repr(a) for a in args), *(f"{k}={v!r}" for k, v in named.items())])
            raise UserError(f"`{self.name}` takes {', '.join(names)}, each once; got ({got})")
        return {**given, **named}

    def _word(self, name: str, kind: str, value: Any, objects: list[str]) -> str:
        """An argument as it is written in the language; a size declares an object for it."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind == "FinSet" and isinstance(value, int) and number and value >= 1:
            made = f"{name}_of_{self.name}"
            objects.append(f"object {made} : FinSet {value}")
            return made
        if kind in {"Real", "Nat"} and number and (kind == "Real" or _natural(value)):
            return str(value) if kind == "Nat" else repr(float(value))
        if kind not in {"Real", "Nat"} and isinstance(value, str) and value.isidentifier():
            return value
        raise UserError(f"`{name}` of `{self.name}` is {value!r}, but {WANTED[kind]} is wanted")


def _natural(value: float) -> bool:
    return isinstance(value, int) and value >= 0


def _without_exports(source: SourceText) -> str:
    """The text with blanks where lines export something: the new export is the only one."""
    text = source.text
    for decl in parse(source).declarations:
        if isinstance(decl, tree.ExportDecl):
            start, stop = decl.span.start, decl.span.stop
            text = text[:start] + " " * (stop - start) + text[stop:]
    return text
