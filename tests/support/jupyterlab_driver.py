"""A Jupyter server of the tests' own, and a page in headless Chromium that drives it.

The server shows the same notebooks in JupyterLab and in Notebook 7. Nothing of the user's is read
or written: configuration, data and home are temporary folders. The server listens on 127.0.0.1 and
is ended by its process id.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request as Asked
from urllib.request import urlopen

from playwright.sync_api import Browser, ConsoleMessage, Page, Request

REPOSITORY = Path(__file__).resolve().parents[2]
START = 90  # seconds for a server, a kernel or an app to come up on a busy machine
RUN = 240  # seconds for all cells of a notebook

# Where a front end shows a notebook.
FRONTS = {"lab": "lab/tree/{}?reset", "notebook": "notebooks/{}"}

READY = """async () => {
    const wait = () => new Promise(done => setTimeout(done, 100));
    const app = window.jupyterapp;
    await app.restored;
    const shown = () => app.shell.currentWidget && app.shell.currentWidget.context;
    for (let i = 0; i < 600 && !shown(); i++) await wait();
    await shown().ready;
    const session = shown().sessionContext;
    await session.ready;
    for (let i = 0; i < 600; i++) {
        const kernel = session.session && session.session.kernel;
        if (kernel && kernel.connectionStatus === 'connected' && kernel.status === 'idle') {
            await kernel.info;
            return;
        }
        await wait();
    }
    throw new Error('the kernel is not idle');
}"""

DONE = """() => {
    const { content, context } = window.jupyterapp.shell.currentWidget;
    const cells = [...content.model.cells].filter(cell => cell.type === 'code');
    const idle = context.sessionContext.session.kernel.status === 'idle';
    return idle && cells.every(cell => cell.executionCount !== null);
}"""

# What Notebook 7.6 says at its start: the first also of an empty notebook without our extension,
# the second where the notebook is not in the topmost folder.
THEIRS = {
    "Cannot read properties of undefined (reading 'schema')",
    "Command 'filebrowser:open-path' not registered.",
}

# The settings of a user who has answered the question about news.
SETTINGS = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false"}}


@contextmanager
def server(root: Path, home: Path) -> Iterator[str]:
    """A server that shows ``root``; its address without a final slash."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--expose-app-in-browser", "--LabApp.news_url=", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"),
        *("--IdentityProvider.token=", "--ServerApp.password="),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        "--ServerApp.disable_check_xsrf=True",
    ]
    extension = REPOSITORY / "quivers_nb" / "labextension"
    shutil.copytree(extension, home / "data" / "labextensions" / "quivers-nb")
    for plugin, settings in SETTINGS.items():
        file = home / "config" / "lab" / "user-settings" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    address = f"http://127.0.0.1:{port}"
    log = home / "server.log"
    with answering(command, root, environment(home), log, f"{address}/api/status"):
        yield address


@contextmanager
def answering(
    command: list[str], folder: Path, surroundings: dict[str, str], log: Path, url: str
) -> Iterator[None]:
    """A process in ``folder`` from the moment on when it answers at ``url``; then it is ended."""
    with log.open("w") as lines:
        process = subprocess.Popen(
            command, cwd=folder, env=surroundings, stdout=lines, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(url, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Folder:
    """A folder of notebooks that a server shows."""

    address: str
    root: Path

    @contextmanager
    def page(self, browser: Browser, name: str, **options: Any) -> "Iterator[tuple[Page, Watch]]":
        """See `notebook_page`."""
        with notebook_page(browser, self.address, f"{self.root.name}/{name}", **options) as opened:
            yield opened


@dataclass
class Watch:
    """What a page should never do: fail, or ask anybody but its own server."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._error(str(error)))
        page.on("console", self._console)
        page.on("request", self._request)

    def _error(self, text: str) -> None:
        if text not in THEIRS:
            self.errors.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._error(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.foreign.append(request.url)


@contextmanager
def notebook_page(
    browser: Browser,
    address: str,
    name: str,
    *,
    front: str = "lab",
    dark: bool = False,
    ready: bool = True,
) -> Iterator[tuple[Page, Watch]]:
    """A page that shows notebook ``name``; with an idle kernel if it is to be ``ready``."""
    context = browser.new_context(
        viewport={"width": 1300, "height": 1800}, color_scheme="dark" if dark else "light"
    )
    page, watch = context.new_page(), Watch()
    watch.attach(page)
    go(page, address, name, front, ready=ready)
    if dark:
        execute(page, "apputils:change-theme", {"theme": "JupyterLab Dark"})
        page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    yield page, watch
    context.close()


def go(page: Page, address: str, name: str, front: str = "lab", *, ready: bool = True) -> None:
    """Have the page show notebook ``name``, once more if it does already."""
    page.goto(f"{address}/{FRONTS[front].format(name)}", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=1000 * START)
    if ready:
        page.evaluate(READY)


def end_kernels(address: str) -> None:
    """Shut down what the pages of a test have left running."""
    with urlopen(f"{address}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in sessions:
        with urlopen(Asked(f"{address}/api/sessions/{session['id']}", method="DELETE")):
            pass


def execute(page: Page, command: str, arguments: dict[str, object] | None = None) -> None:
    """Execute a command of the application and wait for it."""
    page.set_default_timeout(1000 * RUN)
    script = "([name, options]) => window.jupyterapp.commands.execute(name, options).then(() => {})"
    page.evaluate(script, [command, arguments or {}])


def run_all(page: Page) -> None:
    """Run every cell and wait for the last one.

    After a cell that is expected to fail, the application's command returns at once while the
    kernel goes on, so the cells themselves are asked.
    """
    execute(page, "notebook:run-all-cells")
    page.wait_for_function(DONE, timeout=1000 * RUN)
    page.wait_for_timeout(500)  # the last outputs are drawn in the next frames


def saved_outputs(path: Path) -> list[list[dict[str, object]]]:
    """The outputs of a saved notebook's code cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


def environment(home: Path) -> dict[str, str]:
    """That of a server and its kernels, with nothing of the user's."""
    folders = {
        "HOME": home,
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "MPLCONFIGDIR": home / "matplotlib",
    }
    # the extension of the tree, not the copy that was installed with the package
    folders["JUPYTER_PREFER_ENV_PATH"] = Path("0")
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "magics")])
    return {**os.environ, **{k: str(v) for k, v in folders.items()}, "PYTHONPATH": path}


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended early:\n{log.read_text()}")
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"no answer from {url}:\n{log.read_text()}")


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook of code cells that have not been run."""
    made = [
        {"cell_type": "code", "id": f"cell-{k}", "metadata": {}, "source": text,
         "outputs": [], "execution_count": None}
        for k, text in enumerate(cells)
    ]  # fmt: skip
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": made, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole), encoding="utf-8")


def run_cell(page: Page, number: int, *, wait: bool = True) -> None:
    """Run one cell, and wait until it is done."""
    select = "number => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = number; }"
    page.evaluate(select, number)
    script = "() => { window.jupyterapp.commands.execute('notebook:run-cell'); }"
    page.evaluate(script)
    if wait:
        done = """number => {
            const { content, context } = window.jupyterapp.shell.currentWidget;
            const idle = context.sessionContext.session.kernel.status === 'idle';
            return idle && [...content.model.cells][number].executionCount !== null;
        }"""
        page.wait_for_function(done, arg=number, timeout=1000 * RUN)
