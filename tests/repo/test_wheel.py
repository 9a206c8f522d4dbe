"""The wheel is complete: built from the sdist, installed alone, it compiles a cell."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.wheel]

PROGRAM = '''
import sys
from IPython.testing.globalipapp import start_ipython

shell = start_ipython()
shell.run_line_magic("load_ext", "quivers_nb")
import quivers_nb, quivers_magics
home = sys.argv[1]
assert quivers_nb.__file__.startswith(home), quivers_nb.__file__
assert quivers_magics.__file__.startswith(home), quivers_magics.__file__
result = shell.run_cell("""%%qvr
object Resp : FinSet 4
program mean : 1 -> 1
    sample mu <- Normal(0.0, 1.0)
    observe y : Resp <- Normal(mu, 1.0)
    return mu
export mean
""")
result.raise_error()
assert "mean" in shell.user_ns, sorted(shell.user_ns)
from quivers_nb.diagnostics.catalogue import codes, page
assert len(codes()) > 10 and all(page(code).why for code in codes())
print("wheel works")
'''


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=environment.pop("cwd", str(ROOT)),
        env={**os.environ, **environment},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT))
    return out


def package_files() -> set[str]:
    """Every file of the two packages, as the wheel should name it."""
    found = set()
    for root, package in ((ROOT, "quivers_nb"), (ROOT / "magics", "quivers_magics")):
        for file in (root / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                found.add(file.relative_to(root).as_posix())
    return found


def test_the_wheel_holds_both_packages_with_their_data_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    shared = {name for name in names if name.partition("/")[0].endswith(".data")}
    assert names - shared == package_files()
    place = "data/share/jupyter/labextensions/quivers-nb/"
    assert {name.partition("/")[2] for name in shared} == {
        place + "package.json",
        place + "static/remoteEntry.js",
    }


def test_the_sdist_holds_what_make_test_needs(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    needed = {"Makefile", "requirements.txt", "pyproject.toml", "tests/conftest.py", "LICENSE"}
    assert needed <= names


def test_the_installed_wheel_runs_a_cell_outside_the_repository(
    built: Path, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = str(next(built.glob("*.whl")))
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(home), wheel)
    program = elsewhere / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    out = run(
        sys.executable,
        str(program),
        str(home),
        PYTHONPATH=str(home),
        IPYTHONDIR=str(elsewhere),
        cwd=str(elsewhere),
    )
    assert out.strip().endswith("wheel works")
