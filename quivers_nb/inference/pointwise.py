"""Log-likelihood per observation: what leave-one-out validation and model comparison are made of.

    pointwise = log_likelihood(model, x, obs, result)
    arviz.loo(pointwise.to_arviz())
    arviz.compare({"one": pointwise.to_arviz(), "other": ...})

Information criteria themselves are ArviZ's (Vehtari, Gelman and Gabry 2017, "Practical Bayesian
model evaluation using leave-one-out cross-validation and WAIC"); nothing of them is rewritten here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.inference_data import inference_data
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.store import available_memory
from quivers_nb.inference.model import Model, Values

_BLOCK = 1 << 22  # elements of log density that are computed at once


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
        return inference_data(groups)

    def _predicted(self, predictive: Mapping[str, Any]) -> dict[str, Tensor]:
        chains, draws = next(iter(self.values_by_site.values())).shape[:2]
        found = {
            name: torch.as_tensor(predictive[name]) for name in self.observed if name in predictive
        }
        if not found:
            raise UserError(
                f"predictive has none of {', '.join(self.observed)}: pass what Predictive(model, "
                "result)(x) returns, called without the observations"
            )
        return {
            name: value.reshape((chains, draws, *value.shape[1:]))
            if len(value) == chains * draws
            else value.unsqueeze(0)
            for name, value in found.items()
        }


@torch.no_grad()
def log_likelihood(
    model: Model,
    x: Tensor | None,
    obs: Values | None,
    posterior: Any,
    *,
    num_draws: int | None = None,
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
    target: Any = model.target(
        x, obs, latents="all", dtype=torch.float64, missing=missing, freeze_masks=True
    )
    if not hasattr(target, "pointwise"):
        raise UserError(
            f"a {type(model).__name__} has no density per observation: its target needs a method "
            "`pointwise(values, stack)`, as in quivers_nb.lower.target"
        )
    draws, front = draws_of(x, posterior, num_draws, generator)
    total = prod(front)
    flat = {
        name: value.reshape((total, *value.shape[len(front) :])) for name, value in draws.items()
    }
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
    _refuse_too_large(first, total)
    step = max(1, _BLOCK // max(1, sum(value.numel() for value in first.values())))
    found = {name: value.new_empty((total, *value.shape[1:])) for name, value in first.items()}
    for start in range(0, total, step):
        stop = min(start + step, total)
        for name, value in block(start, stop).items():
            found[name][start:stop] = value
    shaped = {name: value.reshape((*front, *value.shape[1:])) for name, value in found.items()}
    stats = posterior.arviz_stats() if isinstance(posterior, MCMCResult) else {}
    return LogLikelihood(shaped, draws, stats, _observed(model, obs, shaped))


def draws_of(
    x: Tensor | None, posterior: Any, num_draws: int | None, generator: Generator | None
) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """Sites to draws, and how many chains and draws there are."""
    if isinstance(posterior, MCMCResult):
        return dict(posterior.samples), (posterior.num_chains, posterior.num_samples)
    if isinstance(posterior, Samples) and posterior:
        chains, count = next(iter(posterior.values())).shape[:2]
        return dict(posterior), (chains, count)
    if hasattr(posterior, "rsample"):
        if num_draws is None or num_draws < 1:
            raise UserError(
                f"num_draws={num_draws}: a guide has no fixed number of draws, say how many"
            )
        several = [posterior.rsample(x, generator=generator) for _ in range(num_draws)]
        draws = {name: torch.stack([one[name] for one in several]) for name in several[0]}
    else:
        draws = {name: torch.as_tensor(value) for name, value in posterior.items()}
    counts = {len(value) for value in draws.values()}
    if len(counts) != 1 or 0 in counts:
        raise UserError(
            "the posterior needs at least one site, and as many draws of each: "
            + (", ".join(f"{name} has {len(value)}" for name, value in draws.items()) or "none")
        )
    return {name: value.unsqueeze(0) for name, value in draws.items()}, (1, counts.pop())


def _observed(model: Model, obs: Values | None, found: Mapping[str, Tensor]) -> dict[str, Any]:
    """The data of the observe sites, in the shape of their densities where that is possible."""
    given = {**by_name(obs), **getattr(model, "data", {})}
    out = {}
    for name in (name for joined in found for name in joined.split(" + ")):
        if name in given:
            value = torch.as_tensor(given[name])
            shape = found[name].shape[2:] if name in found else value.shape
            out[name] = value.reshape(shape) if value.numel() == prod(shape) else value
    return out


def _refuse_too_large(first: Mapping[str, Tensor], draws: int) -> None:
    wanted = draws * sum(value.numel() * value.element_size() for value in first.values())
    free = available_memory()
    if wanted > 0.8 * free:
        raise UserError(
            f"the log-likelihood of {draws} draws would take {wanted / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB of memory are available: give fewer draws, as a mapping of "
            "sites to every k-th draw"
        )
