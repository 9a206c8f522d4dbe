"""Variational steps in compiled code: the native tier of `SVI.run`.

The loss and its gradients become one C function of parameters and noise (`vi.flatten`), and Adam's
steps on it a loop in C. Numbers are drawn for a batch of steps at once, by the generator of the
fit: a seed repeats a run in this tier, but draws other numbers than the tiers that go step by step.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.gradient import LinAlgError
from quivers_nb.inference.graph import RecordingError, record_draws
from quivers_nb.inference.native.build import load
from quivers_nb.inference.native.emit import header
from quivers_nb.inference.native.function import REAL, NativeFunction, compile_graph
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.toolchain import compiler
from quivers_nb.inference.vi.flatten import FlatStep, flattened
from quivers_nb.inference.vi.nearby import agree_nearby, all_finite
from quivers_nb.inference.vi.traced import (
    Loss,
    eager_step,
    generator_state,
    restore_generator,
)

NATIVE_STEPS = 1000  # fewer do not pay for compiling
NATIVE_SIZE = 20_000  # more numbers are moved faster by torch's matrix products
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}  # relative to the largest entry


class _Adam(ctypes.Structure):
    _fields_ = (
        ("fitted", ctypes.c_int64),
        ("noise", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("rate", "beta1", "beta2", "epsilon")),
    )


@cache
def _stepper(real: str) -> Any:
    source = f"typedef {real} real;\n" + header("fit.c")
    function = load(source, compiler(), ("fit",)).fit
    address, whole = ctypes.c_void_p, ctypes.c_int64
    function.restype = whole
    function.argtypes = [address] * 8 + [whole, address, whole, address]
    return function


@dataclass
class CompiledFit:
    """Steps of ``optim`` on a compiled loss. Between batches parameters and state are torch's."""

    step: FlatStep
    function: NativeFunction
    fitted: Sequence[Parameter]
    optim: torch.optim.Adam
    generator: Generator | None
    _memory: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = self.step.fitted + self.step.noise
        self._memory = {n: self.function.memory(size) for n in ("q", "g", "mean", "square")}
        self._memory["work"] = self.function.memory(self.function.scratch)

    def advance(self, steps: int) -> list[float]:
        """Make so many steps; the losses before each. One that is not finite is the last."""
        made = self._take()
        noise = torch.randn(
            (steps, self.step.noise), generator=self.generator, dtype=self.function.dtype
        )
        losses = torch.empty(steps, dtype=self.function.dtype)
        data, memory, settings = self.function.pointers(), self._memory, self._settings()
        count = _stepper(REAL[self.function.dtype])(
            self.function.address, ctypes.addressof(data), memory["work"].ctypes.data,
            ctypes.addressof(settings), memory["q"].ctypes.data, memory["g"].ctypes.data,
            memory["mean"].ctypes.data, memory["square"].ctypes.data, made, noise.data_ptr(),
            steps, losses.data_ptr(),
        )  # fmt: skip
        found: list[float] = losses[:count].tolist()
        self._give(made + count - (not np.isfinite(found[-1])))
        return found

    def agrees(self, noise: Tensor, loss: Tensor, gradients: Sequence[Tensor]) -> bool:
        """Whether the compiled loss is the eager one at the same noise."""
        self._take()
        self._memory["q"][self.step.fitted :] = noise.numpy()
        at = torch.from_numpy(np.array(self._memory["q"]))
        value, gradient = self.function.value_and_grad(at)
        eager = torch.cat([g.reshape(-1) for g in gradients])
        tolerance = _TOLERANCE[self.function.dtype]
        near = (gradient[: self.step.fitted] - eager).abs().max() <= tolerance * (
            1.0 + eager.abs().max()
        )
        return bool(near) and abs(float(value - loss)) <= tolerance * (1.0 + abs(float(loss)))

    def _settings(self) -> _Adam:
        group = self.optim.param_groups[0]
        beta1, beta2 = group["betas"]
        sizes = (self.step.fitted, self.step.noise)
        return _Adam(*sizes, float(group["lr"]), float(beta1), float(beta2), group["eps"])

    def _pieces(self) -> Iterator[tuple[Parameter, slice]]:
        start = 0
        for parameter in self.fitted:
            yield parameter, slice(start, start + parameter.numel())
            start += parameter.numel()

    def _take(self) -> int:
        """Parameters and Adam's state into the vectors; the number of steps made."""
        made = 0
        for parameter, place in self._pieces():
            state = self.optim.state.get(parameter) or {}
            self._memory["q"][place] = parameter.detach().reshape(-1).numpy()
            for name, key in (("mean", "exp_avg"), ("square", "exp_avg_sq")):
                known = state.get(key)
                self._memory[name][place] = 0.0 if known is None else known.reshape(-1).numpy()
            made = int(state.get("step", 0))
        return made

    def _give(self, made: int) -> None:
        """The vectors back into parameters and Adam's state."""
        with torch.no_grad():
            for parameter, place in self._pieces():
                state = self.optim.state[parameter]
                state["step"] = torch.tensor(float(made))
                for name, key in (("mean", "exp_avg"), ("square", "exp_avg_sq")):
                    new = torch.from_numpy(self._memory[name][place]).view_as(parameter)
                    state[key] = state[key].copy_(new) if key in state else new.clone()
                new = torch.from_numpy(self._memory["q"][place]).view_as(parameter)
                parameter.copy_(new)


