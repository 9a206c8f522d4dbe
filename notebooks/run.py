"""Execute a notebook in a fresh kernel and print what its cells print.

    python notebooks/run.py notebooks/01-first-model.ipynb
    python notebooks/run.py --times notebooks/03-first-hour.ipynb

Stops at the first cell that fails, prints its error and exits with status 1. With ``--times`` it
prints what the notebook takes: the keystrokes that its cells are typed with, and the seconds that
they run, the start of the kernel included.
"""

import re
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main(path: Path, *, times: bool = False) -> int:
    """Run the notebook at ``path``; the exit status."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}
    )
    start = perf_counter()
    try:
        client.execute()
    except CellExecutionError:
        status = 1
    else:
        status = 0
    if times and not status:
        seconds = perf_counter() - start
        sys.stdout.write(f"{typed(notebook)}, {seconds:.0f} seconds\n")
        return status
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            sys.stdout.write(text_of(output))
    return status


def typed(notebook: Any) -> str:
    """How much there is to type: a keystroke for every character of the cells that are run."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return f"{sum(map(len, cells))} keystrokes in {len(cells)} cells"


def text_of(output: dict[str, Any]) -> str:
    """What a terminal would show of one output, ending in a line break; empty if nothing."""
    match output["output_type"]:
        case "stream":
            text = output["text"]
        case "error":
            text = "\n".join(output["traceback"])
        case _:
            text = output["data"].get("text/plain", "")
    text = _COLOUR.sub("", text)
    return text if text.endswith("\n") or not text else text + "\n"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1]), times="--times" in sys.argv[1:-1]))
