"""What the two kinds of fit do in a run's worker: draws by NUTS, and steps of an optimiser."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.mcmc.store import Selection
from quivers_nb.inference.model import Model, Values
from quivers_nb.inference.target import flat
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.result import SVIResult
from quivers_nb.inference.vi.svi import SVI
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

    def asked(self) -> bool:
        return self.control.asked()

    def hold(self) -> bool:
        return self.control.checkpoint()


@dataclass(frozen=True)
class NutsJob:
    """Chains of ``mcmc``, started at draws of ``guide`` if there is one."""

    model: Model
    x: Tensor | None
    data: Values | None
    mcmc: MCMC
    guide: Guide | None
    selection: Selection
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
        result = self.mcmc.run(
            self.model,
            self.x,
            self.data,
            self.guide,
            keep_internal=chosen.keep_internal,
            keep=chosen.keep,
            thin=chosen.thin,
            watch=_Watching(self.log, control),
        )
        # A stop rule that is met ends a run early, but does not interrupt it.
        return replace(result, interrupted=result.interrupted and control.cut_short)

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
        mcmc = self.mcmc
        opened = self.model.target(self.x, self.data, latents="all", dtype=mcmc.dtype)
        kept = torch.from_numpy(positions[:, self.selection.thin - 1 :: self.selection.thin])
        return Samples(self.selection.values(flat(opened), kept))


@dataclass(frozen=True)
class SviJob:
    """Steps of the `SVI` that ``prepare`` makes; it is called in the worker."""

    model: Model
    x: Tensor | None
    data: Values | None
    guide: Guide
    total: int
    prepare: Callable[[], SVI]
    name: str = "SVI"
    log: LossLog = field(default_factory=LossLog)

    def work(self, control: Control) -> SVIResult:
        svi = self.prepare()
        fitted = dict(_named(self.model, self.guide))
        good = {name: p.detach().clone() for name, p in fitted.items()}

        def progress(steps: int, loss: float) -> bool:
            self.log.add(loss)
            control.warmed_up()
            if steps % KEEP_EVERY == 0:
                _copy_finite(fitted, good)
            return not control.checkpoint()

        try:
            result = svi.run(self.x, self.data, self.total, progress=progress)
        except UserError as error:
            raise UserError(self._fault(error, fitted, good)) from error
        return replace(result, interrupted=result.interrupted and control.cut_short)

    def _fault(self, error: UserError, fitted: "_Tensors", good: "_Tensors") -> str:
        """Name the step and what is not finite; put what is not back to its last good values."""
        steps = len(self.partial())
        bad = _not_finite(fitted)
        message = f"at step {steps + 1}: {error}"
        if not bad:
            return f"{message}. All parameters are finite"
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
