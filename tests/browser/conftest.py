"""One browser and one server for all tests, a folder of notebooks for each of them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support.chromium import CHROMIUM, launched
from tests.support.jupyterlab_driver import REPOSITORY, Folder, end_kernels, server


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The server of all tests and the folder that it shows."""
    root, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("home")
    with server(root, home) as address:
        yield address, root


@pytest.fixture
def empty(jupyter: tuple[str, Path]) -> Iterator[Folder]:
    """A folder of the test's own; its kernels end with the test."""
    address, whole = jupyter
    root = Path(mkdtemp(dir=whole))
    yield Folder(address, root)
    end_kernels(address)


@pytest.fixture
def lab(empty: Folder) -> Folder:
    """A copy of the notebooks, so that saving one changes nothing here."""
    shutil.copytree(REPOSITORY / "notebooks", empty.root, dirs_exist_ok=True)
    return empty


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures go: to the test's own folder, or to ``QUIVERS_SHOTS`` to be looked at."""
    folder = Path(os.environ.get("QUIVERS_SHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
