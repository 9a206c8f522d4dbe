"""A real IPython shell for tests: cells run through it, and errors come out again."""

from collections.abc import Iterator
from contextlib import contextmanager

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, RichOutput, capture_output


class Cells:
    """Runs cells. `run` re-raises what a cell raised; `fail` gives what a user sees of it."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    @property
    def names(self) -> dict[str, object]:
        return self.shell.user_ns

    def run(self, cell: str) -> list[RichOutput]:
        """What the cell displays."""
        with capture_output() as captured:
            result = self.shell.run_cell(cell, store_history=True)
        result.raise_error()
        return list(captured.outputs)

    def show(self, cell: str) -> dict[str, str]:
        """The one thing that the cell displays."""
        (output,) = self.run(cell)
        return dict(output.data)

    def value(self, expression: str) -> dict[str, str]:
        """How a front end is told to show the value of an expression."""
        formatter = self.shell.display_formatter
        assert formatter is not None
        data, _ = formatter.format(self.shell.ev(expression))
        return dict(data)

    def fail(self, cell: str) -> tuple[BaseException, str]:
        """The error of a cell that must fail, and everything that is printed for it."""
        with capture_output() as captured:
            result = self.shell.run_cell(cell, store_history=True)
        error = result.error_in_exec or result.error_before_exec
        assert error is not None, f"the cell did not fail: {cell}"
        return error, _text(captured)


def _text(captured: CapturedIO) -> str:
    return captured.stdout + captured.stderr


@contextmanager
def shell() -> Iterator[Cells]:
    """A fresh shell that is gone afterwards, without colours or history on disk."""
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.colors = "nocolor"
    made.history_manager.enabled = False
    try:
        yield Cells(made)
    finally:
        made.history_manager.end_session()
        InteractiveShell.clear_instance()
