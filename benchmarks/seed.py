"""How long the seed page takes, beside the same model in hand-written torch.

    python -m benchmarks.seed [--repeats 5] [--threads N]

Prints one JSON line per measurement. `README.md` in this folder says how to read them.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import quivers_nb.lower  # noqa: F401  (imports are not what is timed)
from benchmarks.peers import seed_torch as peer
from quivers_nb.dsl import load
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AutoNormalGuide,
    NUTSKernel,
    bayesian_lift_parameters,
)
from quivers_nb.inference.trace import trace

MODULE = Path(__file__).parents[1] / "tests" / "data" / "seed" / "seq2seq.qvr"
STEPS, RATE = 51, 2e-2
Facts = dict[str, Any]
Work = Callable[[], Facts]
Side = Callable[[], Work]
PAGE_KERNEL = {"step_size": 0.05, "max_tree_depth": 3, "target_accept": 0.8}
# Small and fixed, so that both sides build the same trees: 20 of 7 leapfrogs.
FIXED_KERNEL = {"step_size": 1e-3, "max_tree_depth": 3, "adapt_step_size": False}
CHAIN = {"num_warmup": 10, "num_samples": 10, "num_chains": 1}


@dataclass(frozen=True)
class Measurement:
    """One thing done by both sides. A side sets up outside the clock and returns the work."""

    name: str
    target_s: float
    target_ratio: float | None
    ours: Side
    peer: Side


class PeerModel:
    """The hand-written density as something `MCMC.run` takes."""

    observed_names: frozenset[str] = frozenset()

    def __init__(self, target: peer.SeedTarget) -> None:
        self._target = target

    def target(self, *_: object, **__: object) -> peer.SeedTarget:
        return self._target


def tokens() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 32, (16, 2), generator=generator)


def timed(work: Work) -> tuple[float, Facts]:
    start = time.perf_counter()
    facts = work()
    return time.perf_counter() - start, facts


def our_load() -> Work:
    return lambda: {"parameters": count(load(str(MODULE)).morphism)}


def peer_load() -> Work:
    return lambda: {"parameters": count(peer.SeedTorch())}


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def our_svi() -> Work:
    x, model = tokens(), load(str(MODULE)).morphism
    observed = {"next_token": trace(model, x).sites["next_token"].value.detach()}

    def work() -> Facts:
        guide = AutoNormalGuide(model, observed_names={"next_token"})
        optimizer = torch.optim.Adam(list(model.parameters()) + list(guide.parameters()), lr=RATE)
        svi = SVI(model, guide, optimizer, ELBO())
        losses = [svi.step(x, observed) for _ in range(STEPS)]
        return {"first_loss": losses[0], "last_loss": losses[-1]}

    return work


def peer_svi() -> Work:
    x, model = tokens(), peer.SeedTorch()
    _, token = peer.draw(model, x)

    def work() -> Facts:
        losses = peer.svi_losses(model, x, token, STEPS, RATE)
        return {"first_loss": losses[0], "last_loss": losses[-1]}

    return work


def our_nuts(options: dict[str, Any]) -> Side:
    def set_up() -> Work:
        x, model = tokens(), load(str(MODULE)).morphism
        observed = {name: site.value.detach() for name, site in trace(model, x).sites.items()}

        def work() -> Facts:
            lifted, lx, lobs = bayesian_lift_parameters(model, x, observed, prior_scale=1.0)
            return facts_of(MCMC(NUTSKernel(**options), **CHAIN).run(lifted, lx, lobs))

        return work

    return set_up


def peer_nuts(options: dict[str, Any]) -> Side:
    def set_up() -> Work:
        x, model = tokens(), peer.SeedTorch()
        h, token = peer.draw(model, x)

        def work() -> Facts:
            weights = {name: value.detach().double() for name, value in model.named().items()}
            target = peer.SeedTarget(weights, x, h.double(), token, 1.0)
            return facts_of(MCMC(NUTSKernel(**options), **CHAIN).run(PeerModel(target), None, {}))

        return work

    return set_up


def facts_of(result: Any) -> Facts:
    return {
        "acceptance": float(result.acceptance_rates.mean()),
        "divergences": int(result.divergence_counts.sum()),
        "kept_gradients": int(result.stats["leapfrogs"].sum()),
        "tier": result.tier,
    }


def measure(one: Measurement, repeats: int) -> Facts:
    """Both sides in turn, ours and peer's order alternating, on fresh models."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    facts: Facts = {}
    for repeat in range(repeats + 1):  # the first is the cold one
        sides = [("ours", one.ours), ("peer", one.peer)]
        for side, setup in sides if repeat % 2 == 0 else reversed(sides):
            torch.random.default_generator.manual_seed(repeat)
            taken, facts[side] = timed(setup())
            seconds[side].append(taken)
    ours, theirs = (statistics.median(seconds[side][1:]) for side in ("ours", "peer"))
    ratios = [a / b for a, b in zip(seconds["ours"][1:], seconds["peer"][1:], strict=True)]
    return {
        "measurement": one.name,
        "median_s": round(ours, 4),
        "peer_median_s": round(theirs, 4),
        "ratio": round(statistics.median(ratios), 3),
        "first_s": round(seconds["ours"][0], 4),
        "peer_first_s": round(seconds["peer"][0], 4),
        "target_s": one.target_s,
        "target_ratio": one.target_ratio,
        "within_target_s": ours <= one.target_s,
        "within_target_ratio": None
        if one.target_ratio is None
        else statistics.median(ratios) <= one.target_ratio,
        "facts": facts["ours"],
        "peer_facts": facts["peer"],
        "repeats": repeats,
    }


MEASUREMENTS = (
    Measurement("load", 0.15, None, our_load, peer_load),
    Measurement("svi, 51 steps", 0.5, 1.3, our_svi, peer_svi),
    Measurement("nuts, as on the page", 2.5, None, our_nuts(PAGE_KERNEL), peer_nuts(PAGE_KERNEL)),
    Measurement(
        "gradients, 140 in nuts", 2.5, 1.3, our_nuts(FIXED_KERNEL), peer_nuts(FIXED_KERNEL)
    ),
)


def machine() -> Facts:
    return {
        "measurement": "machine",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "load_average": [round(a, 2) for a in os.getloadavg()],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--threads", type=int, default=0, help="0 leaves torch's own number")
    options.add_argument("--only", choices=[one.name.split(",")[0] for one in MEASUREMENTS])
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(json.dumps(machine()))
    for one in MEASUREMENTS:
        if given.only in (None, one.name.split(",")[0]):
            print(json.dumps(measure(one, given.repeats)), flush=True)


if __name__ == "__main__":
    main()
