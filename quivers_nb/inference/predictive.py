"""Predictive draws: what the model would show, before or after seeing data."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import QuiversWarning, UserError
from quivers_nb.inference.blocks import draws_of_guide, in_blocks, refuse_too_large
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.lift import PREFIX
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count
from quivers_nb.inference.vi.guide import placed

CODE = "Q1013"
_BLOCK = 1 << 24  # numbers that are drawn at once


@known_options
class Predictive:
    """Repeated traces of ``model``, each with latents from one draw of ``posterior``.

    ``posterior`` is an `MCMCResult`, a guide, a mapping of sites to draws ``(n, *value_shape)``, or
    None for the prior predictive. ``num_samples`` defaults to all draws, and is needed for a guide
    and for the prior; fewer than all are taken evenly spaced. Latents that the draws lack are drawn
    from the model given the others: new groups, for a mapping that leaves their effects out. Of a
    run that did not ``keep`` them this warns (Q1013), since data no longer speak of them. ``sizes``
    fixes sizes that no data fix, such as the number of observations to be made up:
    ``sizes={"n": 50}``.

    Raises `UserError` if the number of samples is unknown or larger than that of the draws, and for
    a size that the model does not have.
    """

    def __init__(
        self,
        model: Model,
        posterior: Any = None,
        num_samples: Count | None = None,
        generator: Generator | None = None,
        *,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        refuse_nothing(model)
        self.model, self.generator = _sized(model, sizes), generator
        self.guide = posterior if hasattr(posterior, "rsample") else None
        self.of_run = isinstance(posterior, MCMCResult | Samples)
        self.draws = None if posterior is None or self.guide is not None else _draws(posterior)
        self.num_samples = self._count(num_samples)

    def _count(self, asked: int | None) -> int:
        available = None if self.draws is None else len(next(iter(self.draws.values())))
        if asked is None and available is None:
            raise UserError("num_samples is needed: the prior and a guide have no fixed number")
        count = asked if asked is not None else available
        if count is None or (available is not None and count > available):
            raise UserError(f"num_samples={count}, but the posterior has {available} draws")
        return count

    @torch.no_grad()
    def __call__(self, x: Tensor | None, observations: Values | None = None) -> dict[str, Tensor]:
        """Draws of every declared site, ``(num_samples, *value_shape)``.

        ``observations`` are host data and sites to clamp; leave out what is to be predicted.
        Draws run through a model of a program at once, in blocks that fit into memory.

        Raises `UserError` if all of them do not.
        """
        guide = placed(self.guide, x, observations)
        if self.of_run:
            _warn_of_dropped(self.model, x, by_name(observations), self.draws or {})
        simulate = getattr(self.model, "simulate", None)
        if simulate is not None:
            return self._simulated(simulate, x, self._all(guide, x), observations)
        collected: dict[str, list[Tensor]] = {}
        for number in range(self.num_samples):
            given = {**self._latents(guide, x, number), **by_name(observations)}
            run = self.model.trace(x, given, generator=self.generator)
            for name, site in run.sites.items():
                collected.setdefault(name, []).append(torch.as_tensor(site.value))
        return {name: torch.stack(values) for name, values in collected.items()}

    def _simulated(
        self, simulate: Any, x: Tensor | None, latents: Mapping[str, Tensor], given: Any
    ) -> dict[str, Tensor]:
        def block(start: int, stop: int, generator: Generator | None) -> dict[str, Tensor]:
            some = {name: draws[start:stop] for name, draws in latents.items()}
            found: dict[str, Tensor] = simulate(x, stop - start, some, given, generator=generator)
            return found

        mine = self.generator
        own = None if mine is None else Generator(mine.device).manual_seed(0)
        with torch.random.fork_rng(devices=()):
            shown = block(0, 1, own)  # for its size; no draw of the result
        elements = max(1, sum(value.numel() for value in shown.values()))
        if elements * self.num_samples <= _BLOCK:
            return block(0, self.num_samples, self.generator)
        front = (1, self.num_samples)
        refuse_too_large("predictions", shown, front, "take fewer of them, num_samples=100")
        found = in_blocks(lambda a, b: block(a, b, self.generator), shown, front, _BLOCK)
        return {name: value.squeeze(0) for name, value in found.items()}

    def _places(self) -> Tensor:
        """Which draws are taken: evenly spaced."""
        total = len(next(iter((self.draws or {}).values())))
        return torch.arange(self.num_samples) * total // self.num_samples

    def _all(self, guide: Any, x: Tensor | None) -> Mapping[str, Tensor]:
        """Latents of every run, ``(num_samples, *value_shape)``."""
        if guide is None:
            return {name: draws[self._places()] for name, draws in (self.draws or {}).items()}
        return draws_of_guide(guide, x, self.num_samples, self.generator)

    def _latents(self, guide: Any, x: Tensor | None, number: int) -> Mapping[str, Tensor]:
        if guide is not None:
            values: Mapping[str, Tensor] = guide.rsample(x, generator=self.generator)
            return values
        if self.draws is None:
            return {}
        place = int(self._places()[number])
        return {name: draws[place] for name, draws in self.draws.items()}


def _warn_of_dropped(
    model: Model, x: Tensor | None, given: Values, draws: Mapping[str, Tensor]
) -> None:
    """Say which latents a run has no draws of: what is predicted knows no data about them."""
    sized = getattr(model, "sized", None)
    latents = (model if sized is None else sized(x, given)).declared_latents(frozenset(given))
    dropped = [latent.name for latent in latents if latent.name not in draws]
    if dropped:
        warnings.warn(
            f"the run has no draws of {', '.join(f'`{name}`' for name in dropped)}, so they are "
            "drawn from the model given what was kept, not from the posterior: fit without keep=, "
            "or pass {site: draws} of those that are to stay if this is meant (" + CODE + ")",
            QuiversWarning,
            stacklevel=4,  # above torch's no_grad
        )


def _draws_of_site(name: str, value: Any) -> Tensor:
    """Draws in a mapping, first axis first."""
    try:
        draws = value if isinstance(value, Tensor) else torch.as_tensor(np.array(value))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the posterior's `{name}` is a {type(value).__name__}, which holds no draws of a "
            "site: give `run.result`, or {site: draws} with one draw per entry"
        ) from error
    if not draws.ndim:
        raise UserError(f"the posterior's `{name}` is one number: give (n,) draws of it, n >= 1")
    return draws


def _sized(model: Model, sizes: Mapping[str, int] | None) -> Model:
    if sizes is not None and not isinstance(sizes, Mapping):
        raise UserError(f"sizes={sizes!r:.60}: sizes by name are wanted, sizes={{'n': 50}}")
    if not sizes:
        return model
    with_sizes = getattr(model, "with_sizes", None)
    if with_sizes is None:
        raise UserError(f"sizes={sizes!r}: {type(model).__name__} has no sizes to fix")
    sized: Model = with_sizes(**sizes)
    return sized


def _draws(posterior: Any) -> dict[str, Tensor]:
    """Sites to draws, chains after one another."""
    if isinstance(posterior, MCMCResult):
        posterior = posterior.samples
    if isinstance(posterior, Samples):
        draws = {name: value.flatten(0, 1) for name, value in posterior.items()}
    elif not hasattr(posterior, "items"):
        raise UserError(
            f"the posterior is a {type(posterior).__name__}, which has no draws by name: give a "
            "result of draws (`run.result`), a guide (`run.guide`), or a mapping"
        )
    else:
        draws = {name: _draws_of_site(name, value) for name, value in posterior.items()}
    lifted = sorted(name for name in draws if name.startswith(PREFIX))
    if lifted:
        raise UserError(
            f"{lifted[0]} is a lifted weight: put the weights of a draw into the model's "
            "parameters and predict with posterior=None"
        )
    if not draws:
        raise UserError("the posterior has no sites; posterior=None gives the prior predictive")
    if len({len(value) for value in draws.values()}) != 1:
        raise UserError("the sites of the posterior have different numbers of draws")
    return draws
