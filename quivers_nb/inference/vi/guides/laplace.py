"""Laplace's approximation: a normal at the posterior mode with the curvature found there.

Tierney & Kadane (1986), "Accurate approximations for posterior moments and marginal densities";
MacKay (2003), "Information theory, inference, and learning algorithms", chapter 27.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, OpenTarget, Terms, Values
from quivers_nb.inference.threads import spare_core
from quivers_nb.inference.vi.guide import GuideModule, default_dtype
from quivers_nb.inference.vi.guides.normal import HALF_LOG_TWO_PI
from quivers_nb.inference.vi.rows import Shape, front_of

MAX_ITERATIONS = 1000
GRADIENT_TOLERANCE = 1e-9  # where the search may stop
FLAT = 1e-10  # curvature, relative to the largest, that counts as none
IMPOSSIBLE = 1e15  # what a point without density costs the search
SLOPE_TOLERANCE = 1e-3  # rise of the log density per standard deviation at an accepted mode
HESSIAN_BATCH = 64  # columns per double backward
NOISE_SEED = 0  # of the noise without coordinates: the same at every evaluation


@dataclass(frozen=True, slots=True)
class LaplaceFit:
    """What a fit found. ``log_evidence`` is Laplace's estimate (MacKay, equation 27.7).

    ``log_density`` is that of unconstrained values at the mode, ``gradient`` its largest slope in
    units of the approximation's own scale.
    """

    log_density: float
    log_evidence: float
    gradient: float
    iterations: int


class AutoLaplaceApproximation(GuideModule):
    """Normal at the mode of the unconstrained posterior; made by `fit`, not by steps.

    It covers every coordinate of the data that it was fitted to, rows included, with one full
    covariance. It has no parameters to be trained; `loc` ``(dim,)`` and `scale_tril`
    ``(dim, dim)`` are buffers. Before `fit` it cannot draw.

    Raises `UserError` if nothing is left to guide.
    """

    loc: Tensor
    scale_tril: Tensor

    def __init__(self, model: Model, observed_names: Collection[str] = ()) -> None:
        super().__init__(model, observed_names)
        self._model, self._dtype = [model], default_dtype(model)  # in a list: not a submodule
        self.register_buffer("loc", torch.zeros(0, dtype=self._dtype))
        self.register_buffer("scale_tril", torch.zeros(0, 0, dtype=self._dtype))

    def fit(
        self,
        x: Tensor | None,
        obs: Values | None = None,
        *,
        start: Tensor | None = None,  # (dim,)
        total_rows: int | None = None,
    ) -> LaplaceFit:
        """Find the mode by L-BFGS from ``start`` (the origin), then invert the Hessian there.

        In double precision. ``total_rows`` weights the row terms of a minibatch (R4).

        Raises `UserError` if no mode is found: the density is not finite at the start, the search
        does not settle, or the density is not curved downwards in every direction where it ends.
        """
        target = self._model[0].target(x, obs, latents="declared", dtype=torch.float64)
        self.covered.check_layout(target.layout)
        rows = prod(target.batch_shape)
        weight = total_rows / rows if total_rows is not None and target.batch_shape else 1.0
        posterior = _Posterior(target, weight)
        with spare_core():
            q, iterations = _mode(posterior, start)
            hessian = posterior.hessian(q)
            tril = _covariance_factor(hessian, target)
            gradient = (posterior.gradient(q) @ tril).abs().max()
        if not float(gradient) < SLOPE_TOLERANCE:
            raise UserError(
                f"no mode was found in {iterations} iterations: at the last point the log density "
                f"still rises by {float(gradient):.3g} per standard deviation. Start nearer "
                "(start=), or check that the posterior is proper"
            )
        value = float(posterior(q).detach())
        half_log_det = float(tril.diagonal().log().sum())
        self.rows = front_of(target.layout) or None
        self.loc, self.scale_tril = q.to(self._dtype), tril.to(self._dtype)
        evidence = value + half_log_det + len(q) * HALF_LOG_TWO_PI
        return LaplaceFit(value, evidence, float(gradient), iterations)

    def sample(
        self, front: Shape, stack: Shape, generator: Generator | None
    ) -> tuple[dict[str, Tensor], Terms]:
        """Mode plus Cholesky factor times noise."""
        self._check_fitted()
        loc = self.loc
        shape = (*stack, len(loc))
        noise = torch.randn(shape, dtype=loc.dtype, device=loc.device, generator=generator)
        sites = self._shapes(front)
        pieces = (loc + noise @ self.scale_tril.mT).split([prod(own) for _, own in sites], -1)
        values = {
            name: piece.reshape((*stack, *own))
            for (name, own), piece in zip(sites, pieces, strict=True)
        }
        return values, Terms(None, self._standard(noise))

    def density(self, front: Shape, stack: Shape, values: Mapping[str, Tensor]) -> Terms:
        """By a triangular solve."""
        self._check_fitted()
        pieces = [values[n].reshape((*stack, prod(s))) for n, s in self._shapes(front)]
        centred = torch.cat(pieces, -1) - self.loc
        columns = centred.reshape(-1, len(self.loc)).mT
        noise = torch.linalg.solve_triangular(self.scale_tril, columns, upper=False).mT
        return Terms(None, self._standard(noise.reshape(centred.shape)))

    def entropy_of(self, front: Shape) -> Terms:  # noqa: ARG002
        """Half the log determinant of 2 pi e times the covariance."""
        self._check_fitted()
        log_det = self.scale_tril.diagonal().log().sum()
        return Terms(None, log_det + len(self.loc) * (0.5 + HALF_LOG_TWO_PI))

    def _standard(self, noise: Tensor) -> Tensor:
        log_det = self.scale_tril.diagonal().log().sum()
        return -0.5 * noise.square().sum(-1) - log_det - len(self.loc) * HALF_LOG_TWO_PI

    def _shapes(self, front: Shape) -> list[tuple[str, Shape]]:
        return [
            (d.name, (*(front if d.row_wise else ()), *d.unconstrained_shape))
            for d in self.covered.latents
        ]

    def _check_fitted(self) -> None:
        if not len(self.loc):
            raise UserError("this guide has not been fitted: guide.fit(x, obs) finds the mode")


@dataclass(frozen=True, slots=True)
class _Posterior:
    """The log density of a target whose noise without coordinates is held fixed."""

    target: OpenTarget
    weight: float

    def __call__(self, q: Tensor, seed: int = NOISE_SEED) -> Tensor:  # (*s, dim) -> (*s,)
        generator = torch.Generator().manual_seed(seed)
        return self.target.terms(q, generator=generator).total(self.weight)

    def noisy(self, q: Tensor) -> bool:
        """Whether the density draws noise: particles then have different ones."""
        with torch.no_grad():
            return not torch.equal(self(q), self(q, NOISE_SEED + 1))

    def gradient(self, q: Tensor) -> Tensor:  # (*s, dim) -> (*s, dim)
        q = q.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self(q).sum(), q)
        return gradient

    def hessian(self, q: Tensor) -> Tensor:  # (dim,) -> (dim, dim)
        """Double backward, some columns at a time: each is a particle with its own direction.

        One at a time, without a particle axis, where particles would have different noise.
        """
        directions = torch.eye(len(q), dtype=q.dtype)
        if self.noisy(q):
            hessian = torch.stack([self._columns(q, direction) for direction in directions])
        else:
            hessian = torch.cat([self._columns(q, d) for d in directions.split(HESSIAN_BATCH)])
        return 0.5 * (hessian + hessian.mT)

    def _columns(self, q: Tensor, directions: Tensor) -> Tensor:  # (*m, dim) -> (*m, dim)
        copies = q.detach().expand_as(directions).clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self(copies).sum(), copies, create_graph=True)
        if not gradient.requires_grad:  # the density is linear
            return torch.zeros_like(directions)
        (columns,) = torch.autograd.grad(
            (gradient * directions).sum(), copies, allow_unused=True, materialize_grads=True
        )
        return columns


def _mode(posterior: _Posterior, start: Tensor | None) -> tuple[Tensor, int]:
    """Where L-BFGS with a strong Wolfe search ends, and after how many iterations."""
    target = posterior.target
    first = torch.zeros(target.layout.dim, dtype=target.dtype) if start is None else start
    q = first.detach().to(target.dtype).clone().requires_grad_(True)
    if not bool(torch.isfinite(posterior(q.detach()))):
        raise UserError(
            f"the log density is not finite at the start: {target.names_of(q.detach())}. Give a "
            "start= that is possible, (dim,) in unconstrained space"
        )
    optimiser = torch.optim.LBFGS(
        [q],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = -posterior(q)
        if not bool(torch.isfinite(value.detach())):
            # The line search interpolates, so it wants a number, and turns back from a high one.
            q.grad = torch.zeros_like(q)
            return torch.full_like(value.detach(), IMPOSSIBLE)
        value.backward()
        return value

    optimiser.step(closure)
    return q.detach(), int(optimiser.state[q]["n_iter"])


def _covariance_factor(hessian: Tensor, target: OpenTarget) -> Tensor:
    """The lower Cholesky factor of minus the inverse Hessian."""
    # The factor of the inverse, from that of the matrix with its axes turned round.
    turned = (-hessian).flip(0, 1)
    factor, info = torch.linalg.cholesky_ex(turned)
    if int(info) or not bool(torch.isfinite(factor).all()):
        raise UserError(
            "where the search ended the log density is not curved downwards in every direction: "
            f"it is flat, rising or undefined along {', '.join(_flat_sites(hessian, target))}. "
            "The posterior may be improper, or its mode at infinity"
        )
    eye = torch.eye(len(hessian), dtype=hessian.dtype)
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse.mT.flip(0, 1)


def _flat_sites(hessian: Tensor, target: OpenTarget) -> Iterator[str]:
    """The sites that the directions without curvature move most."""
    if not bool(torch.isfinite(hessian).all()):
        bad = ~torch.isfinite(hessian).all(-1)
    else:
        curvatures, directions = torch.linalg.eigh(-hessian)
        flat = curvatures <= FLAT * curvatures.abs().max()
        flat[0] = True  # the least one, if rounding alone spoiled the factor
        weight = directions[:, flat].abs().amax(-1)
        bad = weight > 0.5 * weight.max()
    return (c.name for c in target.layout if bool(bad[c.start : c.stop].any()))
