"""Morphism terms in torch: what a kernel expression draws and how dense it is.

A term is evaluated on ``x`` of shape ``(*s, *lead, d)`` (indices ``(*s, *lead)`` for a finite
domain): ``lead`` are the batch rows and left-over axes, one independent evaluation each. Two
readings of a term:

    head(term, x)  the distribution of its *last* kernels, every earlier one (middle) answered for;
    flow(term, x)  its value, every kernel answered for as a middle (R3).

A finite middle that nobody gives a value for is summed: the flow then carries one branch per
element in front of the stack, with log weights, and a later kernel's density folds them, along the
chain and factor by factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor

from quivers_nb.check.affine import GaussianCell
from quivers_nb.lower.answers import Kind, SiteKey
from quivers_nb.lower.branches import Flow, closed, enumerate_middle, merge, once, opened
from quivers_nb.lower.dists import Branched, Dist, Joint, Simple
from quivers_nb.lower.flat import columns_of
from quivers_nb.lower.parameters import TABLE, KernelPlan
from quivers_nb.lower.parts import Parts
from quivers_nb.lower.recurrence import last_head, last_state
from quivers_nb.lower.run import Run, unanswered
from quivers_nb.lower.scan import Walk
from quivers_nb.spaces.space import Object, is_finite, width


@dataclass(frozen=True, slots=True)
class Leaf:
    """One kernel occurrence, or several equal ones evaluated as one batched product (``parts``)."""

    path: str
    plan: KernelPlan
    cod: Object
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """``identity``."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Between a kernel into a product of finite sets and what reads its factors; never last."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts in the order of data flow. ``before`` counts the parts that stand before a scan."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """``f @ g``: input columns are split by ``doms``."""

    parts: tuple["Node", ...]
    doms: tuple[Object, ...]
    cods: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Lanes:
    """``f @ g`` of equal layers: one node whose kernels are batched over the operands.

    Inside, a value is ``(*s, *lead, lanes, d)``, indices ``(*s, *lead, lanes)``.
    """

    node: "Node"
    count: int
    dom: Object


@dataclass(frozen=True, slots=True)
class Spread:
    """``fan``: every part sees the same input."""

    parts: tuple["Node", ...]
    cods: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Recur:
    """``scan(cell)``; ``init`` is the storage key of a learned start, or None for zeros.

    ``ends``: paths of the cell's last kernels. ``outputs``: the sites whose values side by side are
    the state, None if it is computed. ``by_time``: no step has a plate, which a step would own.
    ``gaussian``: the cell, where it is a program that is linear and Gaussian.
    """

    cell: "Node"
    path: str
    dom: Object
    state: Object
    init: str | None
    ends: frozenset[str]
    outputs: tuple[tuple[str, Object], ...] | None
    by_time: bool
    gaussian: GaussianCell | None


@dataclass(frozen=True, slots=True)
class Sub:
    """A program inside an expression; ``body`` runs it, see `quivers_nb.lower.steps`."""

    path: str
    body: "ProgramBody"


class ProgramBody:
    """What `Sub` calls: runs a program on flattened inputs and returns its output vector."""

    def flow(self, run: Run, x: Flow, lead: tuple[int, ...], path: str) -> Flow:
        """``(*s, *lead, d) -> (*s, *lead, width)``; the sites inside are middles under ``path``."""
        raise NotImplementedError


Node = Leaf | Wire | Columns | Chain | Beside | Lanes | Spread | Recur | Sub


def deterministic(node: Node) -> bool:
    """Whether any part of the result carries no density of its own (R3)."""
    match node:
        case Wire() | Sub():
            return True
        case Chain(parts=parts):
            return deterministic(parts[-1])
        case Beside(parts=parts) | Spread(parts=parts):
            return any(deterministic(part) for part in parts)
        case Recur(cell=cell):
            return deterministic(cell)
        case _:
            return False


def scans(node: Node) -> bool:
    """Whether the node consumes a sequence axis."""
    match node:
        case Recur():
            return True
        case Leaf(plan=plan):
            return plan.sequence
        case Chain(parts=parts) | Beside(parts=parts) | Spread(parts=parts):
            return any(scans(part) for part in parts)
        case _:
            return False


# --- head ---------------------------------------------------------------------------------------


def head(node: Node, run: Run, x: Flow, lead: tuple[int, ...]) -> Dist:
    """The distribution of the last kernels of ``node`` at ``x``."""
    match node:
        case Leaf():
            return _side_by_side(_kernel(node, run, x, lead))
        case Chain(parts=parts):
            middle = _chain(parts[:-1], parts[-1], run, x, lead)
            return head(parts[-1], run, middle, lead)
        case Beside() | Spread():
            return _heads(node, run, x, lead)
        case Lanes():
            return _side_by_side(head(node.node, run, _into_lanes(node, x), lead))
        case Recur():
            return last_head(node, run, x, lead, WALK)
        case _:
            raise AssertionError(node)


def _kernel(leaf: Leaf, run: Run, x: Flow, lead: tuple[int, ...]) -> Dist:
    dist = leaf.plan.dist(_tensors(leaf.plan, run), x.value, lead)
    return dist if x.weights is None else Branched(dist, x.weights)


def _tensors(plan: KernelPlan, run: Run) -> Mapping[str, Tensor]:
    """Weights by storage key, or the one table that has none."""
    if plan.known is not None:
        return {TABLE: plan.known.log_rows(run.dtype, run.device)}
    return run.parameters if plan.drawn is None else {TABLE: run.tables[plan.drawn]}


def _side_by_side(dist: Dist) -> Dist:
    """Members and lanes as columns of one vector, where the value is a declared site's."""
    if isinstance(dist, Branched):
        return Branched(_side_by_side(dist.inner), dist.weights)
    if not isinstance(dist, Simple) or len(dist.own_event) < 2:
        return dist
    params = tuple(p.flatten(-2) if p.ndim > 1 else p for p in dist.params)
    return _side_by_side(replace(dist, params=params, own_event=(prod(dist.own_event),)))


