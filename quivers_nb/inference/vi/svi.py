"""Stochastic variational inference: one optimiser step per call, or a run of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.model import Model, OpenTarget, Values
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive, Tier
from quivers_nb.inference.threads import spare_core
from quivers_nb.inference.vi import fused
from quivers_nb.inference.vi.arguments import refuse_unfit
from quivers_nb.inference.vi.compiled import NATIVE_STEPS, CompiledFit, compile_fit, unlike_adam
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.native_step import COMPILE_AT, native_step
from quivers_nb.inference.vi.result import SiteSummary, SVIResult, settled, steady, summarize
from quivers_nb.inference.vi.streamed import Streams
from quivers_nb.inference.vi.traced import TracedLoss, trace_loss

SEARCHED = 100  # draws of the guide among which a message looks for the fault
TRACE_AFTER = 2  # steps on the same data before it pays to record one
BATCH, WATCHED_BATCH = 100, 10  # compiled steps between two looks, if nobody watches, or somebody
NOT_NATIVE = "not native: "  # before a reason that tells why a run is not compiled as a whole


class Objective(Protocol):
    """A loss to be minimised, differentiable in the parameters of model and guide."""

    def loss(
        self,
        target: OpenTarget,
        guide: Guide,
        *,
        total_rows: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor: ...


Schedule = LRScheduler | ReduceLROnPlateau | Callable[[int], float]
Progress = Callable[[int, float], object]  # steps made, loss; False stops the run


@known_options
class SVI:
    """Fits ``guide`` (and the model's weights, if ``optim`` has them) to the posterior.

    ``total_rows`` is the number of rows of the whole data set when steps see minibatches (R4).
    ``generator`` None draws from torch's global one. ``scheduler`` is one of `torch.optim`, made
    for this optimiser, or a function from the number of steps made to a factor on the learning
    rates. A stock Adam or SGD that did not choose an implementation is switched to the fused one,
    which does the same arithmetic in one pass.

    ``tier`` forces how steps are made: "eager" by autograd, "traced" by replaying a recorded step,
    "native" in compiled code; "auto" takes the fastest that pays, which on small models is a `run`
    compiled as a whole, and else one step that is compiled after 500 of them. A run compiled as a
    whole draws numbers in batches, so a seed repeats it but gives other draws than the same seed
    step by step. `replay_reason` says why recorded steps were not compiled, if that was tried.
    """

    def __init__(
        self,
        model: Model,
        guide: Guide,
        optim: torch.optim.Optimizer,
        objective: Objective,
        total_rows: Count | None = None,
        generator: Generator | None = None,
        scheduler: Schedule | None = None,
        tier: Tier = "auto",
    ) -> None:
        refuse_unfit(model, guide, optim, objective)
        self.model, self.guide, self.optim, self.objective = model, guide, optim, objective
        self.total_rows, self.generator = total_rows, generator
        self._opened: tuple[Any, OpenTarget] | None = None
        self._bound = guide  # to the input of the opened target
        self._repeats = 0  # steps made on the opened data
        self._traced: TracedLoss | None = None
        self._made: tuple[OpenTarget, tuple[Any, ...], CompiledFit] | None = None
        # Counted from the first step on the same data, or on data of the same shapes.
        compile_at = {"auto": COMPILE_AT, "native": TRACE_AFTER + 2}.get(tier)
        self._streams = Streams(self._loss_on, self._weights, generator, compile_at)
        self.tier = tier
        self.eager_reason = ""  # why steps are not traced
        self.replay_reason = ""  # why traced steps are not compiled
        fused.use_fused(optim)
        self.scheduler = _scheduler(scheduler, optim)

    def stay_replayed(self) -> None:
        """Compile no single step: one that a fit is gone on with would be compiled later than it
        was, and the last digits would not be those of an uninterrupted fit."""
        self._streams.compile_at = None

    def step(self, x: Tensor | None, obs: Values | None = None) -> float:
        """One gradient step on these data; the loss before it, per row.

        Raises `UserError` if the loss is not finite; the parameters are then as before the step.
        """
        with spare_core():
            return self._step(x, obs)

    @known_options
    def run(
        self,
        x: Tensor | None,
        obs: Values | None = None,
        num_steps: Count = 1000,
        *,
        window: Count = 100,
        tolerance: Positive = 1e-3,
        stop_early: bool = False,
        progress: Progress | None = None,
    ) -> SVIResult:
        """Make ``num_steps`` steps on these data.

        The loss has settled when the means of its last two windows of ``window`` steps differ by
        at most ``tolerance`` times the larger one (`settled`); ``stop_early`` ends the run then.
        It has converged if it has settled, or changes no more than its noise (`steady`).
        An interrupt, or ``progress(steps, loss)`` that returns False, ends it too: losses and
        parameters are those reached, and another `run` goes on from there.

        Raises `UserError` if the loss is not finite, or an option is out of its range.
        """
        losses: list[float] = []
        interrupted = False
        native: CompiledFit | None = None
        reason = ""
        try:
            with spare_core():
                fit = self._compiled(x, obs, num_steps)
                native, reason = (None, fit) if isinstance(fit, str) else (fit, "")
                batch = 1 if native is None else BATCH if progress is None else WATCHED_BATCH
                while len(losses) < num_steps and not interrupted:
                    # A batch ends with its window, where the loss may be found to have settled.
                    size = min(batch, num_steps - len(losses), window - len(losses) % window)
                    new = (
                        [self._step(x, obs)]
                        if native is None
                        else self._batch(native, size, x, obs)
                    )
                    losses += new
                    interrupted = not _tell(progress, len(losses) - len(new), new)
                    done = stop_early and len(losses) % window == 0
                    if done and settled(losses, window, tolerance):
                        break
        except KeyboardInterrupt:
            interrupted = True
        tier = self.step_tier if native is None else "native"
        if tier == "native" and native is None:
            reason = f"each step alone: {reason.removeprefix(NOT_NATIVE)}"
        return SVIResult(
            losses=torch.tensor(losses, dtype=torch.float64),
            params=self._params(),
            converged=settled(losses, window, tolerance) or steady(losses, window),
            interrupted=interrupted,
            eager_reason=self.eager_reason,
            tier=tier,
            tier_reason="; ".join(filter(None, (reason, self.eager_reason, self.replay_reason))),
            sites=self.summarize(x, obs),
        )

    @property
    def step_tier(self) -> str:
        """What made the last single step: "eager", "traced" or "native"."""
        if self._traced is not None:
            return "native" if self._traced.native else "traced"
        streams = self._streams  # of data that change, or could unseen
        return "native" if streams.native else "traced" if streams.traced else "eager"

    def summarize(self, x: Tensor | None, obs: Values | None = None) -> dict[str, SiteSummary]:
        """Every site in draws of the guide as it is now (`quivers_nb.inference.vi.result`)."""
        return summarize(self._target(x, obs), self._bound)

    def _compiled(self, x: Tensor | None, obs: Values | None, steps: int) -> CompiledFit | str:
        """Compiled steps on these data, or why there are none."""
        if self.tier in ("eager", "traced"):
            return f"tier={self.tier!r} was asked for"
        if self.tier == "auto" and steps < NATIVE_STEPS:
            return f"{NOT_NATIVE}{steps} steps do not pay for compiling"
        reason: str = getattr(self.objective, "eager_reason", "")
        if reason or self.scheduler is not None:
            return f"{NOT_NATIVE}{reason or 'a scheduler changes the learning rate'}"
        target = self._target(x, obs)
        weights, fitted = self._weights()
        key = self._compiled_from(weights, fitted)
        if self._made is None or self._made[0] is not target or self._made[1] != key:
            found = compile_fit(
                lambda: self._loss(target), weights, fitted, self.optim, self.generator
            )
            if isinstance(found, str):
                return f"{NOT_NATIVE}{found}"
            self._made = (target, key, found)
        return self._made[2]

    def _compiled_from(self, weights: list[Tensor], fitted: list[Parameter]) -> tuple[Any, ...]:
        """What compiled steps depend on, besides the target and the numbers of fitted weights."""
        moving = {id(p) for p in fitted}
        still = [(id(w), w.data_ptr(), w._version) for w in weights if id(w) not in moving]
        return (
            *still, *map(id, fitted), id(self.objective), id(self._bound), id(self.generator),
            self.total_rows, unlike_adam(self.optim),
        )  # fmt: skip

    def _batch(
        self, fit: CompiledFit, size: int, x: Tensor | None, obs: Values | None
    ) -> list[float]:
        losses = fit.advance(size)
        if not isfinite(losses[-1]):
            raise UserError(self._not_finite(losses[-1], self._target(x, obs)))
        return losses

    def _weights(self) -> tuple[list[Tensor], list[Parameter]]:
        """All weights that a loss may read, and those that are fitted."""
        fitted = [p for group in self.optim.param_groups for p in group["params"]]
        fitted = [p for p in fitted if p.requires_grad]
        weights = {id(p): p for p in (*self.model.parameters(), *_parameters(self.guide), *fitted)}
        return list(weights.values()), fitted

    def _params(self) -> dict[str, Tensor]:
        """Copies of what was fitted, by name: those of the guide, and of the model as ``model.``"""
        fitted = {id(p) for group in self.optim.param_groups for p in group["params"]}
        named: dict[str, Tensor] = {}
        if isinstance(self.guide, torch.nn.Module):
            named.update(self.guide.named_parameters())
        named.update({f"model.{key}": value for key, value in self.model.storage().items()})
        return {name: p.detach().clone() for name, p in named.items() if id(p) in fitted}

    def _step(self, x: Tensor | None, obs: Values | None) -> float:
        loss = self._streamed(x, obs)
        if loss is None:
            loss = self._on_opened(self._target(x, obs))
        value = float(loss.detach())
        if not isfinite(value):
            raise UserError(self._not_finite(value, self._target(x, obs)))
        fused.step(self.optim)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(value)
        elif self.scheduler is not None:
            self.scheduler.step()
        return value

    def _streamed(self, x: Tensor | None, obs: Values | None) -> Tensor | None:
        """The loss on data that are new, by replay of a step on others like them, if it works."""
        values = by_name(obs)
        data = _Data.of(x, values)
        if self.tier == "eager" or (self._opened is not None and self._opened[0] == data):
            return None
        reason: str = getattr(self.objective, "eager_reason", "")
        if reason:
            self.eager_reason = reason
            return None
        loss = self._streams.step(x, values)
        self.eager_reason = self._streams.reason
        self.replay_reason = self._streams.replay_reason
        if loss is not None:
            self._opened = None
        return loss

    def _loss_on(self, x: Tensor | None, obs: Values) -> Callable[[], Tensor]:
        target = self.model.target(x, obs, latents="declared")
        guide = self.guide.at(x, obs)
        rows, generator = self.total_rows, self.generator
        return lambda: self.objective.loss(target, guide, total_rows=rows, generator=generator)

    def _on_opened(self, target: OpenTarget) -> Tensor:
        """The loss on data that the target was opened on, with gradients set."""
        if self._traced is not None and not self._traced.valid:
            self._traced, self._repeats = None, 0  # a weight was replaced, not written to
        if self._traced is not None and self._repeats + 1 == self._streams.compile_at:
            self._traced, self.replay_reason = native_step(self._traced, self.generator)
        loss = None if self._traced is None else self._traced()
        if loss is not None:
            self._repeats += 1
            return loss
        fused.clear(self.optim)  # a replay sets every gradient itself
        if self._repeats == TRACE_AFTER and self.tier != "eager":
            loss = self._trace(target)
        else:
            loss = self._loss(target)
            loss.backward()
        self._repeats += 1
        return loss

    def _not_finite(self, value: float, target: OpenTarget) -> str:
        """Where the log density is not finite, as fresh draws of the guide show it."""
        with torch.no_grad():
            q, guide = self._bound.draw(target.layout, (SEARCHED,), self.generator)
            difference = target.terms(q, generator=self.generator).total() - guide.total()
        bad = q[~torch.isfinite(difference.expand(SEARCHED))]
        where = f": {target.names_of(bad[0])}" if len(bad) else " (fresh draws of the guide are)"
        return (
            f"the loss is {value}: the log density is not finite where the guide draws{where}. The "
            "parameters are as before this step. Lower the learning rate or init_scale, or start "
            "the guide nearer to possible values"
        )

    def _loss(self, target: OpenTarget) -> Tensor:
        return self.objective.loss(
            target, self._bound, total_rows=self.total_rows, generator=self.generator
        )

    def _trace(self, target: OpenTarget) -> Tensor:
        """This step eagerly, and the following ones on the same data by replay, if that works."""
        reason: str = getattr(self.objective, "eager_reason", "")
        if reason:
            self.eager_reason = reason
            loss = self._loss(target)
            loss.backward()
            return loss
        weights, fitted = self._weights()
        self._traced, loss, self.eager_reason = trace_loss(
            lambda: self._loss(target), weights, fitted, self.generator
        )
        return loss

    def _target(self, x: Tensor | None, obs: Values | None) -> OpenTarget:
        """The target at these data, opened again only if they changed."""
        data = _Data.of(x, by_name(obs))
        if self._opened is not None and data is not None and self._opened[0] == data:
            return self._opened[1]
        target = self.model.target(x, obs, latents="declared")
        self._bound = self.guide.at(x, obs)
        self._opened = None if data is None else (data, target)
        self._repeats, self._traced = (0 if data is not None else TRACE_AFTER + 1), None
        return target


def _tell(progress: Progress | None, made: int, losses: Sequence[float]) -> bool:
    """Tell of every new loss; False if the run is to stop."""
    if progress is None:
        return True
    answers = [progress(made + k + 1, loss) for k, loss in enumerate(losses)]
    return not any(answer is False for answer in answers)


def _scheduler(
    schedule: Schedule | None, optim: torch.optim.Optimizer
) -> LRScheduler | ReduceLROnPlateau | None:
    if schedule is None or isinstance(schedule, LRScheduler | ReduceLROnPlateau):
        if schedule is not None and schedule.optimizer is not optim:
            raise UserError("the scheduler was made for another optimiser: give it this one's")
        return schedule
    if not callable(schedule):
        raise UserError(
            f"scheduler={schedule!r:.60} ({type(schedule).__name__}): a function of the number of "
            "steps, or one of torch.optim.lr_scheduler, is wanted, such as lambda step: 0.999**step"
        )
    return LambdaLR(optim, schedule)


def _parameters(guide: Guide) -> Iterator[Tensor]:
    return guide.parameters() if isinstance(guide, torch.nn.Module) else iter(())


class _Data:
    """Tensors by identity and version: equal exactly if nothing was replaced or written to."""

    def __init__(self, tensors: Mapping[str, Tensor | None]) -> None:
        self.tensors = tensors
        self.versions = {k: t._version for k, t in tensors.items() if t is not None}

    @classmethod
    def of(cls, x: Tensor | None, obs: Values) -> "_Data | None":
        """None if something is not a tensor, so that a write to it would go unseen."""
        values = {"": x, **obs}
        if all(
            v is None or (isinstance(v, Tensor) and not v.is_inference()) for v in values.values()
        ):
            return cls(values)
        return None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Data)
            and self.versions == other.versions
            and self.tensors.keys() == other.tensors.keys()
            and all(self.tensors[key] is other.tensors[key] for key in self.tensors)
        )

    __hash__ = None  # type: ignore[assignment]
