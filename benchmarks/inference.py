"""Inference against its peers: CPU seconds, effective draws per CPU second, time from a cold start.

    python -m benchmarks.inference --peers .peers [--pairs 5] [--only nuts,cold,svi,...]

Prints one JSON line per measurement, as soon as it is made. `README.md` in this folder says how to
read them, and how the peers are installed. Every side runs in a process of its own that
does one job after the other, and the sides take turns; a pair of runs counts only if their means
and standard deviations agree.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.inference.agreement import UNDECIDED, agreement, least_ess
from benchmarks.peers.inference.models import PROGRAMS
from benchmarks.peers.inference.sides import (
    ROOT,
    Facts,
    Sides,
    Worker,
    show,
    spread,
    with_bytecode,
)

# What the study of the peers asks for; ratios of min-ESS per CPU second unless said otherwise.
WARM = {"eight": 30.0, "logreg": 2.5, "radon": 4.0, "irt": 3.0, "horseshoe": 2.5}
COLD = {"eight": 2.0, "logreg": 2.0, "radon": 2.5, "irt": 2.5, "horseshoe": 2.5}
COLD_BARE = {"eight": 10.0, "logreg": 8.0, "radon": 8.0, "irt": 5.0, "horseshoe": 4.0}
# Its effective sample sizes are too noisy to compare (study, 1.3): gradients per CPU second are.
GRADIENTS_COUNT = "horseshoe"
REPEATS = 3
VAE_PAIRS = 5
MOST_COLD = 3  # pairs: a cold run of a peer takes ten seconds and more
PAIRS = {"eight": 9, "logreg": 7, "radon": 5, "irt": 3, "horseshoe": 3}  # dear ones are paired less
GRADIENT = {"eight": 1.5, "logreg": 1.5, "radon": 2.0, "irt": 1.5, "horseshoe": 1.5}
SVI_MODELS = ("logreg", "irt")


@dataclass(frozen=True)
class Settings:
    """How long everything is."""

    models: list[str]
    pairs: dict[str, int]
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


# --- measurements ---


def nuts(sides: Sides, settings: Settings) -> None:
    """Warm runs in turn: A B, B A, ...; the first pair of a model is not counted."""
    for peer in [p for p in sides.installed() if p != "pyro"]:
        with sides.worker("ours") as ours, sides.worker(peer) as other:
            for model in settings.models:
                _warm(model, {"ours": ours, peer: other}, peer, settings)


def _warm(model: str, workers: dict[str, Worker], peer: str, settings: Settings) -> None:
    cpu, per_ess, per_gradient, refused = [], [], [], []
    counted = model == GRADIENTS_COUNT
    for pair in range(settings.pairs[model] + 1):
        order = list(workers) if pair % 2 == 0 else list(reversed(workers))
        runs = {s: workers[s].sample(**settings.run(model, pair, s)) for s in order}
        if pair == 0:
            continue
        verdict = agreement(runs["ours"][1], runs[peer][1])
        a, b = runs["ours"][0], runs[peer][0]
        if not verdict or (counted and verdict.startswith(UNDECIDED)):
            rate = _rate(_counted(b, workers[peer], model, pair, settings)) if counted else 0.0
            rate = rate or (_rate(b) if "gradients" in b else 0.0)
            per_gradient += [_rate(a) / rate] if rate else []
        if verdict:
            refused.append(f"seed {pair}: {verdict}")
            continue
        ess = {side: least_ess(draws) for side, (_, draws) in runs.items()}
        cpu.append(b["cpu"] / a["cpu"])
        per_ess.append((ess["ours"] / a["cpu"]) / (ess[peer] / b["cpu"]))
    show(
        measurement="nuts, warm", model=model, peer=peer, pairs=len(cpu),
        ess_per_cpu_second=spread(per_ess), cpu_seconds=spread(cpu),
        gradients_per_cpu_second=spread(per_gradient), refused=refused,
        target=WARM[model] if peer == "numpyro" else 1.0,
        target_of="gradients" if counted else "ess", last=_last(runs),
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
        for pair in range(min(settings.pairs[model], MOST_COLD)):
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
    for pair in range(settings.pairs[model]):
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
            for pair in range(VAE_PAIRS):
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


def before(sides: Sides, settings: Settings) -> None:
    """Our own time before the first leapfrog, which is inside: one draw of one leapfrog."""
    for model in settings.models:
        for state, target in (("cold", 0.6), ("cached", 0.05)):
            seen = [_first_draw(sides, model, state) for _ in range(REPEATS)]
            show(
                measurement="before the first leapfrog", state=state, model=model, target_s=target,
                wall_s=statistics.median(f["wall"] for f in seen),
                cpu_s=statistics.median(f["cpu"] for f in seen), repeats=REPEATS,
            )  # fmt: skip


def _first_draw(sides: Sides, model: str, state: str) -> Facts:
    place = sides.folder / f"own-{model}" if state == "cached" else None
    if place is not None and not place.exists():
        with sides.worker("ours", place) as worker:
            worker.job("first_draw", model=model)
    with sides.worker("ours", place) as worker:
        return worker.job("first_draw", model=model)


def gradient(sides: Sides, settings: Settings) -> None:
    """Our emitted gradient beside one written by hand."""
    with sides.worker("ours") as worker:
        for model in settings.models:
            facts = worker.job("gradient", model=model)
            show(measurement="gradient", model=model, target_ratio=GRADIENT[model], **facts)


def growth(sides: Sides, _settings: Settings) -> None:
    """Seconds per gradient by rows, beside those of reading the data; and by number of sites.

    ``seconds`` are CPU seconds of one thread, and so are those of ``reading``; what one chain takes
    on one thread and on all cores is given in wall and in CPU seconds per leapfrog.
    """
    rows = (1_000, 10_000, 100_000, 1_000_000)
    with sides.worker("ours") as worker:
        facts = worker.job("scaling", rows=rows)
        pairs = zip(facts["seconds"], facts["reading"], strict=True)
        show(
            measurement="growth", rows=rows, seconds=facts["seconds"],
            slope=_slope(rows, facts["seconds"]), target=[0.9, 1.1], reading=facts["reading"],
            slope_of_reading=_slope(rows, facts["reading"]), over_reading=[a / b for a, b in pairs],
        )  # fmt: skip
        for side in ("one_thread", "all_cores"):
            wall, used = facts[f"{side}_wall"], facts[f"{side}_cpu"]
            show(
                measurement="growth of a chain", threads=side, cores=facts["cores"], rows=rows,
                segments=facts["segments"], wall_s=wall, cpu_s=used, slope_wall=_slope(rows, wall),
                slope_cpu=_slope(rows, used), target=[0.9, 1.1],
            )  # fmt: skip
        for sites in (20, 80):
            show(measurement="scalar sites", **worker.job("scalar_sites", sites=sites))


def _slope(rows: Sequence[int], seconds: Sequence[float]) -> float:
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def chains(sides: Sides, _settings: Settings) -> None:
    """What several chains cost beside one, on all cores; and the memory of a run."""
    with sides.worker("ours") as worker:
        facts = worker.job("chains", model="radon")
        seconds = {int(count): each for count, each in facts["seconds"].items()}
        for count, each in seconds.items():
            show(
                measurement="chains", chains=count, cores=facts["cores"], wall_s=each,
                ratio=each / seconds[1], target=math.ceil(count / facts["cores"]),
            )  # fmt: skip
    with sides.worker("ours") as worker:
        facts = worker.job("memory", model="radon")
        show(measurement="memory", model="radon", rss_mb=facts["rss_mb"], target_mb=500)


def imports(_sides: Sides, _settings: Settings) -> None:
    """What the names of a run add to `import torch`, in new processes; and all public names."""
    used = (
        "import quivers_nb.lower; from quivers_nb.dsl import loads;"
        "from quivers_nb.inference import MCMC, NUTSKernel"
    )
    for names, text in (("of a run", used), ("all", "from quivers_nb.inference import *")):
        program = (
            "import time, torch; a = time.process_time();" + text + ";"
            "print(time.process_time() - a)"
        )
        run = [sys.executable, "-c", program]
        done = [
            subprocess.run(run, capture_output=True, check=True, cwd=ROOT) for _ in range(REPEATS)
        ]
        seconds = statistics.median(float(each.stdout) for each in done)
        show(measurement="import", names=names, cpu_s=seconds, target_s=0.3, repeats=REPEATS)


MEASUREMENTS = {
    "imports": imports, "before": before, "gradient": gradient, "growth": growth, "chains": chains,
    "nuts": nuts, "svi": svi, "vae": vae, "cold": cold,
}  # fmt: skip
OWN = ("imports", "before", "gradient", "growth", "chains")  # `--only own`: those without a peer


def _pairs(text: str) -> dict[str, int]:
    """``5`` for all models, or ``eight=9,irt=3`` for some; the others as in `PAIRS`."""
    if text.isdigit():
        return dict.fromkeys(PROGRAMS, int(text))
    given = (each.split("=") for each in text.split(",") if each)
    return PAIRS | {model: int(count) for model, count in given}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peers", type=Path, default=ROOT / ".peers")
    options.add_argument("--pairs", type=_pairs, default="", help="5, or eight=9,irt=3")
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
    with_bytecode()
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(given.peers, Path(folder), count())
        show(
            measurement="machine", cores=os.cpu_count(), load=os.getloadavg()[0],
            peers=sides.installed(), kernel=given.kernel, python=sys.version.split()[0],
        )  # fmt: skip
        for name in given.only.replace("own", ",".join(OWN)).split(","):
            begun = time.time()
            MEASUREMENTS[name](sides, settings)
            show(measurement="duration", of=name, seconds=time.time() - begun)


if __name__ == "__main__":
    main()
