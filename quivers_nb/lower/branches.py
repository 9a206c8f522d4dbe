"""Values on their way through a composite, and the branches of finite middles that are summed.

A finite middle that nobody gives a value for is tried at all its elements at once: the flow carries
one branch per element in front of the stack, with log weights. Side by side, branches multiply out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.answers import SiteKey
from quivers_nb.lower.dists import Branched, Dist, Weighted, side_by_side
from quivers_nb.lower.run import MAX_BRANCHES, Run
from quivers_nb.spaces.space import Object, is_finite


@dataclass(frozen=True, slots=True)
class Flow:
    """A value on its way. With ``weights`` ``(K, *s, *lead)`` the value has K branches in front.

    ``states``: the branches are the elements of a finite set, in order.
    """

    value: Tensor
    weights: Tensor | None = None
    states: bool = False


def enumerate_middle(site: SiteKey, run: Run, dist: Dist, cod: Object) -> Flow:
    """All elements of a finite middle as branches; earlier branches are folded in."""
    if not is_finite(cod):
        raise UserError(
            f"the middle `{site.path}` is {dist.label}, which has no end: give its values "
            f"under the key `{site.path}`"
        )
    return enumerated(site, run, dist, int(cod.size))  # type: ignore[union-attr,arg-type]


def enumerated(site: SiteKey, run: Run, dist: Dist, size: int) -> Flow:
    """The values ``0 … size - 1`` of a site as branches."""
    if size > MAX_BRANCHES:
        raise UserError(
            f"summing the middle `{site.path}` needs {size} branches, more than {MAX_BRANCHES}: "
            "give its values"
        )
    values = elements(size, run, len(dist.lead))
    if isinstance(dist, Branched):
        terms = _outcome(dist.inner, values.unsqueeze(1)) + dist.weights
        return Flow(values, torch.logsumexp(terms, dim=1), states=True)
    return Flow(values, _full(_outcome(dist, values), size, run, dist.lead), states=True)


def _outcome(dist: Dist, values: Tensor) -> Tensor:
    return dist.log_weight(values) if isinstance(dist, Weighted) else dist.log_prob(values)


def elements(size: int, run: Run, lead_rank: int) -> Tensor:
    """``0 … size - 1`` on an axis in front of the stack: ``(size, *1 stack, *1 lead)``."""
    ones = (1,) * (len(run.stack) + lead_rank)
    return torch.arange(size, device=run.device).reshape((size, *ones))


def _full(weights: Tensor, size: int, run: Run, lead: tuple[int, ...]) -> Tensor:
    """Weights with one explicit axis for branches, stack and lead each."""
    missing = 1 + len(run.stack) + len(lead) - weights.ndim
    return weights.reshape((size, *((1,) * missing), *weights.shape[1:])) if missing else weights


def merge(flows: Sequence[Flow], cods: tuple[Object, ...]) -> Flow:
    """Values of these types side by side; independent branches multiply out."""
    return beside(
        [
            Flow(flow.value.unsqueeze(-1) if is_finite(cod) else flow.value, flow.weights)
            for flow, cod in zip(flows, cods, strict=True)
        ]
    )


def beside(flows: Sequence[Flow]) -> Flow:
    """Vectors side by side; independent branches multiply out."""
    branched = [flow for flow in flows if flow.weights is not None]
    if len(branched) > 1:
        values, weights = _cross(flows)
        return Flow(columns(values), weights)
    weight = branched[0].weights if branched else None
    return Flow(columns([flow.value for flow in flows]), weight)


def _cross(flows: Sequence[Flow]) -> tuple[list[Tensor], Tensor]:
    """Branch axes of several flows as one: the product of their branches."""
    count = sum(flow.weights is not None for flow in flows)
    sizes = [flow.weights.shape[0] for flow in flows if flow.weights is not None]
    if prod(sizes) > MAX_BRANCHES:
        raise UserError(
            f"summing finite middles side by side needs {prod(sizes)} branches, more than "
            f"{MAX_BRANCHES}: give the values of one of them"
        )
    values: list[Tensor] = []
    total: Tensor | None = None
    seen = 0
    for each in flows:
        if each.weights is None:
            values.append(each.value)
            continue
        grid = [1] * count
        grid[seen] = each.weights.shape[0]
        seen += 1
        spread = each.value.reshape((*grid, *each.value.shape[1:]))
        values.append(spread.expand((*sizes, *each.value.shape[1:])).flatten(0, count - 1))
        weight = each.weights.reshape((*grid, *each.weights.shape[1:]))
        total = weight if total is None else total + weight
    assert total is not None
    return values, total.flatten(0, count - 1)


def columns(vectors: Sequence[Tensor]) -> Tensor:  # (*n, d_i) -> (*n, Σ d_i)
    """Vectors side by side, in front broadcast against each other."""
    return side_by_side(list(vectors), [ONE_VECTOR] * len(vectors))


# --- branches that several parts share ---------------------------------------------------------


def opened(run: Run, weights: Tensor, lead: tuple[int, ...]) -> Run:
    """A run in which the branches are a stack axis: parts that share them are evaluated at each."""
    return replace(
        run, batch_shape=lead, stack=(weights.shape[0], *run.stack), summed=1,
        elements=[], row_terms=[], shared_terms=[], observed=[], block=None,
    )  # fmt: skip


def closed(run: Run, nested: Run, x: Flow, lead: tuple[int, ...]) -> Tensor:
    """The weights of the branches with the terms that depend on them; the others are counted."""
    assert x.weights is not None
    return sum(pass_on(run, nested, lead, "side by side"), start=x.weights)


def once(flow: Flow, weights: Tensor) -> Flow:
    """A value ``(M, K, …)`` of M branches at each of K as one of M K; ``weights`` are of the K."""
    if flow.weights is None:
        return Flow(flow.value, weights)
    total = flow.weights + weights
    count, shape = total.shape[:2], flow.value.shape
    if flow.value.shape[:2] == count:
        return Flow(flow.value.flatten(0, 1), total.flatten(0, 1))
    value = flow.value.expand((*count, *shape[2:]))
    return Flow(value.flatten(0, 1), total.flatten(0, 1))


def pass_on(run: Run, nested: Run, lead: tuple[int, ...], path: str) -> list[Tensor]:
    """Add the terms of a nested run that depend on no summed site to the caller's; the others."""
    base = len(run.stack)

    def splits(terms: list[Tensor], rank: int) -> tuple[list[Tensor], list[Tensor]]:
        deep = [t for t in terms if nested.summed and t.ndim > base + rank]
        return deep, [t for t in terms if not nested.summed or t.ndim <= base + rank]

    deep, rows = splits(nested.row_terms, len(lead))
    deep_shared, shared = splits(nested.shared_terms, 0)
    seen = run.observations_only
    for term in nested.passed_on(rows):
        own = len(lead) - run.batch_rank
        run.add(term, rows=run.batch_rank > 0, own_rank=own, observed=seen)
    for term in nested.passed_on(shared):
        run.add(term, rows=False, observed=seen)
    if deep_shared and lead:
        raise UserError(
            f"in `{path}` a term that all rows share depends on a finite site that is summed "
            "per row: give the values of that site"
        )
    return [*deep, *deep_shared]


class _Vector:
    event = (1,)


ONE_VECTOR: Dist = _Vector()  # type: ignore[assignment]
