"""Caps: files stay short, functions fit on a screen, and every exception is written down here.

ruff checks complexity and statements per function; a waiver of a file's length is a first-line
comment ``# budget: reason``. This test counts both kinds of waiver, so that each new one is a
visible change of this file.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_CAP, TEST_CAP = 400, 600
FOLDERS = ("quivers_nb", "magics", "tests", "benchmarks", "notebooks")

# files that may be longer, with their reason on line 1
LONG_FILES: set[str] = {
    "quivers_nb/syntax/tree.py",
    "quivers_nb/check/term.py",
}
# functions that may be more complex, by file and number of waivers
COMPLEX: dict[str, int] = {}

WAIVER = re.compile(r"# budget: \S.{10,}")
NOQA = re.compile(r"# noqa: [^\n]*\b(?:C901|PLR0911|PLR0912|PLR0915)\b")


def sources() -> list[Path]:
    return sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def cap(file: Path) -> int:
    return TEST_CAP if name(file).startswith("tests/") else FILE_CAP


@pytest.mark.parametrize("file", sources(), ids=name)
def test_a_file_is_short_or_says_why_not(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    waived = bool(lines) and WAIVER.match(lines[0]) is not None
    assert waived == (name(file) in LONG_FILES)
    assert waived or len(lines) <= cap(file)


def test_no_waiver_outlives_its_reason() -> None:
    for file in LONG_FILES:
        assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) > cap(ROOT / file)


def test_complex_functions_are_counted() -> None:
    counts = {name(file): len(NOQA.findall(file.read_text(encoding="utf-8"))) for file in sources()}
    assert {file: n for file, n in counts.items() if n and "test_budgets" not in file} == COMPLEX


def test_an_ignore_names_its_rule() -> None:
    bare = re.compile(r"#\s*(?:noqa(?!:)|type:\s*ignore(?!\[))")
    own = Path(__file__)
    guilty = [
        f"{name(file)}:{number}"
        for file in sources()
        if file != own
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if bare.search(line)
    ]
    assert guilty == []
