"""Simulation-based calibration: whether an inference method gives the posterior that it claims.

    calibrate(model, x, MCMC(NUTSKernel(), 500, 500)).report()
    calibrate(model, x, FitGuide(AutoMultivariateNormal), executor=pool)
    calibrate(model, x, lambda model, x, obs, seed: {"mu": draws})

Truths are drawn from the prior, data from the truths, and the method is run on the data. The rank
of each truth among the draws must be uniform (`quivers_nb.inference.ranks`). Ranks of single sites
cannot see a method that returns the prior and ignores the data; the rank of the log-likelihood of
all data can, and is among the quantities (Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman
and Vehtari 2023, "Simulation-based calibration checking for Bayesian computation: the choice of
test quantities shapes sensitivity").
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import cos, pi
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import diagnose
from quivers_nb.inference.blocks import draws_of_guide
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.executors import spread
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.lift import LiftedModel
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.inference.options import known_options, names_in
from quivers_nb.inference.pointwise import log_likelihood
from quivers_nb.inference.ranges import Count, Positive, Seed
from quivers_nb.inference.ranks import Ranks, Sensitivity, ranks_of
from quivers_nb.inference.smc.run import SMC
from quivers_nb.inference.vi import fused
from quivers_nb.inference.vi.arguments import MakeGuide, made_guide
from quivers_nb.inference.vi.elbo import ELBO
from quivers_nb.inference.vi.guide import placed
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.svi import SVI, Objective

LIKELIHOOD = "log-likelihood"
_JOBS = 64  # jobs that the simulations are cut into for an executor

Fit = Callable[[Model, Tensor | None, Values, int], Any]


@known_options
@dataclass(frozen=True)
class FitGuide:
    """A method for `calibrate`: a guide fitted by SVI with Adam.

    ``guide(model, observed_names)`` makes it. The learning rate falls from ``lr`` to 0 along a
    cosine, so that the last steps settle. The weights of the model stay as they are.
    """

    guide: MakeGuide = AutoNormalGuide
    num_steps: Count = 1000
    lr: Positive = 0.05
    objective: Objective = field(default_factory=lambda: ELBO(num_particles=8))

    def __call__(self, model: Model, x: Tensor | None, obs: Values, seed: int) -> Any:
        """The fitted guide, bound to these data if it reads them.

        Raises `Interrupted`, which keeps the guide as it is by then.
        """
        guide = made_guide(self.guide, model, model.observed_names)
        optim = fused.adam(guide.parameters(), self.lr)
        generator = Generator().manual_seed(seed)
        svi = SVI(model, guide, optim, self.objective, generator=generator)
        for step in range(self.num_steps):
            for group in optim.param_groups:
                group["lr"] = 0.5 * self.lr * (1 + cos(pi * step / self.num_steps))
            try:
                svi.step(x, obs)
            except KeyboardInterrupt as error:
                said = f"interrupted in step {step + 1} of {self.num_steps} of the fit of a guide"
                raise Interrupted(said, guide.at(x, obs)) from error
        return guide.at(x, obs)


@dataclass(frozen=True)
class Calibration:
    """The ranks of every scalar, and what they say.

    ``quantities`` are the scalars of the latent sites, by name and index, and the log-likelihood
    of all data where it can be had. ``ess`` is the smallest effective sample size of each MCMC run,
    None for other methods. An interrupted one has fewer simulations than were ``asked`` for.
    """

    quantities: tuple[Ranks, ...]
    num_simulations: int
    num_draws: int
    seed: int
    ess: NDArray[np.float64] | None = None
    asked: int | None = None

    @property
    def interrupted(self) -> bool:
        return self.asked is not None and self.num_simulations < self.asked

    def size(self, alpha: float = 0.01) -> float:
        """The size of one of the three tests of each quantity, so that all together have alpha."""
        if not 0.0 < alpha < 1.0:
            raise UserError(f"alpha={alpha} must be between 0 and 1: how often to err by chance")
        return alpha / (3 * len(self.quantities))

    def faults(self, alpha: float = 0.01) -> dict[str, list[str]]:
        """What is wrong with each quantity, in words; empty if nothing is seen."""
        size = self.size(alpha)
        return {q.name: words for q in self.quantities if (words := q.faults(size))}

    def calibrated(self, alpha: float = 0.01) -> bool:
        """Whether no test of any quantity fails; alpha is shared by all of them (Bonferroni)."""
        return not self.faults(alpha)

    @cached_property
    def by_name(self) -> dict[str, Ranks]:
        return {quantity.name: quantity for quantity in self.quantities}

    def report(self, alpha: float = 0.01) -> str:
        """The result in words: what is wrong, what would have been seen, what limits the test."""
        faults = self.faults(alpha)
        count = len(self.quantities)
        head = (
            f"Simulation-based calibration: {self.num_simulations} simulations"
            f"{f' of {self.asked}, then interrupted' * self.interrupted}, {self.num_draws} "
            f"draws each, {count} {'quantity' if count == 1 else 'quantities'}."
        )
        lines = [head]
        if not faults:
            lines.append(f"Nothing is wrong: no test fails at level {alpha:g}, shared by all.")
        else:
            lines.append(f"NOT CALIBRATED: {len(faults)} of {count} fail at level {alpha:g}.")
            worst = sorted(faults, key=lambda name: _least_p(self.by_name[name]))
            lines += [f"  {name}: {'; '.join(faults[name])}" for name in worst[:20]]
            if len(worst) > 20:
                lines.append(f"  ... and {len(worst) - 20} more")
        lines.append(self._limits(self.size(alpha)))
        if self.ess is not None and float(np.median(self.ess)) < self.num_draws:
            lines.append(
                "The draws of a run are correlated: half of the runs have an effective sample size "
                f"below {float(np.median(self.ess)):.0f} for {self.num_draws} draws, which makes "
                "ranks too extreme by itself. Run longer chains."
            )
        return "\n".join(lines)

    def _limits(self, size: float) -> str:
        seen = Sensitivity.of(self.num_simulations, size)
        return (
            f"Seen with probability 0.95 by this run: a bias of {seen.bias:.2f} posterior standard "
            f"deviations, or a posterior {100 * (1 - seen.too_narrow):.0f} % too narrow."
        )

    def __repr__(self) -> str:
        return f"<Calibration: {self.report()}>"


@known_options
def calibrate(
    model: Model,
    x: Tensor | None,
    fit: MCMC | SMC | Fit,
    *,
    num_simulations: Count = 1000,
    num_draws: Count = 63,
    data: Values | None = None,
    sites: Collection[str] | None = None,
    executor: Executor | None = None,
    seed: Seed = 0,
) -> Calibration:
    """Simulate, fit, and rank the truths, ``num_simulations`` times.

    ``fit`` is an `MCMC`, an `SMC`, a `FitGuide`, or a function ``(model, x, obs, seed)`` that
    returns an `MCMCResult`, a guide, or a mapping of sites to draws ``(n, *value_shape)``, n at
    least ``num_draws``; more draws than that are thinned evenly. ``data`` are host data, the same
    in every simulation. ``sites`` names the latent sites to be ranked; None takes all. Each
    simulation has a random stream of its own, a function of ``seed`` and its number, so that the
    result does not depend on ``executor``.

    Interrupted, it keeps the simulations that were finished, and says so. Raises `UserError` if
    nothing can be ranked, a site has no draws or too few, or a fit fails;
    the message has the number of the simulation.
    """
    refuse_nothing(model)
    if isinstance(model, LiftedModel):
        raise UserError("lifted weights have no truth to be ranked: calibrate the model itself")
    if isinstance(fit, MCMC | SMC):
        fit = _Sampler.of(fit, num_draws)
    if isinstance(fit, type) or not callable(fit):
        raise UserError(
            f"fit={fit!r:.60}: a method is wanted, such as MCMC(NUTSKernel(), 200, 100), "
            "FitGuide(), or a function (model, x, obs, seed)"
        )
    wanted = None if sites is None else names_in("sites", sites)
    job = _Simulation(model, x, fit, dict(by_name(data)), wanted, num_draws, seed)
    rows = _simulated(executor, job, num_simulations)
    names = rows[0].names
    table = np.stack([row.ranks for row in rows])
    quantities = tuple(Ranks(name, table[:, k], num_draws) for k, name in enumerate(names))
    sizes = [row.ess for row in rows if row.ess is not None]
    ess = np.array(sizes) if sizes else None
    return Calibration(quantities, len(rows), num_draws, seed, ess, num_simulations)


def _simulated(executor: Executor | None, job: "_Simulation", count: int) -> list["_Row"]:
    """The simulations; of an interrupted wait those that were finished, if there are any."""
    step = 1 if executor is None else -(-count // _JOBS)
    jobs = [(range(k, min(k + step, count)),) for k in range(0, count, step)]
    finished: list[list[_Row]] = []
    try:
        finished = spread(executor, job.run, jobs, finished)
    except KeyboardInterrupt as error:
        if not finished:
            raise Interrupted(
                f"interrupted before the first of {count} simulations was finished: there are no "
                "ranks yet. A method that takes less time for one, such as fewer draws or steps, "
                "gets further"
            ) from error
    return [row for part in finished for row in part]


# --- one simulation -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    names: tuple[str, ...]
    ranks: NDArray[np.int64]
    ess: float | None


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Chains or particles as a method: a run of its own seed."""

    sampler: MCMC | SMC

    @classmethod
    def of(cls, sampler: MCMC | SMC, num_draws: int) -> "_Sampler":
        if isinstance(sampler, MCMC):
            each, count, unit = "chains", (sampler.num_chains, sampler.num_samples), "num_samples"
        else:
            each, count, unit = "runs", (sampler.num_runs, sampler.num_particles), "num_particles"
        if count[0] * count[1] < num_draws:
            raise UserError(
                f"{count[0]} {each} of {count[1]} draws are fewer than num_draws={num_draws}: "
                f"raise {unit}, or lower num_draws"
            )
        return cls(replace(sampler, executor=None))

    def __call__(self, model: Model, x: Tensor | None, obs: Values, seed: int) -> MCMCResult:
        return replace(self.sampler, seed=seed).run(model, x, obs)


