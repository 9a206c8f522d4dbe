"""A Voila server of the tests' own. Voila is no dependency: a registry has it, or tests skip.

It is put in a folder of its own beside our environment, without what it depends on: all of that is
here already, but for ``websockets``.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.jupyterlab_driver import answering, environment, free_port

VOILA = ("voila==0.5.13", "websockets==17.4")


def installed(folder: Path) -> Path:
    """Where Voila is."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps",
         "--target", str(folder), *VOILA],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no registry has {VOILA}: {done.stderr.strip()[-200:]}")
    return folder


@contextmanager
def voila(site: Path, notebook: Path, home: Path) -> Iterator[str]:
    """A server that shows one notebook, whose cells run when the page is opened; its address."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}"),
        *("--Voila.ip=127.0.0.1", "--show_tracebacks=True"),
    ]
    ours = environment(home)
    ours["PYTHONPATH"] = os.pathsep.join([ours["PYTHONPATH"], str(site)])
    ours["JUPYTER_PATH"] = str(site / "share" / "jupyter")
    home.mkdir(exist_ok=True)
    address, log = f"http://127.0.0.1:{port}", home / "server.log"
    script = f"{address}/voila/static/voila.js"  # to ask for the page would run the notebook
    with answering(command, notebook.parent, ours, log, script):
        yield address
