"""Pyro's side, for variational steps only: its samplers take minutes here. See `protocol`."""

import time
import warnings
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from benchmarks.peers.inference import models_pyro as models
from benchmarks.peers.inference.data import DATA
from benchmarks.peers.inference.protocol import Result, cpu, serve

warnings.filterwarnings("ignore")
torch.set_num_threads(1)


def svi(model: str, particles: int, steps: int, seed: int) -> tuple[dict[str, Any], Result]:
    """A fiftieth of the steps of the others: a step takes milliseconds."""
    steps = max(steps // 50, 10)
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    data = {
        key: torch.as_tensor(value).to(torch.float32)
        if np.asarray(value).dtype.kind == "f"
        else torch.as_tensor(value)
        if np.ndim(value)
        else value
        for key, value in DATA[model]().items()
    }
    program = models.MODELS[model]
    fit = SVI(
        program, AutoNormal(program), pyro.optim.Adam({"lr": 0.01}),
        Trace_ELBO(num_particles=particles),
    )  # fmt: skip
    fit.step(data)
    wall, used = time.time(), cpu()
    losses = [fit.step(data) for _ in range(steps)]
    taken = {"wall": time.time() - wall, "cpu": cpu() - used}
    return {}, {"steps": steps, "loss": float(np.mean(losses))} | taken


if __name__ == "__main__":
    serve({"svi": svi})
