"""Inference against its peers: CPU seconds, effective draws per CPU second, time from a cold start.

    python -m benchmarks.inference --peers .peers [--pairs 5] [--only nuts,cold,svi,...]

Prints one JSON line per measurement. `README.md` in this folder says how to read them, and how the
peers are installed. Every side runs in a process of its own that does one job after the other, and
the sides take turns; a pair of runs counts only if their means and standard deviations agree.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.inference.agreement import agreement, least_ess
from benchmarks.peers.inference.models import PROGRAMS

ROOT = Path(__file__).parents[1]
SIDES = {
    "ours": "ours", "numpyro": "numpyro_side", "nutpie": "nutpie_side", "pyro": "pyro_side",
}  # fmt: skip
# What the study of the peers asks for; ratios of min-ESS per CPU second unless said otherwise.
WARM = {"eight": 30.0, "logreg": 2.5, "radon": 4.0, "irt": 3.0, "horseshoe": 2.5}
COLD = {"eight": 2.0, "logreg": 2.0, "radon": 2.5, "irt": 2.5, "horseshoe": 2.5}
COLD_BARE = {"eight": 10.0, "logreg": 8.0, "radon": 8.0, "irt": 5.0, "horseshoe": 4.0}
GRADIENT = {"eight": 1.5, "logreg": 1.5, "radon": 2.0}
SVI_MODELS = ("logreg", "irt")
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


@dataclass(frozen=True)
class Settings:
    """How long everything is."""

    models: list[str]
    pairs: int
    warmup: int
    draws: int
    steps: int
    kernel: Facts

    def run(self, model: str, seed: int, side: str) -> Facts:
        options = self.kernel if side == "ours" else {}
        return {
            "model": model, "seed": seed, "warmup": self.warmup, "draws": self.draws, "chains": 4,
            "options": options,
        }  # fmt: skip


def spread(ratios: list[float]) -> Facts:
    """Median and range."""
    if not ratios:
        return {"ratio": None}
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


# --- measurements ---


def nuts(sides: Sides, settings: Settings) -> None:
    """Warm runs in turn: A B, B A, ...; the first pair of a model is not counted."""
    for peer in [p for p in sides.installed() if p != "pyro"]:
        with sides.worker("ours") as ours, sides.worker(peer) as other:
            for model in settings.models:
                _warm(model, {"ours": ours, peer: other}, peer, settings)


def _warm(model: str, workers: dict[str, Worker], peer: str, settings: Settings) -> None:
    cpu, per_ess, per_gradient, refused = [], [], [], []
    for pair in range(settings.pairs + 1):
        order = list(workers) if pair % 2 == 0 else list(reversed(workers))
        runs = {s: workers[s].sample(**settings.run(model, pair, s)) for s in order}
        if pair == 0:
            continue
        verdict = agreement(runs["ours"][1], runs[peer][1])
        if verdict:
            refused.append(f"seed {pair}: {verdict}")
            continue
        a, b = runs["ours"][0], runs[peer][0]
        ess = {side: least_ess(draws) for side, (_, draws) in runs.items()}
        cpu.append(b["cpu"] / a["cpu"])
        per_ess.append((ess["ours"] / a["cpu"]) / (ess[peer] / b["cpu"]))
        per_gradient.append(_rate(a) / _rate(_counted(b, workers[peer], model, pair, settings)))
    show(
        measurement="nuts, warm", model=model, peer=peer, pairs=len(cpu),
        ess_per_cpu_second=spread(per_ess), cpu_seconds=spread(cpu),
        gradients_per_cpu_second=spread(per_gradient), refused=refused,
        target=WARM[model] if peer == "numpyro" else 1.0,
        target_of="gradients" if model == "horseshoe" else "ess", last=_last(runs),
    )  # fmt: skip


def _last(runs: dict[str, Any]) -> Facts:
    wanted = ("cpu", "wall", "gradients", "divergences", "tier", "reason", "rss_mb", "load")
    return {s: {k: facts[k] for k in wanted if k in facts} for s, (facts, _) in runs.items()}


def _counted(facts: Facts, worker: Worker, model: str, seed: int, settings: Settings) -> Facts:
    """NumPyro counts warm-up gradients only when asked to, which is done outside the clock."""
    if "gradients" not in facts:
        options = settings.run(model, seed, "numpyro")
        del options["options"]
        warm = worker.job("warmup_gradients", **options)["gradients_warmup"]
        facts["gradients"] = facts["gradients_draws"] + warm
    return facts


def _rate(facts: Facts) -> float:
    return float(facts["gradients"] / facts["cpu"])


def cold(sides: Sides, settings: Settings) -> None:
    """A new process with empty caches, from its start to all draws."""
    peers = [peer for peer in sides.installed() if peer == "numpyro"]
    for model in settings.models if peers else []:
        whole, bare = [], []
        for pair in range(settings.pairs):
            order = ["ours", *peers] if pair % 2 == 0 else [*reversed(peers), "ours"]
            seen = {side: _cold_run(sides, side, settings, model, pair) for side in order}
            a, b = seen["ours"], seen["numpyro"]
            whole.append(b["from_start"] / a["from_start"])
            bare.append(b["after_imports"] / a["after_imports"])
        show(
            measurement="nuts, cold", model=model, peer="numpyro", wall_from_start=spread(whole),
            target=COLD[model], without_imports=spread(bare), target_without=COLD_BARE[model],
            ours=a, other=b,
        )  # fmt: skip


def _cold_run(sides: Sides, side: str, settings: Settings, model: str, seed: int) -> Facts:
    begun = time.time()
    with sides.worker(side) as worker:
        facts = worker.job("nuts", **settings.run(model, seed, side))
        whole = time.time() - begun
    return {
        "from_start": whole, "after_imports": facts["wall"], "total_cpu": facts["total_cpu"],
        "import_wall": worker.ready["import_wall"], "load": facts["load"],
    }  # fmt: skip


def svi(sides: Sides, settings: Settings) -> None:
    """Steps per CPU second of a mean-field guide, one particle and sixteen."""
    peers = [peer for peer in sides.installed() if peer != "nutpie"]
    for peer in peers:
        with sides.worker("ours") as ours, sides.worker(peer, single=True) as other:
            for model in SVI_MODELS:
                for particles in (1, 16):
                    _steps(model, particles, {"ours": ours, peer: other}, peer, settings)


def _steps(
    model: str, particles: int, workers: dict[str, Worker], peer: str, settings: Settings
) -> None:
    ratios, losses = [], []
    for pair in range(settings.pairs):
        order = list(workers) if pair % 2 == 0 else list(reversed(workers))
        options = {"model": model, "particles": particles, "steps": settings.steps, "seed": pair}
        facts = {side: workers[side].job("svi", **options) for side in order}
        each = {side: f["cpu"] / f["steps"] for side, f in facts.items()}
        ratios.append(each[peer] / each["ours"])
        losses.append([facts["ours"]["loss"], facts[peer]["loss"]])
    show(
        measurement="svi", model=model, particles=particles, peer=peer,
        steps_per_cpu_second=spread(ratios), losses=losses[-1],
        target=(2.0 if peer == "numpyro" else 150.0) if particles == 1 else None,
        ours_us=1e6 * each["ours"], other_us=1e6 * each[peer], tier=facts["ours"]["tier"],
        reason=facts["ours"]["reason"],
    )  # fmt: skip


def vae(sides: Sides, settings: Settings) -> None:
    """Minibatch steps of an autoencoder; the peer's in a loop of compiled steps, and in a scan."""
    if "numpyro" not in sides.installed():
        return
    with sides.worker("ours") as ours, sides.worker("numpyro", single=True) as other:
        workers = {"ours": ours, "numpyro": other}
        for particles in (1, 16):
            steps = max(settings.steps // (20 * particles), 50)
            ratios: dict[str, list[float]] = {"loop": [], "scan": []}
            for pair in range(settings.pairs):
                order = list(workers) if pair % 2 == 0 else list(reversed(workers))
                options = {"particles": particles, "steps": steps, "seed": pair}
                facts = {side: workers[side].job("vae", **options) for side in order}
                for form, found in ratios.items():
                    found.append(facts["numpyro"][f"{form}_cpu"] / facts["ours"]["loop_cpu"])
            show(
                measurement="vae", particles=particles, peer="numpyro", target=1.0,
                steps_per_cpu_second=spread(ratios["loop"]), against_scan=spread(ratios["scan"]),
                losses={side: f["loss"] for side, f in facts.items()},
                dtypes={side: f["dtype"] for side, f in facts.items()},
                ours_us=1e6 * facts["ours"]["loop_cpu"] / steps,
                other_us=1e6 * facts["numpyro"]["loop_cpu"] / steps,
                reason=facts["ours"]["reason"],
            )  # fmt: skip


def own(sides: Sides, settings: Settings) -> None:
    """What needs no peer: own time before the first leapfrog, gradients, growth, memory."""
    cache = sides.folder / "own"
    for state in ("cold", "cached"):
        for model in settings.models:
            place = sides.folder / f"own-{model}" if state == "cached" else None
            if place is not None:
                with sides.worker("ours", place) as worker:
                    worker.job("first_draw", model=model)
            with sides.worker("ours", place) as worker:
                facts = worker.job("first_draw", model=model)
            show(
                measurement="before the first leapfrog", state=state, model=model,
                wall_s=facts["wall"], cpu_s=facts["cpu"], target_s=0.6 if state == "cold" else 0.05,
            )  # fmt: skip
    with sides.worker("ours", cache) as worker:
        for model in PROGRAMS:
            facts = worker.job("gradient", model=model)
            show(measurement="gradient", model=model, target_ratio=GRADIENT.get(model), **facts)
        _growth(worker)
        show(measurement="scalar sites", **worker.job("scalar_sites", sites=20))
    with sides.worker("ours", cache) as worker:
        facts = worker.job("memory", model="radon")
        show(measurement="memory", model="radon", rss_mb=facts["rss_mb"], target_mb=500)


def _growth(worker: Worker) -> None:
    rows = (1_000, 10_000, 100_000, 1_000_000)
    seconds = [worker.job("scaling", rows=n)["seconds"] for n in rows]
    slope = float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])
    show(measurement="growth", rows=rows, seconds=seconds, slope=slope, target=[0.9, 1.1])


MEASUREMENTS = {"own": own, "nuts": nuts, "svi": svi, "vae": vae, "cold": cold}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peers", type=Path, default=ROOT / ".peers")
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--warmup", type=int, default=1000)
    options.add_argument("--draws", type=int, default=1000)
    options.add_argument("--steps", type=int, default=10_000)
    options.add_argument("--models", default=",".join(PROGRAMS))
    options.add_argument("--only", default=",".join(MEASUREMENTS))
    options.add_argument("--kernel", type=json.loads, default={}, help="options of our NUTSKernel")
    given = options.parse_args()
    settings = Settings(
        given.models.split(","), given.pairs, given.warmup, given.draws, given.steps, given.kernel
    )
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(given.peers, Path(folder), count())
        show(
            measurement="machine", cores=os.cpu_count(), load=os.getloadavg()[0],
            peers=sides.installed(), kernel=given.kernel, python=sys.version.split()[0],
        )  # fmt: skip
        for name in given.only.split(","):
            MEASUREMENTS[name](sides, settings)


if __name__ == "__main__":
    main()
