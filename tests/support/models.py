"""A model written by hand: what the protocols of `inference.model` ask, with no language behind.

    m : 2 <- N(0, 1)              shared, a plate
    s <- LogNormal(0, 1)          shared, positive (left out unless ``with_scale``)
    z <- N(0, 1)                  one per row
    y <- N(w z + m[0] + m[1] x, noise (or s))       observed, one per row

The weight ``w`` is stored stacked: two halves whose sum is w, so that lifting meets a stack.
"""

from dataclasses import dataclass, replace
from math import log, pi

import torch
from torch import Tensor, nn

from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import DeclaredLatent, ParameterSite, Terms
from quivers_nb.inference.trace import Site, Trace
from quivers_nb.spaces.support import POSITIVE, REAL


def normal(value: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=value.dtype)
    return -0.5 * ((value - loc) / scale) ** 2 - scale.log() - 0.5 * log(2 * pi)


@dataclass(frozen=True)
class OpenHand:
    model: "HandModel"
    x: Tensor
    given: dict[str, Tensor]
    layout: Layout
    dtype: torch.dtype

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (len(self.x),)

    def constrain(self, q, *, internal=False, parameters=None):
        values = self.layout.split(q)
        if "s" in values:
            values["s"] = values["s"].exp()
        return values

    def unconstrain(self, values):
        values = {**values}
        if "s" in values:
            values["s"] = values["s"].log()
        each = ((values[c.name], c) for c in self.layout)
        flat = [v.reshape((*v.shape[: v.ndim - len(c.shape)], c.size)) for v, c in each]
        return torch.cat(flat, -1)

    def terms(self, q, *, parameters=None, generator=None):
        values = {**self.given, **self.constrain(q)}
        weights = self.model.storage() if parameters is None else parameters
        row, shared = self.model.densities(self.x, values, weights)
        if "s" in self.layout.split(q):
            shared = shared + values["s"].log()
        return Terms(row, shared, 1)

    def names_of(self, q):
        return "nothing"


class HandModel(nn.Module):
    observed_names = frozenset({"y"})

    def __init__(self, with_scale: bool = False) -> None:
        super().__init__()
        self.with_scale = with_scale
        self.halves = nn.Parameter(torch.tensor([[0.5], [0.25]]))  # (2 members, 1)
        self.offset = nn.Parameter(torch.tensor([[0.1, -0.1]]))  # (1, 2): one matrix
        self.opened = 0

    def densities(self, x, values, weights):
        w = weights["a.halves"].sum((-2, -1))
        b = weights["b.offset"].sum((-2, -1))
        m, z, y = values["m"], values["z"], values["y"]
        noise = values["s"][..., None] if self.with_scale else 0.5
        loc = w[..., None] * z + m[..., :1] + m[..., 1:] * x[:, 0] + b[..., None]
        row = normal(z, 0.0, 1.0) + normal(y, loc, noise)
        shared = normal(m, 0.0, 1.0).sum(-1)
        if self.with_scale:
            shared = shared + normal(values["s"].log(), 0.0, 1.0) - values["s"].log()
        return row, shared

    def storage(self):
        return {"a.halves": self.halves, "b.offset": self.offset}

    def parameter_sites(self):
        return (
            ParameterSite("a[0].halves", "a.halves", 0, (1,)),
            ParameterSite("a[1].halves", "a.halves", 1, (1,)),
            ParameterSite("b.offset", "b.offset", None, (1, 2)),
        )

    def declared_latents(self, observed_names):
        latents = [DeclaredLatent("m", (2,), (2,), REAL, False, 1)]
        if self.with_scale:
            latents.append(DeclaredLatent("s", (), (), POSITIVE, False))
        latents.append(DeclaredLatent("z", (), (), REAL, True))
        return tuple(latent for latent in latents if latent.name not in observed_names)

    def batch_shape(self, x):
        return tuple(x.shape[:-1])

    def target(self, x, observations=None, *, latents="all", dtype=None, **_):
        self.opened += 1
        dtype = dtype or torch.float32
        given = {k: torch.as_tensor(v, dtype=dtype) for k, v in (observations or {}).items()}
        coordinates, start = [], 0
        for latent in self.declared_latents(given):
            rows = tuple(x.shape[:-1]) if latent.row_wise else ()
            shape = (*rows, *latent.unconstrained_shape)
            coordinates.append(Coordinate(latent.name, start, shape, shape, len(rows)))
            start = coordinates[-1].stop
        return OpenHand(self, x.to(dtype), given, Layout(tuple(coordinates)), dtype)

    def trace(self, x, observations=None, *, generator=None):
        def drawn(name, shape):
            if name in given:
                return torch.as_tensor(given[name])
            return torch.randn(shape, generator=generator)

        given = observations or {}
        rows = (len(x),)
        values = {"m": drawn("m", (2,)), "z": drawn("z", rows)}
        if self.with_scale:
            values["s"] = drawn("s", ()) if "s" in given else drawn("s", ()).exp()
        w, b = self.halves.sum(), self.offset.sum()
        loc = w * values["z"] + values["m"][0] + values["m"][1] * x[:, 0] + b
        scale = values["s"] if self.with_scale else 0.5
        values["y"] = given["y"] if "y" in given else loc + scale * drawn("y", rows)
        row, shared = self.densities(x, values, self.storage())
        sites = {
            name: Site(value, row, name in given, False, "Normal") for name, value in values.items()
        }
        return Trace(sites, {}, values["y"], row + shared)

    def log_joint(self, x, values):
        row, shared = self.densities(x, values, self.storage())
        return row + shared

    def log_density(self, x, values):
        row, shared = self.densities(x, values, self.storage())
        return row.sum() + shared


def colliding(model: HandModel) -> HandModel:
    """A model two of whose paths are equal once dots are underscores."""
    sites = model.parameter_sites()
    renamed = (replace(sites[0], path="a.b"), replace(sites[1], path="a_b"), sites[2])
    model.parameter_sites = lambda: renamed
    return model
