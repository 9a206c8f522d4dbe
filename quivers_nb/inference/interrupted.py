"""Ctrl-C before there is a result: what is said, and where what was made is.

A run that has draws, losses or simulations when it is interrupted returns them and says so. Where
there is nothing to return, `Interrupted` is raised: it passes wherever `KeyboardInterrupt` does.
"""

from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run was interrupted before it had a result. ``kept`` is what it had made, such as a guide
    that was being fitted; None if there was nothing of use.
    """

    def __init__(self, message: str, kept: Any = None) -> None:
        super().__init__(message)
        self.kept = kept

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: where the work was is of no use to who stopped it."""
        return f"KeyboardInterrupt: {self}".splitlines()
