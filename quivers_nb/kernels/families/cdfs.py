"""Distribution functions of scalar families, in logarithms and from both sides.

A restricted distribution needs masses of intervals, however far in a tail, and draws inside them.
A `Cdf` therefore has log P(Y <= y) and log P(Y > y), neither computed from the other, and for
continuous families their inverses. Laws, checked by ``tests/laws/test_cdf_laws.py``:

    values     both agree with scipy, down to masses of 1e-200;
    gradients  to the value and to every parameter agree with finite differences;
    inverses   quantile(exp(log_cdf(y))) = y, upper_quantile(exp(log_sf(y))) = y.

Every function is elementwise over tensors that broadcast; y outside the support is allowed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.kernels.families.numeric import INF, LOG_2, LOG_PI, log1mexp
from quivers_nb.kernels.incomplete import (
    inverse,
    log_beta_inc,
    log_beta_inc_upper,
    log_gamma_inc,
    log_gamma_inc_upper,
)


@dataclass(frozen=True, slots=True)
class Cdf:
    """``log_cdf`` and ``log_sf`` take ``(y, *params)``, the quantiles ``(probability, *params)``.

    The quantiles of a discrete family are found by search, so it has none here.
    """

    log_cdf: Callable[..., Tensor]
    log_sf: Callable[..., Tensor]
    quantile: Callable[..., Tensor] | None = None
    upper_quantile: Callable[..., Tensor] | None = None


def _inside(y: Tensor, safe: float = 1.0, low: float = 0.0) -> tuple[Tensor, Tensor]:
    """Where ``y`` is above ``low``, and ``y`` with a stand-in elsewhere."""
    inside = y > low
    return inside, torch.where(inside, y, safe)


def _from_zero(log_cdf: Callable[..., Tensor], log_sf: Callable[..., Tensor]) -> tuple[
    Callable[..., Tensor], Callable[..., Tensor]
]:  # fmt: skip
    """Formulas for y > 0, continued to the whole line."""

    def cdf(y: Tensor, *params: Tensor) -> Tensor:
        inside, safe = _inside(y)
        return torch.where(inside, log_cdf(safe, *params), -INF)

    def sf(y: Tensor, *params: Tensor) -> Tensor:
        inside, safe = _inside(y)
        return torch.where(inside, log_sf(safe, *params), 0.0)

    return cdf, sf


# --- symmetric families: the upper side is the lower side mirrored ------------------------------


def _location_scale(
    log_cdf: Callable[..., Tensor], quantile: Callable[..., Tensor]
) -> tuple[Callable[..., Tensor], ...]:
    """A symmetric standard form, moved and stretched; parameters before loc are its shapes."""

    def split(y: Tensor, params: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        *shapes, loc, scale = params
        return (y - loc) / scale, tuple(shapes)

    def cdf(y: Tensor, *params: Tensor) -> Tensor:
        z, shapes = split(y, params)
        return log_cdf(z, *shapes)

    def sf(y: Tensor, *params: Tensor) -> Tensor:
        z, shapes = split(y, params)
        return log_cdf(-z, *shapes)

    def lower(p: Tensor, *params: Tensor) -> Tensor:
        *shapes, loc, scale = params
        return loc + scale * quantile(p, *shapes)

    def upper(p: Tensor, *params: Tensor) -> Tensor:
        *shapes, loc, scale = params
        return loc - scale * quantile(p, *shapes)

    return cdf, sf, lower, upper


FAR = 1e6  # standard deviations: there log Phi is -5e11, and its gradient still finite


def _log_phi(z: Tensor) -> Tensor:
    log_phi: Tensor = torch.special.log_ndtr(z.clamp(-FAR, FAR))
    return log_phi


def _log_cauchy(z: Tensor) -> Tensor:
    return torch.atan2(torch.ones_like(z), -z).log() - LOG_PI


def _log_laplace(z: Tensor) -> Tensor:
    left = z < 0
    tail = torch.where(left, z, 0.0) - LOG_2
    return torch.where(left, tail, torch.log1p(-0.5 * (-torch.where(left, 0.0, z)).exp()))


def _log_student(z: Tensor, df: Tensor) -> Tensor:
    """P(T <= z) = I_x(df/2, 1/2) / 2 with x = df / (df + z^2), for z < 0."""
    square = z * z
    total = df + square
    tail = log_beta_inc(0.5 * df, torch.full_like(df, 0.5), df / total, square / total) - LOG_2
    return torch.where(z < 0, tail, log1mexp(tail.clamp(max=-1e-300)))


def _cauchy_quantile(p: Tensor) -> Tensor:
    return -torch.tan(math.pi * p).reciprocal()


def _laplace_quantile(p: Tensor) -> Tensor:
    return torch.where(p < 0.5, (2.0 * p).log(), -(2.0 * (1.0 - p)).log())


def _student_quantile(p: Tensor, df: Tensor) -> Tensor:
    return inverse("stdtrit", p, df)


NORMAL = _location_scale(_log_phi, torch.special.ndtri)
CAUCHY = _location_scale(_log_cauchy, _cauchy_quantile)
LAPLACE = _location_scale(_log_laplace, _laplace_quantile)
STUDENT = _location_scale(_log_student, _student_quantile)


# --- halves: twice the upper side; the lower side without cancellation --------------------------


def _half(
    log_central: Callable[..., Tensor], whole: tuple[Callable[..., Tensor], ...]
) -> tuple[Callable[..., Tensor], ...]:
    """``log_central(z, *shapes)`` is log P(|Z| <= z) of the standard form."""

    def centered(params: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        *shapes, scale = params
        return (*shapes, torch.zeros_like(scale), scale)

    def log_cdf(y: Tensor, *params: Tensor) -> Tensor:
        *shapes, scale = params
        value: Tensor = log_central(y / scale, *shapes)
        return value

    def log_sf(y: Tensor, *params: Tensor) -> Tensor:
        return whole[1](y, *centered(params)) + LOG_2

    def lower(p: Tensor, *params: Tensor) -> Tensor:
        return whole[3](0.5 * (1.0 - p), *centered(params)).clamp(min=0.0)

    def upper(p: Tensor, *params: Tensor) -> Tensor:
        return whole[3](0.5 * p, *centered(params)).clamp(min=0.0)

    return (*_from_zero(log_cdf, log_sf), lower, upper)


def _normal_central(z: Tensor) -> Tensor:
    return torch.erf(z / math.sqrt(2.0)).log()


def _cauchy_central(z: Tensor) -> Tensor:
    return torch.atan(z).log() + (LOG_2 - LOG_PI)


def _student_central(z: Tensor, df: Tensor) -> Tensor:
    square = z * z
    total = df + square
    return log_beta_inc(torch.full_like(df, 0.5), 0.5 * df, square / total, df / total)


def _laplace_central(z: Tensor) -> Tensor:
    return log1mexp(-z)


# --- positive families ----------------------------------------------------------------------------


def _exponential() -> Cdf:
    cdf, sf = _from_zero(lambda y, rate: log1mexp(-rate * y), lambda y, rate: -rate * y)
    return Cdf(
        cdf, sf, lambda p, rate: -torch.log1p(-p) / rate, lambda p, rate: -p.log() / rate
    )  # fmt: skip


def _gamma() -> Cdf:
    cdf, sf = _from_zero(
        lambda y, a, rate: log_gamma_inc(a, rate * y),
        lambda y, a, rate: log_gamma_inc_upper(a, rate * y),
    )
    return Cdf(
        cdf, sf, lambda p, a, rate: inverse("gammaincinv", p, a) / rate,
        lambda p, a, rate: inverse("gammainccinv", p, a) / rate,
    )  # fmt: skip


def _log_normal() -> Cdf:
    cdf, sf = _from_zero(
        lambda y, *params: NORMAL[0](y.log(), *params),
        lambda y, *params: NORMAL[1](y.log(), *params),
    )
    return Cdf(
        cdf, sf, lambda p, *params: NORMAL[2](p, *params).exp(),
        lambda p, *params: NORMAL[3](p, *params).exp(),
    )  # fmt: skip


def _weibull() -> Cdf:
    def hazard(y: Tensor, scale: Tensor, concentration: Tensor) -> Tensor:
        return (concentration * (y.log() - scale.log())).exp()

    cdf, sf = _from_zero(
        lambda y, *params: log1mexp(-hazard(y, *params)), lambda y, *params: -hazard(y, *params)
    )
    return Cdf(
        cdf, sf, lambda p, scale, k: scale * (-torch.log1p(-p)) ** k.reciprocal(),
        lambda p, scale, k: scale * (-p.log()) ** k.reciprocal(),
    )  # fmt: skip


# --- bounded families -----------------------------------------------------------------------------


def _uniform() -> Cdf:
    def log_share(part: Tensor, low: Tensor, high: Tensor) -> Tensor:
        share = part / (high - low)
        inside = share > 0
        return torch.where(inside, torch.where(inside, share, 1.0).clamp(max=1.0).log(), -INF)

    return Cdf(
        lambda y, low, high: log_share(y - low, low, high),
        lambda y, low, high: log_share(high - y, low, high),
        lambda p, low, high: low + p * (high - low),
        lambda p, low, high: high - p * (high - low),
    )


def _beta() -> Cdf:
    def log_cdf(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return log_beta_inc(a, b, y.clamp(0.0, 1.0))

    def log_sf(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return log_beta_inc_upper(a, b, y.clamp(0.0, 1.0))

    return Cdf(
        log_cdf, log_sf, lambda p, a, b: inverse("betaincinv", p, a, b),
        lambda p, a, b: inverse("betainccinv", p, a, b),
    )  # fmt: skip


def _logit_normal() -> Cdf:
    def of(side: Callable[..., Tensor], below: float, above: float) -> Callable[..., Tensor]:
        def log_mass(y: Tensor, *params: Tensor) -> Tensor:
            inside = (y > 0) & (y < 1)
            safe = torch.where(inside, y, 0.5)
            value = side(safe.log() - torch.log1p(-safe), *params)
            return torch.where(inside, value, torch.where(y <= 0, below, above))

        return log_mass

    return Cdf(
        of(NORMAL[0], -INF, 0.0), of(NORMAL[1], 0.0, -INF),
        lambda p, *params: NORMAL[2](p, *params).sigmoid(),
        lambda p, *params: NORMAL[3](p, *params).sigmoid(),
    )  # fmt: skip


def _gumbel() -> Cdf:
    def hazard(y: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return torch.exp(-(y - loc) / scale)

    return Cdf(
        lambda y, *params: -hazard(y, *params), lambda y, *params: log1mexp(-hazard(y, *params)),
        lambda p, loc, scale: loc - scale * (-p.log()).log(),
        lambda p, loc, scale: loc - scale * (-torch.log1p(-p)).log(),
    )  # fmt: skip


# --- counts: y is read as its integer part ------------------------------------------------------


def _count_side(of: Callable[..., Tensor], outside: float) -> Callable[..., Tensor]:
    """``of(k, *params)`` for k = 0, 1, ...; ``outside`` for y < 0."""

    def side(y: Tensor, *params: Tensor) -> Tensor:
        like = params[0]
        k = y.to(like.dtype).floor()
        inside = k >= 0
        return torch.where(inside, of(torch.where(inside, k, 0.0), *params), outside)

    return side


def _poisson() -> Cdf:
    """P(Y <= k) = Q(k + 1, rate): the sum of the masses of 0 ... k in closed form."""

    def log_cdf(k: Tensor, rate: Tensor) -> Tensor:
        return log_gamma_inc_upper(k + 1.0, rate)

    def log_sf(k: Tensor, rate: Tensor) -> Tensor:
        return log_gamma_inc(k + 1.0, rate)

    return Cdf(_count_side(log_cdf, -INF), _count_side(log_sf, 0.0))


def _geometric() -> Cdf:
    def log_sf(k: Tensor, probs: Tensor) -> Tensor:
        return (k + 1.0) * torch.log1p(-probs)

    def log_cdf(k: Tensor, probs: Tensor) -> Tensor:
        return log1mexp(log_sf(k, probs))

    return Cdf(_count_side(log_cdf, -INF), _count_side(log_sf, 0.0))


def _coin(log_one: Callable[[Tensor], Tensor], log_zero: Callable[[Tensor], Tensor]) -> Cdf:
    def log_cdf(k: Tensor, parameter: Tensor) -> Tensor:
        return torch.where(k < 1, log_zero(parameter), 0.0)

    def log_sf(k: Tensor, parameter: Tensor) -> Tensor:
        return torch.where(k < 1, log_one(parameter), -INF)

    return Cdf(_count_side(log_cdf, -INF), _count_side(log_sf, 0.0))


CDFS: Mapping[str, Cdf] = MappingProxyType(
    {
        "Normal": Cdf(*NORMAL),
        "Cauchy": Cdf(*CAUCHY),
        "Laplace": Cdf(*LAPLACE),
        "StudentT": Cdf(*STUDENT),
        "Gumbel": _gumbel(),
        "HalfNormal": Cdf(*_half(_normal_central, NORMAL)),
        "HalfCauchy": Cdf(*_half(_cauchy_central, CAUCHY)),
        "HalfLaplace": Cdf(*_half(_laplace_central, LAPLACE)),
        "HalfStudentT": Cdf(*_half(_student_central, STUDENT)),
        "LogNormal": _log_normal(),
        "Exponential": _exponential(),
        "Gamma": _gamma(),
        "Weibull": _weibull(),
        "Uniform": _uniform(),
        "Beta": _beta(),
        "LogitNormal": _logit_normal(),
        "Poisson": _poisson(),
        "Geometric": _geometric(),
        "Bernoulli": _coin(torch.log, lambda p: torch.log1p(-p)),
        "BernoulliLogit": _coin(logsigmoid, lambda eta: logsigmoid(-eta)),
    }
)
