"""NumPyro's side: chains in parallel on host devices, its best setting here. See `protocol`.

Double precision and caches are set by the environment (JAX_ENABLE_X64 and so on).
"""

import time
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO, init_to_uniform
from numpyro.infer.autoguide import AutoNormal

from benchmarks.peers.inference import models_numpyro as models
from benchmarks.peers.inference.data import DATA, VAE
from benchmarks.peers.inference.protocol import Result, cpu, serve


def data(name: str, dtype: Any = jnp.float64) -> dict[str, Any]:
    return {
        key: jnp.asarray(value, dtype if np.asarray(value).dtype.kind == "f" else None)
        if np.ndim(value)
        else value
        for key, value in DATA[name]().items()
    }


@cache
def sampler(model: str, warmup: int, draws: int, chains: int) -> MCMC:
    kernel = NUTS(models.MODELS[model], init_strategy=init_to_uniform)
    return MCMC(
        kernel, num_warmup=warmup, num_samples=draws, num_chains=chains, chain_method="parallel",
        progress_bar=False,
    )  # fmt: skip


def nuts(
    model: str,
    seed: int,
    warmup: int,
    draws: int,
    chains: int,
    options: dict[str, Any],  # noqa: ARG001
) -> tuple[dict[str, Any], Result]:
    run = sampler(model, warmup, draws, chains)
    run.run(jax.random.PRNGKey(seed), data(model), extra_fields=("num_steps", "diverging"))
    sites = jax.block_until_ready(run.get_samples(group_by_chain=True))
    extra = run.get_extra_fields()
    facts = {
        "gradients_draws": int(extra["num_steps"].sum()),
        "divergences": int(extra["diverging"].sum()),
    }
    return {name: np.asarray(value) for name, value in sites.items()}, facts


def warmup_gradients(
    model: str, seed: int, warmup: int, draws: int, chains: int
) -> tuple[dict[str, Any], Result]:
    """Gradients of the warm-up of `nuts` with this seed: counted apart, never timed."""
    run = sampler(model, warmup, draws, chains)
    key = jax.random.PRNGKey(seed)
    run.warmup(key, data(model), extra_fields=("num_steps",), collect_warmup=True)
    steps = np.asarray(run.get_extra_fields()["num_steps"])
    run.post_warmup_state = None
    return {}, {"gradients_warmup": int(steps.sum())}


def svi(model: str, particles: int, steps: int, seed: int) -> tuple[dict[str, Any], Result]:
    """The whole loop in one `lax.scan`, its fastest form, in float32; compiled before the clock."""
    d = data(model, jnp.float32)
    guide = AutoNormal(models.MODELS[model])
    fit = SVI(
        models.MODELS[model], guide, numpyro.optim.Adam(0.01), Trace_ELBO(num_particles=particles)
    )
    state = fit.init(jax.random.PRNGKey(seed), d)

    @jax.jit
    def many(state: Any) -> Any:
        return jax.lax.scan(lambda s, _: fit.update(s, d), state, None, length=steps)

    state, losses = many(state)
    losses.block_until_ready()
    wall, used = time.time(), cpu()
    _, losses = many(state)
    losses.block_until_ready()
    taken = {"wall": time.time() - wall, "cpu": cpu() - used}
    return {}, {"steps": steps, "loss": float(losses[-steps // 10 :].mean())} | taken


def vae(particles: int, steps: int, seed: int) -> tuple[dict[str, Any], Result]:
    """Minibatch steps in float32: one compiled `update` a step, and all of them in one scan."""
    x = jnp.asarray(DATA["vae"]()["x"], jnp.float32)
    batches = x.reshape(-1, VAE["batch"], VAE["width"])
    sizes = (len(x), VAE["width"], VAE["code"], VAE["hidden"])
    objective = Trace_ELBO(num_particles=particles)
    fit = SVI(models.vae, models.vae_guide, numpyro.optim.Adam(VAE["rate"]), objective)
    first = fit.init(jax.random.PRNGKey(seed), batches[0], *sizes)
    update = jax.jit(lambda state, batch: fit.update(state, batch, *sizes))

    @jax.jit
    def many(state: Any) -> Any:
        def one(state: Any, k: Any) -> Any:
            return fit.update(state, batches[k % len(batches)], *sizes)

        return jax.lax.scan(one, state, jnp.arange(steps))

    def loop(state: Any) -> Any:
        losses = []
        for k in range(steps):
            state, loss = update(state, batches[k % len(batches)])
            losses.append(loss)
        return state, jnp.stack(losses)

    facts: Result = {"steps": steps, "dtype": str(x.dtype)}
    for name, run in (("loop", loop), ("scan", many)):
        state, _ = jax.block_until_ready(run(first))
        wall, used = time.time(), cpu()
        _, losses = jax.block_until_ready(run(state))
        facts[f"{name}_wall"], facts[f"{name}_cpu"] = time.time() - wall, cpu() - used
        facts["loss"] = float(losses[-steps // 10 :].mean()) / len(x)
    return {}, facts


if __name__ == "__main__":
    serve({"nuts": nuts, "svi": svi, "vae": vae, "warmup_gradients": warmup_gradients})
