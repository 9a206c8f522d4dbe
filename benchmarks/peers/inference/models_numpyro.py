"""NumPyro versions of the benchmark models.  model(data) with jnp arrays."""

from itertools import pairwise

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def eight(d):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("J", 8):
        t = numpyro.sample("t", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu + tau * t, d["s"]), obs=d["y"])


def logreg(d):
    k = d["x"].shape[1]
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 2.5))
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(k), 1.0).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + d["x"] @ beta).to_event(1), obs=d["y"])


def radon(d):
    g = d["u"].shape[0]
    mu_a = numpyro.sample("mu_a", dist.Normal(0.0, 2.0))
    gam = numpyro.sample("gam", dist.Normal(0.0, 2.0))
    mu_b = numpyro.sample("mu_b", dist.Normal(0.0, 2.0))
    sa = numpyro.sample("sa", dist.HalfNormal(1.0))
    sb = numpyro.sample("sb", dist.HalfNormal(1.0))
    sy = numpyro.sample("sy", dist.HalfNormal(1.0))
    with numpyro.plate("G", g):
        za = numpyro.sample("za", dist.Normal(0.0, 1.0))
        zb = numpyro.sample("zb", dist.Normal(0.0, 1.0))
    a = mu_a + gam * d["u"] + sa * za
    b = mu_b + sb * zb
    loc = a[d["idx"]] + b[d["idx"]] * d["floor"]
    numpyro.sample("y", dist.Normal(loc, sy).to_event(1), obs=d["y"])


def irt(d):
    p, i = d["y"].shape
    th = numpyro.sample("th", dist.Normal(jnp.zeros(p), 1.0).to_event(1))
    mb = numpyro.sample("mb", dist.Normal(0.0, 1.0))
    sb = numpyro.sample("sb", dist.HalfNormal(1.0))
    zb = numpyro.sample("zb", dist.Normal(jnp.zeros(i), 1.0).to_event(1))
    la = numpyro.sample("la", dist.Normal(jnp.zeros(i), 0.5).to_event(1))
    b = mb + sb * zb
    logits = jnp.exp(la)[None] * (th[:, None] - b[None])
    numpyro.sample("y", dist.Bernoulli(logits=logits).to_event(2), obs=d["y"])


def horseshoe(d):
    k = d["x"].shape[1]
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    lam = numpyro.sample("lam", dist.HalfCauchy(jnp.ones(k)).to_event(1))
    z = numpyro.sample("z", dist.Normal(jnp.zeros(k), 1.0).to_event(1))
    sig = numpyro.sample("sig", dist.HalfNormal(2.0))
    numpyro.sample("y", dist.Normal(alpha + d["x"] @ (tau * lam * z), sig).to_event(1), obs=d["y"])


MODELS = {"eight": eight, "logreg": logreg, "radon": radon, "irt": irt, "horseshoe": horseshoe}


# The autoencoder: weights are parameters, so it is a pair of functions of a batch.


def _layers(name, widths):
    """Weights as `torch.nn.Linear` draws them: uniform in one over the root of the width."""
    shapes = list(pairwise(widths))
    parts = []
    for k, (width, out) in enumerate(shapes):
        bound = width**-0.5
        uniform = dist.Uniform(-bound, bound)
        parts.append(
            (
                numpyro.param(
                    f"{name}_w{k}", lambda key, u=uniform, s=(width, out): u.sample(key, s)
                ),
                numpyro.param(f"{name}_b{k}", lambda key, u=uniform, s=(out,): u.sample(key, s)),
            )
        )
    return parts


def _network(parts, x):
    for k, (w, b) in enumerate(parts):
        x = (jnp.tanh(x) if k else x) @ w + b
    return x


def vae(x, rows, width, code, hidden):
    """Normal pixels whose means and scales come from a normal code; ``rows`` in all data."""
    parts = _layers("dec", (code, hidden, 2 * width))
    with numpyro.plate("rows", x.shape[0]), numpyro.handlers.scale(scale=rows / x.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((x.shape[0], code)), 1.0).to_event(1))
        loc, log_scale = jnp.split(_network(parts, z), 2, -1)
        numpyro.sample("y", dist.Normal(loc, jnp.exp(log_scale)).to_event(1), obs=x)


def vae_guide(x, rows, width, code, hidden):
    """A normal code whose means and scales come from the pixels."""
    parts = _layers("enc", (width, hidden, 2 * code))
    with numpyro.plate("rows", x.shape[0]), numpyro.handlers.scale(scale=rows / x.shape[0]):
        loc, log_scale = jnp.split(_network(parts, x), 2, -1)
        numpyro.sample("z", dist.Normal(loc, 0.1 * jnp.exp(log_scale)).to_event(1))
