"""Stochastic variational inference: one optimiser step per call."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Model, OpenTarget, Values
from quivers_nb.inference.threads import spare_core
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.inference.vi.traced import TracedLoss, trace_loss

TRACE_AFTER = 2  # steps on the same data before it pays to record one


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


class SVI:
    """Fits ``guide`` (and the model's weights, if ``optim`` has them) to the posterior.

    ``total_rows`` is the number of rows of the whole data set when steps see minibatches (R4).
    ``generator`` None draws from torch's global one. A stock Adam or SGD that did not choose an
    implementation is switched to the fused one, which does the same arithmetic in one pass.
    """

    def __init__(
        self,
        model: Model,
        guide: Guide,
        optim: torch.optim.Optimizer,
        objective: Objective,
        total_rows: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if total_rows is not None and total_rows < 1:
            raise UserError(f"total_rows={total_rows} must be at least 1")
        self.model, self.guide, self.optim, self.objective = model, guide, optim, objective
        self.total_rows, self.generator = total_rows, generator
        self._opened: tuple[Any, OpenTarget] | None = None
        self._repeats = 0  # steps made on the opened data
        self._traced: TracedLoss | None = None
        self.eager_reason = ""  # why steps on repeated data are not traced
        use_fused(optim)

    def step(self, x: Tensor | None, obs: Values | None = None) -> float:
        """One gradient step on these data; the loss before it, per row."""
        with spare_core():
            return self._step(x, obs)

    def _step(self, x: Tensor | None, obs: Values | None) -> float:
        target = self._target(x, obs)
        self.optim.zero_grad(set_to_none=True)
        if self._traced is not None:
            loss = self._traced()
        elif self._repeats == TRACE_AFTER:
            loss = self._trace(target)
        else:
            loss = self._loss(target)
            loss.backward()
        self._repeats += 1
        self.optim.step()
        return float(loss.detach())

    def _loss(self, target: OpenTarget) -> Tensor:
        return self.objective.loss(
            target, self.guide, total_rows=self.total_rows, generator=self.generator
        )

    def _trace(self, target: OpenTarget) -> Tensor:
        """This step eagerly, and the following ones on the same data by replay, if that works."""
        fitted = [p for group in self.optim.param_groups for p in group["params"]]
        fitted = [p for p in fitted if p.requires_grad]
        weights = {id(p): p for p in (*self.model.parameters(), *_parameters(self.guide), *fitted)}
        self._traced, loss, self.eager_reason = trace_loss(
            lambda: self._loss(target), list(weights.values()), fitted, self.generator
        )
        return loss

    def _target(self, x: Tensor | None, obs: Values | None) -> OpenTarget:
        """The target at these data, opened again only if they changed."""
        data = _Data.of(x, obs or {})
        if self._opened is not None and data is not None and self._opened[0] == data:
            return self._opened[1]
        target = self.model.target(x, obs, latents="declared")
        self._opened = None if data is None else (data, target)
        self._repeats, self._traced = (0 if data is not None else TRACE_AFTER + 1), None
        return target


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


_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)


def use_fused(optim: torch.optim.Optimizer) -> bool:
    """Switch a stock optimiser to its fused implementation unless it has chosen one.

    With a hundred small tensors a step is four times as fast. Returns whether it was switched.
    """
    if type(optim) not in _FUSED:
        return False
    groups = optim.param_groups
    if any(_chosen(group) for group in groups):
        return False
    tensors = [p for group in groups for p in group["params"]]
    if not all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in tensors):
        return False
    for group in groups:
        group["fused"] = True
    return True


def _chosen(group: Mapping[str, Any]) -> bool:
    return group.get("fused", False) is not None or any(
        group.get(name) for name in ("foreach", "differentiable", "capturable")
    )