def _into_lanes(node: Lanes, x: Flow) -> Flow:
    """Columns of the input by operand; single finite sets become indices (5.2)."""
    value = x.value.unflatten(-1, (node.count, -1))
    if is_finite(node.dom):
        value = value.long()
        value = value.squeeze(-1) if width(node.dom) == 1 else value
    return Flow(value, x.weights)


# --- flow ---------------------------------------------------------------------------------------


def flow(node: Node, run: Run, x: Flow, lead: tuple[int, ...]) -> Flow:
    """The value of ``node`` at ``x``, its kernels answered for as middles."""
    if isinstance(node, Leaf):
        return _draw(node, run, _kernel(node, run, x, lead))
    if isinstance(node, Columns):
        return Flow(columns_of(x.value, node.sizes), x.weights)
    if isinstance(node, Sub):
        return node.body.flow(run, x, lead, node.path)
    return _flow_composite(node, run, x, lead)


def _flow_composite(node: Node, run: Run, x: Flow, lead: tuple[int, ...]) -> Flow:
    match node:
        case Chain(parts=parts):
            middle = _chain(parts[:-1], parts[-1], run, x, lead)
            return flow(parts[-1], run, middle, lead)
        case Beside() | Spread():
            return _flows(node, run, x, lead)
        case Lanes():
            inner = flow(node.node, run, _into_lanes(node, x), lead)
            return Flow(inner.value.flatten(-2), inner.weights)
        case Recur():
            return last_state(node, run, x, lead, WALK)
        case _:
            return x


def _heads(node: Beside | Spread, run: Run, x: Flow, lead: tuple[int, ...]) -> Dist:
    """Parts side by side; the branches of what they read are summed once, for all of them."""
    if x.weights is None:
        parts = zip(node.parts, _inputs(node, x), strict=True)
        return Joint(tuple(head(part, run, i, lead) for part, i in parts), lead)
    nested = opened(run, x.weights, lead)
    inner = _heads(node, nested, Flow(x.value), lead)
    return Branched(inner, closed(run, nested, x, lead))


