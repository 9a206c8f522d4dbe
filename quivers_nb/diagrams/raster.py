"""Pictures through Graphviz: the program ``dot`` if there is one, else the ``graphviz-pure`` wheel.

Both read our DOT and only paint it. The Python package ``graphviz`` runs them.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from quivers_nb.diagnostics.errors import UserError

ENGINES = ("dot", "graphviz-pure")


class NoPainter(UserError):
    """No Graphviz on this machine, or it failed on the picture."""


def program(name: str | None = None) -> Path:
    """The Graphviz program to run; ``name`` asks for one of `ENGINES`.

    Raises:
        NoPainter: it is not there.
    """
    beside = str(Path(sys.executable).parent)
    for wanted in (name,) if name else ENGINES:
        found = shutil.which(wanted) or shutil.which(wanted, path=beside)
        if found:
            return Path(found)
    raise NoPainter(
        f"There is no {name or 'Graphviz'} here to paint this picture. "
        "Install it with: pip install graphviz-pure"
    )


def paint(text: str, format: str = "png", *, engine: str | None = None, dpi: int = 144) -> bytes:
    """A DOT text as ``png``, ``svg`` or ``pdf``.

    Raises:
        NoPainter: Graphviz is missing or refuses the text.
    """
    import graphviz

    if format == "png":
        text = text.replace("graph [layout=nop2", f"graph [layout=nop2 dpi={dpi}", 1)
    with _binary(graphviz, program(engine)):
        try:
            painted: bytes = graphviz.pipe("dot", format, text.encode(), quiet=True)
        except (graphviz.ExecutableNotFound, graphviz.CalledProcessError) as error:
            raise NoPainter(f"Graphviz did not paint the picture: {error}") from error
    return painted


@contextmanager
def _binary(graphviz: ModuleType, path: Path) -> Iterator[None]:
    """Let the package run this program, for now."""
    command = graphviz.backend.dot_command
    before = command.DOT_BINARY
    command.DOT_BINARY = path
    try:
        yield
    finally:
        command.DOT_BINARY = before
