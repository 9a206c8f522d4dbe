"""Steps on data that change from step to step, as minibatches do, by replay.

What a step on one minibatch does it does on the next of the same shapes, with other numbers. The
whole step, opening the model on its data included, is recorded with the data as inputs
(`quivers_nb.inference.vi.traced`). Numbers that opening reads out of the data, as its checks do,
decide the course of a step: a replay that would have read others counts for nothing, and that step
is made eagerly. Replays are compared with eager steps at step 4, 8, 16 and so on. In a long fit the
recorded step becomes compiled code (`quivers_nb.inference.vi.native_step`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.graph import Looks
from quivers_nb.inference.model import Values
from quivers_nb.inference.vi.native_step import native_step
from quivers_nb.inference.vi.traced import (
    TracedLoss,
    close,
    eager_step,
    generator_state,
    restore_generator,
    set_gradients,
    trace_loss,
)

RECORD_AT = 2  # steps on data of these shapes before it pays to record one
GIVE_UP = 3  # steps in a row that took another course than the recorded one

Open = Callable[[Tensor | None, Values], Callable[[], Tensor]]  # data -> the loss on them
Weights = Callable[[], tuple[list[Tensor], list[Parameter]]]  # all that are read, those fitted
Signature = tuple[tuple[Any, ...], ...]


@dataclass
class _Stream:
    """Data of one signature."""

    steps: int = 0
    traced: TracedLoss | None = None
    detours: int = 0
    reason: str = ""
    replay_reason: str = ""  # why replays are not compiled


class Streams:
    """Recorded steps by the signature of their data: names, shapes, strides, dtypes, devices."""

    def __init__(
        self, opened: Open, weights: Weights, generator: Generator | None, compile_at: int | None
    ) -> None:
        self._open, self._weights, self._generator = opened, weights, generator
        self.compile_at = compile_at  # steps; None: never
        self._streams: dict[Signature, _Stream] = {}
        self._last: _Stream | None = None

    @property
    def traced(self) -> bool:
        """Whether the last step could be replayed."""
        return self._last is not None and self._last.traced is not None

    @property
    def reason(self) -> str:
        """Why steps on the last data are not replayed, if they are not."""
        return "" if self._last is None else self._last.reason

    @property
    def native(self) -> bool:
        """Whether the last step was made in compiled code, if it was traced."""
        traced = None if self._last is None else self._last.traced
        return traced is not None and traced.native

    @property
    def replay_reason(self) -> str:
        """Why replays of steps on the last data are not compiled, if that was tried."""
        return "" if self._last is None else self._last.replay_reason

    def step(self, x: Tensor | None, obs: Values) -> Tensor | None:
        """The loss on these data, with gradients set; None where an eager step is to be made."""
        data = _tensors(x, obs)
        if data is None:
            return None
        stream = self._last = self._streams.setdefault(_signature(data), _Stream())
        stream.steps += 1
        if stream.traced is not None and not stream.traced.valid:
            stream.traced, stream.steps = None, 1  # a weight was replaced, not written to
        if stream.traced is not None:
            return self._replayed(stream, data)
        if stream.reason or stream.steps <= RECORD_AT:
            return None
        return self._recorded(stream, data)

    def _recorded(self, stream: _Stream, data: Mapping[str, Tensor]) -> Tensor:
        # Objects of their own: one tensor given twice would merge two inputs into one.
        own = {name: tensor.detach() for name, tensor in data.items()}
        weights, fitted = self._weights()
        looks = Looks()

        def step() -> Tensor:
            looks.allowed = True
            loss = self._on(own)
            looks.allowed = False
            return loss()

        stream.traced, loss, stream.reason = trace_loss(
            step, weights, fitted, self._generator, list(own.values()), looks
        )
        return loss

    def _replayed(self, stream: _Stream, data: Mapping[str, Tensor]) -> Tensor | None:
        assert stream.traced is not None
        if stream.steps == self.compile_at:
            given = list(data.values())
            stream.traced, stream.replay_reason = native_step(stream.traced, self._generator, given)
        before = generator_state(self._generator) if _looked_at(stream.steps) else None
        loss = stream.traced(*data.values())
        if loss is None:
            stream.detours += 1
            if stream.detours == GIVE_UP:
                stream.traced = None
                stream.reason = "numbers in the data decide how steps go, and change"
            return None
        stream.detours = 0
        return loss if before is None else self._compared(stream, data, loss, before)

    def _compared(
        self, stream: _Stream, data: Mapping[str, Tensor], loss: Tensor, before: Tensor
    ) -> Tensor:
        """The loss by an eager step; replays end if the two differ."""
        _, fitted = self._weights()
        replayed = [loss, *(p.grad for p in fitted if p.grad is not None)]
        restore_generator(self._generator, before)
        value, gradients = eager_step(self._on(data), fitted)
        wanted = [value, *(g for g in gradients if g is not None)]
        if len(wanted) != len(replayed) or not all(map(close, replayed, wanted)):
            stream.traced, stream.reason = None, "a replayed step differs from the eager one"
        set_gradients(fitted, gradients)
        return value

    def _on(self, data: Mapping[str, Tensor]) -> Callable[[], Tensor]:
        return self._open(data.get(""), {name: value for name, value in data.items() if name})


def _looked_at(step: int) -> bool:
    return step & (step - 1) == 0


def _tensors(x: Tensor | None, obs: Values) -> dict[str, Tensor] | None:
    """The data as tensors, the input as ``""``; None if some cannot be read where they are."""
    found: dict[str, Tensor] = {}
    for name, value in {"": x, **obs}.items():
        if value is None and not name:
            continue
        tensor = _tensor(value)
        if tensor is None:
            return None
        found[name] = tensor
    return found


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.flags.writeable:
        return torch.from_numpy(value)
    if isinstance(value, Tensor) and not value.is_inference() and not value.requires_grad:
        return value
    return None


def _signature(data: Mapping[str, Tensor]) -> Signature:
    return tuple(
        (name, tuple(t.shape), t.stride(), t.dtype, str(t.device)) for name, t in data.items()
    )
