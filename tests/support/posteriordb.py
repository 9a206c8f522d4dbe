"""Posteriors with gold-standard reference draws: load one, run it, list where it disagrees.

The tolerances are those of ``tests/data/posteriordb/README.md``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.inference import MCMC, NUTSKernel, diagnose
from quivers_nb.inference.gradient import eager, gradient_of
from quivers_nb.inference.mcmc.begin import chain_generator
from quivers_nb.inference.mcmc.engine import PythonEngine, Task
from quivers_nb.inference.mcmc.starts import Start, find_start
from quivers_nb.inference.mcmc.store import Selection, Store
from quivers_nb.inference.target import flat

FOLDER = Path(__file__).parents[1] / "data" / "posteriordb"

NAMES = (
    "arK-arK",
    "eight_schools-eight_schools_noncentered",
    "garch-garch11",
    "gp_pois_regr-gp_regr",
    "kidiq-kidscore_momhsiq",
    "kidiq_with_mom_work-kidscore_mom_work",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "mesquite-logmesquite_logvas",
    "nes1980-nes",
    "sblrc-blr",
)

WARMUP, DRAWS, CHAINS = 1000, 1000, 4
Z = 4.0
SD_TOLERANCE = 0.10
R_HAT = 1.02
ESS = 100 * CHAINS
DIVERGENCES = 0.01 * CHAINS * DRAWS


@dataclass(frozen=True)
class Posterior:
    """A program, its data, and what is known about its posterior."""

    name: str
    program: str
    data: dict[str, Any]
    parameters: dict[str, str]  # name -> expression of sites
    reference: dict[str, dict[str, float]]


def posterior(name: str) -> Posterior:
    raw = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    data = {
        key: np.asarray(value, dtype=np.int64 if key in raw["int_data"] else np.float64)
        for key, value in raw["data"].items()
    }
    expressions = {entry["name"]: entry["expr"] for entry in raw["parameters"]}
    return Posterior(raw["name"], raw["program"], data, expressions, raw["reference"]["stats"])


def sample(case: Posterior, seed: int, **options: Any) -> Any:
    """The posterior's draws, at the settings that the tolerances are for."""
    from quivers_nb.dsl import loads

    model = loads(case.program).morphism
    settings = {"num_chains": CHAINS, "seed": seed, **options}
    mcmc = MCMC(NUTSKernel(), WARMUP, DRAWS, **settings)
    return mcmc.run(model, None, case.data)


@dataclass(frozen=True)
class Draws:
    """What is compared of the chains of one seed."""

    tier: str
    samples: dict[str, Tensor]
    divergence_counts: Tensor


def sample_seeds(
    case: Posterior, seeds: Sequence[int], tier: str, warmup: int = WARMUP, draws: int = DRAWS
) -> list[Draws]:
    """The draws of `sample` with each of these seeds, in a tier whose chains run in Python.

    There a gradient of many chains costs little more than one of four, and each chain has a stream
    of its own, made of its seed and number: so the chains of all seeds move together.
    """
    from quivers_nb.dsl import loads

    opened = loads(case.program).morphism.target(
        None, case.data, latents="all", dtype=torch.float64
    )
    target = flat(opened)
    chains = list(product(seeds, range(CHAINS)))
    rngs = tuple(chain_generator(*chain) for chain in chains)
    starts = [
        find_start(Start(target), eager(target), rng, number)
        for rng, (_, number) in zip(rngs, chains, strict=True)
    ]
    engine = PythonEngine(
        gradient_of(target, torch.from_numpy(np.stack([start.q for start in starts])), tier)
    )
    store = Store(target, Selection(), len(chains), draws)
    # Streams are given, so the task's own seed is never read.
    task = Task(
        NUTSKernel(), warmup, draws, -1, range(len(chains)), tuple(starts), rngs, store, None
    )
    assert not engine.run(task).stopped
    store.finish()
    diverged = torch.from_numpy(store.stats["diverged"]).sum(-1)
    parts = [slice(k * CHAINS, (k + 1) * CHAINS) for k in range(len(seeds))]
    return [
        Draws(engine.tier, {n: v[part] for n, v in store.sites.items()}, diverged[part])
        for part in parts
    ]


def draws_of(case: Posterior, samples: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every reference parameter as draws ``(chains, draws)``, from the sites' draws."""
    # Own axes first, so that `beta[0]` is a component and arithmetic is elementwise.
    sites = {
        name: np.moveaxis(np.asarray(value), (0, 1), (-2, -1)) for name, value in samples.items()
    }
    functions = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "__builtins__": {}}
    return {
        name: eval(expression, functions, sites) for name, expression in case.parameters.items()
    }


def disagreements(case: Posterior, result: Any) -> list[str]:
    """Every way in which ``result`` is not what the reference says, in words."""
    found = []
    for name, x in draws_of(case, result.samples).items():
        found += [f"{name}: {fact}" for fact in _compare(x, case.reference[name])]
    divergences = int(result.divergence_counts.sum())
    if divergences > DIVERGENCES:
        found.append(f"{divergences} divergences")
    return found


def _compare(x: np.ndarray, reference: dict[str, float]) -> list[str]:
    found = []
    error = sqrt(float(diagnose.mcse(x)) ** 2 + reference["mcse_mean"] ** 2)
    z = (x.mean() - reference["mean"]) / error
    if not abs(z) < Z:
        found.append(f"mean {x.mean():.6g}, not {reference['mean']:.6g} (z = {z:.1f})")
    ratio = x.std(ddof=1) / reference["sd"]
    if not abs(ratio - 1.0) < _sd_tolerance(x, reference):
        found.append(f"sd is {ratio:.3f} times the reference's")
    if not float(diagnose.r_hat(x)) < R_HAT:
        found.append(f"R-hat {float(diagnose.r_hat(x)):.4f}")
    if not float(diagnose.ess(x)) >= ESS:
        found.append(f"bulk ESS {float(diagnose.ess(x)):.0f}")
    return found


def _sd_tolerance(x: np.ndarray, reference: dict[str, float]) -> float:
    """A tenth, or four Monte Carlo errors where a heavy tail makes those larger."""
    squares = (x - x.mean()) ** 2
    if not squares.any():
        return SD_TOLERANCE
    own = float(diagnose.mcse(squares)) / (2.0 * float(squares.mean()))
    return max(SD_TOLERANCE, Z * sqrt(own**2 + reference["rse_sd"] ** 2))
