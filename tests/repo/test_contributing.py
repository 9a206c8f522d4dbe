"""CONTRIBUTING.md and the test map name only files that exist and commands that make knows."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "tests/README.md")
PLACE = re.compile(r"`((?:quivers_nb|magics|tests|notebooks|benchmarks|binder)/[\w./\-]*)`")


def quoted(page: str, pattern: re.Pattern[str]) -> list[str]:
    return sorted(set(pattern.findall((ROOT / page).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("page", PAGES)
def test_every_place_named_exists(page: str) -> None:
    places = [place for place in quoted(page, PLACE) if "nnnn" not in place]
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_every_package_has_its_line() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = [file.parent.name for file in (ROOT / "quivers_nb").glob("*/__init__.py")]
    assert [name for name in packages if f"`quivers_nb/{name}/`" not in text] == []


@pytest.mark.parametrize("target", quoted("CONTRIBUTING.md", re.compile(r"`make (\w+)")))
def test_every_make_target_named_exists(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
