"""NumPyro versions of the benchmark models.  model(data) with jnp arrays."""

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
