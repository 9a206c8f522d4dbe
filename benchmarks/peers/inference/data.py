"""Deterministic data sets shared by every runner (numpy only, seeded)."""

from __future__ import annotations

import numpy as np


def eight_schools():
    return {
        "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
        "s": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    }


def logreg(n=1000, d=20, seed=1):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, d))
    beta = r.normal(size=d) * 0.7
    p = 1 / (1 + np.exp(-(0.3 + x @ beta)))
    return {"x": x, "y": (r.random(n) < p).astype(np.float64)}


def radon(n=900, g=85, seed=2):
    """Varying-intercept, varying-slope regression with a group predictor.

    Group sizes are unequal (some groups have 1-3 rows, as in the real data).
    """
    r = np.random.default_rng(seed)
    w = r.gamma(0.8, size=g) + 0.05
    idx = np.concatenate([np.arange(g), r.choice(g, size=n - g, p=w / w.sum())])
    r.shuffle(idx)
    floor = (r.random(n) < 0.2).astype(np.float64)
    u = r.normal(size=g)
    a = 1.4 + 0.5 * u + 0.35 * r.normal(size=g)
    b = -0.7 + 0.25 * r.normal(size=g)
    y = a[idx] + b[idx] * floor + 0.75 * r.normal(size=n)
    return {"idx": idx.astype(np.int64), "floor": floor, "u": u, "y": y, "g": g}


def irt2pl(p=100, i=20, seed=3):
    r = np.random.default_rng(seed)
    th = r.normal(size=p)
    b = r.normal(size=i)
    a = np.exp(0.4 * r.normal(size=i))
    pr = 1 / (1 + np.exp(-a[None] * (th[:, None] - b[None])))
    return {"y": (r.random((p, i)) < pr).astype(np.float64)}


def horseshoe(n=200, d=50, seed=4):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, d))
    beta = np.zeros(d)
    beta[:6] = [3.0, -2.5, 2.0, 1.5, -1.0, 0.7]
    return {"x": x, "y": x @ beta + r.normal(size=n)}


def vae_images(n=2048, d=196, seed=5):
    """Grey 14x14 'images': six factors through a fixed linear map, with noise."""
    r = np.random.default_rng(seed)
    z = r.normal(size=(n, 6))
    w = r.normal(size=(6, d)) * 0.5
    return {"x": (np.tanh(z @ w) + 0.1 * r.normal(size=(n, d))).astype(np.float32)}


DATA = {
    "eight": eight_schools,
    "logreg": logreg,
    "radon": radon,
    "irt": irt2pl,
    "horseshoe": horseshoe,
    "vae": vae_images,
}
# The autoencoder's sizes, for every side.
VAE = {"width": 196, "hidden": 200, "code": 8, "batch": 256, "rate": 1e-3}
