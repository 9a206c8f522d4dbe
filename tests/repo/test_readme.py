"""The README is true: its commands exist, its cells run in order, and they print what it shows.

Blocks: ``bash`` holds commands, ``ipython`` is a notebook cell, ``python`` a plain one,
``refused`` a cell that must fail; a ``text`` block after a cell is what that cell prints, to the
letter but for what the notebooks' own comparison leaves out (times, versions).
"""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(README)
CELLS = {"ipython", "python", "refused"}
KNOWN = {"bash", "text"} | CELLS

# Runs (language, cell) pairs given as JSON on stdin; prints what each printed as JSON.
DRIVER = """
import contextlib, io, json, sys
from IPython.testing.globalipapp import start_ipython

shell = start_ipython()
printed = []
for language, cell in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = shell.run_cell(cell, store_history=True)
    if result.success == (language == "refused"):
        sys.exit(f"this cell should not have done so:\\n{cell}\\n{out.getvalue()}")
    printed.append(out.getvalue())
sys.stdout.write(json.dumps(printed))
"""


def cells() -> list[tuple[str, str]]:
    return [(language, body) for language, body in BLOCKS if language in CELLS]


def expected() -> list[str | None]:
    """For each cell, the text block that follows it, if one does."""
    out: list[str | None] = []
    for language, body in BLOCKS:
        if language in CELLS:
            out.append(None)
        elif language == "text":
            out[-1] = body
    return out


def comparable(text: str) -> str:
    """``text`` as the notebooks are compared: without times and versions."""
    rules = configparser.RawConfigParser()
    rules.read(ROOT / "tests" / "nbval_sanitize.cfg", encoding="utf-8")
    for section in rules.sections():
        text = re.sub(rules[section]["regex"], rules[section]["replace"], text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def commands() -> list[str]:
    bodies = [body for language, body in BLOCKS if language == "bash"]
    lines = [line.split("#")[0].strip() for body in bodies for line in body.splitlines()]
    return [line for line in lines if line]


def test_every_block_says_what_it_is() -> None:
    assert {language for language, _ in BLOCKS} <= KNOWN
    assert README.count("```") == 2 * len(BLOCKS)


def test_the_commands_start_with_the_two() -> None:
    assert commands()[:2] == ["make lab", "make test"]


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_make_knows(command: str) -> None:
    program, *arguments = command.split()
    assert program == "make"
    done = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_cells_run_in_order_and_print_what_is_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(cells()),
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for printed, shown in zip(json.loads(done.stdout), expected(), strict=True):
        if shown is not None:
            assert comparable(printed) == comparable(shown)


def test_the_picture_is_the_diagram_that_the_caption_names() -> None:
    from quivers_nb import diagram, load

    model = load(str(ROOT / "tests" / "data" / "seed" / "seq2seq.qvr")).morphism
    picture = (ROOT / "notebooks" / "pictures" / "seq2seq.svg").read_text(encoding="utf-8")
    assert "`diagram(seq2seq, depth=4)`" in README
    assert picture == diagram(model, depth=4).svg


def test_local_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_first_hour_is_as_long_as_it_says() -> None:
    notebook = json.loads((ROOT / "notebooks" / "03-first-hour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert f"{sum(map(len, cells))} keystrokes in {len(cells)} cells" in README