@dataclass(frozen=True, slots=True)
class _Simulation:
    """Everything that simulations share; plain data, to be sent to workers."""

    model: Model
    x: Tensor | None
    fit: Fit
    data: Mapping[str, Any]
    sites: frozenset[str] | None
    num_draws: int
    seed: int

    def run(self, numbers: Sequence[int]) -> list[_Row]:
        return [self._noted(number) for number in numbers]

    def _noted(self, number: int) -> _Row:
        try:
            return self._one(number)
        except Exception as error:
            error.add_note(f"in simulation {number} of calibrate(seed={self.seed})")
            raise

    def _one(self, number: int) -> _Row:
        stream = np.random.SeedSequence(self.seed, spawn_key=(number,))
        first, second, third = (int(s >> 1) for s in stream.generate_state(3, np.uint64))
        truth, obs, plain = self._simulate(Generator().manual_seed(first))
        posterior = self.fit(self.model, self.x, {**self.data, **obs}, second)
        if getattr(posterior, "interrupted", False):
            raise KeyboardInterrupt  # the run kept its draws; the calibration is what was stopped
        draws = self._draws(posterior, truth, Generator().manual_seed(third))
        names, values, columns = [], [], []
        for site, value in truth.items():
            names += [site + index for index in _indices(value)]
            values.append(value.reshape(-1))
            columns.append(draws[site].reshape(self.num_draws, -1))
        if plain:
            names.append(LIKELIHOOD)
            level = self._likelihood(truth, draws, obs)
            values.append(level[:1])
            columns.append(level[1:, None])
        rng = np.random.default_rng(stream)
        ranks = ranks_of(np.concatenate(values), np.concatenate(columns, 1), rng)
        return _Row(tuple(names), ranks, _smallest_ess(posterior, truth))

    def _simulate(
        self, generator: Generator
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, Tensor], bool]:
        """A truth, the data drawn from it, and whether they have a plain log-likelihood."""
        with torch.no_grad():
            run = self.model.trace(self.x, self.data, generator=generator)
        observed = self.model.observed_names
        inside: frozenset[str] = getattr(self.model, "inner_observed", frozenset())  # of scans, say
        every = {**{k: run.internal_sites[k] for k in inside if k in run.internal_sites},
                 **{k: run.sites[k] for k in observed if k in run.sites}}  # fmt: skip
        obs = {name: site.value for name, site in every.items()}
        obs = {name: value for name, value in obs.items() if name not in self.data}
        latent = {n: site.value for n, site in run.latent_sites.items() if n not in observed}
        chosen = set(latent) if self.sites is None else self.sites
        if unknown := sorted(chosen - set(latent)):
            raise UserError(f"sites={unknown}: the latent sites are {', '.join(latent)}")
        truth = {name: _numbers(value) for name, value in latent.items() if name in chosen}
        if not truth or not obs:
            what = "latent" if not truth else "observed"
            raise UserError(f"the model has no {what} site: there is nothing to calibrate")
        plain = not run.internal_sites and len(truth) == len(latent)
        return truth, obs, plain and self._knows_observations(obs)

    def _knows_observations(self, obs: Values) -> bool:
        target = self.model.target(self.x, {**self.data, **obs})
        return hasattr(target, "pointwise")

    def _draws(
        self, posterior: Any, truth: Mapping[str, Any], generator: Generator
    ) -> dict[str, NDArray[np.float64]]:
        """Sites to ``(num_draws, *value_shape)``, evenly thinned."""
        samples = posterior.samples if isinstance(posterior, MCMCResult) else posterior
        if isinstance(posterior, MCMCResult) or isinstance(samples, Samples):
            found: Mapping[str, Any] = {k: v.flatten(0, 1) for k, v in samples.items()}
        elif hasattr(posterior, "rsample"):
            guide = placed(posterior, self.x, self.data)
            with torch.no_grad():
                found = draws_of_guide(guide, self.x, self.num_draws, generator)
        else:
            found = posterior
        out = {}
        for name, value in truth.items():
            if name not in found:
                raise UserError(
                    f"the posterior has no draws of `{name}`: it has {', '.join(found)}; choose "
                    "what is to be ranked with sites={...}"
                )
            draws = _numbers(found[name])
            if len(draws) < self.num_draws or draws[0].size != value.size:
                raise UserError(
                    f"the draws of `{name}` have shape {draws.shape}, but "
                    f"({self.num_draws} or more, {', '.join(map(str, value.shape))}) is wanted"
                )
            out[name] = draws[np.arange(self.num_draws) * len(draws) // self.num_draws]
        return out

    def _likelihood(
        self,
        truth: Mapping[str, NDArray[np.float64]],
        draws: Mapping[str, NDArray[np.float64]],
        obs: Values,
    ) -> NDArray[np.float64]:  # (1 + num_draws,)
        """The log-likelihood of all data at the truth and at every draw."""
        both = {
            name: np.concatenate([value[None], draws[name].reshape(-1, *value.shape)])
            for name, value in truth.items()
        }
        found = log_likelihood(self.model, self.x, {**self.data, **obs}, both)
        total = sum(value[0].reshape(len(value[0]), -1).sum(-1) for value in found.values())
        return _numbers(total)


def _numbers(value: Any) -> NDArray[np.float64]:
    return np.asarray(torch.as_tensor(value).detach().cpu(), dtype=np.float64)


def _indices(value: NDArray[np.float64]) -> list[str]:
    if not value.ndim:
        return [""]
    return [f"[{', '.join(map(str, index))}]" for index in np.ndindex(value.shape)]


def _smallest_ess(posterior: Any, truth: Mapping[str, Any]) -> float | None:
    if not isinstance(posterior, MCMCResult):
        return None
    sizes = [diagnose.ess(posterior.samples[name].numpy()).min() for name in truth]
    return float(np.min(sizes))


def _least_p(quantity: Ranks) -> float:
    return min(quantity.p_mean, quantity.p_spread, quantity.p_chi_square)
