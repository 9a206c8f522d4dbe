"""Binder: the image is described by files that agree with the pins, and its steps work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
PINS = dict(
    line.split("==")
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)
FIRST = "notebooks/01-first-model.ipynb"


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def pip_pins() -> dict[str, str]:
    return dict(re.findall(r"^ +- ([\w-]+)==(\S+)$", ENVIRONMENT, re.MULTILINE))


def test_versions_are_the_pinned_ones() -> None:
    pins = {normal(package): version for package, version in PINS.items()}
    assert len(pip_pins()) >= 11
    assert {p: pins.get(p) for p in pip_pins()} == pip_pins()
    assert f"- pytorch-cpu={pins['torch']}\n" in ENVIRONMENT


def test_the_post_build_script_is_executable_and_parses() -> None:
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert "set -e" in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)


def test_the_launch_page_is_the_first_notebook() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / FIRST).exists()
    assert FIRST in readme


def test_the_generated_dockerfile_uses_both_files() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    dockerfile = [line.strip().strip('",') for line in output.splitlines()]
    assert any("binder/environment.yml" in line for line in dockerfile)
    assert any("binder/postBuild" in line for line in dockerfile)


@pytest.mark.slow
def test_the_steps_give_an_environment_that_runs_the_first_notebook(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True, timeout=120)
    binaries = tmp_path / "env" / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)

    def step(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python = str(binaries / "python")
    step(python, "-m", "pip", "install", f"torch=={PINS['torch']}")
    packages = [f"{package}=={version}" for package, version in pip_pins().items()]
    # the image brings nbclient with its own notebook server
    step(python, "-m", "pip", "install", *packages, f"nbclient=={PINS['nbclient']}")
    step("bash", "binder/postBuild")
    assert step(python, "notebooks/run.py", FIRST).strip()
