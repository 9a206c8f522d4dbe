"""Log-likelihood per observation: what leave-one-out validation and model comparison are made of.

    arviz.loo(result.to_arviz())                                   of chains, with their own data
    arviz.loo(log_likelihood(model, x, obs, draws).to_arviz())     of anything that has draws
    arviz.compare({"one": result.to_arviz(), "other": other.to_arviz()})

Information criteria themselves are ArviZ's (Vehtari, Gelman and Gabry 2017, "Practical Bayesian
model evaluation using leave-one-out cross-validation and WAIC"); nothing of them is rewritten here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.blocks import draws_of, flattened, in_blocks, refuse_too_large
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.inference_data import inference_data
from quivers_nb.inference.labels import Labels, labels_of
from quivers_nb.inference.mcmc.result import MCMCResult
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.inference.options import known_options
from quivers_nb.inference.problem import Problem
from quivers_nb.inference.ranges import Count
from quivers_nb.inference.vi.guide import placed

_BLOCK = 1 << 22  # elements of log density that are computed at once
_UNASKED = 1 << 24  # elements, 128 MiB, up to which they are computed for ArviZ without a question


@dataclass(frozen=True)
class LogLikelihood(Mapping[str, Tensor]):
    """Observe sites to log densities ``(chains, draws, *shape of the observations)``.

    Observations summed in one marginalize block share one entry, named after all of them, with one
    number for each row, element or group of the block. ``posterior`` and ``stats`` are the draws
    that it belongs to, ``observed`` the data.
    """

    values_by_site: Mapping[str, Tensor]
    posterior: Mapping[str, Tensor]  # (chains, draws, *value_shape)
    stats: Mapping[str, Any]
    observed: Mapping[str, Any]
    labels: Labels = field(default_factory=Labels)

    def __getitem__(self, site: str) -> Tensor:
        return self.values_by_site[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_site)

    def __len__(self) -> int:
        return len(self.values_by_site)

    def to_arviz(self, predictive: Mapping[str, Any] | None = None) -> Any:
        """Posterior, statistics, log-likelihood and data, for ``arviz.loo`` and ``compare``.

        ``predictive`` are draws of `Predictive`, ``(draws, *shape)`` per site: those of the
        observed sites become the group ``posterior_predictive``.

        Raises `MissingExtra` if ArviZ is not installed, `UserError` if ``predictive`` lacks every
        observed site.
        """
        groups = {
            "posterior": self.posterior,
            "sample_stats": self.stats,
            "log_likelihood": self.values_by_site,
            "observed_data": self.observed,
        }
        if predictive is not None:
            groups["posterior_predictive"] = self._predicted(predictive)
        return inference_data(groups, self.labels)

    def _predicted(self, predictive: Mapping[str, Any]) -> dict[str, Tensor]:
        chains, draws = next(iter(self.posterior.values())).shape[:2]
        if not isinstance(predictive, Mapping):
            raise UserError(
                f"predictive is a {type(predictive).__name__}: call it, and pass what it returns, "
                "Predictive(model, result)(x, host_data)"
            )
        found = {
            name: torch.as_tensor(predictive[name]) for name in self.observed if name in predictive
        }
        if not found:
            raise UserError(
                f"predictive has none of {', '.join(self.observed) or 'no observed site'}: pass "
                "what Predictive(model, result)(x) returns, called without the observations"
            )
        for name, value in found.items():
            wanted = torch.as_tensor(self.observed[name]).shape
            if prod(value.shape[1:]) != prod(wanted):
                raise UserError(
                    f"the predictions of `{name}` have shape {tuple(value.shape[1:])} per draw, "
                    f"its data {tuple(wanted)}: predict with the host data of the fit. What is "
                    "predicted of other rows is no check of these"
                )
        return {
            name: value.reshape((chains, draws, *value.shape[1:]))
            if len(value) == chains * draws
            else value.unsqueeze(0)
            for name, value in found.items()
        }


@known_options
@torch.no_grad()
def log_likelihood(
    model: Model,
    x: Tensor | None,
    obs: Values | None,
    posterior: Any,
    *,
    num_draws: Count | None = None,
    missing: Collection[str] = (),
    generator: Generator | None = None,
) -> LogLikelihood:
    """The log density of every observation at every draw of ``posterior``.

    ``posterior`` is an `MCMCResult` (or its samples), a guide (``num_draws`` are drawn from it) or
    a mapping of sites to draws ``(n, *value_shape)``; the last two count as one chain. Internal
    sites (R3) without draws are an error, unless ``generator`` draws them from the model; for a
    guide they always are drawn. Observe sites in ``missing`` may lack a value and are left out.

    Raises `UserError` if nothing is observed, the result would not fit in memory, or the model does
    not know its observations one by one.
    """
    refuse_nothing(model)
    target: Any = model.target(
        x, obs, latents="all", dtype=torch.float64, missing=missing, freeze_masks=True
    )
    if not hasattr(target, "pointwise"):
        raise UserError(
            f"a {type(model).__name__} has no density per observation: its target needs a method "
            "`pointwise(values, stack)`, as in quivers_nb.lower.target"
        )
    draws, front = draws_of(x, placed(posterior, x, obs), num_draws, generator)
    flat = flattened(draws, front)
    fresh = generator is not None or hasattr(posterior, "rsample")

    def block(start: int, stop: int) -> dict[str, Tensor]:
        some = {name: value[start:stop] for name, value in flat.items()}
        found: dict[str, Tensor] = target.pointwise(
            some, (stop - start,), fresh=fresh, generator=generator
        )
        return found

    first = block(0, 1)
    if not first:
        raise UserError("nothing is observed: give the observations as they were given to the fit")
    way_out = "give fewer draws, as a mapping of sites to every k-th draw"
    refuse_too_large("the log-likelihood", first, front, way_out)
    found = in_blocks(block, first, front, _BLOCK)
    stats = posterior.arviz_stats() if isinstance(posterior, MCMCResult) else {}
    given = {**by_name(obs), **getattr(model, "data", {})}
    labels = labels_of(target, given)
    return LogLikelihood(found, draws, stats, observed_values(given, found), labels)


def of_result(result: MCMCResult, wanted: bool | None) -> LogLikelihood:
    """The log-likelihood of a run, empty where it is not ``wanted`` or, None, not easily had.

    Raises `UserError` if it is wanted and the run does not know its model and data.
    """
    problem, draws, stats = result.problem, dict(result.samples), result.arviz_stats()
    if problem is None:
        if wanted:
            raise UserError(
                "this result does not know its model and data (it was loaded, or its density was "
                "written by hand): log_likelihood(model, x, obs, result).to_arviz() has both"
            )
        return LogLikelihood({}, draws, stats, {}, result.labels)
    model, x, obs = problem.model, problem.x, problem.obs
    if wanted or (wanted is None and _easily_had(result, problem)):
        return log_likelihood(model, x, obs, result, missing=problem.missing)
    given = {**by_name(obs), **getattr(model, "data", {})}
    data = {name: _tensor(given[name]) for name in given if name in model.observed_names}
    return LogLikelihood({}, draws, stats, data, result.labels)


def _easily_had(result: MCMCResult, problem: Problem) -> bool:
    """Whether a log-likelihood needs no draws that were not kept, and is not large."""
    given = by_name(problem.obs)
    observed = (name for name in problem.model.observed_names if name in given)
    count = sum(_tensor(given[name]).numel() for name in observed)
    if not 0 < count * result.num_chains * result.num_samples <= _UNASKED:
        return False
    target: Any = problem.target()
    if not hasattr(target, "pointwise"):
        return False
    q = torch.zeros(target.layout.dim, dtype=target.dtype)
    return set(target.constrain(q, internal=True)) <= set(result.samples)


def observed_values(given: Mapping[str, Any], likelihood: Mapping[str, Tensor]) -> dict[str, Any]:
    """The data of the observe sites, in the shape of their densities where that is possible."""
    out = {}
    for name in (name for joined in likelihood for name in joined.split(" + ")):
        if name in given:
            value = _tensor(given[name])
            shape = likelihood[name].shape[2:] if name in likelihood else value.shape
            out[name] = value.reshape(shape) if value.numel() == prod(shape) else value
    return out


def _tensor(value: Any) -> Tensor:
    """Columns of tables may be read-only, and have an order of their own."""
    return value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
