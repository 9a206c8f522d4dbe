"""What `make` would do, read from a dry run, and what it says to an interpreter that is too old."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A make of its own, whatever make runs this test."""
    outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in outer},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def dry(*arguments: str) -> list[str]:
    """The commands of a run in which everything is out of date, one each."""
    done = make("--dry-run", "--always-make", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\\\n", " ").splitlines()


def position(commands: list[str], part: str) -> int:
    return next(i for i, command in enumerate(commands) if part in command)


def test_torch_comes_first_and_alone_sees_the_other_index() -> None:
    commands = dry("lab", "TORCH_INDEX=elsewhere")
    naming = [command for command in commands if "elsewhere" in command]
    assert len(naming) == 1
    assert "torch==" in naming[0]
    assert position(commands, "elsewhere") < position(commands, "-r requirements.txt")
    assert not any("index" in command for command in dry("lab"))


def test_the_gate_checks_form_before_it_runs_anything_and_ends_with_the_tests() -> None:
    commands = dry("test")
    order = ["ruff format --check", "ruff check", "lint-imports", "mypy", "pytest"]
    places = [position(commands, f"/{word}" if word != "pytest" else word) for word in order]
    assert places == sorted(places)
    assert "-m pytest" in commands[-1]
    assert "tests notebooks" in commands[-1]


def test_nothing_is_installed_with_the_packages_of_the_project_left_to_chance() -> None:
    own = [command for command in dry("test") if " -e ." in command]
    assert len(own) == 1
    assert "--no-deps" in own[0]


def test_continuous_integration_runs_the_gate_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines() == ["#!/bin/sh", "exec make test"]


def test_headless_runs_the_first_notebook_without_a_browser() -> None:
    assert dry("lab", "HEADLESS=1")[-1].endswith("run.py notebooks/01-first-model.ipynb")
    assert dry("lab")[-1].endswith("jupyter lab notebooks/01-first-model.ipynb")


def test_an_interpreter_that_is_too_old_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = make("test", f"PYTHON={old}", folder=tmp_path)
    assert done.returncode != 0
    assert "needs Python 3.11 or later; name one with PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_programs_of_the_system_are_installed_by_root_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tools = {"apt-get": f'echo "$@" >> {log}', "id": "echo $USER_NUMBER"}
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    for name in ("make", "sh"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))

    def system(number: str) -> str:
        environment = {"PATH": str(tmp_path), "USER_NUMBER": number}
        subprocess.run(["make", "system"], cwd=ROOT, env=environment, check=True, timeout=60)
        return log.read_text(encoding="utf-8") if log.exists() else ""

    assert system("1000") == ""
    assert "install -y -q chromium" in system("0")
