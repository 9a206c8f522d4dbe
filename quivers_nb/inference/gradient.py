"""Value and gradient of a target, by tier: the same numbers, faster ways to get them.

    eager    tier 0: torch autograd on the summed log density; the reference;
    traced   tier 1: the operations of one eager evaluation, recorded and replayed.

A faster tier is compared with the reference at three random points before it is used. What a tier
cannot do is said in one line, and the next one serves.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from quivers_nb.inference.graph import Graph, RecordingError, record
from quivers_nb.inference.replay import Replay, replay
from quivers_nb.inference.simplify import simplify
from quivers_nb.inference.target import Target

CHECK_POINTS = 3
LinAlgError = torch.linalg.LinAlgError  # type: ignore[attr-defined]
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}


class ValueAndGrad(Protocol):
    """``(C, D) -> (C,), (C, D)``: log densities and gradients of all chains at once."""

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Gradient:
    """A value-and-gradient function, the tier that runs it, and why no faster one does."""

    evaluate: ValueAndGrad
    tier: str
    reason: str


def eager(target: Target) -> ValueAndGrad:
    """Tier 0. Every other tier is tested against this one."""

    def evaluate(q: Tensor) -> tuple[Tensor, Tensor]:
        return _value_and_grad(target, q.detach().requires_grad_(True))

    return _isolating(evaluate)


def _value_and_grad(target: Target, q: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        value = target.log_density(q.requires_grad_(True))
        if value.shape != q.shape[:-1]:
            raise ValueError(
                f"the log density of q {tuple(q.shape)} has shape {tuple(value.shape)}; "
                f"expected {tuple(q.shape[:-1])}"
            )
        if not value.requires_grad:
            return value.detach(), torch.zeros_like(q)
        (grad,) = torch.autograd.grad(value.sum(), q, allow_unused=True, materialize_grads=True)
    return value.detach(), grad


def record_value_and_grad(target: Target, q: Tensor) -> Graph:
    """The graph of ``q -> (value, gradient)`` for ``q`` of this shape, ``(D,)`` or ``(C, D)``.

    Raises `RecordingError` with the reason where the target cannot be recorded.
    """
    return simplify(record(lambda q: _value_and_grad(target, q), q))


@dataclass(slots=True)
class Traced:
    """Tier 1. One recording per number of chains, made when first needed."""

    target: Target
    replays: dict[int, Replay] = field(default_factory=dict)

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        run = self.replays.get(q.shape[0])
        if run is None:
            run = self.replays[q.shape[0]] = replay(record_value_and_grad(self.target, q))
        value, grad = run(q)
        return value, grad


def traced(target: Target, example: Tensor) -> Gradient:
    """Tier 1 where it works and agrees with tier 0, else tier 0 with the reason.

    ``example`` ``(C, D)`` is a point where the density is defined; checks are made around it.
    """
    reference = eager(target)
    fast = Traced(target)
    try:
        fast(example)
    except RecordingError as error:
        return Gradient(reference, "eager", f"not traced: {error}")
    difference = disagreement(_isolating(fast), reference, example)
    if difference is not None:
        return Gradient(reference, "eager", f"not traced: {difference}")
    return Gradient(_isolating(fast), "traced", "")


def disagreement(fast: ValueAndGrad, reference: ValueAndGrad, example: Tensor) -> str | None:
    """None if the two agree at all points `near` ``example`` ``(C, D)``, else the fact."""
    differences = (difference_at(q, fast, reference) for q in near(example))
    return next((found for found in differences if found is not None), None)


def near(example: Tensor) -> Tensor:  # (*s, D) -> (CHECK_POINTS, *s, D)
    """Random points, from a generator of its own: a check never moves another random stream."""
    generator = torch.Generator(device=example.device).manual_seed(0)
    shape, dtype, device = (CHECK_POINTS, *example.shape), example.dtype, example.device
    noise = torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return example + 0.1 * noise


def difference_at(q: Tensor, fast: ValueAndGrad, reference: ValueAndGrad) -> str | None:
    """None if the two agree at the points ``q`` ``(C, D)``, else the fact."""
    tolerance = _TOLERANCE.get(q.dtype, 1e-3)
    for name, a, b in zip(("value", "gradient"), fast(q), reference(q), strict=True):
        scale = 1.0 + b.abs().nan_to_num(0.0, 0.0, 0.0).amax(-1, keepdim=True)
        if not torch.allclose(a / scale, b / scale, rtol=0.0, atol=tolerance, equal_nan=True):
            return f"its {name} differs from autograd's at a random point"
    return None


def _isolating(evaluate: ValueAndGrad) -> ValueAndGrad:
    """A factorisation that fails in one chain gives NaN there and leaves the others alone."""

    def isolated(q: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return evaluate(q)
        except LinAlgError:
            if q.shape[0] == 1:
                return q.new_full((1,), torch.nan), torch.full_like(q, torch.nan)
            rows = [isolated(row) for row in q.split(1)]
            return torch.cat([v for v, _ in rows]), torch.cat([g for _, g in rows])

    return isolated


def gradient_of(target: Target, example: Tensor, tier: str = "auto") -> Gradient:
    """The fastest tier that works here, or the one asked for (which may fall back, with reason)."""
    if tier == "eager":
        return Gradient(eager(target), "eager", "asked for")
    return traced(target, example)
