"""Probabilistic programs as typed string diagrams, in a notebook.

Public names are imported when they are first touched, so `import quivers_nb` brings neither torch
nor numpy nor IPython. `%load_ext quivers_nb` switches the notebook surface on.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_HOME = {
    "CompileError": "quivers_nb.dsl",
    "LanguageError": "quivers_nb.diagnostics.errors",
    "ParseError": "quivers_nb.dsl",
    "UserError": "quivers_nb.diagnostics.errors",
    "load": "quivers_nb.dsl",
    "loads": "quivers_nb.dsl",
    "parse": "quivers_nb.dsl",
    "AutoNormalGuide": "quivers_nb.inference",
    "ELBO": "quivers_nb.inference",
    "MCMC": "quivers_nb.inference",
    "NUTSKernel": "quivers_nb.inference",
    "Predictive": "quivers_nb.inference",
    "SVI": "quivers_nb.inference",
    "bayesian_lift_parameters": "quivers_nb.inference",
    "condition": "quivers_nb.inference",
    "Run": "quivers_nb.session.run",
    "Session": "quivers_nb.session",
    "fit_nuts": "quivers_nb.session.fits",
    "diagram": "quivers_nb.diagrams",
    "live_diagram": "quivers_nb.panels.diagram",
    "fit_svi": "quivers_nb.session.fits",
    "panel": "quivers_nb.panels",
}
_SUBMODULES = {
    "compat": "quivers_nb.compat",
    "dsl": "quivers_nb.dsl",
    "figures": "quivers_nb.session.figures",
    "inference": "quivers_nb.inference",
}

__all__ = [*_HOME, *_SUBMODULES]  # noqa: PLE0604  (names of the tables)


def __getattr__(name: str) -> Any:
    """Import a public name, or a public submodule, on first use."""
    if name in _SUBMODULES:
        return import_module(_SUBMODULES[name])
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'quivers_nb' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Everything that can be asked of this module, whether or not it has been imported yet."""
    return sorted({*globals(), *_HOME, *_SUBMODULES})


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Switch the notebook surface on. Its package is named here and nowhere below."""
    import_module("quivers_magics").load_ipython_extension(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Switch the notebook surface off again."""
    import_module("quivers_magics").unload_ipython_extension(shell)
