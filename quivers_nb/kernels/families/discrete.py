"""Families of indices: coins, categories, ordered grades. Values may be integers or floats."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.kernels.families.numeric import (
    INF,
    Shape,
    broadcast,
    draw_exponential,
    draw_uniform,
    log1mexp,
    log_pick,
    minus_outside,
    pick,
    where_inside,
)
from quivers_nb.kernels.family import Density, Params

# --- coins -------------------------------------------------------------------------------------


def _bernoulli_log_prob(y: Tensor, probs: Tensor) -> Tensor:
    chance = torch.where(y == 1, probs.log(), torch.log1p(-probs))
    return where_inside((y == 0) | (y == 1), chance)


def _bernoulli_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return (draw_uniform(params, shape, generator) < params[0]).long()


def _bernoulli_logit_log_prob(y: Tensor, logits: Tensor) -> Tensor:
    toward = (2 * y - 1).to(logits.dtype) * logits  # a choice by element costs ten times as much
    return where_inside((y == 0) | (y == 1), logsigmoid(toward))


def _bernoulli_logit_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return (torch.logit(draw_uniform(params, shape, generator)) < params[0]).long()


# --- categories --------------------------------------------------------------------------------


def _label(y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where ``y`` is one of 0 ... size - 1, and ``y`` as indices with 0 put in elsewhere."""
    inside = (y >= 0) & (y < size)
    if y.is_floating_point():
        inside = inside & (y == y.floor())
    return inside, torch.where(inside, y, 0).long()


def categorical_logit_log_prob(y: Tensor, logits: Tensor) -> Tensor:  # (*n,), (*n, k) -> (*n,)
    """The log probability of index ``y`` under softmax(logits)."""
    inside, index = _label(y, logits.shape[-1])
    return minus_outside(inside, pick(torch.log_softmax(logits, -1), index))


def table_log_prob(y: Tensor, logs: Tensor) -> Tensor:  # (*n,), (*n, k) -> (*n,)
    """Entry ``y`` of a row of log probabilities, which stand as they are."""
    inside, index = _label(y, logs.shape[-1])
    return minus_outside(inside, pick(logs, index))


def _categorical_probs_log_prob(y: Tensor, probs: Tensor) -> Tensor:
    inside, index = _label(y, probs.shape[-1])
    return minus_outside(inside, log_pick(probs, index))


def race(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    """Index of the winner among exponential clocks with log rates ``params[0]``: categorical."""
    (logits,) = params
    clocks = draw_exponential(params, (*shape, logits.shape[-1]), generator)
    return (clocks.log() - logits).argmin(-1)


def _race_probs(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    return race((params[0].log(),), shape, generator)


# --- OrderedLogistic ---------------------------------------------------------------------------


def _ordered_log_prob(y: Tensor, predictor: Tensor, cutpoints: Tensor) -> Tensor:
    """log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b))."""
    edge = cutpoints.new_full((*cutpoints.shape[:-1], 1), INF)
    upper = torch.cat([cutpoints, edge], -1)
    lower = torch.cat([-edge, cutpoints], -1)
    inside, index = _label(y, upper.shape[-1])
    top, bottom = pick(upper, index), pick(lower, index)
    gap = bottom - top
    inside = inside & (gap < 0)
    gap = torch.where(gap < 0, gap, -1.0)
    density = logsigmoid(top - predictor) + logsigmoid(predictor - bottom) + log1mexp(gap)
    return where_inside(inside, density)


def _ordered_draw(params: Params, shape: Shape, generator: Generator | None) -> Tensor:
    predictor, cutpoints = params
    noise = torch.logit(draw_uniform(params, shape, generator))
    latent = (predictor + noise).unsqueeze(-1)
    full = broadcast(latent.shape[:-1], cutpoints.shape[:-1])
    return (latent > cutpoints).sum(-1).expand(full)


DENSITIES = (
    Density("Bernoulli", _bernoulli_log_prob, _bernoulli_draw, reparameterized=False),
    Density(
        "BernoulliLogit", _bernoulli_logit_log_prob, _bernoulli_logit_draw, reparameterized=False
    ),
    Density("Categorical", categorical_logit_log_prob, race, reparameterized=False),
    Density("CategoricalLogit", categorical_logit_log_prob, race, reparameterized=False),
    Density("CategoricalProbs", _categorical_probs_log_prob, _race_probs, reparameterized=False),
    Density("OrderedLogistic", _ordered_log_prob, _ordered_draw, reparameterized=False),
)
