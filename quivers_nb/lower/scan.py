"""A scan at one input, as the ways through its steps see it (`quivers_nb.lower.recurrence`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from quivers_nb.lower.branches import Flow, beside, elements
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.forward import at_state
from quivers_nb.lower.run import Run
from quivers_nb.lower.timeline import Step, Timeline
from quivers_nb.spaces.space import is_finite, width

if TYPE_CHECKING:
    from quivers_nb.lower.nodes import Node, Recur

Lead = tuple[int, ...]


class Walk(NamedTuple):
    """The readings of nodes, which call the functions here and are called by them."""

    flow: Callable[["Node", Run, Flow, Lead], Flow]
    head: Callable[["Node", Run, Flow, Lead], Dist]
    deterministic: Callable[["Node"], bool]


@dataclass(frozen=True)
class Scan:
    """A scan at one input: its steps, padding first, and where it starts."""

    node: "Recur"
    run: Run
    walk: Walk
    lead: Lead
    inputs: Flow  # (*K, *s, *lead, L, d)
    start: Flow  # (*s, *lead, d), a finite state (*s, *lead)
    line: Timeline

    @property
    def finite(self) -> int:
        """How many states there are; 0 if they are no finite set."""
        state = self.node.state
        single = is_finite(state) and width(state) == 1
        return int(state.size) if single else 0  # type: ignore[union-attr,arg-type]

    def at(self, t: int, state: Flow) -> Flow:
        """What the cell reads at a step."""
        weights = self.inputs.weights
        x = Flow(self.inputs.value[..., t, :], None if weights is None else weights[..., t])
        return self.cell_input(x, state)

    def cell_input(self, x: Flow, state: Flow) -> Flow:
        """``cat(x_t, h)``; a finite state takes one column."""
        h = state.value.unsqueeze(-1) if self.finite else state.value
        return beside([x, Flow(h.to(self.run.dtype), state.weights)])


def count_term(run: Run, term: Tensor | None, lead: Lead) -> None:
    """Add a term ``(*s, *lead)``: rows keep theirs, left-over axes are summed."""
    own, seen = len(lead) - run.batch_rank, run.observations_only
    run.add(term, rows=run.batch_rank > 0, own_rank=own, observed=seen)


def log_weights(scan: Scan, state: Flow, like: Tensor) -> Tensor:
    """A finite state as log weights by state, ``(K, *s, *lead)``."""
    if state.weights is not None:
        return state.weights
    points = elements(scan.finite, scan.run, len(scan.lead))
    return at_state(state.value, points, like)


def over_time(scan: Scan, count: int) -> Run:
    """A run in which the first ``count`` steps are rows."""
    run = scan.run
    steps = (*run.steps, Step(scan.line, 0, count))
    return replace(
        run,
        steps=steps,
        batch_shape=(*scan.lead, count),
        row_terms=[],
        shared_terms=[],
        observed=[],
        block=None,
        wanted=True,
    )


def span(weights: Tensor | None, count: int) -> Tensor | None:
    """Log weights ``(K, *s, *lead, L)`` of the first ``count`` steps."""
    return None if weights is None else weights[..., :count]
