"""One variational step as a recorded graph: loss and gradients without autograd or Python models.

A step on the same data is the same operations every time, random draws included. `trace_loss`
records them once (`quivers_nb.inference.graph.record_draws`), with the weights of model and guide
as inputs, and replays them. Before it is used, the replay is compared with the eager step at the
same state of the generator; where they differ, or something cannot be recorded, the eager step
stays. Data that change from step to step are inputs too: see `quivers_nb.inference.vi.streamed`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.graph import (
    Graph,
    Looks,
    RecordingError,
    aten,
    is_draw,
    record_draws,
    refs,
    replace_refs,
)
from quivers_nb.inference.replay import Replay, replay
from quivers_nb.inference.simplify import simplify

Loss = Callable[[], Tensor]
Gradients = tuple[Tensor | None, ...]  # None: the loss does not read that weight
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}  # relative to the largest entry


@dataclass(frozen=True, slots=True)
class TracedLoss:
    """``inputs`` are all weights that the loss reads, ``fitted`` those that get a gradient.

    ``look`` gives the tensors of which the recorded step read ``numbers``, from data alone: they
    decided its course.
    """

    run: Replay
    inputs: tuple[Tensor, ...]
    fitted: tuple[Parameter, ...]
    places: tuple[int, ...]  # where the inputs' numbers are
    graph: Graph  # of weights and data, what `run` replays
    native: bool = False  # whether `run` is compiled
    look: Replay | None = None
    numbers: tuple[Any, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether every weight still lives where it did: views of them are made once."""
        return self.places == tuple(tensor.data_ptr() for tensor in self.inputs)

    def __call__(self, *data: Tensor) -> Tensor | None:
        """The loss at the current weights and fresh draws; sets the gradients.

        ``data`` are the inputs behind the weights. None, with nothing drawn, if the recorded step
        would have taken another course with them.
        """
        if self.look is not None and not self._same_course(self.look, data):
            return None
        loss, *gradients = self.run(*self.inputs, *data)
        for parameter, gradient in zip(self.fitted, gradients, strict=True):
            parameter.grad = _dense(gradient)
        return loss

    def _same_course(self, look: Replay, data: Sequence[Tensor]) -> bool:
        try:
            seen = look(*self.inputs, *data)
        except (IndexError, RuntimeError):
            return False  # an operation refuses the data; the eager step that follows says why
        return all(t.item() == number for t, number in zip(seen, self.numbers, strict=True))


def eager_step(loss: Loss, fitted: Sequence[Parameter]) -> tuple[Tensor, Gradients]:
    """The loss and its gradients by autograd."""
    value = loss()
    return value, torch.autograd.grad(value, list(fitted), allow_unused=True)


def trace_loss(
    loss: Loss,
    weights: Sequence[Tensor],
    fitted: Sequence[Parameter],
    generator: Generator | None,
    data: Sequence[Tensor] = (),
    looks: Looks | None = None,
) -> tuple[TracedLoss | None, Tensor, str]:
    """A traced loss, or None with the reason; and the eager loss of this very step.

    ``data`` are tensors that ``loss`` reads, by identity, and that later steps replace; while
    ``looks`` allows it, it may read numbers out of what depends on them alone. The gradients of
    this step are set as by an eager one, whatever comes of the recording, and the generator ends
    where an eager step leaves it.
    """
    before = generator_state(generator)
    try:
        graph, value, gradients = _recorded_step(loss, weights, fitted, data, looks)
        reason = ""
    except RecordingError as error:
        restore_generator(generator, before)
        graph, reason = None, str(error)
        value, gradients = eager_step(loss, fitted)
    set_gradients(fitted, gradients)
    if graph is None:
        return None, value, reason
    graph, look, numbers = _apart(graph, looks or Looks(), len(weights))
    graph = _smaller(graph)
    run = replay(without_views_of_inputs(graph, weights), torch.no_grad)
    after = generator_state(generator)
    restore_generator(generator, before)
    again = run(*weights, *data)
    restore_generator(generator, after)
    wanted = (value, *(g for g in gradients if g is not None))
    if not all(map(close, again, wanted)):
        return None, value, "the replayed step differs from the eager one"
    used = tuple(p for p, g in zip(fitted, gradients, strict=True) if g is not None)
    places = tuple(tensor.data_ptr() for tensor in weights)
    traced = TracedLoss(run, tuple(weights), used, places, graph, False, look, numbers)
    return traced, value, ""


def set_gradients(fitted: Sequence[Parameter], gradients: Gradients) -> None:
    """Gradients of `eager_step`, given to their parameters."""
    for parameter, gradient in zip(fitted, gradients, strict=True):
        parameter.grad = None if gradient is None else _dense(gradient)


def _apart(
    graph: Graph, looks: Looks, weights: int
) -> tuple[Graph, Replay | None, tuple[Any, ...]]:
    """The step, the looks at what does not depend on the first ``weights`` inputs, what they saw.

    Weights move a little in a step: a target that is opened once for all steps on its data does not
    look at them again either.
    """
    own = len(graph.outputs) - len(looks.numbers)
    step = replace(graph, outputs=graph.outputs[:own])
    touched = set(range(weights))
    for node in graph.nodes:
        if any(ref.index in touched for ref in refs((node.args, node.kwargs))):
            touched.update(node.results)
    seen = zip(graph.outputs[own:], looks.numbers, strict=True)
    kept = [(ref, number) for ref, number in seen if ref.index not in touched]
    if not kept:
        return step, None, ()
    alone = simplify(replace(graph, outputs=tuple(ref for ref, _ in kept)))
    return step, replay(alone, torch.no_grad), tuple(number for _, number in kept)


def _smaller(graph: Graph) -> Graph:
    """Without repeated and unused work; as it was if a draw would be lost, which moves others."""
    small = simplify(graph)
    kept = sum(is_draw(node.op) for node in small.nodes)
    return small if kept == sum(is_draw(node.op) for node in graph.nodes) else graph


def _dense(gradient: Tensor) -> Tensor:
    """With memory for every entry: fused optimisers read an expanded tensor beyond its end."""
    return gradient.contiguous()


def _recorded_step(
    loss: Loss,
    weights: Sequence[Tensor],
    fitted: Sequence[Parameter],
    data: Sequence[Tensor],
    looks: Looks | None,
) -> tuple[Graph, Tensor, Gradients]:
    """An eager step with the operations that it ran, and what it looked at if data change."""
    found: list[tuple[Tensor, Gradients]] = []

    def step() -> list[Tensor]:
        found.append(eager_step(loss, fitted))
        value, gradients = found[0]
        return [value, *(gradient for gradient in gradients if gradient is not None)]

    graph = record_draws(step, [*weights, *data], looks)
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


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree as far as their dtype can tell."""
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
