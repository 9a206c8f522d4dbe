"""A linear Gaussian model: its posterior and its evidence are known exactly.

a : d <- N(0, 1)                                    shared, a plate (if ``shared``)
z <- N(0, 1), a vector                              one per row (if ``row``)
y <- N(x . a + w . z + intercept, noise)            observed, one per row
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import DeclaredLatent, ParameterSite, Terms
from quivers_nb.inference.trace import Site, Trace
from quivers_nb.spaces.support import REAL
from tests.support.models import normal

F64 = torch.float64


@dataclass(frozen=True)
class OpenConjugate:
    model: "Conjugate"
    x: Tensor
    y: Tensor
    layout: Layout
    dtype: torch.dtype = F64

    @property
    def batch_shape(self):
        return tuple(self.x.shape[:-1])

    def constrain(self, q, *, internal=False, parameters=None):
        return self.layout.split(q)

    def unconstrain(self, values):
        parts = [values[c.name] for c in self.layout]
        return torch.cat([p.reshape(c.size) for p, c in zip(parts, self.layout, strict=True)])

    def terms(self, q, *, parameters=None, generator=None):
        values = self.layout.split(q)
        return Terms(*self.model.densities(self.x, self.y, values), 1)

    def names_of(self, q):
        return ", ".join(f"{n} = {v.tolist()}" for n, v in self.layout.split(q).items())


class Conjugate(nn.Module):
    observed_names = frozenset({"y"})

    def __init__(self, shared: int = 2, row: int = 0, noise: float = 1.0) -> None:
        super().__init__()
        self.shared, self.row, self.noise = shared, row, noise
        self.intercept = nn.Parameter(torch.tensor(0.2, dtype=F64))
        self.w = torch.linspace(0.8, 1.2, row, dtype=F64) if row else torch.zeros(0, dtype=F64)

    def densities(self, x, y, values):
        loc, own = self.intercept, y.new_zeros(y.shape)
        shared = y.new_zeros(())
        if self.shared:
            loc = loc + (x * values["a"].unsqueeze(-2)).sum(-1)
            shared = normal(values["a"], 0.0, 1.0).sum(-1)
        if self.row:
            loc = loc + (values["z"] * self.w).sum(-1)
            own = own + normal(values["z"], 0.0, 1.0).sum(-1)
        return own + normal(y, loc, self.noise), shared

    def declared_latents(self, observed_names):
        latents = []
        if self.shared:
            latents.append(DeclaredLatent("a", (self.shared,), (self.shared,), REAL, False, 1))
        if self.row:
            latents.append(DeclaredLatent("z", (self.row,), (self.row,), REAL, True))
        return tuple(latent for latent in latents if latent.name not in observed_names)

    def batch_shape(self, x):
        return tuple(x.shape[:-1])

    def target(self, x, observations=None, *, latents="all", dtype=None, **_):
        coordinates, start = [], 0
        for latent in self.declared_latents(()):
            rows = tuple(x.shape[:-1]) if latent.row_wise else ()
            shape = (*rows, *latent.unconstrained_shape)
            coordinates.append(Coordinate(latent.name, start, shape, shape, len(rows)))
            start = coordinates[-1].stop
        y = torch.as_tensor(observations["y"], dtype=F64)
        return OpenConjugate(self, x, y, Layout(tuple(coordinates)))

    def trace(self, x, observations=None, *, generator=None):
        given, rows = observations or {}, tuple(x.shape[:-1])
        values = {}
        for latent in self.declared_latents(()):
            shape = (*(rows if latent.row_wise else ()), *latent.value_shape)
            drawn = torch.randn(shape, dtype=F64, generator=generator)
            values[latent.name] = torch.as_tensor(given.get(latent.name, drawn)).reshape(shape)
        noise = torch.randn(rows, dtype=F64, generator=generator)
        loc = self.intercept + (x @ values["a"] if self.shared else 0.0)
        loc = loc + (values["z"] @ self.w if self.row else 0.0)
        values["y"] = given["y"] if "y" in given else (loc + self.noise * noise).detach()
        row, shared = self.densities(x, values["y"], values)
        sites = {n: Site(v, row, n in given, False, "Normal") for n, v in values.items()}
        return Trace(sites, {}, values["y"], row + shared)

    def storage(self):
        return {"intercept": self.intercept}

    def parameter_sites(self):
        return (ParameterSite("intercept", "intercept", None, ()),)

    def design(self, x) -> Tensor:
        """The matrix from the flat vector of latents, in layout order, to the mean of y."""
        rows = len(x)
        blocks = [x] if self.shared else []
        if self.row:
            blocks.append(torch.block_diag(*[self.w[None] for _ in range(rows)]))
        return torch.cat(blocks, -1)

    def posterior(self, x, y) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the flat vector."""
        a = self.design(x)
        covariance = torch.linalg.inv(torch.eye(a.shape[1], dtype=F64) + a.mT @ a / self.noise**2)
        return covariance @ (a.mT @ (y - self.intercept.detach())) / self.noise**2, covariance

    def log_evidence(self, x, y) -> Tensor:
        a = self.design(x)
        covariance = a @ a.mT + self.noise**2 * torch.eye(len(x), dtype=F64)
        mean = self.intercept.expand(len(x))
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(y)


def data(model: Conjugate, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``x (rows, shared)``, with columns that overlap, and ``y (rows,)``."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, max(model.shared, 1), dtype=F64, generator=generator)
    x = x + 1.3 * torch.randn(rows, 1, dtype=F64, generator=generator)
    return x, model.trace(x, generator=generator).output
