"""nutpie's side: PyMC models, its sampler alone inside the clock. See `protocol`."""

import time
from functools import cache
from typing import Any

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt

from benchmarks.peers.inference.data import DATA
from benchmarks.peers.inference.protocol import Result, cpu, serve


def eight(d: dict[str, Any]) -> None:
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    t = pm.Normal("t", 0, 1, shape=8)
    pm.Normal("y", mu + tau * t, d["s"], observed=d["y"])


def logreg(d: dict[str, Any]) -> None:
    alpha = pm.Normal("alpha", 0, 2.5)
    beta = pm.Normal("beta", 0, 1, shape=d["x"].shape[1])
    pm.Bernoulli("y", logit_p=alpha + pt.dot(d["x"], beta), observed=d["y"].astype(int))


def radon(d: dict[str, Any]) -> None:
    mu_a, gam, mu_b = (pm.Normal(name, 0, 2) for name in ("mu_a", "gam", "mu_b"))
    sa, sb, sy = (pm.HalfNormal(name, 1) for name in ("sa", "sb", "sy"))
    za, zb = (pm.Normal(name, 0, 1, shape=85) for name in ("za", "zb"))
    a, b = mu_a + gam * d["u"] + sa * za, mu_b + sb * zb
    pm.Normal("y", a[d["idx"]] + b[d["idx"]] * d["floor"], sy, observed=d["y"])


def irt(d: dict[str, Any]) -> None:
    th, mb = pm.Normal("th", 0, 1, shape=100), pm.Normal("mb", 0, 1)
    sb, zb = pm.HalfNormal("sb", 1), pm.Normal("zb", 0, 1, shape=20)
    la = pm.Normal("la", 0, 0.5, shape=20)
    logits = pt.exp(la)[None] * (th[:, None] - (mb + sb * zb)[None])
    pm.Bernoulli("y", logit_p=logits, observed=d["y"].astype(int))


def horseshoe(d: dict[str, Any]) -> None:
    alpha, tau = pm.Normal("alpha", 0, 5), pm.HalfCauchy("tau", 0.1)
    lam, z = pm.HalfCauchy("lam", 1, shape=50), pm.Normal("z", 0, 1, shape=50)
    sig = pm.HalfNormal("sig", 2)
    pm.Normal("y", alpha + pt.dot(d["x"], tau * lam * z), sig, observed=d["y"])


MODELS = {"eight": eight, "logreg": logreg, "radon": radon, "irt": irt, "horseshoe": horseshoe}


@cache
def compiled(name: str) -> tuple[Any, list[str]]:
    with pm.Model() as model:
        MODELS[name](DATA[name]())
    return nutpie.compile_pymc_model(model), [site.name for site in model.free_RVs]


def nuts(
    model: str,
    seed: int,
    warmup: int,
    draws: int,
    chains: int,
    options: dict[str, Any],  # noqa: ARG001
) -> tuple[dict[str, Any], Result]:
    before = cpu()
    program, names = compiled(model)
    compile_cpu, wall, used = cpu() - before, time.time(), cpu()
    run = nutpie.sample(
        program, draws=draws, tune=warmup, chains=chains, cores=2, seed=seed, progress_bar=False,
        save_warmup=True,
    )  # fmt: skip
    taken = {"wall": time.time() - wall, "cpu": cpu() - used, "compile_cpu": compile_cpu}
    steps = int(run.sample_stats["n_steps"].sum() + run.warmup_sample_stats["n_steps"].sum())
    facts = {"gradients": steps, "divergences": int(run.sample_stats["diverging"].sum())}
    return {name: np.asarray(run.posterior[name]) for name in names}, facts | taken


if __name__ == "__main__":
    serve({"nuts": nuts})
