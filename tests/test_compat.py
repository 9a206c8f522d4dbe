"""`quivers_nb.compat`: the alias is the real thing, comes and goes, and yields to others."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import quivers_nb
from quivers_nb import compat
from quivers_nb.diagnostics.errors import UserError


@pytest.fixture
def alias() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.usefixtures("alias")
def test_the_alias_and_its_submodules_are_the_modules_themselves() -> None:
    assert import_module("quivers") is quivers_nb
    for name in ("compat", "inference.trace", "diagnostics.errors", "spaces.effect"):
        real = import_module(f"quivers_nb.{name}")
        assert import_module(f"quivers.{name}") is real
        assert real.__name__ == real.__spec__.name == f"quivers_nb.{name}"


@pytest.mark.usefixtures("alias")
def test_classes_imported_by_either_name_are_one_class() -> None:
    from quivers.inference.trace import Site as Alias

    from quivers_nb.inference.trace import Site

    assert Alias is Site


@pytest.mark.usefixtures("alias")
def test_a_submodule_that_does_not_exist_is_reported_under_the_name_that_was_asked_for() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'quivers\.nonsense'"):
        import_module("quivers.nonsense")


@pytest.mark.usefixtures("alias")
def test_names_that_only_begin_like_the_alias_are_left_alone() -> None:
    with pytest.raises(ModuleNotFoundError, match="quivers_other"):
        import_module("quivers_other")


def test_installing_twice_is_installing_once_and_uninstalling_forgets_the_alias() -> None:
    before = list(sys.meta_path)
    compat.install()
    compat.install()
    assert len(sys.meta_path) == len(before) + 1
    import_module("quivers.inference.trace")
    compat.uninstall()
    assert sys.meta_path == before
    assert not [name for name in sys.modules if name.partition(".")[0] == "quivers"]
    with pytest.raises(ModuleNotFoundError):
        import_module("quivers")


def test_an_installed_package_of_that_name_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quivers.py").write_text("mine = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"quivers\.py.*uninstall it, or import quivers_nb"):
        compat.install()
    assert compat._FINDER not in sys.meta_path


def test_an_imported_module_of_that_name_is_never_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "quivers", type(sys)("quivers"))
    with pytest.raises(UserError, match="in this process"):
        compat.install()


def test_a_plain_folder_called_like_the_alias_does_not_count_as_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quivers").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    compat.install()
    try:
        assert import_module("quivers") is quivers_nb
    finally:
        compat.uninstall()


def test_importing_the_package_and_the_alias_brings_no_heavy_package() -> None:
    code = (
        "import sys, quivers_nb, quivers_nb.compat as c; c.install(); import quivers; dir(quivers);"
        "print(sorted({'torch', 'numpy', 'IPython', 'ipywidgets', 'lark'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
