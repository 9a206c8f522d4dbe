"""The sides of a comparison: processes that do one job after the other, and lines of results."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from compileall import compile_dir
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[3]
SIDES = {
    "ours": "ours", "numpyro": "numpyro_side", "nutpie": "nutpie_side", "pyro": "pyro_side",
}  # fmt: skip
Facts = dict[str, Any]


def show(**facts: Any) -> None:
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps(rounded), flush=True)


@dataclass
class Worker:
    """One side in its own process. ``ready`` is what it said when its imports were done."""

    process: subprocess.Popen[str]
    ready: Facts
    draws: Path

    def job(self, name: str, **options: Any) -> Facts:
        """Do a job and wait for its facts."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"job": name, **options}) + "\n")
        self.process.stdin.flush()
        return _line(self.process)

    def sample(self, **options: Any) -> tuple[Facts, dict[str, np.ndarray]]:
        """A NUTS run: facts, and draws by site ``(chains, draws, *shape)``."""
        facts = self.job("nuts", file=str(self.draws), **options)
        with np.load(self.draws) as file:
            return facts, {name: file[name].astype(np.float64) for name in file.files}


def _line(process: subprocess.Popen[str]) -> Facts:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    raise RuntimeError(f"a side ended with status {process.wait()}: see its messages above")


@dataclass(frozen=True)
class Sides:
    """Where the interpreters are, and a folder for caches and draws."""

    peers: Path
    folder: Path
    number: Iterator[int]

    def installed(self) -> list[str]:
        """The peers that are there."""
        known = {"numpyro": "numpyro", "nutpie": "nutpie"}
        sites = list((self.peers / "lib").glob("python*/site-packages"))
        found = [name for name in known if any((site / known[name]).exists() for site in sites)]
        return found + (["pyro"] if (self.peers / "pyro-site" / "pyro").exists() else [])

    @contextmanager
    def worker(
        self, side: str, cache: Path | None = None, *, single: bool = False
    ) -> Iterator[Worker]:
        """A process for ``side``, with caches in a folder of its own (new and empty if None).

        ``single``: numbers of the peer are float32 throughout.
        """
        cache = cache or self.folder / f"cache{next(self.number)}"
        cache.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [self._python(side), "-m", f"benchmarks.peers.inference.{SIDES[side]}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=self._environment(side, cache, single=single),
        )  # fmt: skip
        begun = time.time()
        try:
            ready = _line(process) | {"import_wall": time.time() - begun}
            yield Worker(process, ready, self.folder / f"draws-{side}.npz")
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def _python(self, side: str) -> str:
        inside = side in ("numpyro", "nutpie")
        return str(self.peers / "bin" / "python") if inside else sys.executable

    def _environment(self, side: str, cache: Path, *, single: bool) -> dict[str, str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "QUIVERS_NB_CACHE": str(cache / "ours")}
        env |= {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "JAX_ENABLE_X64": "0" if single else "1",
            "JAX_COMPILATION_CACHE_DIR": str(cache), "NUMBA_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }  # fmt: skip
        env["PYTENSOR_FLAGS"] = f"base_compiledir={cache}"
        if side == "pyro":
            env["PYTHONPATH"] += os.pathsep + str(self.peers / "pyro-site")
        return env


def with_bytecode() -> None:
    """Compile our modules to bytecode, as the installers of packages do with those of the peers.

    A checkout has none where `PYTHONDONTWRITEBYTECODE` is set, and an import then compiles every
    file that it reads.
    """
    for package in ("quivers_nb", "benchmarks"):
        if not compile_dir(ROOT / package, quiet=1):
            raise RuntimeError(f"{package} cannot be compiled to bytecode: see the message above")


def spread(ratios: list[float]) -> Facts:
    """Median and range."""
    if not ratios:
        return {"ratio": None}
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
