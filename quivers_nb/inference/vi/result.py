"""What a variational run returns, and when its loss has settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SVIResult:
    """A finished run: the loss before every step, and copies of the fitted parameters.

    ``params`` has the guide's parameters by name and the model's, if they were fitted, as
    ``model.<storage key>``. ``converged`` is the verdict of `settled`; ``interrupted`` says that
    the run was stopped from outside. ``eager_reason`` says why steps were not traced ("" if they
    were, or if there were too few). ``tier`` is what made the last steps, "eager", "traced" or
    "native", and ``tier_reason`` why nothing faster did.
    """

    losses: Tensor  # (steps,)
    params: Mapping[str, Tensor]
    converged: bool
    interrupted: bool = False
    eager_reason: str = ""
    tier: str = "eager"
    tier_reason: str = ""

    @property
    def num_steps(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        parts = [f"{self.num_steps} steps"]
        if self.num_steps:
            tail = self.losses[-min(100, self.num_steps) :]
            parts.append(f"loss {float(tail.mean()):.4g}")
        parts.append("converged" if self.converged else "not converged")
        if self.interrupted:
            parts.append("interrupted")
        return f"SVIResult({', '.join(parts)})"


def settled(losses: Sequence[float], window: int, tolerance: float) -> bool:
    """Whether the mean loss changed little from the window before last to the last one.

    The change counts against the larger of the two means, in absolute value: ``|a - b| <=
    tolerance * max(|a|, |b|)``. Fewer than two windows have not settled. A mean over a window
    averages the noise of the draws; if that is larger than ``tolerance``, take a wider window.
    """
    if len(losses) < 2 * window:
        return False
    before = sum(losses[-2 * window : -window]) / window
    last = sum(losses[-window:]) / window
    return abs(before - last) <= tolerance * max(abs(before), abs(last))
