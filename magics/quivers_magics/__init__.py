"""The notebook surface: `%%qvr` compiles a cell, `%qvr` shows what is there.

`%load_ext quivers_nb` (or `quivers_magics`) switches it on, `%unload_ext` takes all of it back.
"""

from typing import cast
from weakref import WeakKeyDictionary

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics

from quivers_magics.commands import QvrCommands
from quivers_magics.completion import Matcher, add_matcher, remove_matcher
from quivers_magics.failures import Failures
from quivers_magics.fitting import QvrFitting
from quivers_magics.magic import QvrMagics
from quivers_magics.pictures import QvrPictures
from quivers_magics.rich import register_cards, unregister_cards
from quivers_magics.threads import Threads, leave_a_core
from quivers_nb.session import Session

# The session outlives the extension: after %reload_ext, objects bound before are still ours.
_SESSIONS: WeakKeyDictionary[InteractiveShell, Session] = WeakKeyDictionary()
_MATCHERS: WeakKeyDictionary[InteractiveShell, Matcher] = WeakKeyDictionary()
_FAILURES: WeakKeyDictionary[InteractiveShell, Failures] = WeakKeyDictionary()
_THREADS: WeakKeyDictionary[InteractiveShell, Threads] = WeakKeyDictionary()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register magics, completion and the display of models, and leave a core to the server.

    Loading twice changes nothing.
    """
    if _loaded(shell) is None:
        session = _SESSIONS.setdefault(shell, Session(variables=shell.user_ns))
        cells = QvrMagics(shell, session)
        shell.register_magics(
            cells, QvrCommands(shell, cells), QvrFitting(shell, cells), QvrPictures(shell, cells)
        )
        register_cards(shell)
        _MATCHERS[shell] = add_matcher(shell, cells.session)
        _FAILURES[shell] = Failures(shell)
        if cells.leave_a_core:
            _THREADS[shell] = leave_a_core()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take back what `load_ipython_extension` did, and nothing else."""
    if _loaded(shell) is None:
        return
    for kind in (QvrMagics, QvrCommands, QvrFitting, QvrPictures):
        _take_back(shell, shell.magics_manager.registry.pop(kind.__name__))
    unregister_cards(shell)
    remove_matcher(shell, _MATCHERS.pop(shell))
    _FAILURES.pop(shell).leave()
    if shell in _THREADS:
        _THREADS.pop(shell).take_back()


def _take_back(shell: InteractiveShell, magics: Magics) -> None:
    """Remove the magics of an object, unless somebody else's have taken their names."""
    table = shell.magics_manager.magics
    for kind, names in magics.magics.items():
        for name, method in names.items():
            if table[kind].get(name) == method:
                del table[kind][name]
    cast("list[object]", shell.configurables).remove(magics)


def _loaded(shell: InteractiveShell) -> QvrMagics | None:
    magics = shell.magics_manager.registry.get(QvrMagics.__name__)
    return magics if isinstance(magics, QvrMagics) else None
