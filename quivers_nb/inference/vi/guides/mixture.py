"""The mixture guide: several normals, for posteriors with several modes.

Roeder, Wu & Duvenaud (2017), "Sticking the landing", section 5, and Morningstar et al. (2021),
"Automatic differentiation variational inference with mixtures", section 3, for bounds in which
every component is drawn from (strata); Jankowiak & Karaletsos (2019), "Pathwise derivatives for
multivariate distributions", section 3, for draws of the mixture itself: a draw moves with a
parameter by a field v that carries the density along, ``dq + div(q v) = 0``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import log, sqrt
from typing import Annotated

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.model import Model
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Particles, Positive, Words
from quivers_nb.inference.vi.guides.joint import Block, JointGuide
from quivers_nb.inference.vi.guides.normal import HALF_LOG_TWO_PI
from quivers_nb.inference.vi.rows import Shape

COVARIANCES = ("diagonal", "full")


@dataclass(frozen=True, slots=True)
class MixtureOptions:
    """What a mixture is made of."""

    num_components: int
    covariance: str
    init_scale: float
    spread: float


class NormalMixture(Block):
    """``sum over c of softmax(logits)[c] N(loc[c], L[c] L[c]')``.

    ``L`` is ``diag(exp(log_scale)) (I + lower)``; without ``lower`` it is diagonal. Locations start
    at random, ``spread`` wide: components that start alike would stay alike.
    """

    def __init__(
        self, dim: int, dtype: torch.dtype, options: MixtureOptions, generator: Generator | None
    ) -> None:
        super().__init__()
        count = options.num_components
        start = torch.randn(count, dim, dtype=dtype, generator=generator)
        if count > 1:  # around the origin, so that two are on either side of it
            start = (start - start.mean(0)) * sqrt(count / (count - 1))
        self.logits = Parameter(torch.zeros(count, dtype=dtype))
        self.loc = Parameter(options.spread * start)
        self.log_scale = Parameter(torch.full((count, dim), log(options.init_scale), dtype=dtype))
        full = options.covariance == "full"
        lower = torch.zeros(count, dim, dim, dtype=dtype) if full else None
        self.lower = None if lower is None else Parameter(lower)  # only below the diagonal

    @property
    def num_strata(self) -> int:
        """The components."""
        return len(self.logits)

    @property
    def log_shares(self) -> Tensor:  # (C,)
        """Log probabilities of the components."""
        return torch.log_softmax(self.logits, -1)

    def density(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n,)
        """The log of the sum over components."""
        return torch.logsumexp(self.log_shares + self._each(self._noise(u)).sum(-1), -1)

    def sample(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Draws of the mixture, each of a component that is drawn first."""
        loc, count = self.loc, len(self.logits)
        coin = torch.rand((*shape, 1), dtype=loc.dtype, device=loc.device, generator=generator)
        drawn = (coin >= self.log_shares.exp().cumsum(-1)[:-1]).sum(-1, keepdim=True)
        noise = self._standard_normal((*shape, 1, loc.shape[-1]), generator)
        chosen = (drawn == torch.arange(count, device=loc.device)).to(loc.dtype)
        everywhere = self._moved(noise.expand((*shape, *loc.shape)))
        u = self._carried((chosen.unsqueeze(-1) * everywhere).sum(-2).detach())
        return u, self.density(u)

    def sample_strata(self, shape: Shape, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Draws of every component, ``(C, *n, dim)``, and the mixture's log density there."""
        count, dim = self.loc.shape
        noise = self._standard_normal((*shape, count, dim), generator)
        u = self._moved(noise).movedim(-2, 0)
        return u, self.density(u)

    def _standard_normal(self, shape: Shape, generator: Generator | None) -> Tensor:
        like = self.loc
        return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)

    def _moved(self, noise: Tensor) -> Tensor:  # (*n, C, dim) -> (*n, C, dim)
        """Noise of each component in its place."""
        if self.lower is not None:
            noise = noise + (self.lower.tril(-1) @ noise.unsqueeze(-1)).squeeze(-1)
        return self.loc + self.log_scale.exp() * noise

    def _noise(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n, C, dim)
        """The inverse: a point as noise of every component."""
        noise = (u.unsqueeze(-2) - self.loc) * (-self.log_scale).exp()
        if self.lower is None:
            return noise
        count, dim = self.loc.shape
        columns = noise.reshape(-1, count, dim).permute(1, 2, 0)
        unit = self.lower.tril(-1) + torch.eye(dim, dtype=u.dtype, device=u.device)
        solved: Tensor = torch.linalg.solve_triangular(unit, columns, upper=False)
        return solved.permute(2, 0, 1).reshape(noise.shape)

    def _each(self, noise: Tensor) -> Tensor:  # (*n, C, dim) -> (*n, C, dim)
        """Log density of every coordinate given those before it, under every component."""
        return -0.5 * noise.square() - self.log_scale - HALF_LOG_TWO_PI

    def _carried(self, u: Tensor) -> Tensor:  # (*n, dim) -> (*n, dim)
        """The same points, moving with the parameters so that they stay draws of the mixture.

        By the parameters of a component a point moves as a draw of that component would, times the
        probability that it is one; by the shares as `_flow` says.
        """
        noise = self._noise(u).detach()
        each = self._each(noise).detach()
        joint = self.log_shares + each.sum(-1)
        member = torch.softmax(joint, -1).detach()
        moved = (member.unsqueeze(-1) * self._moved(noise)).sum(-2)
        if len(self.logits) == 1:
            return moved
        shares = self.log_shares.exp()[1:]
        flow = self._flow(noise, each, torch.logsumexp(joint, -1)).detach()
        return moved + ((shares - shares.detach()).unsqueeze(-1) * flow).sum(-2)

    def _flow(self, noise: Tensor, each: Tensor, log_q: Tensor) -> Tensor:  # -> (*n, C - 1, dim)
        """Where points go as mass goes from component 0 to each of the others.

        One coordinate at a time: those before it are of the other component already, those behind
        it still noise of component 0, which they keep. Then the field of a coordinate is the
        difference of two distribution functions, and the differences of densities telescope.
        """
        own, other = noise[..., :1, :], noise[..., 1:, :]
        below = torch.special.ndtr(other) - torch.special.ndtr(own)
        above = torch.special.ndtr(-own) - torch.special.ndtr(-other)
        change = torch.where(own + other > 0.0, above, below)  # the one that does not cancel
        before = (each.cumsum(-1) - each)[..., 1:, :]
        behind = (each.sum(-1, keepdim=True) - each.cumsum(-1))[..., :1, :]
        speed = -change * (before + behind - log_q[..., None, None]).exp()
        if self.lower is None:
            return speed
        scaled = speed * (-self.log_scale[0]).exp()
        return self.log_scale[0].exp() * (scaled + scaled @ self.lower[0].tril(-1).mT)


@known_options
class AutoMixture(JointGuide):
    """A mixture of normals over all unconstrained coordinates; rows as in `AutoMultivariateNormal`.

    ``covariance`` of each component: "diagonal" or "full". Shares start equal, scales at
    ``init_scale``, locations at random with mean 0 and standard deviation ``spread``, drawn by
    ``generator``. Modes are found by the components that start near them: take more components, and
    a wider spread, than there are modes.

    `ELBO` (with `Reparameterized` or `StickingTheLanding`), `IWAE`, `VRIWAE` and `Renyi` draw
    ``num_particles`` from every component and weight them by the shares, so their bounds cost as
    many times more, and shares are learned however far the modes are apart. Other estimators, and
    row-wise sites of a guide without ``rows``, see draws of the mixture itself: their gradients in
    the shares are unbiased, but noisy where components hardly overlap.

    Fit with `ELBO`, or `VRIWAE` of an alpha well above 0, where draws are wanted: the bound of
    `IWAE` on strata is as tight as the components are good, and hardly asks for their shares.

    Raises `UserError` if nothing is left to guide or an option is out of its range.
    """

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        num_components: Particles = 4,
        covariance: Annotated[str, Words(COVARIANCES)] = "diagonal",
        init_scale: Positive = 0.1,
        spread: Positive = 1.0,
        rows: int | Shape | None = None,
        generator: Generator | None = None,
    ) -> None:
        options = MixtureOptions(num_components, covariance, init_scale, spread)
        super().__init__(
            model,
            observed_names,
            rows,
            lambda dim, dtype: NormalMixture(dim, dtype, options, generator),
        )
