"""Fits as runs: `fit_svi` and `fit_nuts` begin the work and return its `Run` at once.

With ``block=True`` they return when it is over; Ctrl-C then stops the run, which keeps its draws
(or losses and parameters), and a second one raises. The random numbers of a run come from its
``seed``, or from one taken from torch's global generator when the fit is called: a run in the
background never changes what the next cell draws.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.mcmc.arguments import refuse_unused
from quivers_nb.inference.mcmc.kernel import MassMatrix
from quivers_nb.inference.mcmc.nuts import NUTSKernel
from quivers_nb.inference.mcmc.result import MCMCResult
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.mcmc.starts import Strategy
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.model import Model, Values, refuse_no_guide, refuse_nothing
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import (
    Count,
    Interval,
    Positive,
    Seed,
    Share,
    Threads,
    Tier,
    TreeDepth,
    Whole,
)
from quivers_nb.inference.vi import fused
from quivers_nb.inference.vi.arguments import MakeGuide, made_guide, refuse_no_objective
from quivers_nb.inference.vi.elbo import ELBO
from quivers_nb.inference.vi.estimators import RunningMean
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.guides.empty import EmptyGuide
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.result import SVIResult
from quivers_nb.inference.vi.svi import SVI, Objective, Schedule
from quivers_nb.session.batches import batches
from quivers_nb.session.checkpoint import EVERY, Checkpoint, facts_of, saved_seed
from quivers_nb.session.jobs import NutsJob, SviJob
from quivers_nb.session.keeping import KeptSteps
from quivers_nb.session.log import LossLog
from quivers_nb.session.rules import StopRule
from quivers_nb.session.run import Run
from quivers_nb.session.schedules import Cosine, Exponential
from quivers_nb.session.text_progress import TextProgress

MakeOptimizer = Callable[[list[Parameter]], torch.optim.Optimizer]
AnyRun = TypeVar("AnyRun", bound=Run[Any])


@known_options
def fit_nuts(
    model: Model,
    x: Tensor | None = None,
    data: Values | None = None,
    *,
    chains: Count = 4,
    warmup: Whole = 1000,
    draws: Count = 1000,
    seed: Seed | None = None,
    guide: Guide | None = None,
    target_accept: Share = 0.8,
    max_tree_depth: TreeDepth = 10,
    mass_matrix: MassMatrix = "diagonal",
    init: Strategy = "uniform",
    init_values: Mapping[str, Any] | None = None,
    recenter: bool = False,
    tier: Tier = "auto",
    keep: Collection[str] | None = None,
    keep_internal: bool = False,
    thin: Count = 1,
    until: StopRule | None = None,
    after: Run[Any] | None = None,
    threads: Threads | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: Interval = EVERY,
    block: bool = False,
) -> Run[MCMCResult]:
    """Draw from the posterior of ``model`` at ``x`` given ``data``: a started run.

    ``guide``: chains start at draws of it. ``init`` is "uniform", "prior" or "value" (with
    ``init_values``). ``recenter`` chooses coordinates between centred and non-centred for the
    effects of hierarchical models, by a pilot run. ``until`` is a stop rule, looked at between
    transitions. ``after``: the run begins when that one is over, and fails if it has no result.
    ``threads`` is torch's number of them while the chains move (native chains take every core, one
    each; cores that have none help where one gradient is long; all let other work go first).
    ``checkpoint`` is a file that the run is kept in, every ``checkpoint_every`` seconds and at its
    end; if it is there, the run goes on from it, bit for bit. See `MCMC` and `NUTSKernel` for the
    other options.

    Raises `UserError` if an option is out of its range, or another run works on the model.
    """
    refuse_nothing(model)
    refuse_no_guide(guide)
    refuse_unused(init, init_values, "init")
    data = by_name(data)
    kernel = NUTSKernel(
        max_tree_depth=max_tree_depth, mass_matrix=mass_matrix, target_accept=target_accept
    )
    seed = _seed(seed, checkpoint)
    mcmc = MCMC(
        kernel,
        warmup,
        draws,
        chains,
        init_strategy=init,
        seed=seed,
        tier=tier,
        init_values=init_values,
        recenter=recenter,
    )
    kept = None
    if checkpoint is not None:
        facts = facts_of(
            model, x, data, fit="nuts", kernel=repr(kernel), warmup=warmup, draws=draws,
            chains=chains, init=init, seed=seed, guide=type(guide).__name__,
            **({"recenter": True} if recenter else {}),  # older files lack it
        )  # fmt: skip
        kept = Checkpoint(_path(checkpoint), facts, checkpoint_every)
    selection = Selection(keep, keep_internal, thin)
    job = NutsJob(model, x, data, mcmc, guide, selection, threads, kept)
    return _begun(Run(job, until=until), after, block=block)


@known_options
def fit_svi(
    model: Model,
    x: Tensor | None = None,
    data: Values | None = None,
    *,
    guide: Guide | MakeGuide | None = None,
    objective: Objective | None = None,
    optimizer: torch.optim.Optimizer | MakeOptimizer | None = None,
    lr: Positive = 0.01,
    scheduler: Schedule | None = None,
    steps: Count = 2000,
    total_rows: Count | None = None,
    minibatch: Count | None = None,
    seed: Seed | None = None,
    until: StopRule | None = None,
    threads: Threads | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: Interval = EVERY,
    block: bool = False,
) -> "SviRun":
    """Fit a guide, and the weights of ``model``, by stochastic gradients: a started run.

    ``guide`` is one, or makes one of the model and the observed names (as a class of guides does;
    a class that reads the input, `AmortizedNormalGuide` or a ``partial`` of it, sees it too); None
    is `AutoNormalGuide`, or `EmptyGuide` where only weights are fitted. ``optimizer`` is one, or
    makes one of the parameters of guide and model; None is Adam with learning rate ``lr``.
    ``objective`` None is `ELBO`. ``minibatch`` is the number of rows that a step sees, in an order
    that depends on ``seed`` alone. ``threads`` is torch's number of them. ``checkpoint`` is as in
    `fit_nuts`; a run that goes on may have more steps. See `SVI` for the other options;
    `SviRun.then_nuts` goes on with draws.

    Raises `UserError` if an option is out of its range, or another run works on the model.
    """
    refuse_nothing(model)
    if objective is not None:
        refuse_no_objective(objective)
    data = by_name(data)
    made = _guide(_sized(model, x, data), x, data, guide)
    if optimizer is None:
        _refuse_no_parameters(model, made)
    _refuse_uncallable(optimizer, scheduler)
    seeded = _seed(seed, checkpoint)
    generator = Generator().manual_seed(seeded)
    some = None if minibatch is None else batches(model, x, data, minibatch, seeded)
    whole = total_rows if total_rows is not None or some is None else some.rows

    def prepare() -> SVI:
        chosen = _optimizer(optimizer, [*_parameters(made), *model.parameters()], lr)
        loss = ELBO() if objective is None else objective
        return SVI(model, made, chosen, loss, whole, generator, scheduler)

    kept, log = None, LossLog()
    if checkpoint is not None:
        facts = facts_of(
            model, x, data, fit="svi", guide=type(made).__name__, objective=_stateless(objective),
            optimizer=_label(optimizer), lr=lr, scheduler=_label(scheduler), minibatch=minibatch,
            total_rows=total_rows, seed=seeded,
        )  # fmt: skip
        kept = KeptSteps(Checkpoint(_path(checkpoint), facts, checkpoint_every), log, generator)
    job = SviJob(model, x, data, made, steps, prepare, some, threads, kept, log=log)
    return _begun(SviRun(job, until=until), None, block=block)


class SviRun(Run[SVIResult]):
    """A run of `fit_svi`."""

    @property
    def guide(self) -> Guide:
        """The guide that is fitted; it changes while the run goes on."""
        return cast("SviJob", self._job).guide

    def then_nuts(self, **options: Any) -> Run[MCMCResult]:
        """Draws by NUTS whose chains start at draws of the guide; takes the options of `fit_nuts`.

        Returns at once. The new run begins when this one is over (`stop` it to go over sooner).
        """
        job = cast("SviJob", self._job)
        return fit_nuts(job.model, job.x, job.data, guide=job.guide, after=self, **options)


def own_seed(seed: int | None) -> int:
    """``seed``, or one from torch's global generator; taken here, in the caller's thread."""
    return int(torch.randint(2**62, ())) if seed is None else int(seed)


def _seed(seed: int | None, checkpoint: str | PathLike[str] | None) -> int:
    """The seed; where none is given and there is a checkpoint, that of the checkpoint."""
    saved = None if checkpoint is None or seed is not None else saved_seed(_path(checkpoint))
    return own_seed(seed) if saved is None else saved


def _path(checkpoint: str | PathLike[str]) -> Path:
    if not isinstance(checkpoint, str | PathLike):
        raise UserError(
            f"checkpoint={checkpoint!r:.60} ({type(checkpoint).__name__}): the path of a file is "
            "wanted, such as checkpoint='run.qvr'"
        )
    return Path(checkpoint)


def _stateless(objective: Objective | None) -> str:
    """The objective in words. Raises `UserError` if it remembers what is not in a checkpoint."""
    baseline = getattr(getattr(objective, "estimator", None), "baseline", None)
    if isinstance(baseline, RunningMean):
        raise UserError(
            "RunningMean() remembers earlier steps, which a checkpoint does not hold: take "
            "LeaveOneOut(), or leave checkpoint out"
        )
    return repr(objective)


def _label(value: object) -> str:
    """What can be compared between two processes: a representation without an address."""
    inner = getattr(value, "func", None)  # of a partial
    if inner is not None:
        return f"{_label(inner)} {sorted(getattr(value, 'keywords', {}).items())}"
    if isinstance(value, Cosine | Exponential):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__name__)


def _begun(run: AnyRun, after: Run[Any] | None, *, block: bool) -> AnyRun:
    """Begin, now or after another run; show the progress and wait if the caller does."""
    if after is not None and not isinstance(after, Run):
        raise UserError(
            f"after={after!r:.60} ({type(after).__name__}): a run is wanted, such as what "
            "fit_svi returned"
        )
    if after is not None:
        before = after
        before.call_at_end(lambda: _hand_over(before, run))
    elif not block:
        run.start()
    if block:
        run.subscribe(TextProgress(run.name, sys.stderr))
        try:
            run.finish(start=after is None)
        finally:
            run.flush()
    return run


def _hand_over(before: Run[Any], run: Run[Any]) -> None:
    try:
        before.result  # noqa: B018  (raises if there is none)
        run.start()
    except Exception as error:  # noqa: BLE001  (raised again by the result of the second run)
        run.refuse(error)


def _guide(model: Model, x: Tensor | None, data: Values, guide: Guide | MakeGuide | None) -> Guide:
    names = frozenset(data)
    if guide is None:
        latents = model.declared_latents(names)
        return AutoNormalGuide(model, names) if latents else EmptyGuide(model, names)
    if hasattr(guide, "rsample") and not isinstance(guide, type):
        return cast("Guide", guide)
    if not callable(guide):
        raise UserError(
            f"guide={guide!r}: a guide, or what makes one of (model, observed_names), is wanted, "
            "such as `AutoNormalGuide` of quivers_nb.inference"
        )
    # A class that reads the input, or a partial of it that leaves its width open, sees it.
    for_input = getattr(getattr(guide, "func", guide), "for_input", None)
    options = getattr(guide, "keywords", {})
    if for_input is not None and "in_features" not in options:
        return cast("Guide", for_input(model, names, x, data, **options))
    return cast("Guide", made_guide(guide, model, names))


def _refuse_no_parameters(model: Model, guide: Guide) -> None:
    if next(_parameters(guide), None) is None and next(iter(model.parameters()), None) is None:
        raise UserError(
            "there is nothing to fit: the model has no weights, and its guide no parameters. Sites "
            "with finitely many values are summed exactly, and need no fit: infer_discrete(model, "
            "x, data) gives their posterior probabilities"
        )


def _sized(model: Model, x: Tensor | None, data: Values) -> Model:
    """The model with the sizes that only data fix: a guide has them from the start."""
    sized = getattr(model, "sized", None)
    return model if sized is None else cast("Model", sized(x, data))


def _parameters(guide: Guide) -> Iterator[Parameter]:
    return guide.parameters() if isinstance(guide, nn.Module) else iter(())


def _refuse_uncallable(optimizer: object, scheduler: object) -> None:
    if not (
        optimizer is None or isinstance(optimizer, torch.optim.Optimizer) or callable(optimizer)
    ):
        raise UserError(
            f"optimizer={optimizer!r:.60}: an optimizer, or what makes one of parameters, is "
            "wanted, such as torch.optim.Adam (with its rate: functools.partial(…, lr=0.01))"
        )
    if scheduler is not None and not callable(scheduler):
        raise UserError(
            f"scheduler={scheduler!r:.60}: a function of the step is wanted, such as Cosine(2000) "
            "of quivers_nb.session.schedules"
        )


def _optimizer(
    given: torch.optim.Optimizer | MakeOptimizer | None, parameters: list[Parameter], lr: float
) -> torch.optim.Optimizer:
    if given is None:
        return fused.adam(parameters, lr)
    if isinstance(given, torch.optim.Optimizer):
        return given
    made = given(parameters)
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(
            f"optimizer={given!r:.60} returned {made!r:.60} ({type(made).__name__}), which is no "
            "optimizer: return one of the parameters it is given, such as torch.optim.Adam(p, 0.01)"
        )
    return made
