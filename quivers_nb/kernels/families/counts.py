"""Families of counts. Values may be integers or floats; non-integers have density zero."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.kernels.families.numeric import (
    Shape,
    above_zero,
    as_float,
    draw_exponential,
    draw_uniform,
    is_count,
    log1mexp,
    log_choose,
    log_rising,
    softplus,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params

MOST = 2.0**62  # draws must fit into 64 bits


def _count(y: Tensor, *params: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``y`` is a count, and ``y`` as floats with 0 put in elsewhere."""
    numbers = as_float(y, *params)
    inside = is_count(numbers)
    return inside, torch.where(inside, numbers, 0.0)


# --- binomials ---------------------------------------------------------------------------------


def _successes(y: Tensor, total: Tensor, param: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where 0 <= y <= total are integers; successes and trials as floats, 0 put in elsewhere."""
    numbers, trials = as_float(y, param), as_float(total, param)
    inside = is_count(numbers) & is_count(trials) & (numbers <= trials)
    return inside, torch.where(inside, numbers, 0.0), torch.where(inside, trials, 0.0)


def _binomial_log_prob(y: Tensor, total_count: Tensor, probs: Tensor) -> Tensor:
    inside, k, n = _successes(y, total_count, probs)
    density = log_choose(n, k) + torch.xlogy(k, probs) + torch.special.xlog1py(n - k, -probs)
    return where_inside(inside, density)


def _binomial_logit_log_prob(y: Tensor, total_count: Tensor, logits: Tensor) -> Tensor:
    inside, k, n = _successes(y, total_count, logits)
    density = log_choose(n, k) + k * logsigmoid(logits) + (n - k) * logsigmoid(-logits)
    return where_inside(inside, density)


def _binomial_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    total, probs = params
    trials = total.to(probs.dtype).expand(shape).contiguous()
    return torch.binomial(trials, probs.expand(shape).contiguous(), generator=generator).long()


def _binomial_logit_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return _binomial_draw((params[0], params[1].sigmoid()), shape, generator)


# --- Poissons ----------------------------------------------------------------------------------


def _poisson_log_prob(y: Tensor, rate: Tensor) -> Tensor:
    inside, k = _count(y, rate)
    return where_inside(inside, torch.xlogy(k, rate) - rate - torch.lgamma(k + 1.0))


def _poisson_log_log_prob(y: Tensor, log_rate: Tensor) -> Tensor:
    inside, k = _count(y, log_rate)
    return where_inside(inside, k * log_rate - log_rate.exp() - torch.lgamma(k + 1.0))


def _poisson_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    rate = params[0].clamp(max=MOST).expand(shape)
    return torch.poisson(rate, generator=generator).long()


def _poisson_log_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return _poisson_draw((params[0].exp(),), shape, generator)


def _zero_inflated_log_prob(y: Tensor, zero_prob: Tensor, rate: Tensor) -> Tensor:
    log_zero, log_rest = zero_prob.log(), torch.log1p(-zero_prob)
    count = _poisson_log_prob(y, rate) + log_rest
    return torch.where(y == 0, torch.logaddexp(log_zero, log_rest - rate), count)


def _zero_inflated_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    zero_prob, rate = params
    present = draw_uniform(params, shape, generator) >= zero_prob
    return _poisson_draw((rate,), shape, generator) * present


def _hurdle_log_prob(y: Tensor, zero_prob: Tensor, rate: Tensor) -> Tensor:
    positive = _poisson_log_prob(y, rate) + torch.log1p(-zero_prob) - log1mexp(-rate)
    return torch.where(y == 0, zero_prob.log(), positive)


def _hurdle_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """A Poisson process on [0, 1] that has an event: its first is early, the rest are Poisson."""
    zero_prob, rate = params
    present = draw_uniform(params, shape, generator) >= zero_prob
    u = draw_uniform(params, shape, generator)
    first = -torch.log1p(u * torch.expm1(-rate))  # in units of 1/rate, given that it comes
    later = _poisson_draw(((rate - first).clamp(min=0.0),), shape, generator)
    return (later + 1) * present


# --- negative binomials ------------------------------------------------------------------------


def _geometric_log_prob(y: Tensor, probs: Tensor) -> Tensor:
    inside, k = _count(y, probs)
    return where_inside(inside, torch.special.xlog1py(k, -probs) + probs.log())


def _geometric_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    waited = draw_exponential(params, shape, generator) / -torch.log1p(-params[0])
    return waited.clamp(max=MOST).floor().long()


def _negative_binomial_log_prob(y: Tensor, total_count: Tensor, probs: Tensor) -> Tensor:
    inside, k = _count(y, total_count, probs)
    density = (
        log_rising(total_count, k)
        - torch.lgamma(k + 1.0)
        + total_count * torch.log1p(-probs)
        + torch.xlogy(k, probs)
    )
    return where_inside(inside, density)


def _negative_binomial_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    total, probs = params
    rate = torch._standard_gamma(total.expand(shape), generator=generator) * probs / (1.0 - probs)
    return _poisson_draw((rate,), shape, generator)


def _negative_binomial_log_log_prob(y: Tensor, log_mean: Tensor, concentration: Tensor) -> Tensor:
    inside, k = _count(y, log_mean, concentration)
    log_odds = log_mean - concentration.log()
    density = (
        log_rising(concentration, k)
        - torch.lgamma(k + 1.0)
        + k * logsigmoid(log_odds)
        - concentration * softplus(log_odds)
    )
    return where_inside(inside, density)


def _negative_binomial_log_draw(
    params: Params, shape: Shape, generator: Generator | None
) -> Tensor:
    log_mean, concentration = params
    gamma = torch._standard_gamma(concentration.expand(shape), generator=generator)
    rate = above_zero(gamma * log_mean.exp() / concentration)
    return _poisson_draw((rate,), shape, generator)


DENSITIES = (
    Density("Binomial", _binomial_log_prob, _binomial_draw, reparameterized=False),
    Density("BinomialLogit", _binomial_logit_log_prob, _binomial_logit_draw, reparameterized=False),
    Density("Poisson", _poisson_log_prob, _poisson_draw, reparameterized=False),
    Density("PoissonLog", _poisson_log_log_prob, _poisson_log_draw, reparameterized=False),
    Density(
        "ZeroInflatedPoisson", _zero_inflated_log_prob, _zero_inflated_draw, reparameterized=False
    ),
    Density("HurdlePoisson", _hurdle_log_prob, _hurdle_draw, reparameterized=False),
    Density("Geometric", _geometric_log_prob, _geometric_draw, reparameterized=False),
    Density(
        "NegativeBinomial",
        _negative_binomial_log_prob,
        _negative_binomial_draw,
        reparameterized=False,
    ),
    Density(
        "NegativeBinomialLog",
        _negative_binomial_log_log_prob,
        _negative_binomial_log_draw,
        reparameterized=False,
    ),
)
