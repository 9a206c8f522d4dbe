"""Pyro versions of the benchmark models.  model(data) with torch tensors."""

import pyro
import pyro.distributions as dist
import torch


def eight(d):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("J", 8):
        t = pyro.sample("t", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * t, d["s"]), obs=d["y"])


def logreg(d):
    k = d["x"].shape[1]
    z = torch.zeros(k, dtype=d["x"].dtype)
    alpha = pyro.sample("alpha", dist.Normal(0.0, 2.5))
    beta = pyro.sample("beta", dist.Normal(z, 1.0).to_event(1))
    pyro.sample("y", dist.Bernoulli(logits=alpha + d["x"] @ beta).to_event(1), obs=d["y"])


def radon(d):
    g = d["u"].shape[0]
    mu_a = pyro.sample("mu_a", dist.Normal(0.0, 2.0))
    gam = pyro.sample("gam", dist.Normal(0.0, 2.0))
    mu_b = pyro.sample("mu_b", dist.Normal(0.0, 2.0))
    sa = pyro.sample("sa", dist.HalfNormal(1.0))
    sb = pyro.sample("sb", dist.HalfNormal(1.0))
    sy = pyro.sample("sy", dist.HalfNormal(1.0))
    with pyro.plate("G", g):
        za = pyro.sample("za", dist.Normal(0.0, 1.0))
        zb = pyro.sample("zb", dist.Normal(0.0, 1.0))
    a = mu_a + gam * d["u"] + sa * za
    b = mu_b + sb * zb
    loc = a[d["idx"]] + b[d["idx"]] * d["floor"]
    pyro.sample("y", dist.Normal(loc, sy).to_event(1), obs=d["y"])


def irt(d):
    p, i = d["y"].shape
    kw = {"dtype": d["y"].dtype}
    th = pyro.sample("th", dist.Normal(torch.zeros(p, **kw), 1.0).to_event(1))
    mb = pyro.sample("mb", dist.Normal(0.0, 1.0))
    sb = pyro.sample("sb", dist.HalfNormal(1.0))
    zb = pyro.sample("zb", dist.Normal(torch.zeros(i, **kw), 1.0).to_event(1))
    la = pyro.sample("la", dist.Normal(torch.zeros(i, **kw), 0.5).to_event(1))
    b = mb[..., None] + sb[..., None] * zb
    logits = la.exp()[..., None, :] * (th[..., :, None] - b[..., None, :])
    pyro.sample("y", dist.Bernoulli(logits=logits).to_event(2), obs=d["y"])


def horseshoe(d):
    k = d["x"].shape[1]
    kw = {"dtype": d["x"].dtype}
    alpha = pyro.sample("alpha", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(0.1))
    lam = pyro.sample("lam", dist.HalfCauchy(torch.ones(k, **kw)).to_event(1))
    z = pyro.sample("z", dist.Normal(torch.zeros(k, **kw), 1.0).to_event(1))
    sig = pyro.sample("sig", dist.HalfNormal(2.0))
    pyro.sample("y", dist.Normal(alpha + d["x"] @ (tau * lam * z), sig).to_event(1), obs=d["y"])


MODELS = {"eight": eight, "logreg": logreg, "radon": radon, "irt": irt, "horseshoe": horseshoe}
