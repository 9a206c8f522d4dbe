"""A kernel of a chosen version of ipykernel, and a client that does what a page does.

A page gives its comms a subshell if the kernel knows them (JupyterLab 4.6 does, one for each
target); so does the client.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0  # seconds that nothing takes


def of_version(wanted: str, folder: Path) -> list[str]:
    """Where Python is to look first for this version; the registry has it if we have another."""
    if version("ipykernel") == wanted:
        return []
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps",
         "--target", str(folder), f"ipykernel=={wanted}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no registry has ipykernel {wanted}: {done.stderr.strip()[-200:]}")
    return [str(folder)]


class Page:
    """The client. Messages of the kernel are kept with the time at which they came."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self._subshell: str | None = None
        info = self._ask("kernel_info_request")
        if "kernel subshells" in info.get("supported_features", ()):
            self._subshell = self._control("create_subshell_request")["subshell_id"]

    def begin(self, code: str) -> str:
        """Send a cell; the id of its message."""
        return str(self._client.execute(code))

    def end(self, ident: str) -> dict[str, Any]:
        """Wait for the reply to a cell."""
        while True:
            reply = self._client.get_shell_msg(timeout=LONG)
            if reply["parent_header"].get("msg_id") == ident:
                return dict(reply["content"])

    def cell(self, code: str) -> str:
        """Run a cell; what it prints. Raises `RuntimeError` if it fails."""
        ident = self.begin(code)
        reply = self.end(ident)
        if reply["status"] != "ok":
            raise RuntimeError("\n".join(reply.get("traceback", [str(reply)])))
        self.wait(lambda m: m["msg_type"] == "status" and _is_end(m, ident))
        return "".join(
            message["content"]["text"]
            for _, message in self.heard
            if message["msg_type"] == "stream" and message["parent_header"]["msg_id"] == ident
        )

    def click(self, comm: str, verb: str) -> float:
        """Press a button of a panel; when."""
        session = self._client.session
        content = {"comm_id": comm, "data": {"method": "custom", "content": {"verb": verb}}}
        message = session.msg("comm_msg", content)
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self._client.shell_channel.send(message)
        return monotonic()

    def wait(self, wanted: Any, seconds: float = LONG) -> float:
        """When the first message came, from now on or before, for which ``wanted`` holds."""
        for time, message in self.heard:
            if wanted(message):
                return time
        until = monotonic() + seconds
        while monotonic() < until:
            self.listen(0.1)
            if self.heard and wanted(self.heard[-1][1]):
                return self.heard[-1][0]
        raise TimeoutError("the message has not come")

    def listen(self, seconds: float) -> None:
        """Take in at most one message."""
        try:
            message = self._client.get_iopub_msg(timeout=seconds)
        except Empty:
            return
        self.heard.append((monotonic(), message))

    def _ask(self, kind: str) -> dict[str, Any]:
        message = self._client.session.msg(kind)
        self._client.shell_channel.send(message)
        return self.end(message["header"]["msg_id"])

    def _control(self, kind: str) -> dict[str, Any]:
        message = self._client.session.msg(kind)
        self._client.control_channel.send(message)
        return dict(self._client.get_control_msg(timeout=LONG)["content"])


def _is_end(message: dict[str, Any], ident: str) -> bool:
    ends = message["content"]["execution_state"] == "idle"
    return ends and message["parent_header"].get("msg_id") == ident


@contextmanager
def kernel(first: list[str], home: Path) -> Iterator[tuple[Page, KernelManager]]:
    """A kernel that looks for packages in ``first`` before all others."""
    paths = os.pathsep.join([*first, str(ROOT), str(ROOT / "magics")])
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    folders = {"IPYTHONDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home), "PYTHONPATH": paths}
    manager = KernelManager(connection_file=str(home / "kernel.json"))
    manager._kernel_spec = KernelSpec(argv=argv, display_name="tested", language="python")
    with (home / "kernel.log").open("w") as log:
        manager.start_kernel(env={**os.environ, **folders}, stdout=log, stderr=log)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=LONG)
            yield Page(client), manager
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
