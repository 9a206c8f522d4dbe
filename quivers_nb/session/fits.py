"""Fits as runs: `fit_svi` and `fit_nuts` begin the work and return its `Run` at once.

With ``block=True`` they return when it is over; Ctrl-C then stops the run, which keeps its draws
(or losses and parameters), and a second one raises. The random numbers of a run come from its
``seed``, or from one taken from torch's global generator when the fit is called: a run in the
background never changes what the next cell draws.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.inference.target import flat
from quivers_nb.inference.vi.elbo import ELBO
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.result import SVIResult
from quivers_nb.inference.vi.svi import SVI, Objective, Schedule
from quivers_nb.session.log import DrawLog, LossLog
from quivers_nb.session.rules import StopRule
from quivers_nb.session.run import Control, Run
from quivers_nb.session.text_progress import TextProgress

KEEP_EVERY = 100  # steps between two copies of parameters that are known to be finite

MakeGuide = Callable[[Model, Collection[str]], Guide]
MakeOptimizer = Callable[[list[Parameter]], torch.optim.Optimizer]


def fit_nuts(
    model: Model,
    x: Tensor | None = None,
    data: Values | None = None,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 1000,
    seed: int | None = None,
    guide: Guide | None = None,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    mass_matrix: str = "diagonal",
    init: str = "uniform",
    init_values: Mapping[str, Any] | None = None,
    tier: str = "auto",
    keep: Collection[str] | None = None,
    keep_internal: bool = False,
    thin: int = 1,
    until: StopRule | None = None,
    block: bool = False,
) -> Run[MCMCResult]:
    """Draw from the posterior of ``model`` at ``x`` given ``data``: a started run.

    ``guide``: chains start at draws of it. ``init`` is "uniform", "prior" or "value" (with
    ``init_values``). ``until`` is a stop rule, looked at between transitions. See `MCMC` and
    `NUTSKernel` for the other options.

    Raises `UserError` if an option is out of its range, or another run works on the model.
    """
    run = Run(
        _nuts_job(
            model, x, data, guide=guide, keep=Selection(keep, keep_internal, thin),
            mcmc=MCMC(
                NUTSKernel(
                    max_tree_depth=max_tree_depth, mass_matrix=mass_matrix,
                    target_accept=target_accept,
                ),
                warmup, draws, chains, init_strategy=init, init_values=init_values,
                seed=own_seed(seed), tier=tier,
            ),
        ),
        until=until,
    )  # fmt: skip
    return _begun(run, block=block)


def fit_svi(
    model: Model,
    x: Tensor | None = None,
    data: Values | None = None,
    *,
    guide: Guide | MakeGuide | None = None,
    objective: Objective | None = None,
    optimizer: torch.optim.Optimizer | MakeOptimizer | None = None,
    lr: float = 0.01,
    scheduler: Schedule | None = None,
    steps: int = 2000,
    total_rows: int | None = None,
    seed: int | None = None,
    until: StopRule | None = None,
    block: bool = False,
) -> "SviRun":
    """Fit a guide, and the weights of ``model``, by stochastic gradients: a started run.

    ``guide`` is one, or makes one of the model and the observed names (a class of guides does);
    None is `AutoNormalGuide`. ``optimizer`` is one, or makes one of the parameters of guide and
    model; None is Adam with learning rate ``lr``. ``objective`` None is `ELBO`. See `SVI` for the
    other options; `SviRun.then_nuts` goes on with draws.

    Raises `UserError` if an option is out of its range, or another run works on the model.
    """
    refuse_nothing(model)
    if steps < 1 or not lr > 0.0:
        raise UserError(f"steps={steps}, lr={lr}: must be positive")
    names = frozenset(data or ())
    made = _guide(model, names, guide)
    generator = Generator().manual_seed(own_seed(seed))

    def prepare() -> SVI:
        chosen = _optimizer(optimizer, [*_parameters(made), *model.parameters()], lr)
        loss = ELBO() if objective is None else objective
        return SVI(model, made, chosen, loss, total_rows, generator, scheduler)

    job = _SviJob(model, made, x, data, steps, prepare)
    return _begun(SviRun(job, until=until), block=block)


class SviRun(Run[SVIResult]):
    """A run of `fit_svi`."""

    @property
    def guide(self) -> Guide:
        """The guide that is fitted; it changes while the run goes on."""
        return cast("_SviJob", self._job).guide

    def then_nuts(self, **options: Any) -> Run[MCMCResult]:
        """Draws by NUTS, with the options of `fit_nuts`; chains start at draws of the guide.

        Returns at once. The new run begins when this one is over (`stop` it to go over sooner),
        and fails if this one failed or was aborted.
        """
        job = cast("_SviJob", self._job)
        block = bool(options.pop("block", False))
        run = _made(job.model, job.x, job.data, job.guide, options)

        def hand_over() -> None:
            try:
                self.result  # noqa: B018  (raises if there is none)
                run.start()
            except Exception as error:  # noqa: BLE001  (raised again by `run.result`)
                run.refuse(error)

        self.call_at_end(hand_over)
        if block:
            self.wait()
            return run.finish()
        return run


def own_seed(seed: int | None) -> int:
    """``seed``, or one from torch's global generator; taken here, in the caller's thread."""
    return int(torch.randint(2**62, ())) if seed is None else int(seed)