def compile_fit(
    loss: Callable[[], Tensor],
    weights: Sequence[Tensor],
    fitted: Sequence[Parameter],
    optim: torch.optim.Optimizer,
    generator: Generator | None,
) -> CompiledFit | str:
    """A compiled fit that agrees with the eager loss, or why there is none.

    The generator is left as it was.
    """
    reason = unlike_adam(optim)
    if reason:
        return reason
    size = sum(tensor.numel() for tensor in fitted)
    if size > NATIVE_SIZE:
        return f"{size} weights are moved faster by torch"
    before = generator_state(generator)
    try:
        return _compiled(loss, weights, fitted, optim, generator, before)
    except (RecordingError, Refusal) as refusal:
        return str(refusal)
    finally:
        restore_generator(generator, before)


def _compiled(
    loss: Loss,
    weights: Sequence[Tensor],
    fitted: Sequence[Parameter],
    optim: torch.optim.Optimizer,
    generator: Generator | None,
    before: Tensor,
) -> CompiledFit | str:
    found = []

    def run() -> list[Tensor]:
        found.append(eager_step(loss, fitted))
        value, gradients = found[0]
        if any(gradient is None for gradient in gradients):
            raise RecordingError("a weight that is to be fitted does not matter")
        return [value, *(g for g in gradients if g is not None)]

    step = flattened(record_draws(run, weights), weights, fitted)
    if step.noise > NATIVE_SIZE:
        return f"{step.noise} draws in a step are moved faster by torch"
    function = compile_graph(step.graph)
    assert isinstance(optim, torch.optim.Adam)
    fit = CompiledFit(step, function, fitted, optim, generator)
    value, gradients = found[0]
    restore_generator(generator, before)
    noise = step.draw(generator, function.dtype)
    dense = [g.detach() for g in gradients if g is not None]
    if not fit.agrees(noise, value.detach(), dense):
        return "the compiled loss differs from the eager one"
    if not agrees_nearby(fit, loss):
        return "the compiled loss differs from the eager one away from the start"
    _stepper(REAL[function.dtype])
    return fit


def agrees_nearby(fit: CompiledFit, loss: Loss) -> bool:
    """Whether the compiled loss is the eager one at weights and noise around the present ones.

    A point where the eager loss is not finite says nothing. The generator is moved.
    """
    return agree_nearby(fit.fitted, lambda: _agrees_here(fit, loss))


def _agrees_here(fit: CompiledFit, loss: Loss) -> bool:
    before = generator_state(fit.generator)
    try:
        value, gradients = eager_step(loss, fit.fitted)
    except LinAlgError:
        return True  # not positive definite here: a loss that is not finite
    restore_generator(fit.generator, before)
    noise = fit.step.draw(fit.generator, fit.function.dtype)
    dense = [g.detach() for g in gradients if g is not None]
    return not all_finite((value, *dense)) or fit.agrees(noise, value.detach(), dense)


def unlike_adam(optim: torch.optim.Optimizer) -> str:
    """Why an optimiser's steps are not those that are compiled; empty if they are."""
    if type(optim) is not torch.optim.Adam:
        return f"{type(optim).__name__} has no compiled steps: Adam has"
    if len(optim.param_groups) != 1:
        return "the optimiser has several groups of parameters"
    (group,) = optim.param_groups
    for option in ("weight_decay", "amsgrad", "maximize"):
        if group.get(option):
            return f"{option} of Adam is not compiled"
    return ""
