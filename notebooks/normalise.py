"""Run the notebooks and save their outputs in one form, so that a diff shows only what changed.

    python notebooks/normalise.py            run every notebook beside this file and save it
    python notebooks/normalise.py 01*.ipynb  only these
    python notebooks/normalise.py --check    run nothing; fail if a saved file is not in form

The form: cells keep fixed ids made from their order, no timing and no widget state is saved, the
streams of a cell are joined, and an output that differs from the saved one only in what
`tests/nbval_sanitize.cfg` hides (compile times) keeps its saved text.
"""

import argparse
import configparser
import json
import re
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
SANITIZE = HERE.parent / "tests" / "nbval_sanitize.cfg"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(notebook: NotebookNode, folder: Path, timeout: int = 300) -> NotebookNode:
    """A copy with fresh outputs. Raises if a cell fails that is not tagged ``raises-exception``."""
    fresh = deepcopy(notebook)
    NotebookClient(
        fresh,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
    ).execute()
    return fresh


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook in form. Doing it twice is doing it once."""
    form = deepcopy(notebook)
    form.metadata = nbformat.from_dict(METADATA)
    form.nbformat, form.nbformat_minor = 4, 5
    for number, cell in enumerate(form.cells, start=1):
        cell.id = f"cell-{number:02d}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": sorted(tags)} if tags else {})
        if cell.cell_type == "code":
            _number(cell)
    return form


def _number(cell: NotebookNode) -> None:
    """Execution counts that the kernel gave stay, they are what ``cell [n]`` in a card means."""
    for output in cell.outputs:
        if "metadata" in output:
            output.metadata.pop("execution", None)


def keep_saved(fresh: NotebookNode, saved: NotebookNode, hide: Callable[[str], str]) -> None:
    """Put back every saved output that differs from the fresh one only in what ``hide`` hides."""
    before = {cell.id: cell for cell in saved.cells if cell.cell_type == "code"}
    for cell in fresh.cells:
        old = before.get(cell.id)
        if cell.cell_type != "code" or old is None or old.source != cell.source:
            continue
        if hide(json.dumps(cell.outputs)) == hide(json.dumps(old.outputs)):
            cell.outputs = old.outputs


def hidden(path: Path = SANITIZE) -> Callable[[str], str]:
    """The replacements that the comparison of saved and new outputs makes."""
    config = configparser.RawConfigParser()
    config.read(path)
    rules = [
        (re.compile(rule["regex"]), rule["replace"])
        for rule in map(_rule(config), config.sections())
    ]

    def hide(text: str) -> str:
        for pattern, replacement in rules:
            text = pattern.sub(replacement, text)
        return text

    return hide


def _rule(config: configparser.RawConfigParser) -> Callable[[str], dict[str, Any]]:
    return lambda section: dict(config[section])


def text_of(notebook: NotebookNode) -> str:
    """The file's text."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main(arguments: list[str]) -> int:
    """Exit status 1 if ``--check`` finds a file that is not in form."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="run nothing, only look at the form")
    parser.add_argument("paths", nargs="*", type=Path, default=sorted(HERE.glob("*.ipynb")))
    options = parser.parse_args(arguments)
    bad = [path for path in options.paths if not _one(path, check=options.check)]
    for path in bad:
        print(f"{path} is not in form: run python notebooks/normalise.py", file=sys.stderr)
    return int(bool(bad))


def _one(path: Path, *, check: bool) -> bool:
    text = path.read_text(encoding="utf-8")
    saved = nbformat.reads(text, as_version=4)
    if check:
        return text_of(normalise(saved)) == text
    fresh = normalise(run(saved, path.parent))
    keep_saved(fresh, normalise(saved), hidden())
    path.write_text(text_of(fresh), encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
