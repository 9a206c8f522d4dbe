"""One variational step as a recorded graph: loss and gradients without autograd or Python models.

A step on the same data is the same operations every time, random draws included. `trace_loss`
records them once (`quivers_nb.inference.graph.record_draws`), with the weights of model and guide
as inputs, and replays them. Before it is used, the replay is compared with the eager step at the
same state of the generator; where they differ, or something cannot be recorded, the eager step
stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.graph import (
    Graph,
    RecordingError,
    aten,
    record_draws,
    refs,
    replace_refs,
)
from quivers_nb.inference.replay import Replay, replay

Loss = Callable[[], Tensor]
Gradients = tuple[Tensor | None, ...]  # None: the loss does not read that weight
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}  # relative to the largest entry


@dataclass(frozen=True, slots=True)
class TracedLoss:
    """``inputs`` are all weights that the loss reads, ``fitted`` those that get a gradient."""

    run: Replay
    inputs: tuple[Tensor, ...]
    fitted: tuple[Parameter, ...]
    places: tuple[int, ...]  # where the inputs' numbers are

    @property
    def valid(self) -> bool:
        """Whether every weight still lives where it did: views of them are made once."""
        return self.places == tuple(tensor.data_ptr() for tensor in self.inputs)

    def __call__(self) -> Tensor:
        """The loss at the current weights and fresh draws; sets the gradients."""
        loss, *gradients = self.run(*self.inputs)
        for parameter, gradient in zip(self.fitted, gradients, strict=True):
            parameter.grad = _dense(gradient)
        return loss


def eager_step(loss: Loss, fitted: Sequence[Parameter]) -> tuple[Tensor, Gradients]:
    """The loss and its gradients by autograd."""
    value = loss()
    return value, torch.autograd.grad(value, list(fitted), allow_unused=True)


def trace_loss(
    loss: Loss, weights: Sequence[Tensor], fitted: Sequence[Parameter], generator: Generator | None
) -> tuple[TracedLoss | None, Tensor, str]:
    """A traced loss, or None with the reason; and the eager loss of this very step.

    The gradients of this step are set as by an eager one, whatever comes of the recording, and the
    generator ends where an eager step leaves it.
    """
    before = generator_state(generator)
    try:
        graph, value, gradients = _recorded_step(loss, weights, fitted)
        reason = ""
    except RecordingError as error:
        restore_generator(generator, before)
        graph, reason = None, str(error)
        value, gradients = eager_step(loss, fitted)
    for parameter, gradient in zip(fitted, gradients, strict=True):
        parameter.grad = None if gradient is None else _dense(gradient)
    if graph is None:
        return None, value, reason
    run = replay(without_views_of_inputs(graph, weights), torch.no_grad)
    after = generator_state(generator)
    restore_generator(generator, before)
    again = run(*weights)
    restore_generator(generator, after)
    if not all(map(_close, again, (value, *(g for g in gradients if g is not None)))):
        return None, value, "the replayed step differs from the eager one"
    used = tuple(p for p, g in zip(fitted, gradients, strict=True) if g is not None)
    places = tuple(tensor.data_ptr() for tensor in weights)
    return TracedLoss(run, tuple(weights), used, places), value, ""


def _dense(gradient: Tensor) -> Tensor:
    """With memory for every entry: fused optimisers read an expanded tensor beyond its end."""
    return gradient.contiguous()


def _recorded_step(
    loss: Loss, weights: Sequence[Tensor], fitted: Sequence[Parameter]
) -> tuple[Graph, Tensor, Gradients]:
    """An eager step with the operations that it ran."""
    found: list[tuple[Tensor, Gradients]] = []

    def step() -> list[Tensor]:
        found.append(eager_step(loss, fitted))
        value, gradients = found[0]
        return [value, *(gradient for gradient in gradients if gradient is not None)]

    graph = record_draws(step, weights)
    return graph, *found[0]


_VIEWS = frozenset(
    {
        aten.view.default, aten.transpose.int, aten.t.default, aten.permute.default,
        aten.unsqueeze.default, aten.squeeze.dim, aten.expand.default, aten.select.int,
        aten.slice.Tensor, aten._unsafe_view.default,
    }
)  # fmt: skip


def without_views_of_inputs(graph: Graph, inputs: Sequence[Tensor]) -> Graph:
    """The graph with views of inputs made once: weights change in place, and views see it."""
    values = dict(enumerate(tensor.detach() for tensor in inputs))
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        read = [ref.index for ref in refs(node.args)]
        if node.op in _VIEWS and read and all(number in values for number in read):
            view = node.op(*replace_refs(node.args, lambda ref: values[ref.index]))
            if view.untyped_storage().data_ptr() == values[read[0]].untyped_storage().data_ptr():
                values[node.result] = constants[node.result] = view
                continue
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _close(a: Tensor, b: Tensor) -> bool:
    tolerance = _TOLERANCE.get(b.dtype, 1e-3)
    gap = (a - b).abs().max() if b.numel() else b.new_zeros(())
    return bool(gap <= tolerance * (b.abs().max() if b.numel() else 1.0) + 1e-12)


def generator_state(generator: Generator | None) -> Tensor:
    """That of torch's global generator, if it is None."""
    return torch.get_rng_state() if generator is None else generator.get_state()


def restore_generator(generator: Generator | None, state: Tensor) -> None:
    """Put a generator back to `generator_state`."""
    if generator is None:
        torch.set_rng_state(state)
    else:
        generator.set_state(state)
