"""A browser for the whole run of these tests, and a server for each test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, launched
from tests.support.jupyterlab_driver import REPOSITORY, server


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with launched() as chromium:
        yield chromium


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server over a copy of the notebooks, so that saving one changes nothing here."""
    root = tmp_path / "notebooks"
    shutil.copytree(REPOSITORY / "notebooks", root)
    home = tmp_path / "home"
    home.mkdir()
    with server(root, home) as address:
        yield address, root


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures go: to the test's own folder, or to ``QUIVERS_SHOTS`` to be looked at."""
    folder = Path(os.environ.get("QUIVERS_SHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
