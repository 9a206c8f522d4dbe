"""Programs that were written for a package called ``quivers`` run unchanged.

After `install`, ``import quivers`` and any of its submodules give the very modules of
`quivers_nb`, not copies: ``quivers.dsl is quivers_nb.dsl``. A package of that name that is really
installed is never shadowed.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

from quivers_nb.diagnostics.errors import UserError

ALIAS = "quivers"
TARGET = "quivers_nb"


class _AliasLoader(Loader):
    """Puts the module of `TARGET` under the alias's name."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        del spec
        return None  # a placeholder, which exec_module replaces

    def exec_module(self, module: ModuleType) -> None:
        # A module may replace itself in sys.modules while it is loaded: the import system then
        # uses the replacement and leaves the replacement's own __spec__ and __name__ alone.
        sys.modules[module.__name__] = import_module(_target_of(module.__name__))


class _AliasFinder(MetaPathFinder):
    """Answers for ``quivers`` and ``quivers.…``, and for nothing else."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        del path, target
        if fullname.partition(".")[0] != ALIAS or find_spec(_target_of(fullname)) is None:
            return None
        return ModuleSpec(fullname, _AliasLoader())


_FINDER = _AliasFinder()


def install() -> None:
    """Make ``import quivers`` mean ``quivers_nb``. Calling it again changes nothing.

    Raises `UserError` if a package called ``quivers`` is installed or already imported.
    """
    if _FINDER in sys.meta_path:
        return
    place = _other_package()
    if place is not None:
        raise UserError(
            f"a package named {ALIAS!r} is already there ({place}), and it is not replaced: "
            f"uninstall it, or import {TARGET} by its own name"
        )
    sys.meta_path.insert(0, _FINDER)


def uninstall() -> None:
    """Take `install` back: the alias and everything imported through it are forgotten."""
    if _FINDER not in sys.meta_path:
        return
    sys.meta_path.remove(_FINDER)
    for name in [name for name in sys.modules if name.partition(".")[0] == ALIAS]:
        del sys.modules[name]


def _target_of(alias: str) -> str:
    return TARGET + alias.removeprefix(ALIAS)


def _other_package() -> str | None:
    """Where a real package called ``quivers`` is, if there is one.

    A plain folder of that name on the path counts as none: Python would import it as an empty
    namespace package, and a folder of programs is likely to be called so.
    """
    imported = sys.modules.get(ALIAS)
    if imported is not None:
        return getattr(imported, "__file__", None) or "in this process"
    spec = PathFinder.find_spec(ALIAS)
    return None if spec is None else spec.origin
