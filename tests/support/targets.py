"""Densities written by hand: open targets with no language behind them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Terms

F64 = torch.float64


class HandTarget:
    """An open target from a function of ``q`` and a layout; positive sites are exponentiated."""

    batch_shape: tuple[int, ...] = ()
    dtype = F64

    def __init__(
        self,
        sites: Mapping[str, tuple[int, ...]],
        log_density: Callable[[dict[str, Tensor]], Tensor],
        positive: tuple[str, ...] = (),
        jacobian: bool = True,
    ) -> None:
        start, coordinates = 0, []
        for name, shape in sites.items():
            coordinates.append(Coordinate(name, start, shape, shape))
            start = coordinates[-1].stop
        self.layout = Layout(tuple(coordinates))
        self.log_density, self.positive, self.jacobian = log_density, positive, jacobian

    def constrain(self, q: Tensor, *, internal: bool = False) -> dict[str, Tensor]:
        return {
            c.name: c.slice(q).exp() if c.name in self.positive else c.slice(q) for c in self.layout
        }

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for c in self.layout:
            value = values[c.name].log() if c.name in self.positive else values[c.name]
            stack = value.shape[: value.ndim - len(c.shape)]
            parts.append(value.reshape((*stack, c.size)))
        return torch.cat(parts, -1)

    def terms(self, q, *, parameters=None, generator=None) -> Terms:
        total = self.log_density(self.constrain(q))
        if self.jacobian:
            for name in self.positive:
                logs = self.layout[name].slice(q)
                total = total + logs.reshape(*q.shape[:-1], -1).sum(-1)
        return Terms(None, total)

    def names_of(self, q: Tensor) -> str:
        values = self.constrain(q)
        return ", ".join(f"{name} = {value.tolist()}" for name, value in values.items())


def gaussian(mean: Tensor, covariance: Tensor) -> HandTarget:
    """A normal vector ``z``, normalised."""
    precision = torch.linalg.inv(covariance)
    constant = -0.5 * torch.logdet(2 * torch.pi * covariance)

    def log_density(sites: dict[str, Tensor]) -> Tensor:
        d = sites["z"] - mean
        return constant - 0.5 * ((d @ precision) * d).sum(-1)

    return HandTarget({"z": (len(mean),)}, log_density)


SCHOOLS_Y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=F64)
SCHOOLS_SIGMA = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=F64)
# The same as a program, written centred, and its data.
SCHOOLS = """object School : FinSet 8
data se : School -> Real 1
program schools : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    observe y : School <- Normal(theta, se)
    return theta
export schools
"""
RATED = {"y": SCHOOLS_Y, "se": SCHOOLS_SIGMA}


def eight_schools(jacobian: bool = True) -> HandTarget:
    """Rubin (1981), non-centred, with mu ~ N(0, 5) and tau ~ HalfCauchy(5)."""

    def log_density(sites: dict[str, Tensor]) -> Tensor:
        mu, tau, raw = sites["mu"], sites["tau"], sites["theta_raw"]
        theta = mu[..., None] + tau[..., None] * raw
        likelihood = -0.5 * (((SCHOOLS_Y - theta) / SCHOOLS_SIGMA) ** 2).sum(-1)
        prior = -0.5 * (raw**2).sum(-1) - 0.5 * (mu / 5) ** 2 - torch.log1p((tau / 5) ** 2)
        return likelihood + prior

    sites = {"mu": (), "tau": (), "theta_raw": (8,)}
    return HandTarget(sites, log_density, positive=("tau",), jacobian=jacobian)


def logistic(rows: int = 200, predictors: int = 4, seed: int = 0) -> HandTarget:
    """Logistic regression with standard normal coefficients on made-up data."""
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn(rows, predictors, dtype=F64, generator=generator)
    truth = torch.linspace(-1, 1, predictors, dtype=F64)
    y = (torch.rand(rows, dtype=F64, generator=generator) < torch.sigmoid(design @ truth)).to(F64)

    def log_density(sites: dict[str, Tensor]) -> Tensor:
        eta = sites["beta"] @ design.mT + sites["alpha"][..., None]
        likelihood = (y * eta - torch.nn.functional.softplus(eta)).sum(-1)
        return likelihood - 0.5 * (sites["beta"] ** 2).sum(-1) - 0.5 * sites["alpha"] ** 2

    return HandTarget({"alpha": (), "beta": (predictors,)}, log_density)
