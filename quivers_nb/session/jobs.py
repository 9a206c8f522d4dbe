"""What the two kinds of fit do in a run's worker: draws by NUTS, and steps of an optimiser."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.mcmc.snapshot import Arrays, Row
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.model import Model, Values
from quivers_nb.inference.target import Target
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.result import SVIResult, settled, steady
from quivers_nb.inference.vi.svi import SVI
from quivers_nb.session.batches import Batches
from quivers_nb.session.checkpoint import Checkpoint
from quivers_nb.session.keeping import KeptChains, KeptSteps
from quivers_nb.session.log import DrawLog, LossLog
from quivers_nb.session.state import Control

KEEP_EVERY = 100  # steps between two copies of parameters that are known to be finite


@dataclass(frozen=True, slots=True)
class _Watching:
    """Writes the log, and hands the wishes of the run on to the chains."""

    log: DrawLog
    control: Control

    def __call__(self, transition: Transition) -> bool:
        self.log.add(transition)
        if not transition.warming:
            self.control.warmed_up()
        return self.control.checkpoint()

    def scouts(self, transition: Transition) -> None:
        self.log.scouted(transition.chain)

    def moves_on(self, target: Target) -> None:
        self.log.moves_on(target)

    def asked(self) -> bool:
        return self.control.asked()

    def hold(self) -> bool:
        return self.control.checkpoint()


@dataclass(frozen=True, slots=True)
class _Keeping(_Watching):
    """Writes checkpoints too, and may have one to go on from: a `Keeper`."""

    kept: KeptChains

    def keep(self, kind: str, take: Callable[[], Arrays], *, last: bool) -> None:
        self.kept.keep(kind, take, self.control, last=last)

    def saved(self, kind: str) -> Arrays | None:
        return self.kept.saved(kind)

    def rows(self, chain: int) -> Sequence[Row]:
        return self.kept.rows(chain)


@dataclass(frozen=True)
class NutsJob:
    """Chains of ``mcmc``, started at draws of ``guide`` if there is one."""

    model: Model
    x: Tensor | None
    data: Values | None
    mcmc: MCMC
    guide: Guide | None
    selection: Selection
    threads: int | None = None
    checkpoint: Checkpoint | None = None
    name: str = "NUTS"
    log: DrawLog = field(init=False)

    def __post_init__(self) -> None:
        m = self.mcmc
        object.__setattr__(self, "log", DrawLog(m.num_chains, m.num_warmup, m.num_samples))

    @property
    def total(self) -> int:
        return self.mcmc.num_warmup + self.mcmc.num_samples

    def work(self, control: Control) -> MCMCResult:
        chosen = self.selection
        if self.mcmc.recenter:
            control.note("a pilot run chooses the coordinates of effects first")
        with _torch_threads(self.threads):
            result = self.mcmc.run(
                self.model,
                self.x,
                self.data,
                self.guide,
                keep_internal=chosen.keep_internal,
                keep=chosen.keep,
                thin=chosen.thin,
                watch=self._watch(control),
            )
        # A stop rule that is met ends a run early, but does not interrupt it.
        return replace(result, interrupted=result.interrupted and control.cut_short)

    def _watch(self, control: Control) -> _Watching:
        if self.checkpoint is None:
            return _Watching(self.log, control)
        kept = KeptChains(self.checkpoint, self.log, self.mcmc.num_warmup)
        return _Keeping(self.log, control, kept)

    def partial(self) -> Samples:
        """Draws after warm-up that every chain has made so far, (chains, draws, *value_shape)."""
        counts = self.log.counts
        positions = self.log.positions(counts)
        if positions is None:
            return Samples()
        if not self.log.complete:
            raise UserError(
                "draws of this size are kept once only: stop the run and take its result"
            )
        kept = torch.from_numpy(positions[:, self.selection.thin - 1 :: self.selection.thin])
        return Samples(self.selection.values(self.target, kept))

    @property
    def target(self) -> Target:
        """What the positions in the log are of; a run says so before its first transition."""
        assert self.log.target is not None
        return self.log.target


@dataclass(frozen=True)
class SviJob:
    """Steps of the `SVI` that ``prepare`` makes; it is called in the worker."""

    model: Model
    x: Tensor | None
    data: Values | None
    guide: Guide
    total: int
    prepare: Callable[[], SVI]
    batches: Batches | None = None
    threads: int | None = None
    kept: KeptSteps | None = None
    name: str = "SVI"
    log: LossLog = field(default_factory=LossLog)

    def work(self, control: Control) -> SVIResult:
        svi = self.prepare()
        fitted = dict(_named(self.model, self.guide))
        if self.kept is not None:
            self.kept.restore(svi, fitted)
            svi.stay_replayed()
        good = {name: p.detach().clone() for name, p in fitted.items()}

        def progress(_steps: int, loss: float) -> bool:
            self.log.add(loss)
            control.warmed_up()
            if self.log.counts[0] % KEEP_EVERY == 0:
                _copy_finite(fitted, good)
            if self.kept is not None:
                self.kept.keep(svi, fitted, control)
            return not control.checkpoint()

        try:
            with _torch_threads(self.threads):
                result = self._run(svi, progress)
        except UserError as error:
            raise UserError(self._fault(error, fitted, good)) from error
        if self.kept is not None:
            self.kept.keep(svi, fitted, control, last=True)
        return replace(result, interrupted=result.interrupted and control.cut_short)

    def _run(self, svi: SVI, progress: Callable[[int, float], bool]) -> SVIResult:
        done = self.log.counts[0]  # more than none if the run goes on from a checkpoint
        if self.batches is None and not done:
            return svi.run(self.x, self.data, self.total, progress=progress)
        if self.batches is None and done < self.total:
            svi.run(self.x, self.data, self.total - done, progress=progress)
        elif self.batches is not None:
            for step in range(done, self.total):
                x, data = self.batches.at(step)
                if not progress(step + 1, svi.step(x, data)):
                    break
        losses = self.partial()
        moved = {id(p) for group in svi.optim.param_groups for p in group["params"]}
        named = _named(self.model, self.guide)
        return SVIResult(
            losses,
            {name: p.detach().clone() for name, p in named if id(p) in moved},
            converged=settled(losses.tolist(), 100, 1e-3) or steady(losses.tolist(), 100),
            interrupted=len(losses) < self.total,
            eager_reason=svi.eager_reason,
            tier=svi.step_tier,
            tier_reason="; ".join(filter(None, (svi.eager_reason, svi.replay_reason))),
            sites=svi.summarize(self.x, self.data),
        )

    def _fault(self, error: UserError, fitted: "_Tensors", good: "_Tensors") -> str:
        """Name the step and what is not finite; put what is not back to its last good values."""
        steps = len(self.partial())
        bad = _not_finite(fitted)
        message = f"at step {steps + 1}: {error}"
        if not bad:  # before the first step it is about the data and the model
            return f"{message}. All parameters are finite" if steps else str(error)
        with torch.no_grad():
            for name, parameter in fitted.items():
                parameter.copy_(good[name])
        back = steps - steps % KEEP_EVERY
        return (
            f"{message}. Parameters that were not finite: {', '.join(bad)}; all parameters are "
            f"back to those of step {back} or earlier, the last ones that were finite"
        )

    def partial(self) -> Tensor:
        """The losses so far, (steps,)."""
        return torch.from_numpy(self.log.losses(self.log.counts))


@contextmanager
def _torch_threads(number: int | None) -> Iterator[None]:
    """Within it, torch has so many threads; None leaves them."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_Tensors = dict[str, Tensor]


def _named(model: Model, guide: Guide) -> Iterator[tuple[str, Tensor]]:
    if isinstance(guide, nn.Module):
        yield from guide.named_parameters()
    yield from ((f"model.{key}", value) for key, value in model.storage().items())


def _not_finite(tensors: _Tensors) -> list[str]:
    return [name for name, value in tensors.items() if not bool(value.detach().isfinite().all())]


def _copy_finite(fitted: _Tensors, good: _Tensors) -> None:
    """Renew the copies, unless something is not finite."""
    if _not_finite(fitted):
        return
    with torch.no_grad():
        for name, parameter in fitted.items():
            good[name].copy_(parameter)
