"""What a variational run returns, and when its loss has settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Generator, Tensor

from quivers_nb.inference.model import OpenTarget
from quivers_nb.inference.vi.guide import Guide

SUMMARY_SEED = 0  # of the draws that sites are summarized by: equal fits give equal tables
SUMMARY_DRAWS, FEWEST_DRAWS = 1000, 100
SUMMARY_NUMBERS = 4_000_000  # drawn at most, unless `FEWEST_DRAWS` are more
BLOCK = 250  # draws that are brought to site values at once
BATCHES = 10  # of losses in each window
T_99 = 2.878  # Student's t with 2 * (BATCHES - 1) degrees of freedom, two-sided 99 %


@dataclass(frozen=True)
class SiteSummary:
    """A site in draws of the guide: moments and the 5 % and 95 % quantiles, in its own shape."""

    mean: Tensor
    sd: Tensor
    low: Tensor
    high: Tensor

    @property
    def rows(self) -> list[tuple[str, float, float, float, float]]:
        """Index as text (empty for a scalar), mean, sd, quantiles of every number."""
        shape = tuple(self.mean.shape)
        columns = [t.flatten().tolist() for t in (self.mean, self.sd, self.low, self.high)]
        found = []
        for place in range(prod(shape)):
            index = ", ".join(map(str, np.unravel_index(place, shape))) if shape else ""
            mean, sd, low, high = (column[place] for column in columns)
            found.append((f"[{index}]" if index else "", mean, sd, low, high))
        return found


@torch.no_grad()
def summarize(target: OpenTarget, guide: Guide) -> dict[str, SiteSummary]:
    """Every declared site in up to 1000 draws of ``guide``, which is bound to the target's input.

    Of large models fewer draws are taken, 100 at least; always the same ones.
    """
    layout = target.layout
    if not layout.dim:
        return {}
    number = max(FEWEST_DRAWS, min(SUMMARY_DRAWS, SUMMARY_NUMBERS // layout.dim))
    generator = Generator(device=_device(guide)).manual_seed(SUMMARY_SEED)
    q, _ = guide.draw(layout, (number,), generator)
    blocks = [target.constrain(part) for part in q.split(BLOCK)]
    found = {}
    for name in blocks[0]:
        values = torch.cat([block[name] for block in blocks]).cpu().double()
        low, high = np.quantile(values.numpy(), [0.05, 0.95], axis=0)
        ends = (torch.as_tensor(low), torch.as_tensor(high))
        found[name] = SiteSummary(values.mean(0), values.std(0), *ends)
    return found


def _device(guide: Guide) -> torch.device:
    state = guide.state_dict() if isinstance(guide, torch.nn.Module) else {}
    return next((tensor.device for tensor in state.values()), torch.device("cpu"))


@dataclass(frozen=True)
class SVIResult:
    """A finished run: the loss before every step, and copies of the fitted parameters.

    ``sites`` has mean, sd and quantiles of every site in draws of the fitted guide (`summary` shows
    them). ``params`` has the guide's parameters by name and the model's, if they were fitted, as
    ``model.<storage key>`` (`parameters` shows them). ``converged`` is the verdict of `settled` or
    `steady`; ``interrupted`` says that the run was stopped from outside. ``eager_reason`` says why
    steps were not traced ("" if they were, or if there were too few). ``tier`` is what made the
    last steps, "eager", "traced" or "native", and ``tier_reason`` why nothing faster did.
    """

    losses: Tensor  # (steps,)
    params: Mapping[str, Tensor]
    converged: bool
    interrupted: bool = False
    eager_reason: str = ""
    tier: str = "eager"
    tier_reason: str = ""
    sites: Mapping[str, SiteSummary] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        return len(self.losses)

    def summary(self, max_rows: int = 40) -> str:
        """A table, one line per number: mean, sd, 5 % and 95 % quantiles of the guide's draws."""
        rows = [
            (name + index, *(f"{number:.3g}" for number in numbers))
            for name, site in self.sites.items()
            for index, *numbers in site.rows
        ]
        return _table([("", "mean", "sd", "5%", "95%"), *rows], max_rows)

    def parameters(self, max_rows: int = 40) -> str:
        """A table of what was fitted, as the guide and the model hold it: name, shape, numbers."""
        rows = []
        for name, value in self.params.items():
            first = ", ".join(f"{number:.3g}" for number in value.flatten()[:4].tolist())
            dots = ", ..." if value.numel() > 4 else ""
            rows.append((name, str(tuple(value.shape)), first + dots))
        return _table([("", "shape", "values"), *rows], max_rows)

    def __repr__(self) -> str:
        parts = [f"{self.num_steps} steps"]
        if self.num_steps:
            tail = self.losses[-min(100, self.num_steps) :]
            parts.append(f"loss {float(tail.mean()):.4g}")
        parts.append("converged" if self.converged else "not converged")
        if self.interrupted:
            parts.append("interrupted")
        return f"SVIResult({', '.join(parts)})"


def _table(rows: Sequence[tuple[str, ...]], max_rows: int) -> str:
    """Columns under each other, the first and the last one of words to the left."""
    shown, more = rows[: max_rows + 1], len(rows) - 1 - max_rows
    widths = [max(len(row[k]) for row in shown) for k in range(len(shown[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if k and len(widths) > 3 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    ]
    return "\n".join([*lines, *([f"... and {more} more"] if more > 0 else [])])


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


def steady(losses: Sequence[float], window: int) -> bool:
    """Whether no change of the mean loss is found beyond the noise of the draws.

    The last two windows, of ``window`` steps or a fifth of all, whichever is more, are cut into ten
    batches each; their means are compared by Student's t at 1 %. So a loss without a trend is
    called unsteady once in a hundred times, and a fall from window to window by ``0.7 * sd /
    sqrt(width / 100)``, with sd the noise of one loss, is missed once in twenty. Windows under 20
    steps are too short to tell: False.
    """
    width = max(window, len(losses) // 5)
    if window < 2 * BATCHES or len(losses) < 2 * width:
        return False
    width -= width % BATCHES
    last = np.asarray(losses[-2 * width :], dtype=np.float64)
    batches = last.reshape(2, BATCHES, -1).mean(-1)
    change = batches[1].mean() - batches[0].mean()
    error = np.sqrt(batches.var(axis=1, ddof=1).sum() / BATCHES)
    return bool(abs(change) <= T_99 * error)