def _flows(node: Beside | Spread, run: Run, x: Flow, lead: tuple[int, ...]) -> Flow:
    """As `_heads`, for values."""
    if x.weights is None:
        parts = zip(node.parts, _inputs(node, x), strict=True)
        return merge([flow(part, run, i, lead) for part, i in parts], node.cods)
    nested = opened(run, x.weights, lead)
    inner = _flows(node, nested, Flow(x.value), lead)
    return once(inner, closed(run, nested, x, lead))


def _inputs(node: Beside | Spread, x: Flow) -> list[Flow]:
    return _split_input(x, node.doms) if isinstance(node, Beside) else [x] * len(node.parts)


def _draw(leaf: Leaf, run: Run, dist: Dist) -> Flow:
    site = SiteKey(leaf.path, Kind.MIDDLE, kernel=True, batch_rank=run.batch_rank, parts=leaf.parts)
    answer = run.ask(site, dist)
    if answer is not None and not (isinstance(dist, Branched) and answer.term is None):
        _count(run, site, dist, answer.value, answer.term, given=answer.given)
        return Flow(leaf.plan.joined(answer.value))
    if dist.discrete:
        return enumerate_middle(site, run, dist, leaf.cod)
    if not isinstance(dist, Branched):
        raise unanswered(site)
    branches = run.ask(site, dist.inner, (dist.weights.shape[0], *run.stack))
    if branches is None:
        raise unanswered(site)
    weights = dist.weights if branches.term is None else dist.weights + branches.term
    return Flow(leaf.plan.joined(branches.value), weights)


def _count(
    run: Run, site: SiteKey, dist: Dist, value: Tensor, term: Tensor | None, *, given: bool
) -> None:
    """Add a middle's term: rows keep theirs, left-over axes are summed."""
    behind = len(dist.lead) + len(dist.event)
    run.record(site, value, term, dist.label, given=given, behind=behind)
    extra = len(dist.lead) - run.batch_rank
    run.add(term, rows=run.batch_rank > 0, own_rank=extra)


# --- wiring -------------------------------------------------------------------------------------


def _chain(parts: Sequence[Node], last: Node, run: Run, x: Flow, lead: tuple[int, ...]) -> Flow:
    """Flow through ``parts``; those before a scan run once per sequence position."""
    run = run if run.wanted else replace(run, wanted=True)
    for i, part in enumerate(parts):
        ahead = any(scans(later) for later in (*parts[i + 1 :], last))
        at = (*lead, _length(part, x)) if ahead else lead
        x = flow(part, run, x, at)
        if _counts(part) and not x.value.is_floating_point():
            x = Flow(x.value.to(run.dtype), x.weights)
    return x


def _counts(part: Node) -> bool:
    """Whether a part ends in a kernel into a space: whole numbers in it are no indices."""
    match part:
        case Leaf(cod=cod):
            return not is_finite(cod)
        case Chain(parts=parts):
            return _counts(parts[-1])
        case Lanes(node=inner):
            return _counts(inner)
        case _:
            return False


def _length(part: Node, x: Flow) -> int:
    axis = -1 if _reads_index(part, x) else -2
    return int(x.value.shape[axis])


def _reads_index(part: Node, x: Flow) -> bool:
    return not x.value.is_floating_point() and _takes_scalar(part)


def _takes_scalar(part: Node) -> bool:
    match part:
        case Leaf(plan=plan):
            return plan.scalar_index
        case Chain(parts=parts) | Spread(parts=parts):
            return _takes_scalar(parts[0])
        case _:
            return False


def _split_input(x: Flow, doms: tuple[Object, ...]) -> list[Flow]:
    """Columns per operand of ``@``; single finite sets are squeezed to indices (5.2)."""
    pieces = x.value.split([width(dom) for dom in doms], dim=-1)
    out = []
    for piece, dom in zip(pieces, doms, strict=True):
        value = piece
        if is_finite(dom):
            value = piece.long()
            value = value.squeeze(-1) if width(dom) == 1 else value
        out.append(Flow(value, x.weights))
    return out


WALK = Walk(flow, head, deterministic)

__all__ = [
    "Beside",
    "Chain",
    "Columns",
    "Flow",
    "Lanes",
    "Leaf",
    "Node",
    "ProgramBody",
    "Recur",
    "Simple",
    "Spread",
    "Sub",
    "Wire",
    "deterministic",
    "flow",
    "head",
    "scans",
]
